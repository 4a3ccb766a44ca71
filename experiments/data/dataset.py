"""Data sets in memory: a task, and arrays of examples by split."""

import dataclasses
import functools
import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import Protocol

import numpy as np

# An example that is not prepared yet: "label" (int), "text" (str) or "image"
# (uint8), "fine_label" and "group" (int) if the data set has them, and "id" for
# messages. Examples of one group are held out together.
Example = Mapping[str, Any]


class ExampleSource(Protocol):
  """Examples that can be counted, and iterated over more than once."""

  def __len__(self) -> int:
    """Returns the number of examples."""

  def __iter__(self) -> Iterator[Example]:
    """Iterates over the examples."""


@dataclasses.dataclass(frozen=True)
class Ragged:
  """Rows of different lengths in one flat array, such as token ids.

  Attributes:
    values: The rows one after another, ``[total]``; may be memory-mapped.
    offsets: The start of each row and the end of the last, int64, ``[N + 1]``.
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


# By name: an array or a `Ragged`, one row per example.
Arrays = dict[str, Any]

_NUM_REASONS = 5  # How many rows that were left out are described.
NO_LABEL = -1  # In place of the class of an example without a label.
# Splits of a prepared data set whose examples have no label: rows of a user's
# training files, and the files that `config.data.unlabelled_files` names.
UNLABELLED = ("unlabelled", "unlabelled_files")


def gather(arrays: Mapping[str, Any], rows: Any) -> dict[str, Any]:
  """Returns the chosen rows of each array of NumPy or JAX."""
  return {name: array[rows] for name, array in arrays.items()}


@dataclasses.dataclass(frozen=True)
class Task:
  """Classes to learn, and the form of an example.

  Attributes:
    name: Name of the data set.
    num_classes: Number of classes, C.
    fine_to_class: The class of each hidden subclass, where the data have them.
      Only the oracle trains on hidden subclasses; the report compares them
      with the subclasses that a method finds.
    class_names: A name per class.
    fine_names: A name per hidden subclass.
    image_shape: Height, width and channels; None for text.
    scale: Stored pixel values are divided by this before a model sees them.
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


@dataclasses.dataclass
class LeftOut:
  """Counts the rows or files that are not used, for one kind of reason.

  Attributes:
    split: Name of the split, or of the original file.
    kind: "malformed" or "without a label".
    count: How many there are: lines of text, rows of Parquet, files.
    first: The place and the problem of the first few.
  """

  split: str = ""
  kind: str = "malformed"
  count: int = 0
  first: tuple[str, ...] = ()

  def add(self, where: str, problem: str, count: int = 1) -> None:
    """Counts the rows at one place."""
    self.count += count
    if len(self.first) < _NUM_REASONS:
      self.first += (f"{where}: {problem}",)

  def __str__(self) -> str:
    more = "; and more" if self.count > len(self.first) else ""
    reasons = "; ".join(self.first)
    return f"{self.split}: {self.count:,} {self.kind}: {reasons}{more}"


class Facts(NamedTuple):
  """Properties of a data set that decide how much work a training is.

  Attributes:
    task: The task.
    num_train: Number of examples that the teacher trains on.
    num_transfer: Number of examples that students train on.
    num_labelled: Number of those that have a label.
    num_examples: Number of all examples.
    shapes: Shape of an example's "inputs" and "embeddings", where it has them;
      of texts the mean length.
  """

  task: Task
  num_train: int
  num_transfer: int
  num_labelled: int
  num_examples: int
  shapes: Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Splits:
  """A data set, divided. Only `train` and `transfer` share examples.

  Each split holds, by name: "inputs" (uint8 for images, a `Ragged` of token
  ids for text), "labels" (int32), "fine_labels" (int32) where the data have
  them, "embeddings" where vectors were precomputed, and "ids" (int32, unique
  in the data set).

  Attributes:
    task: Classes to learn, and the form of an example.
    train: Examples that the teacher trains on.
    transfer: Examples that students train on: a part of `train`, or all
      examples that could have been in it, and then a part of `unlabelled`.
    validation: Examples that settings are chosen on; nothing trains on them.
    test: Examples that the reported numbers are measured on.
    digest: Identifies contents that could change under the same name; that of
      precomputed embeddings follows after a space.
    tokenizer: Identifies the tokenizer of the texts.
    left_out: The rows of the original files that are in no split.
    notes: Remarks on a user's own files.
    unlabelled: Examples without a label, whose "labels" are `NO_LABEL`; None
      if there are none.
  """

  task: Task
  train: Arrays
  transfer: Arrays
  validation: Arrays
  test: Arrays
  digest: str = ""
  tokenizer: str = ""
  left_out: tuple[LeftOut, ...] = ()
  notes: tuple[str, ...] = ()
  unlabelled: Arrays | None = None

  @property
  def facts(self) -> Facts:
    """The properties that decide how much work a training is."""
    labels, num_train = self.transfer["labels"], len(self.train["labels"])
    num_labelled = int(np.count_nonzero(labels != NO_LABEL))
    # Teacher and students share labelled examples.
    num_examples = max(num_train, num_labelled)
    for part in (self.unlabelled, self.validation, self.test):
      num_examples += 0 if part is None else len(part["labels"])
    shapes = {}
    for name in ("inputs", "embeddings"):
      part = self.train.get(name)
      if isinstance(part, Ragged):
        shapes[name] = (max(1, math.ceil(part.lengths.mean())),)
      elif part is not None:
        shapes[name] = tuple(part.shape[1:])
    return Facts(
      self.task,
      num_train=num_train,
      num_transfer=len(labels),
      num_labelled=num_labelled,
      num_examples=num_examples,
      shapes=shapes,
    )

  def map(self, function: Callable[[Arrays], Arrays]) -> "Splits":
    """Returns the data set with each split replaced by a function of it."""
    unlabelled = self.unlabelled
    return dataclasses.replace(
      self,
      train=function(self.train),
      transfer=function(self.transfer),
      validation=function(self.validation),
      test=function(self.test),
      unlabelled=None if unlabelled is None else function(unlabelled),
    )

  def without_embeddings(self) -> "Splits":
    """Returns the data set without precomputed embeddings."""
    plain = self.map(
      lambda arrays: {k: v for k, v in arrays.items() if k != "embeddings"}
    )
    return dataclasses.replace(plain, digest=self.digest.split(" ")[0])


@dataclasses.dataclass(frozen=True)
class Subclasses:
  """Pseudo-subclasses of N examples, as found by a finished cell.

  Attributes:
    kind: The word for one of them: "direction", "output" or "cluster".
    examples: The examples, as `Splits` has them.
    where: Subclasses that exist, bool ``[C, S]``.
    assignments: The subclass of each example within its class, int ``[N]``:
      that of its largest coordinate, or its cluster.
    coordinates: Coordinates of each example in its class, float32 ``[N, S]``:
      along each direction, or the teacher's logits of the outputs; None for
      clusters.
    variance_shares: Share of the variance of the teacher's embeddings of a
      class that each direction carries, ``[C, S]``; None unless the kind is
      "direction".
  """

  kind: str
  examples: Arrays
  where: np.ndarray
  assignments: np.ndarray
  coordinates: np.ndarray | None = None
  variance_shares: np.ndarray | None = None
