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
from experiments.reporting.document import Footnotes
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import estimate
from experiments.reporting.names import column_header
from experiments.reporting.names import column_name
from experiments.reporting.names import corner
from experiments.reporting.names import paper_column
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import SweepResults
from experiments.reporting.tables import mark_rows
from experiments.results import Heading

TEACHER = "teacher"
SUBCLASS_TEACHER = "subclass_teacher"
GAINS = ("gain_best", "gain_non_subclass", "gain_vanilla")
_REFERENCES = (TEACHER, SUBCLASS_TEACHER, comparisons.ORACLE)
# The number of the table that a sweep reproduces, or that its figure shows.
_TABLES = {f"table{number}": number for number in range(1, 6)}
_TABLES |= {"figure1a": 2, "figure3": 1, "figure6_right": 5}
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
    method: Id of the method, "teacher", "subclass_teacher" or one of `GAINS`.
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


def table_of(results: SweepResults) -> PaperTable | None:
  """Returns the paper's table that a sweep reproduces, or None.

  If the sweep is that of a figure, the table only has the figure's columns.
  """
  if results.name not in _TABLES:
    return None
  table = paper_table(_TABLES[results.name])
  ids = [column.id for column in results.columns]
  kept = [i for i, column in enumerate(table.columns) if column.id in ids]
  if not kept:
    return None
  if results.name.startswith("table"):
    return table
  rows, gains = (
    tuple(
      dataclasses.replace(row, cells=tuple(row.cells[i] for i in kept))
      for row in part
    )
    for part in (table.rows, table.gains)
  )
  columns = tuple(table.columns[i] for i in kept)
  return dataclasses.replace(table, columns=columns, rows=rows, gains=gains)


def in_paper_order(results: SweepResults) -> SweepResults:
  """Sorts the columns as in the paper's table; other columns follow."""
  table = table_of(results)
  order = [column.id for column in table.columns] if table else []
  known = [c for c in results.columns if c.id in order]
  others = [c for c in results.columns if c.id not in order]
  known.sort(key=lambda column: order.index(column.id))
  return dataclasses.replace(results, columns=(*known, *others))


def compare(
  results: SweepResults, table: PaperTable | None
) -> dict[tuple[str, str], Comparison]:
  """Pairs each of our numbers with the paper's.

  Returns the comparisons by method and column, row by row: the rows of the
  paper's table, then our other rows, then gains.
  """
  our_rows = [TEACHER, SUBCLASS_TEACHER, *(m.id for m in results.methods)]
  rows = [row.method for row in table.rows] if table else []
  rows += [method for method in our_rows if method not in rows]
  columns = [c.id for c in table.columns] if table else []
  columns += [c.id for c in results.columns if c.id not in columns]
  compared = {}
  for method in (
    *rows,
    *(row.method for row in (table.gains if table else ())),
  ):
    for column in columns:
      ours = _ours(results, table, column, method)
      cell = table.cell(method, column) if table else None
      wrong = cell and any(note.kind in _NOT_COMPARED for note in cell.notes)
      if table and cell and method in GAINS:
        cell, wrong = _recomputed(table, column, method, cell), False
      compared[method, column] = dataclasses.replace(
        ours,
        paper=cell,
        comparable=not wrong and is_paper_data(results, column),
      )
  return compared


def paper_accuracies(results: SweepResults) -> dict[tuple[str, str], float]:
  """Returns the paper's accuracies that ours can be compared with."""
  return {
    (column, method): one.paper.mean
    for (method, column), one in compare(results, table_of(results)).items()
    if one.paper is not None and one.comparable
  }


def is_paper_data(results: SweepResults, column: str) -> bool:
  """Returns whether a column was run on the data that its id names."""
  if column not in results.datasets:
    return True
  place = paper_column(column)
  return place is not None and place.dataset == results.datasets[column]


def _ours(
  results: SweepResults, table: PaperTable | None, column: str, method: str
) -> Comparison:
  """Returns the comparison with our number alone."""
  if table and method in GAINS:
    gain = _our_gain(results, table, column, method)
    return Comparison(column, method, gain)
  if method in (TEACHER, SUBCLASS_TEACHER):
    plain, own = [*comparisons.teacher_groups(results).values(), []][:2]
    cells = comparisons.with_different_teachers(
      results, column, plain if method == TEACHER else own
    )
    if not cells:
      return Comparison(column, method)
    teachers = estimate(100 * cell.teacher.test.accuracy for cell in cells)
    return Comparison(column, method, teachers, link=cells[0].teacher_config)
  summary = results.summaries.get((column, method))
  if summary is None:
    same_as = results.repeats(column, method)
    return Comparison(column, method, same_as=same_as)
  link = summary.cells[0].config
  return Comparison(column, method, summary.test, link=link)


def gain_rivals(table: PaperTable, gain: str) -> tuple[str, ...]:
  """Returns the methods of the paper's table that a gain compares LELP with."""
  return tuple(
    row.method
    for row in table.rows
    if row.method not in (TEACHER, SUBCLASS_TEACHER)
    and comparisons.GAINS[gain](row.method)
  )


def _our_gain(
  results: SweepResults,
  table: PaperTable,
  column: str,
  gain: str,
) -> Estimate | None:
  """Returns LELP minus its best rival; None if any rival is missing."""
  among = gain_rivals(table, gain)
  if any(
    (column, rival) not in results.summaries
    and not results.repeats(column, rival)
    for rival in among
  ):
    return None
  return comparisons.gain(results, column, among.__contains__)


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


def paper_layout(results: SweepResults, paper: PaperTable) -> Table:
  """Builds one of the paper's tables with our numbers in it.

  The paper's rows and columns come first, in its order, and then our others. A
  method has a line each for our number, the paper's and their difference.
  Missing cells are empty. The best and the second best are marked among our
  numbers and among the paper's.
  """
  compared = compare(results, paper)
  methods = list(dict.fromkeys(method for method, _ in compared))
  columns = list(dict.fromkeys(column for _, column in compared))
  footnotes = Footnotes()
  ours, intervals, papers, differences = {}, {}, {}, {}
  for method in methods:
    cells = [compared[method, column] for column in columns]
    group, is_gain = _group(method), method in GAINS
    label = _label(results, paper, method)
    ours[method] = TableRow.of(
      label, [_our_cell(results, cell) for cell in cells], group
    )
    texts = [
      numbers.interval(c.ours) if is_gain and c.ours else "" for c in cells
    ]
    intervals[method] = TableRow.of(
      "95 % interval of ours", texts, group, detail=True
    )
    label = "paper, recomputed" if is_gain else "paper"
    printed = [_paper_cell(cell, footnotes) for cell in cells]
    papers[method] = TableRow.of(label, printed, group, detail=True)
    texts = [_difference(cell) for cell in cells]
    differences[method] = TableRow.of("difference", texts, group, detail=True)
  for rows in (papers,) if results.is_smoke else (ours, papers):
    students = [m for m in methods if _group(m) == "students"]
    marked = mark_rows([rows[m] for m in students])
    rows |= dict(zip(students, marked, strict=True))
  several = results.num_trials > 1
  trials = f"{results.num_trials} trials" if several else "one trial, so none"
  other = any(not is_paper_data(results, column) for column in columns)
  header = tuple(column_header(Heading(c, c)) for c in columns)
  printed = [row.method for row in (*paper.rows, *paper.gains)]
  return Table(
    title=(
      f"Table {paper.number} of the paper beside ours"
      f"{', NOT on its data' if other else ''}"
      f"{chosen_on(results)}"
    ),
    header=header,
    rows=tuple(
      rows[method]
      for method in methods
      for rows in (ours, intervals, papers, differences)
      if any(cell.text for cell in rows[method].cells)
      or (rows is ours and method in printed)
    ),
    caption=_CAPTION.format(trials=trials)
    + (_GAINS_CAPTION if paper.gains else ""),
    notes=(*_notes(results, paper, columns), *results.notes),
    footnotes=tuple(footnotes.texts),
    corner=corner(header),
  )


def _group(method: str) -> str:
  if method in GAINS:
    return "gains"
  return "references" if method in _REFERENCES else "students"


def _label(results: SweepResults, paper: PaperTable, method: str) -> str:
  """Returns the paper's label of a row, or ours if the paper has none."""
  for row in (*paper.rows, *paper.gains):
    if row.method == method:
      return row.label
  if method in (TEACHER, SUBCLASS_TEACHER):
    return method.replace("_", " ").capitalize()
  return f"{results.method_title(method)} (not in the paper's table)"


def _our_cell(results: SweepResults, cell: Comparison) -> TableCell:
  text = cell.same_as
  if cell.ours is not None:
    single = cell.method in (TEACHER, SUBCLASS_TEACHER)
    expected = cell.ours.n if single else results.num_trials
    text = numbers.number(cell.ours, expected, sign=cell.method in GAINS)
  return TableCell(text, link=cell.link)


def _paper_cell(cell: Comparison, footnotes: Footnotes) -> TableCell:
  if cell.paper is None:
    return TableCell()
  text, printed = cell.paper.printed, ""
  if cell.method in GAINS:
    text = numbers.signed(cell.paper.mean)
    printed = f"{cell.paper.printed} is printed. " if cell.is_misprinted else ""
  notes = [
    f"{note.kind.capitalize()} ({note.item}): {printed}{note.text}"
    for note in cell.paper.notes
  ]
  return TableCell(text, footnotes=footnotes.refer(*notes))


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
