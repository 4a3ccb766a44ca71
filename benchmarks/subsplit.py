"""Compares log_subsplit with a matrix product and with the paper's formula.

  python -m benchmarks.subsplit

The product of embeddings and all directions is a lower bound for the cost of
the coordinates. The literal formula subtracts each class's mean from each
embedding and projects the differences, as Algorithm 2 is written.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from lelp_jax import log_subsplit
from lelp_jax import Subspaces

_HIGHEST = jax.lax.Precision.HIGHEST
# Examples, width, classes, subclasses: the paper's vision, reviews, tweets.
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


def main() -> None:
  print(f"log_subsplit; {timing.machine()}")
  print(
    f"{'B':>4} {'D':>5} {'C':>2} {'S':>4} {'ours':>9} {'product':>9} "
    f"{'literal':>9} {'ours / product':>15} {'literal / ours':>15}"
  )
  ours = jax.jit(functools.partial(log_subsplit, **_TEMPERATURES))
  for batch, width, classes, size in _SIZES:
    rng = np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(batch, width)), jnp.float32)
    logits = jnp.asarray(rng.normal(size=(batch, classes)), jnp.float32)
    subspaces = Subspaces(
      jnp.asarray(rng.normal(size=(classes, size, width)), jnp.float32),
      jnp.asarray(rng.normal(size=(classes, width)), jnp.float32),
    )
    times = timing.milliseconds(
      {
        "ours": functools.partial(ours, h, logits, subspaces),
        "product": functools.partial(product, h, subspaces),
        "literal": functools.partial(literal, h, logits, subspaces),
      }
    )
    print(
      f"{batch:>4} {width:>5} {classes:>2} {size:>4} {times['ours']:>6.2f} ms "
      f"{times['product']:>6.2f} ms {times['literal']:>6.2f} ms "
      f"{times['ours'] / times['product']:>15.2f} "
      f"{times['literal'] / times['ours']:>15.1f}",
      flush=True,
    )


if __name__ == "__main__":
  main()
