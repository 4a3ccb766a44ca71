"""Training states for tests of checkpoints."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.io import checkpoints

FINGERPRINT = {"batch_size": 64, "data": {"name": "digits", "seed": 0}}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  step: Any
  params: Any
  opt_state: Any
  key: Any
  keys: Any
  rest: Any


def state_at(step):
  """Returns a state with every kind of leaf and container."""
  rng = np.random.default_rng(step)
  params = {
    "dense": {
      "kernel": jnp.asarray(rng.normal(size=(8, 3)), jnp.float32),
      "bias": jnp.asarray(rng.normal(size=3), jnp.bfloat16),
    },
    "large": jnp.asarray(rng.normal(size=(64, 128)), jnp.float32),
  }
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
  return State(
    step=jnp.int32(step),
    params=params,
    opt_state=tx.init(params),
    key=jax.random.key(step),
    keys=jax.random.split(jax.random.key(step + 1), 8),
    rest=(
      None,
      (),
      {},
      [jnp.zeros((0, 4)), jnp.asarray([True, False])],
      np.arange(step, step + 3),
      jax.random.key(step, impl="rbg"),
    ),
  )


def abstract(tree):
  return jax.eval_shape(lambda: tree)


def bits(leaf):
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.asarray(leaf).tobytes()


def assert_same(tree, expected):
  assert jax.tree.structure(tree) == jax.tree.structure(expected)
  for leaf, wanted in zip(
    jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True
  ):
    assert isinstance(leaf, np.ndarray) == isinstance(wanted, np.ndarray)
    assert (leaf.shape, leaf.dtype) == (wanted.shape, wanted.dtype)
    assert bits(leaf) == bits(wanted)


def open_at(directory, **options):
  return checkpoints.Checkpoints(
    directory, **{"fingerprint": FINGERPRINT, **options}
  )


def write(directory, *steps, **options):
  with open_at(directory, **options) as saved:
    for step in steps:
      saved.save(step, state_at(step))


def names(directory):
  return sorted(path.name for path in directory.iterdir())
