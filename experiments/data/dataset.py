"""What a dataset is to the rest: a task, and arrays of examples."""

import dataclasses
import functools
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import numpy as np


class Source(Protocol):
  """Raw examples with random access, wherever they come from.

  An example is a dict: "id" (int or str, stable and unique in the source),
  "text" (str) or "image" (uint8, ``[H, W, channels]``), "label" (int, or str
  where the classes are named), and "fine_label" (int) where there is one.
  """

  def __len__(self) -> int:
    """Returns the number of examples."""

  def __getitem__(self, index: int, /) -> Mapping[str, Any]:
    """Returns one example, an index in ``[0, len)``."""


@dataclasses.dataclass(frozen=True)
class Ragged:
  """Rows of different lengths in one flat array, such as token ids.

  Attributes:
    values: The rows one after another, ``[total]``; may be memory-mapped.
    offsets: Where each row starts and the last ends, int64, ``[N + 1]``.
  """

  values: np.ndarray
  offsets: np.ndarray

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, rows: Any) -> Any:
    """Returns one row for an int, another `Ragged` for an array of rows."""
    if isinstance(rows, int | np.integer):
      return self.values[self.offsets[rows] : self.offsets[rows + 1]]
    rows = np.arange(len(self))[rows]
    offsets = np.concatenate([[0], np.cumsum(self.lengths[rows])])
    shifts = np.repeat(self.offsets[rows] - offsets[:-1], self.lengths[rows])
    return Ragged(self.values[np.arange(offsets[-1]) + shifts], offsets)

  @functools.cached_property
  def lengths(self) -> np.ndarray:
    """The length of each row, int64, ``[N]``."""
    return np.diff(self.offsets)

  @functools.cached_property
  def longest(self) -> int:
    """The length of the longest row, 0 if there is none."""
    return int(self.lengths.max(initial=0))

  @classmethod
  def concatenate(cls, rows: Sequence[Any], dtype: Any) -> "Ragged":
    """Makes one from its rows."""
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    values = np.concatenate([np.empty(0, dtype), *map(np.asarray, rows)])
    return cls(values.astype(dtype, copy=False), offsets)


Arrays = dict[str, Any]  # By name: an array or a `Ragged`, one row an example.


@dataclasses.dataclass(frozen=True)
class Task:
  """What there is to learn, and what an example looks like.

  Attributes:
    name: The dataset's name.
    num_classes: Number of classes, C.
    fine_to_class: The class of each hidden subclass, where the data tell: the
      oracle trains on them, and the report counts how many were found.
    class_names: A name for each class.
    fine_names: A name for each hidden subclass.
    image_shape: Height, width and channels; None for text.
    scale: A model sees an image's stored values divided by this.
  """

  name: str
  num_classes: int
  fine_to_class: tuple[int, ...] | None = None
  class_names: tuple[str, ...] = ()
  fine_names: tuple[str, ...] = ()
  image_shape: tuple[int, int, int] | None = None
  scale: float = 1.0

  def __post_init__(self):
    wrong = set(self.fine_to_class or ()) - set(range(self.num_classes))
    if wrong:
      raise ValueError(
        f"fine_to_class of {self.name} must lie in [0, {self.num_classes}), "
        f"got {sorted(wrong)}."
      )


@dataclasses.dataclass(frozen=True)
class Splits:
  """A dataset, divided. No example is in two splits but `transfer`'s.

  Each split holds, by name: "inputs" (uint8 for images, a `Ragged` of token
  ids for text), "labels" (int32), "fine_labels" (int32) where the data have
  them, and "ids" (int32, unique in the dataset).

  Attributes:
    task: What there is to learn.
    train: What the teacher trains on.
    transfer: The part of `train` that students train on.
    validation: What settings are chosen on; nothing trains on it.
    test: What the reported numbers are measured on.
    digest: Names the contents where they could change under the same name;
      that of precomputed embeddings follows after a space.
    tokenizer: Names what made the tokens of texts, likewise.
  """

  task: Task
  train: Arrays
  transfer: Arrays
  validation: Arrays
  test: Arrays
  digest: str = ""
  tokenizer: str = ""

  def without_embeddings(self) -> "Splits":
    """Returns the same without precomputed embeddings."""

    def rest(arrays: Arrays) -> Arrays:
      return {k: v for k, v in arrays.items() if k != "embeddings"}

    return dataclasses.replace(
      self,
      train=rest(self.train),
      transfer=rest(self.transfer),
      validation=rest(self.validation),
      test=rest(self.test),
      digest=self.digest.split(" ")[0],
    )
