"""Types of data sets: the task, the splits and their arrays of examples."""

import dataclasses
import functools
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

# The examples of a split before they are prepared, as sequences by name:
# "label" (int; the hidden subclass if the task has any), "text" (str) or
# "image" (uint8), and optionally "group" (int) and "id". Examples of one group
# are held out together.
Columns = Mapping[str, Any]


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
    """Returns one row for an int, and a `Ragged` for a slice or an array."""
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
    """The length of the longest row, or 0 without rows."""
    return int(self.lengths.max(initial=0))

  @classmethod
  def concatenate(cls, rows: Sequence[Any], dtype: Any) -> "Ragged":
    """Concatenates rows into a `Ragged`."""
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    values = np.concatenate([np.empty(0, dtype), *map(np.asarray, rows)])
    return cls(values.astype(dtype, copy=False), offsets)


# An array or a `Ragged` by name, with one row per example.
Arrays = dict[str, Any]

_NUM_REASONS = 5  # The number of places that `LeftOut` describes.
NO_LABEL = -1  # The "label" of an example without a label.
# Splits of a prepared data set whose examples have no label: unlabelled rows of
# a user's training files, and the files of `config.data.unlabelled_files`.
UNLABELLED = ("unlabelled", "unlabelled_files")


def gather(arrays: Mapping[str, Any], rows: Any) -> dict[str, Any]:
  """Returns the chosen rows of each array."""
  return {name: array[rows] for name, array in arrays.items()}


@dataclasses.dataclass(frozen=True)
class Task:
  """A classification task: its classes and the type of its inputs.

  Attributes:
    name: Name of the data set.
    num_classes: Number of classes, C.
    fine_to_class: The class of each hidden subclass; None if the data set has
      no hidden subclasses. Only the oracle trains on hidden subclasses; the
      report compares them with the subclasses that a method finds.
    class_names: A name per class.
    fine_names: A name per hidden subclass.
    image_shape: Height, width and channels; None for text.
    scale: Divisor that maps stored pixel values to a model's inputs.
  """

  name: str
  num_classes: int
  fine_to_class: tuple[int, ...] | None = None
  class_names: tuple[str, ...] = ()
  fine_names: tuple[str, ...] = ()
  image_shape: tuple[int, int, int] | None = None
  scale: float = 1.0

  def classes_of(self, labels: Any) -> np.ndarray:
    """Returns the class, int32, of each label of `Columns`."""
    classes = np.array(self.fine_to_class or range(self.num_classes), np.int32)
    labels = np.asarray(labels, np.int32)
    wrong = (labels < 0) | (labels >= len(classes))
    if wrong.any():
      raise ValueError(
        f"example {np.argmax(wrong)} of {self.name} must have a label in "
        f"[0, {len(classes)}), got {labels[wrong][0]}."
      )
    return classes[labels]


@dataclasses.dataclass
class LeftOut:
  """Counter of rows or files that are left out of a data set.

  Attributes:
    split: Name of the split, or of the original file.
    kind: Why they are left out: "malformed" or "without a label".
    count: Number of lines of text, rows of Parquet or files.
    first: The place and the problem of the first few.
  """

  split: str = ""
  kind: str = "malformed"
  count: int = 0
  first: tuple[str, ...] = ()

  def add(self, where: str, problem: str, count: int = 1) -> None:
    """Counts rows with a problem, and keeps the first few descriptions."""
    self.count += count
    if len(self.first) < _NUM_REASONS:
      self.first += (f"{where}: {problem}",)

  def __str__(self) -> str:
    more = "; and more" if self.count > len(self.first) else ""
    reasons = "; ".join(self.first)
    return f"{self.split}: {self.count:,} {self.kind}: {reasons}{more}"


class Facts(NamedTuple):
  """Sizes and shapes from which the cost of a training is estimated.

  Attributes:
    task: The task.
    num_train: Number of examples that the teacher trains on.
    num_transfer: Number of examples that students train on.
    num_labelled: Number of the students' examples that have a label.
    num_examples: Number of examples in all splits.
    shapes: Shape of an example's "inputs" and "embeddings", if the data set has
      them. For texts it is the mean number of tokens.
  """

  task: Task
  num_train: int
  num_transfer: int
  num_labelled: int
  num_examples: int
  shapes: Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Splits:
  """A data set divided into training, validation and test examples.

  A split is a dict of arrays: "inputs" (uint8 images, or a `Ragged` of token
  ids), "labels" (int32), "ids" (int32, unique in the data set), and, if the
  data set has them, "fine_labels" (int32) and precomputed "embeddings".

  Attributes:
    task: Classes to learn, and the form of an example.
    train: Examples that the teacher trains on.
    transfer: Examples that students train on. They overlap with `train` and
      `unlabelled`, as `load.divide` describes.
    validation: Examples for choosing settings. With the selection "test" they
      are the test examples, otherwise they are in no other split.
    test: Examples on which the reported numbers are measured.
    digest: SHA-256 of the contents, "" if the name identifies them. After a
      space follows the digest of precomputed embeddings.
    tokenizer: SHA-256 of the tokenizer of the texts, "" without one.
    left_out: The rows of the original files that are in no split.
    notes: Remarks on a user's own files.
    unlabelled: Examples whose "labels" are `NO_LABEL`; None if all examples
      have a label.
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
    """The sizes and shapes from which the cost of a training is estimated."""
    labels, num_train = self.transfer["labels"], len(self.train["labels"])
    num_labelled = int(np.count_nonzero(labels != NO_LABEL))
    # Count labelled examples that are in both splits only once.
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
    """Returns the data set with a function applied to each split."""
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
    kind: "direction", "output" or "cluster".
    examples: The arrays of the examples, as in `Splits`.
    where: True for the subclasses that exist, bool ``[C, S]``.
    assignments: The subclass of each example within its class, int ``[N]``. It
      is the cluster, or the subclass with the largest coordinate.
    coordinates: Coordinates of each example, float32 ``[N, S]``: along the
      directions of its class, or the teacher's logits for the outputs of its
      class. None for clusters.
    variance_shares: Share of the variance of a class's embeddings along each
      direction, ``[C, S]``; None unless the kind is "direction".
  """

  kind: str
  examples: Arrays
  where: np.ndarray
  assignments: np.ndarray
  coordinates: np.ndarray | None = None
  variance_shares: np.ndarray | None = None
