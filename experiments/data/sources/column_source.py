"""Examples as rows of columns, and what had to be left out of them."""

import dataclasses
import operator
import re
from collections.abc import Mapping
from typing import Any
from typing import Protocol

import pyarrow as pa

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_NUM_FIRST = 5  # How many of the malformed are described.


@dataclasses.dataclass
class Malformed:
  """What could not be used, and was left out.

  Attributes:
    count: How much: lines of a text file, rows of Parquet, files of a folder.
    first: Where the first few are and what is wrong with each.
  """

  count: int = 0
  first: list[str] = dataclasses.field(default_factory=list)

  def add(self, where: str, reason: str, count: int = 1) -> None:
    """Counts what was left out at one place, and why."""
    self.count += count
    if len(self.first) < _NUM_FIRST:
      self.first.append(f"{where}: {reason}")

  def __str__(self) -> str:
    if not self.count:
      return "0 malformed"
    more = "; ..." if self.count > len(self.first) else ""
    return f"{self.count} malformed: {'; '.join(self.first)}{more}"


class Column(Protocol):
  """One value for each example, looked up when it is asked for."""

  def __len__(self) -> int:
    """Returns the number of examples."""

  def __getitem__(self, index: int, /) -> Any:
    """Returns one example's value."""


class ArrowColumn:
  """Values that Arrow stores compactly, as Python values."""

  def __init__(self, values: pa.Array | pa.ChunkedArray):
    self.values = values

  def __len__(self) -> int:
    return len(self.values)

  def __getitem__(self, index: int) -> Any:
    return self.values[index].as_py()

  def distinct(self) -> list[Any]:
    """Returns the values that occur, each once."""
    return self.values.unique().to_pylist()


class LabelColumn(ArrowColumn):
  """Labels: each an int where it is one or is written as one, else a str.

  Examples:
    >>> labels = LabelColumn(pa.array(["0", "-1", "pos", "01"]))
    >>> [labels[i] for i in range(4)]
    [0, -1, 'pos', '01']
  """

  def __getitem__(self, index: int) -> int | str:
    return _label(super().__getitem__(index))

  def distinct(self) -> list[int | str]:
    """Returns the labels that occur, each once."""
    return [_label(stored) for stored in super().distinct()]


def _label(stored: int | str) -> int | str:
  if isinstance(stored, str) and _INTEGER.fullmatch(stored):
    return int(stored)
  return stored


class ColumnSource:
  """A source of examples (`types.Source`) whose parts are columns.

  Attributes:
    name: Where they come from, for messages.
    columns: The parts of an example by name, such as "id" and "text".
    malformed: What was left out.
  """

  def __init__(
    self,
    name: str,
    columns: Mapping[str, Column],
    malformed: Malformed | None = None,
  ):
    """Puts columns side by side.

    Args:
      name: Where the examples come from.
      columns: The parts. Where there is no "id", it is the position.
      malformed: What was left out.

    Raises:
      ValueError: If they have different lengths or no examples, or if two
        examples have the same id.
    """
    self.name = name
    self.malformed = malformed or Malformed()
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) != 1:
      raise ValueError(
        f"{name}: there must be one of each for every example, got {lengths}."
      )
    self.columns = {"id": range(max(lengths.values())), **columns}
    if not len(self):
      wrong = f" ({self.malformed})" if self.malformed.count else ""
      raise ValueError(f"{name} holds no examples{wrong}.")
    _check_unique(name, self.columns["id"])

  def __str__(self) -> str:
    return self.name

  def __len__(self) -> int:
    return len(self.columns["id"])

  def __getitem__(self, index: int) -> dict[str, Any]:
    index = checked_index(self, index)
    return {name: column[index] for name, column in self.columns.items()}


def checked_index(sequence: Any, index: int) -> int:
  """Returns an index as an int.

  Raises:
    IndexError: If it lies outside the sequence: a loop ends there.
  """
  index = operator.index(index)
  if not 0 <= index < len(sequence):
    raise IndexError(
      f"{sequence} has {len(sequence)} examples, got index {index}."
    )
  return index


def _check_unique(name: str, ids: Column) -> None:
  """Raises ValueError if an id occurs twice."""
  if not isinstance(ids, ArrowColumn):
    return  # Counted, or made of paths.
  if len(ids.distinct()) == len(ids):
    return
  counts = ids.values.value_counts().to_pylist()
  twice = next(value for value in counts if value["counts"] > 1)
  raise ValueError(
    f"{name}: ids must be unique, but {twice['values']!r} occurs "
    f"{twice['counts']} times: choose another id_column, or none."
  )
