"""Grids of hyperparameters of the paper, and its choices where legible.

The grids are those of Tables 6 to 15, and of the text for CRD and DKD. Axes
have the names of the config fields that they set.
"""

import dataclasses
import fractions
import functools
from collections.abc import Mapping
from typing import Any

from experiments.paper.names import parse_column
from experiments.paper.names import read

_MARKS = ("bold", "italic", "underline")
_COUNTS = ("num_subclasses", "num_clusters")


@dataclasses.dataclass(frozen=True)
class Choice:
  """The value that the paper chose for a pair of teacher and student.

  Attributes:
    value: The value, None if it is not legible (A-38).
    status: "visible" (one value has the pair's mark); "ambiguous" (only other
      pairs' marks are visible, and this one probably coincides with one of
      them); "multiple" (more than one value has the mark); "unmarked" (no
      value has any mark); "absent" (the paper marks nothing for this pair).
    candidates: Marked values, one of which is probably the choice; only `value`
      if that is visible.
  """

  value: float | None
  status: str
  candidates: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Axis:
  """One hyperparameter of a method on one dataset.

  Attributes:
    printed: The grid as printed.
    values: The grid with misprints corrected; integers for counts.
    choices: Choices by pair, such as "resnet92-mobilenet".
    note: Remark on a misprint; empty if there is none.
  """

  printed: tuple[str, ...]
  values: tuple[float, ...]
  choices: Mapping[str, Choice]
  note: str = ""


@dataclasses.dataclass(frozen=True)
class GridTable:
  """Grid of a method: one of Tables 6 to 15, or the text on CRD or DKD.

  Attributes:
    number: Number of the table; None for CRD and DKD.
    method: Method that the grid is for.
    title: Caption.
    axes: Title of each axis by config field.
    counted: Whether subclasses or clusters are counted "per_class" or
      "in_total" over the classes (A-17); empty if there are none.
    rows: Axes by data set and config field; the data set "*" stands for all.
  """

  number: int | None
  method: str
  title: str
  axes: Mapping[str, str]
  counted: str
  rows: Mapping[str, Mapping[str, Axis]]


@functools.cache
def grid_tables() -> tuple[GridTable, ...]:
  """Returns the grids of all methods that have one, Tables 6 to 15 first."""
  file = read("grids")
  return tuple(_grid_table(table, file["pairs"]) for table in file["tables"])


def grid(method: str, column: str) -> dict[str, tuple[float, ...]]:
  """Returns the values that the paper tried for the data set of a column.

  "standard" and "oracle" have none; Table 5 has the grids of CIFAR-100.

  Examples:
    >>> grid("kmeans", "cifar10_bin-resnet92-resnet56")
    {'clustering.num_clusters': (4, 6, 8, 10, 20, 50, 100, 1000)}
  """
  return {name: axis.values for name, axis in _axes(method, column).items()}


def choices(method: str, column: str) -> dict[str, Choice]:
  """Returns the paper's choice of each hyperparameter by config field.

  Examples:
    >>> found = choices("lelp", "cifar100_bin-resnet92-mobilenet")
    >>> {name: choice.value for name, choice in found.items()}
    {'subspace.num_subclasses': 50, 'loss.subclass_temperature': 0.5,
     'loss.temperature': None}
  """
  pair = parse_column(column).pair
  return {
    name: axis.choices.get(pair, Choice(None, "absent", ()))
    for name, axis in _axes(method, column).items()
  }


def _axes(method: str, column: str) -> Mapping[str, Axis]:
  dataset = parse_column(column).dataset
  without = read("grids")["without"]
  if method in without:
    return {}
  tables = {table.method: table for table in grid_tables()}
  if method not in tables:
    raise ValueError(
      f"the paper has no method {method!r}; it has "
      f"{sorted([*tables, *without])}."
    )
  rows = tables[method].rows
  known = read("grids")["pairs"] if "*" in rows else rows
  if dataset not in known:
    raise ValueError(
      f"the paper has no grid of {method!r} for dataset {dataset!r}; it has "
      f"those for {sorted(known)}."
    )
  return rows.get(dataset) or rows["*"]


def _grid_table(
  table: Mapping[str, Any], pairs: Mapping[str, Mapping[str, str]]
) -> GridTable:
  return GridTable(
    number=table["number"],
    method=table["method"],
    title=table["title"],
    axes=table["axes"],
    counted=table.get("counted", ""),
    rows={
      row["dataset"]: {
        name: _axis(name, row[name], pairs.get(row["dataset"], {}))
        for name in table["axes"]
      }
      for row in table["rows"]
    },
  )


def _axis(
  name: str, fields: Mapping[str, str], marks: Mapping[str, str]
) -> Axis:
  kind = int if name.endswith(_COUNTS) else float

  def numbers(text: str) -> tuple[float, ...]:
    return tuple(kind(fractions.Fraction(word)) for word in text.split())

  marked = {mark: numbers(fields.get(mark, "")) for mark in _MARKS}
  return Axis(
    printed=tuple(fields.get("as_printed", fields["grid"]).split()),
    values=numbers(fields["grid"]),
    choices={pair: _choice(marked, mark) for mark, pair in marks.items()},
    note=fields.get("note", ""),
  )


def _choice(marked: Mapping[str, tuple[float, ...]], mark: str) -> Choice:
  if len(marked[mark]) == 1:
    return Choice(marked[mark][0], "visible", marked[mark])
  if marked[mark]:
    return Choice(None, "multiple", marked[mark])
  candidates = tuple(sorted({v for values in marked.values() for v in values}))
  return Choice(None, "ambiguous" if candidates else "unmarked", candidates)
