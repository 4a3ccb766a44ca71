"""Tables 1 to 5 of the paper as printed."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from experiments.paper.names import PaperColumn
from experiments.paper.names import parse_column
from experiments.paper.names import read


@dataclasses.dataclass(frozen=True)
class Note:
  """A note on printed numbers.

  Attributes:
    kind: "misprint" (other printed numbers contradict it), "differs" (another
      table prints another number), "copied" (from another row, not measured),
      "unknown" (its row does not say what it is), "inferred" (not printed) or
      "protocol" (how it was measured).
    item: Item of docs/ambiguities.md, or section of the paper.
    text: The note, one sentence.
    rows: Methods whose cells the note is about; empty for all.
    columns: Ids of the columns that the note is about; empty for all.
  """

  kind: str
  item: str
  text: str
  rows: tuple[str, ...] = ()
  columns: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class PaperCell:
  """A printed number.

  Attributes:
    printed: The number as printed.
    mean: Accuracy or gain, percent.
    spread: Number after the ±, which the paper calls the standard deviation
      over three trials (A-28), percent; None for teachers and gains.
    notes: Notes that name the row of the cell.
  """

  printed: str
  mean: float
  spread: float | None
  notes: tuple[Note, ...]


@dataclasses.dataclass(frozen=True)
class PaperRow:
  """A row: a method, its printed label, and one cell per column."""

  method: str
  label: str
  cells: tuple[PaperCell, ...]


@dataclasses.dataclass(frozen=True)
class PaperTable:
  """One of Tables 1 to 5.

  Attributes:
    number: Number of the table.
    title: Caption.
    columns: Columns, in order.
    rows: Accuracies of "teacher", "subclass_teacher" and methods, in order.
    gains: "gain_best", "gain_non_subclass" and "gain_vanilla" of LELP, as
      printed; none in Table 1.
    notes: All notes on the table.
  """

  number: int
  title: str
  columns: tuple[PaperColumn, ...]
  rows: tuple[PaperRow, ...]
  gains: tuple[PaperRow, ...]
  notes: tuple[Note, ...]

  def cell(self, method: str, column: str) -> PaperCell | None:
    """Returns the cell of a method in a column; None if there is none."""
    ids = [c.id for c in self.columns]
    for row in (*self.rows, *self.gains):
      if row.method == method and column in ids:
        return row.cells[ids.index(column)]
    return None


@functools.cache
def paper_table(number: int) -> PaperTable:
  """Returns one of the paper's Tables 1 to 5.

  Examples:
    >>> table = paper_table(2)
    >>> table.cell("lelp", "amazon-albert_xxlarge-albert_base").printed
    '78.08 ± 0.81'
  """
  file = read("tables")
  if str(number) not in file["tables"]:
    raise ValueError(
      f"Tables 1 to 5 of the paper hold accuracies, got table {number!r}; "
      "6 to 15 are grids: experiments.paper.grids."
    )
  table = file["tables"][str(number)]
  notes = tuple(_note(note) for note in (*file["notes"], *table["notes"]))
  return PaperTable(
    number=number,
    title=table["title"],
    columns=tuple(parse_column(column) for column in table["columns"]),
    rows=tuple(_row(row, table["columns"], notes) for row in table["rows"]),
    gains=tuple(_row(row, table["columns"], notes) for row in table["gains"]),
    notes=notes,
  )


def _note(fields: Mapping[str, Any]) -> Note:
  rows, columns = fields.get("rows", ()), fields.get("columns", ())
  return Note(
    fields["kind"], fields["item"], fields["text"], tuple(rows), tuple(columns)
  )


def _row(
  fields: Mapping[str, Any], columns: list[str], notes: tuple[Note, ...]
) -> PaperRow:
  cells = []
  for column, printed in zip(columns, fields["cells"], strict=True):
    mean, _, spread = printed.partition(" ± ")
    concern = tuple(
      note
      for note in notes
      if fields["method"] in note.rows
      and (not note.columns or column in note.columns)
    )
    cells.append(
      PaperCell(
        printed, float(mean), float(spread) if spread else None, concern
      )
    )
  return PaperRow(fields["method"], fields["label"], tuple(cells))
