"""Labels as classes: which there are, and their numbers."""

from collections.abc import Mapping
from typing import Any

from experiments.data.dataset import Source
from experiments.data.sources.column_source import ArrowColumn
from experiments.data.sources.column_source import checked_index
from experiments.data.sources.column_source import ColumnSource

Label = int | str

_MOST = 1000
_NAMED = 10


def class_indices(source: Source) -> dict[Label, int]:
  """Returns the number of each class: its place among the sorted labels.

  Integers come first and in their order, then names in theirs.

  Args:
    source: Examples with labels.

  Returns:
    The class in ``[0, C)`` of each label that occurs.

  Raises:
    ValueError: If an example has no label, or so many labels occur that they
      cannot be classes.

  Examples:
    >>> from experiments.data.sources import arrays
    >>> texts = ["Five stars!", "Hm.", "Never again."]
    >>> source = arrays.array_source(texts=texts, labels=["pos", "neg", "neg"])
    >>> class_indices(source)
    {'neg': 0, 'pos': 1}
  """
  labels = _distinct(source)
  if len(labels) > _MOST:
    raise ValueError(
      f"{source} has more than {_MOST} different labels, such as "
      f"{labels[0]!r} and {labels[1]!r}: is that the column of the labels?"
    )
  ordered = sorted(labels, key=lambda label: (isinstance(label, str), label))
  return {label: i for i, label in enumerate(ordered)}


def _distinct(source: Source) -> list[Label]:
  """Returns the labels that occur, or some of them if they are too many."""
  if isinstance(source, ColumnSource):
    column = source.columns.get("label")
    if isinstance(column, ArrowColumn):
      return column.distinct()
  labels: dict[Label, None] = {}
  for i in range(len(source)):
    if len(labels) > _MOST:
      break
    labels[_label(source, source[i])] = None
  return list(labels)


def _label(source: Source, example: Mapping[str, Any]) -> Label:
  if "label" not in example:
    raise ValueError(
      f"{source}: example {example['id']!r} has no label: give label_column."
    )
  return example["label"]


class WithClasses:
  """A source whose labels are numbers of classes."""

  def __init__(self, source: Source, classes: Mapping[Label, int]):
    """Puts classes in the place of labels.

    Args:
      source: Examples with labels.
      classes: The class of each label, as `class_indices` returns them for
        the training examples.
    """
    self._source = source
    self._classes = dict(classes)

  def __str__(self) -> str:
    return str(self._source)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """Returns an example with its class, an int, as its "label".

    Raises:
      IndexError: If there is no such example.
      ValueError: If its label is none of the classes.
    """
    example = self._source[checked_index(self, index)]
    label = _label(self._source, example)
    if label not in self._classes:
      known = ", ".join(map(repr, list(self._classes)[:_NAMED]))
      more = " and others" if len(self._classes) > _NAMED else ""
      raise ValueError(
        f"{self}: example {example['id']!r} has the label {label!r}, none of "
        f"the {len(self._classes)} classes of the training data: "
        f"{known}{more}."
      )
    return {**example, "label": self._classes[label]}
