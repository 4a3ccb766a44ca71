"""Compares class_moments with one pooled product and the one-hot einsum.

  python -m benchmarks.moments

The pooled product ``h.T @ h`` is a lower bound for the cost of any second
moment. The einsum over one-hot labels is how class moments are usually
written; its cost grows with the number of classes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from lelp_jax import class_moments

_HIGHEST = jax.lax.Precision.HIGHEST
# Examples, classes, and the largest promised ratio to the pooled product.
_SIZES = ((8_192, 2, 2.5), (8_192, 100, 4.0), (50_000, 100, 2.5))
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


def main() -> None:
  print(f"class_moments, D = {_WIDTH}; {timing.machine()}")
  print(
    f"{'N':>7} {'C':>4} {'ours':>9} {'pooled':>9} {'one-hot':>9} "
    f"{'ours / pooled':>14} {'promised':>9} {'one-hot / ours':>15}"
  )
  for num_rows, num_classes, promised in _SIZES:
    rng = np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(num_rows, _WIDTH)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, num_classes, num_rows), jnp.int32)
    ours = jax.jit(functools.partial(class_moments, num_classes=num_classes))
    functions = {
      "ours": functools.partial(ours, h, labels),
      "pooled": functools.partial(pooled, h),
    }
    times = timing.milliseconds(functions)
    # A hundred times slower: timed apart, a few times.
    naive = functools.partial(one_hot, h, labels, num_classes=num_classes)
    times |= timing.milliseconds({"one-hot": naive}, repeats=2)
    print(
      f"{num_rows:>7} {num_classes:>4} {times['ours']:>6.1f} ms "
      f"{times['pooled']:>6.1f} ms {times['one-hot']:>6.0f} ms "
      f"{times['ours'] / times['pooled']:>14.2f} {promised:>9.1f} "
      f"{times['one-hot'] / times['ours']:>15.1f}",
      flush=True,
    )


if __name__ == "__main__":
  main()
