"""Batches made on the host: text, and what is too large for the devices.

Which examples stand in the batch of a step follows from the run's key and the
step alone. Batches are read by threads ahead of the step that needs them, and
each process reads the rows of its own devices only.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Sharding

from experiments.data import batches
from experiments.data.dataset import Ragged

# Longest row of a batch -> its width: each is a compilation of its own.
WIDTHS = (16, 32, 64, 128, 256, 512)
_NUM_THREADS = 2
_READ_AHEAD = 8
_PLACED_AHEAD = 2


@dataclasses.dataclass(frozen=True)
class Feed:
  """Training batches of arrays that stay on the host.

  Attributes:
    arrays: Arrays, memory-mapped or not, and `Ragged` rows of tokens; one row
      an example.
    batch_size: Number of examples in a batch over all processes, B.
    length_window: Text only: this many batches on end are cut from their
      examples sorted by length, and then all batches of the epoch shuffled,
      so that short texts are not padded to long ones. With 1, batches are
      those of `batches.batch_indices`.
  """

  arrays: Mapping[str, Any]
  batch_size: int
  length_window: int = 1
  _waits: list[float] = dataclasses.field(
    default_factory=lambda: [0.0], init=False, repr=False, compare=False
  )

  def __post_init__(self):
    if self.length_window < 1:
      raise ValueError(
        f"length_window must be at least 1, got {self.length_window}."
      )

  def batches(
    self, key: jax.Array, first: int, num_steps: int, sharding: Sharding
  ) -> Iterator[dict[str, Any]]:
    """Yields the batches of several steps on end, on the devices.

    Args:
      key: The run's key for its data order.
      first: The first of the steps.
      num_steps: How many there are.
      sharding: How rows are laid over the devices.

    Yields:
      The arrays' rows; `Ragged` rows as `tokens`, as wide as the longest.
    """
    order = functools.lru_cache(maxsize=2)(functools.partial(self._order, key))

    def read(step: int) -> dict[str, Any]:
      rows = self._of_step(order, int(step))
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
        self._waits[0] += time.monotonic() - start
        yield batch

  @property
  def seconds_waited(self) -> float:
    """How long whoever took batches had to wait for them, in all."""
    return self._waits[0]

  def rows(self, key: jax.Array, step: int) -> np.ndarray:
    """Returns the positions of the examples in the batch of a step.

    Args:
      key: The run's key for its data order.
      step: The step.

    Returns:
      Positions, int ``[B]``.
    """
    return self._of_step(functools.partial(self._order, key), step)

  def example(self) -> dict[str, Any]:
    """Returns a batch on the host, to know its arrays by."""
    return collate(self.arrays, np.arange(self.batch_size))

  @property
  def _num_examples(self) -> int:
    return len(next(iter(self.arrays.values())))

  def _of_step(
    self, order: Callable[[int], np.ndarray], step: int
  ) -> np.ndarray:
    per_epoch = batches.steps_per_epoch(self._num_examples, self.batch_size)
    epoch, place = divmod(step, per_epoch)
    start = place * self.batch_size
    return order(epoch)[start : start + self.batch_size]

  def _order(self, key: jax.Array, epoch: int) -> np.ndarray:
    """All batches of an epoch, one after another, int [steps * B]."""
    order = np.array(batches.epoch_order(key, epoch, self._num_examples))
    order = order[: len(order) // self.batch_size * self.batch_size]
    lengths = [a.lengths for a in self.arrays.values() if isinstance(a, Ragged)]
    if self.length_window == 1 or not lengths:
      return order
    seed = jax.random.key_data(jax.random.fold_in(key, epoch))
    rng = np.random.default_rng(np.asarray(seed).ravel())
    stretch = self.length_window * self.batch_size
    for start in range(0, len(order), stretch):
      part = order[start : start + stretch]
      part = part[np.argsort(lengths[0][part], kind="stable")]
      order[start : start + stretch] = part
    return rng.permutation(order.reshape(-1, self.batch_size)).ravel()


def collate(
  arrays: Mapping[str, Any], rows: np.ndarray, local: slice = slice(None)
) -> dict[str, Any]:
  """Returns rows of each array, `Ragged` ones as `tokens`.

  Args:
    arrays: Arrays and `Ragged` rows.
    rows: Positions of a batch, int ``[B]``.
    local: Which of them to read; the width is that of the whole batch.
  """
  batch: dict[str, Any] = {}
  for name, array in arrays.items():
    if isinstance(array, Ragged):
      longest = int(array.lengths[rows].max(initial=1))
      width = next((w for w in WIDTHS if w >= longest), longest)
      width = min(width, array.longest)
      batch[name] = tokens(array[rows[local]], width)
    else:
      batch[name] = np.asarray(array[rows[local]])
  return batch


def tokens(ragged: Ragged, width: int) -> dict[str, np.ndarray]:
  """Returns token ids padded on the right, as the text models take them.

  Args:
    ragged: Token ids, no row longer than `width`.
    width: Number of columns, L.

  Returns:
    "input_ids" and "attention_mask", int32 ``[B, L]``; padding is 0 in both.
  """
  mask = np.arange(width) < ragged.lengths[:, None]
  ids = np.zeros(mask.shape, np.int32)
  ids[mask] = ragged.values
  return {"input_ids": ids, "attention_mask": mask.astype(np.int32)}


def eval_batches(
  arrays: Mapping[str, Any], batch_size: int
) -> Iterator[dict[str, Any]]:
  """Yields all examples once, in batches of one size; text sorted by length.

  Args:
    arrays: Arrays and `Ragged` rows, one row an example.
    batch_size: Number of rows in a batch, B.

  Yields:
    The arrays' rows, "rows" (their positions, int ``[B]``) and "mask", as
    `batches.eval_batches` has them.
  """
  num_examples = len(next(iter(arrays.values())))
  order = np.arange(num_examples, dtype=np.int32)
  for array in arrays.values():
    if isinstance(array, Ragged):
      order = np.argsort(array.lengths, kind="stable").astype(np.int32)
  for batch in batches.eval_batches({"rows": order}, batch_size):
    yield collate(arrays, batch["rows"]) | batch


def _local(sharding: Sharding, size: int) -> slice:
  """The rows that this process's devices hold some of."""
  parts = sharding.addressable_devices_indices_map((size,)).values()
  bounds = [index[0].indices(size) for index in parts if index is not None]
  return slice(min(b[0] for b in bounds), max(b[1] for b in bounds))


def _place(batch: Any, sharding: Sharding, size: int) -> Any:
  """Lays rows read by this process over its devices."""
  first = _local(sharding, size).start

  def put(array: np.ndarray) -> jax.Array:
    def part(index: Any) -> np.ndarray:
      start, stop, _ = index[0].indices(size)
      return array[start - first : stop - first]

    return jax.make_array_from_callback(
      (size, *array.shape[1:]), sharding, part
    )

  return jax.tree.map(put, batch)
