"""Tables 1 to 5 of the paper beside ours: numbers, differences and layout.

The gains of LELP are computed twice, ours from our accuracies and the paper's
from the paper's accuracies, because ten of its printed gains do not follow from
their own columns (docs/ambiguities.md, "Misprints of the paper").
"""

import dataclasses
import math
from collections.abc import Sequence
from decimal import Decimal

from experiments.paper.tables import paper_table
from experiments.paper.tables import PaperCell
from experiments.paper.tables import PaperTable
from experiments.reporting import comparisons
from experiments.reporting import numbers
from experiments.reporting.comparisons import GAINS
from experiments.reporting.comparisons import SUBCLASS_TEACHER
from experiments.reporting.comparisons import TEACHER
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.estimates import Estimate
from experiments.reporting.names import column_header
from experiments.reporting.names import column_name
from experiments.reporting.names import corner
from experiments.reporting.names import paper_column
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import SweepResults
from experiments.reporting.tables import mark_rows
from experiments.results import Heading

_REFERENCES = (TEACHER, SUBCLASS_TEACHER, comparisons.ORACLE)
# The number of the table that a sweep reproduces, or that its figure shows.
_TABLES = {f"table{number}": number for number in range(1, 6)}
_TABLES |= {"figure1a": 2, "figure3": 1, "figure6_right": 5}
_NO_TABLE = PaperTable(0, "", (), (), (), ())
# A printed number with a note of one of these kinds is known to be wrong.
_NOT_COMPARED = ("misprint", "unknown")
_CAPTION = (
  "Test accuracy in % after the last step. First line of a row: ours, mean ±"
  " standard error over {trials}. Second line: the paper's number as printed."
  " Third line: ours minus the paper's in points and, in brackets, in standard"
  " errors (SE): those of both sides in quadrature, where the paper's ± is"
  " taken to be one (A-28). A teacher is a single model and has no error."
)
_GAINS_CAPTION = (
  " Gains: ours from our numbers, paired by trial, with their interval; the"
  " paper's recomputed from its numbers."
)


@dataclasses.dataclass(frozen=True)
class Comparison:
  """One of our numbers, and the number in its place in the paper.

  Attributes:
    column: Id of the column.
    method: Id of the method, `TEACHER`, `SUBCLASS_TEACHER` or one of `GAINS`.
    ours: Our number over the trials, None if there is none.
    paper: The paper's number, None if there is none. A gain is recomputed from
      the accuracies of its column, and so is its spread.
    same_as: Text in place of ours, such as "= Vanilla distillation".
    link: Path of the config that our number is from.
    comparable: Whether a difference makes sense. It does not if the printed
      number is known to be wrong, or if ours is on other data.
  """

  column: str
  method: str
  ours: Estimate | None = None
  paper: PaperCell | None = None
  same_as: str = ""
  link: str = ""
  comparable: bool = True

  @property
  def difference(self) -> float | None:
    """Our number minus the paper's, in points."""
    if self.ours is None or self.paper is None or not self.comparable:
      return None
    return self.ours.mean - self.paper.mean

  @property
  def standard_errors(self) -> float | None:
    """The difference divided by the standard errors of both in quadrature.

    None if our standard error is unknown, as it is for a single trial, or if
    both are zero.
    """
    if self.difference is None or self.ours is None or self.paper is None:
      return None
    if self.ours.standard_error is None:
      return None
    error = math.hypot(self.ours.standard_error, self.paper.spread or 0.0)
    return self.difference / error if error > 0 else None

  @property
  def is_misprinted(self) -> bool:
    """Whether a gain differs from the one that the paper prints for it."""
    return (
      self.method in GAINS
      and self.paper is not None
      and f"{self.paper.mean:.2f}" != f"{float(self.paper.printed):.2f}"
    )


def table_of(results: SweepResults) -> PaperTable:
  """Returns the paper's table of a sweep or its figure, empty without one."""
  number = _TABLES.get(results.name)
  table = paper_table(number) if number else _NO_TABLE
  ids = {column.id for column in results.columns}
  return table if any(c.id in ids for c in table.columns) else _NO_TABLE


def in_paper_order(results: SweepResults) -> SweepResults:
  """Sorts the columns as in the paper's table; other columns follow."""
  ids = [column.id for column in table_of(results).columns]
  columns = sorted(
    results.columns, key=lambda c: ids.index(c.id) if c.id in ids else len(ids)
  )
  return dataclasses.replace(results, columns=tuple(columns))


def compare(results: SweepResults) -> dict[tuple[str, str], Comparison]:
  """Pairs each of our numbers with the paper's.

  Returns the comparisons by method and column, row by row: the rows of the
  paper's table, then our other rows, then gains.
  """
  table = table_of(results)
  teachers = {
    heading.id: comparisons.teacher_accuracies(results, methods)
    for heading, methods in comparisons.teacher_groups(results).items()
  }
  rows = [row.method for row in table.rows]
  rows += [*teachers, *(method.id for method in results.methods)]
  rows += [row.method for row in table.gains]
  rows += comparisons.rivals(results)
  # The sweep of a figure only has the figure's columns of a table.
  printed = table.columns if results.name.startswith("table") else ()
  columns = dict.fromkeys(c.id for c in (*printed, *results.columns))
  compared = {}
  for method in dict.fromkeys(rows):
    for column in columns:
      ours, link, same_as = None, "", ""
      if method in GAINS:
        ours = _our_gain(results, table, column, method)
      elif column in teachers.get(method, ()):
        ours, link = teachers[method][column]
      elif summary := results.summaries.get((column, method)):
        ours, link = summary.test, summary.cells[0].config
      else:
        same_as = results.repeats(column, method)
      cell = table.cell(method, column)
      wrong = cell and any(note.kind in _NOT_COMPARED for note in cell.notes)
      if cell and method in GAINS:
        cell, wrong = _recomputed(table, column, method, cell), False
      comparable = not wrong and is_paper_data(results, column)
      compared[method, column] = Comparison(
        column, method, ours, cell, same_as, link, comparable
      )
  return compared


def paper_accuracies(results: SweepResults) -> dict[tuple[str, str], float]:
  """Returns the paper's accuracies that ours can be compared with."""
  return {
    (column, method): one.paper.mean
    for (method, column), one in compare(results).items()
    if one.paper is not None and one.comparable
  }


def is_paper_data(results: SweepResults, column: str) -> bool:
  """Returns whether a column was run on the data that its id names."""
  if column not in results.datasets:
    return True
  place = paper_column(column)
  return place is not None and place.dataset == results.datasets[column]


def gain_rivals(table: PaperTable, gain: str) -> tuple[str, ...]:
  """Returns the methods of the paper's table that a gain compares LELP with."""
  return tuple(
    row.method
    for row in table.rows
    if row.method not in (TEACHER, SUBCLASS_TEACHER) and GAINS[gain](row.method)
  )


def _our_gain(
  results: SweepResults, table: PaperTable, column: str, gain: str
) -> Estimate | None:
  """Returns LELP minus its best rival.

  The rivals of a gain that the paper prints are those of its table. Returns
  None if any of them is missing.
  """
  among = GAINS[gain]
  if any(row.method == gain for row in table.gains):
    rivals = gain_rivals(table, gain)
    if any(
      (column, rival) not in results.summaries
      and not results.repeats(column, rival)
      for rival in rivals
    ):
      return None
    among = rivals.__contains__
  return comparisons.gain(results, column, among)


def _recomputed(
  table: PaperTable, column: str, gain: str, printed: PaperCell
) -> PaperCell:
  """Returns the paper's gain, recomputed exactly from its accuracies."""
  cells = {row.method: table.cell(row.method, column) for row in table.rows}
  means = {m: Decimal(c.printed.split(" ")[0]) for m, c in cells.items() if c}
  errors = {m: c.spread or 0.0 for m, c in cells.items() if c}
  best = max(gain_rivals(table, gain), key=lambda method: means[method])
  return dataclasses.replace(
    printed,
    mean=float(means[comparisons.LELP] - means[best]),
    spread=math.hypot(errors[comparisons.LELP], errors[best]),
  )


def paper_layout(results: SweepResults) -> Table | None:
  """Builds the paper's table of a sweep with our numbers in it.

  The paper's rows and columns come first, in its order, and then our others. A
  method has a line each for our number, the paper's and their difference.
  Missing cells are empty. The best and the second best are marked among our
  numbers and among the paper's. Returns None if the paper has no such table.
  """
  paper, compared = table_of(results), compare(results)
  if paper is _NO_TABLE:
    return None
  printed = [row.method for row in (*paper.rows, *paper.gains)]
  methods = [
    method
    for method in dict.fromkeys(method for method, _ in compared)
    if method in printed or method not in GAINS
  ]
  columns = list(dict.fromkeys(column for _, column in compared))
  labels = _labels(results, paper)
  rows: list[TableRow] = []
  for method in methods:
    cells = [compared[method, column] for column in columns]
    group, is_gain = _group(method), method in GAINS
    intervals = (
      numbers.interval(c.ours) if is_gain and c.ours else "" for c in cells
    )
    for label, own in (
      (labels[method], [_our_cell(results, cell) for cell in cells]),
      ("95 % interval of ours", intervals),
      ("paper, recomputed" if is_gain else "paper", map(_paper_cell, cells)),
      ("difference", map(_difference, cells)),
    ):
      row = TableRow.of(label, own, group, detail=label != labels[method])
      is_printed = method in printed and not row.detail
      if is_printed or any(cell.text for cell in row.cells):
        rows.append(row)
  rows = mark_rows(
    rows, lambda row: row.group == "students" and row.label == "paper"
  )
  if not results.is_smoke:
    rows = mark_rows(
      rows, lambda row: row.group == "students" and not row.detail
    )
  several = results.num_trials > 1
  trials = f"{results.num_trials} trials" if several else "one trial, so none"
  other = any(not is_paper_data(results, column) for column in columns)
  header = tuple(column_header(Heading(c, c)) for c in columns)
  return Table(
    title=(
      f"Table {paper.number} of the paper beside ours"
      f"{', NOT on its data' if other else ''}"
      f"{chosen_on(results)}"
    ),
    header=header,
    rows=tuple(rows),
    caption=_CAPTION.format(trials=trials)
    + (_GAINS_CAPTION if paper.gains else ""),
    notes=(*_notes(results, paper, columns), *results.notes),
    corner=corner(header),
  )


def _group(method: str) -> str:
  if method in GAINS:
    return "gains"
  return "references" if method in _REFERENCES else "students"


def _labels(results: SweepResults, paper: PaperTable) -> dict[str, str]:
  """Returns the paper's labels of rows, and ours if the paper has none."""
  headings = (*comparisons.teacher_groups(results), *results.methods)
  labels = {h.id: f"{h.title} (not in the paper's table)" for h in headings}
  return labels | {r.method: r.label for r in (*paper.rows, *paper.gains)}


def _our_cell(results: SweepResults, cell: Comparison) -> TableCell:
  text = cell.same_as
  if cell.ours is not None:
    single = cell.method in (TEACHER, SUBCLASS_TEACHER)
    expected = cell.ours.n if single else results.num_trials
    text = numbers.number(cell.ours, expected, sign=cell.method in GAINS)
  return TableCell(text, link=cell.link)


def _paper_cell(cell: Comparison) -> TableCell:
  if cell.paper is None:
    return TableCell()
  text, printed = cell.paper.printed, ""
  if cell.method in GAINS:
    text = numbers.signed(cell.paper.mean)
    printed = f"{cell.paper.printed} is printed. " if cell.is_misprinted else ""
  notes = (
    f"{note.kind.capitalize()} ({note.item}): {printed}{note.text}"
    for note in cell.paper.notes
  )
  return TableCell(text, footnotes=tuple(notes))


def _difference(cell: Comparison) -> str:
  if cell.difference is None:
    return ""
  text = numbers.signed(cell.difference)
  if cell.standard_errors is not None:
    # Zero has no sign, which could differ from that of the points beside it.
    errors = round(cell.standard_errors, 1)
    text += f" ({errors:+.1f} SE)" if errors else " (0.0 SE)"
  return text


def _notes(
  results: SweepResults, paper: PaperTable, columns: Sequence[str]
) -> list[str]:
  """Returns the notes on whole columns or on the whole table."""
  notes = []
  for note in paper.notes:
    if not note.rows:
      names = [column_name(Heading(c, c)) for c in note.columns]
      part = note.columns and not set(columns) <= set(note.columns)
      where = f" ({'; '.join(names)})" if part else ""
      notes.append(f"{note.item}: {note.text}{where}")
  others = [c for c in columns if not is_paper_data(results, c)]
  if others:
    datasets = sorted({results.datasets[column] for column in others})
    notes.append(
      "These are NOT the paper's data, so no difference is shown:"
      f" {len(others)} of {len(columns)} columns were run on"
      f" {', '.join(datasets)}."
    )
  known = {column.id for column in results.columns}
  absent = [column for column in columns if column not in known]
  if absent:
    notes.append(
      f"{len(absent)} of {len(columns)} columns are not in this sweep."
    )
  return notes
