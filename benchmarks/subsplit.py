"""Compares log_subsplit with a matrix product and with the paper's formula.

The product of embeddings and all directions is a lower bound for the cost of
the coordinates. The literal formula subtracts each class's mean from each
embedding and projects the differences, as Algorithm 2 is written.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from benchmarks.row import Row
from lelp_jax import log_subsplit
from lelp_jax import Subspaces

_HIGHEST = jax.lax.Precision.HIGHEST
# Examples, width, classes, subclasses: the paper's images, reviews, tweets.
_SIZES = ((256, 256, 2, 20), (64, 4_096, 5, 80), (64, 2_048, 2, 500))
_TEMPERATURES = {"temperature": 2.0, "subclass_temperature": 0.5}


@jax.jit
def product(h: jax.Array, subspaces: Subspaces) -> jax.Array:
  rows = subspaces.directions.reshape(-1, h.shape[-1])
  return jnp.dot(h, rows.T, precision=_HIGHEST)


@jax.jit
def literal(h: jax.Array, logits: jax.Array, subspaces: Subspaces) -> jax.Array:
  coordinates = jnp.einsum(
    "bcd,csd->bcs",
    h[:, None] - subspaces.means[None],
    subspaces.directions,
    precision=_HIGHEST,
  )
  beta = _TEMPERATURES["subclass_temperature"]
  class_part = jax.nn.softmax(logits / _TEMPERATURES["temperature"])
  return class_part[..., None] * jax.nn.softmax(coordinates / beta)


def rows(full: bool) -> Iterator[Row]:
  """Yields `log_subsplit` beside both references."""
  ours = jax.jit(functools.partial(log_subsplit, **_TEMPERATURES))
  for batch, width, classes, size in _SIZES:
    rng = np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(batch, width)), jnp.float32)
    logits = jnp.asarray(rng.normal(size=(batch, classes)), jnp.float32)
    subspaces = Subspaces(
      jnp.asarray(rng.normal(size=(classes, size, width)), jnp.float32),
      jnp.asarray(rng.normal(size=(classes, width)), jnp.float32),
    )
    references = "one matrix product", "the literal formula"
    times = timing.milliseconds(
      {
        "ours": functools.partial(ours, h, logits, subspaces),
        references[0]: functools.partial(product, h, subspaces),
        references[1]: functools.partial(literal, h, logits, subspaces),
      }
    )
    text = f"B = {batch}, D = {width}, C = {classes}, S = {size}"
    yield timing.row(
      "log_subsplit",
      text,
      times,
      references[0],
      target=1.15 if times[references[0]] > 1 else None,
    )
    yield timing.row(
      "log_subsplit beside Algorithm 2 as written", text, times, references[1]
    )
