"""Measures a fit of subspaces to embeddings that are read from a file in parts.

The file holds float32 rows. The references are a bare read of the file and the
pooled products ``h.T @ h`` of as many rows in memory; the slower of the two is
the limit. The peak memory is that of the whole process. The operating system
may keep the file in memory, which makes the reads faster.
"""

import functools
import pathlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from benchmarks import apart
from benchmarks.row import Row

_WIDTH = 2048
_CLASSES = 2
_ROWS_AT_ONCE = 16_384


def write(path: pathlib.Path, num_rows: int) -> None:
  """Writes rows of two classes that differ in their means."""
  rng = np.random.default_rng(0)
  some = rng.normal(size=(_ROWS_AT_ONCE, _WIDTH)).astype(np.float32)
  some[1::2] += 0.5
  with path.open("wb") as file:
    for start in range(0, num_rows, _ROWS_AT_ONCE):
      some[: min(_ROWS_AT_ONCE, num_rows - start)].tofile(file)


def parts(path: pathlib.Path) -> Iterator[jax.Array]:
  """Yields the rows of a file in parts, and reads one part in advance."""
  count = _ROWS_AT_ONCE * _WIDTH
  with path.open("rb") as file, ThreadPoolExecutor(1) as thread:

    def read() -> jax.Array:
      found = np.fromfile(file, np.float32, count)
      return jnp.asarray(found.reshape(-1, _WIDTH))

    ahead = thread.submit(read)
    while (part := ahead.result()).size:
      ahead = thread.submit(read)
      yield part


def bare_read(path: pathlib.Path) -> float:
  """Returns the seconds of reading a file, and nothing else."""
  start, buffer = time.perf_counter(), bytearray(_ROWS_AT_ONCE * _WIDTH * 4)
  with path.open("rb", buffering=0) as file:
    while file.readinto(buffer):
      pass
  return time.perf_counter() - start


def products(num_rows: int) -> float:
  """Returns the seconds of the pooled products of as many rows."""
  h = jnp.ones((_ROWS_AT_ONCE, _WIDTH), jnp.float32)

  @functools.partial(jax.jit, donate_argnums=0)
  def add(total: jax.Array, h: jax.Array) -> jax.Array:
    return total + jnp.dot(h.T, h, precision=jax.lax.Precision.HIGHEST)

  total = add(jnp.zeros((_WIDTH, _WIDTH)), h).block_until_ready()
  start = time.perf_counter()
  for _ in range(num_rows // _ROWS_AT_ONCE):
    total = add(total, h).block_until_ready()
  return time.perf_counter() - start


@functools.partial(jax.jit, static_argnames="num_classes")
def _first(h: jax.Array, labels: jax.Array, *, num_classes: int) -> Any:
  return lelp_jax.class_moments(h, labels, num_classes=num_classes)


_merged = jax.jit(lelp_jax.merge_moments, donate_argnums=0)


def fit(path: pathlib.Path) -> tuple[float, float]:
  """Returns the seconds of a fit without compilation, and the peak memory."""
  labels = jnp.arange(_ROWS_AT_ONCE) % _CLASSES
  head_kernel = jax.random.normal(jax.random.key(1), (_WIDTH, _CLASSES))

  def run(limit: int | None) -> Any:
    moments = None
    for i, part in enumerate(parts(path)):
      if i == limit:
        break
      found = _first(part, labels[: len(part)], num_classes=_CLASSES)
      moments = found if moments is None else _merged(moments, found)
      # Wait, since parts would otherwise queue up in memory.
      jax.block_until_ready(moments)
    assert moments is not None
    return lelp_jax.fit_subspaces_from_moments(
      moments, head_kernel, num_subclasses=20, key=jax.random.key(0)
    )

  jax.block_until_ready(run(2))
  start = time.perf_counter()
  jax.block_until_ready(run(None))
  seconds = time.perf_counter() - start
  return seconds, apart.peak_mib()


def rows(full: bool) -> Iterator[Row]:
  """Yields the time and the peak memory of a fit."""
  num_rows = _ROWS_AT_ONCE * (98 if full else 4)
  with tempfile.TemporaryDirectory() as name:
    path = pathlib.Path(name, "embeddings.bin")
    write(path, num_rows)
    gigabytes = path.stat().st_size / 1e9
    limits = {
      "bare read": apart.call(bare_read, path),
      "pooled products": apart.call(products, num_rows),
    }
    seconds, peak = apart.call(fit, path)
  size = f"N = {num_rows:,}, D = {_WIDTH}, C = {_CLASSES}, {gigabytes:.1f} GB"
  slower = max(limits, key=lambda name: limits[name])
  yield Row(
    "fit of 20 directions from a file",
    size,
    seconds,
    "s",
    slower,
    limits[slower],
    target=1.3,
    note="class moments take 1.25 times the pooled product here, the thread "
    "that reads shares the cores with them, and the decomposition at the end "
    "does not shrink with the rows.",
  )
  yield Row("its peak memory", size, peak, "MiB", target=2048)
