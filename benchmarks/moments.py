"""Compares class_moments with one pooled product and the one-hot einsum.

The pooled product ``h.T @ h`` is a lower bound for the cost of any second
moment. The einsum over one-hot labels is how class moments are usually
written; its cost grows with the number of classes.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from benchmarks.row import Row
from lelp_jax import class_moments

_HIGHEST = jax.lax.Precision.HIGHEST
# Examples, classes, and the target of the ratio to the pooled product.
_SIZES = ((8_192, 2, None), (50_000, 2, 1.5), (50_000, 100, 2.0))
_WIDTH = 256


@jax.jit
def pooled(h: jax.Array) -> jax.Array:
  return jnp.dot(h.T, h, precision=_HIGHEST)


@functools.partial(jax.jit, static_argnames="num_classes")
def one_hot(h: jax.Array, labels: jax.Array, *, num_classes: int) -> jax.Array:
  weights = jax.nn.one_hot(labels, num_classes)
  mean = (weights.T @ h) / weights.sum(0)[:, None]
  centred = h - mean[labels]
  return jnp.einsum(
    "nc,nd,ne->cde", weights, centred, centred, precision=_HIGHEST
  )


def rows(full: bool) -> Iterator[Row]:
  """Yields `class_moments` beside both references."""
  for num_rows, num_classes, target in _SIZES:
    rng = np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(num_rows, _WIDTH)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, num_classes, num_rows), jnp.int32)
    ours = jax.jit(functools.partial(class_moments, num_classes=num_classes))
    functions = {
      "ours": functools.partial(ours, h, labels),
      "pooled h.T @ h": functools.partial(pooled, h),
    }
    times = timing.milliseconds(functions)
    size = f"N = {num_rows:,}, C = {num_classes}, D = {_WIDTH}"
    yield timing.row(
      "class_moments", size, times, "pooled h.T @ h", target=target
    )
    if full or num_rows * num_classes < 1e6:  # It takes up to 12 s.
      naive = functools.partial(one_hot, h, labels, num_classes=num_classes)
      name = "einsum over one-hot labels"
      times |= timing.milliseconds({name: naive}, repeats=2)
      yield timing.row("class_moments beside one-hot labels", size, times, name)
