"""Batches for training and evaluation, from arrays on devices or on the host.

The order of training examples depends only on the run's key and the step, so it
is the same after a resume and on any number of devices and processes. Arrays on
devices are indexed in the compiled program (`chunk_indices`). Arrays on the
host (texts, and data too large for the devices) are read by a `Feed`: threads
read batches before their step, and each process reads only the rows of its own
devices.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from experiments.data.dataset import Arrays
from experiments.data.dataset import Ragged

# Batches of texts are padded to the next of these widths, since a program is
# compiled for each width.
WIDTHS = (16, 32, 64, 128, 256, 512)
_NUM_THREADS = 2
_READ_AHEAD = 8
_PLACED_AHEAD = 2


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Returns the number of full batches in an epoch."""
  if batch_size > num_examples:
    raise ValueError(
      f"batch_size must be at most the number of examples, {num_examples}, "
      f"got {batch_size}."
    )
  return num_examples // batch_size


def epoch_order(
  key: jax.Array, epoch: jax.Array | int, num_examples: int
) -> jax.Array:
  """Returns a random order of all examples for one epoch, int32 ``[N]``."""
  key = jax.random.fold_in(key, epoch)
  return jax.random.permutation(key, jnp.arange(num_examples, dtype=jnp.int32))


def chunk_indices(
  key: jax.Array,
  step: jax.Array | int,
  *,
  num_steps: int,
  num_examples: int,
  batch_size: int,
) -> jax.Array:
  """Returns the batches of consecutive steps, int32 ``[num_steps, B]``.

  Each epoch is a new permutation of all examples, divided into batches. The
  examples after the last full batch are left out of the epoch.
  """
  per_epoch = steps_per_epoch(num_examples, batch_size)
  # The steps belong to at most this many epochs, whatever the first step.
  num_epochs = (num_steps - 2) // per_epoch + 2
  first = step // per_epoch
  orders = jax.vmap(lambda i: epoch_order(key, first + i, num_examples))(
    jnp.arange(num_epochs)
  )
  batches = orders[:, : per_epoch * batch_size].reshape(-1, batch_size)
  return jax.lax.dynamic_slice_in_dim(batches, step % per_epoch, num_steps)


@dataclasses.dataclass
class Feed:
  """Reads training batches from arrays that stay on the host.

  Attributes:
    arrays: Arrays, possibly memory-mapped, and `Ragged` rows of token ids, with
      one row per example.
    batch_size: Number of examples in a batch over all processes, B.
    length_window: Number of consecutive batches of texts whose examples are
      sorted by length and divided into batches again, so that short texts need
      little padding. Then all batches of the epoch are shuffled. With 1, the
      batches are those of `chunk_indices`.
    seconds_waited: Total time in seconds that `batches` waited for a batch.
  """

  arrays: Arrays
  batch_size: int
  length_window: int = 1
  seconds_waited: float = dataclasses.field(default=0.0, init=False)

  def batches(
    self, key: jax.Array, first: int, num_steps: int, sharding: Sharding
  ) -> Iterator[dict[str, Any]]:
    """Yields the batches of consecutive steps, placed on the devices."""
    order = functools.lru_cache(maxsize=2)(functools.partial(self._order, key))

    def read(step: int) -> dict[str, Any]:
      rows = self._rows(order, int(step))
      return collate(self.arrays, rows, _local(sharding, self.batch_size))

    place = functools.partial(_place, sharding=sharding, size=self.batch_size)
    dataset = (
      grain.MapDataset.range(first, first + num_steps)
      .map(read)
      .to_iter_dataset(grain.ReadOptions(_NUM_THREADS, _READ_AHEAD))
      .map(place)
    )
    ahead = grain.experimental.ThreadPrefetchIterDataset(
      dataset, prefetch_buffer_size=_PLACED_AHEAD
    )
    with contextlib.closing(iter(ahead)) as iterator:
      for _ in range(num_steps):
        start = time.monotonic()
        batch = next(iterator)
        self.seconds_waited += time.monotonic() - start
        yield batch

  def rows(self, key: jax.Array, step: int) -> np.ndarray:
    """Returns the rows of the examples in a step's batch, int ``[B]``."""
    return self._rows(functools.partial(self._order, key), step)

  def example(self) -> dict[str, Any]:
    """Returns a batch on the host, for the names, shapes and dtypes in it."""
    return collate(self.arrays, np.arange(self.batch_size))

  def _rows(self, order: Callable[[int], np.ndarray], step: int) -> np.ndarray:
    per_epoch = steps_per_epoch(_num_rows(self.arrays), self.batch_size)
    epoch, place = divmod(step, per_epoch)
    start = place * self.batch_size
    return order(epoch)[start : start + self.batch_size]

  def _order(self, key: jax.Array, epoch: int) -> np.ndarray:
    """Returns the concatenated batches of an epoch, int ``[steps * B]``."""
    order = np.array(epoch_order(key, epoch, _num_rows(self.arrays)))
    order = order[: len(order) // self.batch_size * self.batch_size]
    lengths = [a.lengths for a in self.arrays.values() if isinstance(a, Ragged)]
    if self.length_window == 1 or not lengths:
      return order
    # Sort the examples of each window by length.
    window = self.length_window * self.batch_size
    for start in range(0, len(order), window):
      part = order[start : start + window]
      part = part[np.argsort(lengths[0][part], kind="stable")]
      order[start : start + window] = part
    # Shuffle the batches.
    seed = jax.random.key_data(jax.random.fold_in(key, epoch))
    rng = np.random.default_rng(np.asarray(seed).ravel())
    return rng.permutation(order.reshape(-1, self.batch_size)).ravel()


def eval_batches(arrays: Arrays, batch_size: int) -> Iterator[dict[str, Any]]:
  """Yields all examples once, in batches of one size, on the host.

  Texts are sorted by length to need little padding. A batch also holds "rows",
  the positions of its examples, and "mask", which is False for the examples
  that fill up the last batch.
  """
  num_examples = _num_rows(arrays)
  order = np.arange(num_examples, dtype=np.int32)
  for array in arrays.values():
    if isinstance(array, Ragged):
      order = np.argsort(array.lengths, kind="stable").astype(np.int32)
  for start in range(0, num_examples, batch_size):
    places = np.arange(start, start + batch_size)
    mask = places < num_examples
    rows = order[np.where(mask, places, 0)]
    yield collate(arrays, rows) | {"rows": rows, "mask": mask}


def collate(
  arrays: Arrays, rows: np.ndarray, local: slice = slice(None)
) -> dict[str, Any]:
  """Returns the chosen rows of each array, with `Ragged` rows padded.

  Args:
    arrays: Arrays with one row per example.
    rows: Positions of the examples in a batch.
    local: The part of `rows` that this process reads. The width of texts
      depends on all rows, so that it is the same in every process.
  """
  batch: dict[str, Any] = {}
  for name, array in arrays.items():
    if isinstance(array, Ragged):
      longest = int(array.lengths[rows].max(initial=1))
      width = next((w for w in WIDTHS if w >= longest), longest)
      width = min(width, array.longest)
      batch[name] = padded(array[rows[local]], width)
    else:
      batch[name] = np.asarray(array[rows[local]])
  return batch


def padded(token_ids: Ragged, width: int) -> dict[str, np.ndarray]:
  """Returns "input_ids" and "attention_mask", int32 ``[B, width]``.

  Both are padded with 0 on the right.
  """
  mask = np.arange(width) < token_ids.lengths[:, None]
  ids = np.zeros(mask.shape, np.int32)
  ids[mask] = token_ids.values
  return {"input_ids": ids, "attention_mask": mask.astype(np.int32)}


def _num_rows(arrays: Arrays) -> int:
  return len(next(iter(arrays.values())))


def _local(sharding: Sharding, size: int) -> slice:
  """Returns the rows of a batch that the devices of this process hold."""
  parts = sharding.addressable_devices_indices_map((size,)).values()
  bounds = [index[0].indices(size) for index in parts if index is not None]
  return slice(min(b[0] for b in bounds), max(b[1] for b in bounds))


def _place(batch: Any, sharding: Sharding, size: int) -> Any:
  """Puts the rows that this process has read on its devices."""
  first = _local(sharding, size).start

  def put(array: np.ndarray) -> jax.Array:
    def part(index: Any) -> np.ndarray:
      start, stop, _ = index[0].indices(size)
      return array[start - first : stop - first]

    return jax.make_array_from_callback(
      (size, *array.shape[1:]), sharding, part
    )

  return jax.tree.map(put, batch)
