"""Our dataclasses through Flax's MessagePack."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization

from lelp_jax.metrics import Mean
from lelp_jax.models import MODELS
from lelp_jax.train_step import TrainState
from tests.lelp_jax.function_cases import CASES


@pytest.fixture(name="values", scope="module")
def fixture_values():
  """One of each of our dataclasses, and some without their optional fields."""
  values = {
    type(value).__name__: value
    for case in CASES.values()
    for value in case.arrays.values()
    if dataclasses.is_dataclass(value)
  }
  moments, subspaces = values["ClassMoments"], values["Subspaces"]
  values["whole moments"] = dataclasses.replace(
    moments,
    mean_remainder=1e-8 * moments.mean,
    num_examples=np.int32([1, 2, 3]),
  )
  values["no offsets"] = dataclasses.replace(subspaces, offsets=None)
  values["Mean"] = Mean.of(jnp.arange(3.0))
  model = MODELS["mlp"](2, features=(4,))
  values["state"] = TrainState.create(
    *jax.jit(model.init)(jax.random.key(0), jnp.ones((20, 4))),
    optax.adam(0.1),
    jax.random.key(2),
    loss_params={"projection": jnp.ones([2, 2])},
    loss_state={"keys": jax.random.split(jax.random.key(3, impl="rbg"), 2)},
  )
  return values


def without_keys(tree):
  def plain(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf

  return jax.tree.map(plain, tree)


def test_what_is_restored_is_what_was_saved(values):
  data = serialization.to_bytes(values)
  restored = serialization.from_bytes(values, data)
  chex.assert_trees_all_equal_dtypes(restored, values)
  chex.assert_trees_all_equal(without_keys(restored), without_keys(values))
  assert jax.tree.structure(restored) == jax.tree.structure(values)


def test_restored_keys_draw_the_same_numbers(values):
  state = values["state"]
  other = TrainState(**{**vars(state), "key": jax.random.key(9)})
  restored = serialization.from_bytes(other, serialization.to_bytes(state))
  chex.assert_trees_all_equal(
    jax.random.normal(restored.key), jax.random.normal(state.key)
  )


def test_missing_fields_are_named(values):
  state_dict = serialization.to_state_dict(values["Subspaces"])
  del state_dict["means"]
  with pytest.raises(ValueError, match=r"^means of Subspaces is missing"):
    serialization.from_state_dict(values["Subspaces"], state_dict)


@pytest.mark.parametrize(
  ("whole", "part", "fields"),
  [
    ("whole moments", "ClassMoments", ("mean_remainder", "num_examples")),
    ("Subspaces", "no offsets", ("offsets",)),
  ],
)
def test_optional_fields_may_be_absent(values, whole, part, fields):
  """Neither the target nor what was saved has to have them."""
  whole, part = values[whole], values[part]
  for target, saved in ((whole, part), (part, whole), (part, part)):
    restored = serialization.from_bytes(target, serialization.to_bytes(saved))
    chex.assert_trees_all_equal(restored, saved)
  state_dict = serialization.to_state_dict(whole)
  for field in fields:  # As saved before there were any.
    del state_dict[field]
  for target in (whole, part):
    chex.assert_trees_all_equal(
      serialization.from_state_dict(target, state_dict), part
    )
