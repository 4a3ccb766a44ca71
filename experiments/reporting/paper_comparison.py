"""Our numbers beside the paper's: accuracies, and the gains of LELP.

Gains are computed twice, ours from our numbers and the paper's from the
paper's: ten of the printed ones do not follow from their own column (spec 7.1).
"""

import dataclasses
import math
import re
from decimal import Decimal

from experiments.paper.columns import parse_column
from experiments.paper.tables import Note
from experiments.paper.tables import paper_table
from experiments.paper.tables import PaperTable
from experiments.reporting import comparisons
from experiments.reporting.records import Named
from experiments.reporting.records import Results
from experiments.reporting.statistics import Estimate
from experiments.reporting.statistics import estimate
from experiments.reporting.statistics import Summaries
from experiments.reporting.statistics import summarize

TEACHER = "teacher"
SUBCLASS_TEACHER = "subclass_teacher"
GAINS = ("gain_best", "gain_non_subclass", "gain_vanilla")
# Figures that show numbers of a table.
_FIGURES = {"figure1a": 2, "figure3": 1, "figure6_right": 5}
# What is printed is known not to be the number that it should be.
_NOT_COMPARED = ("misprint", "unknown")


@dataclasses.dataclass(frozen=True)
class Printed:
  """A number of the paper.

  Attributes:
    mean: Percent; a gain's is recomputed from its column.
    error: What follows the ±, taken as a standard error (A-28); of a gain, the
      errors of both its numbers in quadrature. None where there is none.
    text: To the letter.
    notes: What is wrong or odd about it.
  """

  mean: float
  error: float | None
  text: str
  notes: tuple[Note, ...] = ()


@dataclasses.dataclass(frozen=True)
class Comparison:
  """One number of ours and the paper's.

  Attributes:
    column: Id of the column.
    method: Id of the method, "teacher", "subclass_teacher" or one of `GAINS`.
    ours: Ours over the trials, None where there is none.
    paper: The paper's, None where it has none.
    same_as: Text in place of ours, such as "= vanilla KD".
    link: Config of ours, relative to the workdir.
    comparable: Whether a difference means anything: false for numbers that
      are known to be wrong, and where ours are of other data.
  """

  column: str
  method: str
  ours: Estimate | None = None
  paper: Printed | None = None
  same_as: str = ""
  link: str = ""
  comparable: bool = True

  @property
  def difference(self) -> float | None:
    """Ours minus the paper's, points."""
    if self.ours is None or self.paper is None or not self.comparable:
      return None
    return self.ours.mean - self.paper.mean

  @property
  def standard_errors(self) -> float | None:
    """The difference in standard errors: both sides' in quadrature.

    None where ours is not known, as that of a single run, or both are zero.
    """
    if self.difference is None or self.ours is None or self.paper is None:
      return None
    if self.ours.standard_error is None:
      return None
    error = math.hypot(self.ours.standard_error, self.paper.error or 0.0)
    return self.difference / error if error > 0 else None

  @property
  def is_misprinted(self) -> bool:
    """Whether a printed gain does not follow from its column."""
    return (
      self.method in GAINS
      and self.paper is not None
      and f"{self.paper.mean:.2f}" != f"{float(self.paper.text):.2f}"
    )


def table_of(results: Results) -> PaperTable | None:
  """The paper's table that a sweep reproduces, or None.

  Of a figure, those columns of the table whose numbers it shows.
  """
  found = re.fullmatch(r"table([1-5])", results.name)
  if found:
    return paper_table(int(found[1]))
  if results.name not in _FIGURES:
    return None
  table = paper_table(_FIGURES[results.name])
  ids = [column.id for column in results.columns]
  kept = [i for i, column in enumerate(table.columns) if column.id in ids]

  def only(rows):
    return tuple(
      dataclasses.replace(row, cells=tuple(row.cells[i] for i in kept))
      for row in rows
    )

  if not kept:
    return None
  return dataclasses.replace(
    table,
    columns=tuple(table.columns[i] for i in kept),
    rows=only(table.rows),
    gains=only(table.gains),
  )


def in_paper_order(results: Results) -> Results:
  """Orders columns as the paper's table has them; others follow."""
  table = table_of(results)
  order = [column.id for column in table.columns] if table else []

  def rank(column: Named) -> int:
    return order.index(column.id) if column.id in order else len(order)

  columns = tuple(sorted(results.columns, key=rank))
  return dataclasses.replace(results, columns=columns)


def compare(
  results: Results, table: PaperTable | None
) -> dict[tuple[str, str], Comparison]:
  """Puts every number of ours beside the paper's.

  Args:
    results: What `results.load` returns.
    table: The paper's table, or None for a sweep of our own.

  Returns:
    The comparisons by method and column, row by row: those of the paper's
    table, and what we have besides; gains last.
  """
  summaries = summarize(results)
  ours = [TEACHER, SUBCLASS_TEACHER, *(m.id for m in results.methods)]
  rows = [row.method for row in table.rows] if table else []
  rows += [method for method in ours if method not in rows]
  columns = [c.id for c in table.columns] if table else []
  columns += [c.id for c in results.columns if c.id not in columns]
  found = {}
  for method in rows:
    for column in columns:
      paper = _printed(table, method, column)
      one = _ours(results, summaries, column, method)
      wrong = paper and any(n.kind in _NOT_COMPARED for n in paper.notes)
      found[method, column] = dataclasses.replace(
        one,
        paper=paper,
        comparable=not wrong and of_paper_data(results, column),
      )
  if table is None:
    return found
  for gain in (row.method for row in table.gains):
    for column in columns:
      found[gain, column] = Comparison(
        column,
        gain,
        ours=_our_gain(results, summaries, table, column, gain),
        paper=_printed_gain(table, column, gain),
        comparable=of_paper_data(results, column),
      )
  return found


def of_paper_data(results: Results, column: str) -> bool:
  """Whether a column was run on the data that it is named after."""
  if column not in results.datasets:
    return True
  try:
    return parse_column(column).dataset == results.datasets[column]
  except ValueError:
    return False


def _printed(
  table: PaperTable | None, method: str, column: str
) -> Printed | None:
  cell = table.cell(method, column) if table else None
  if cell is None:
    return None
  return Printed(cell.mean, cell.spread, cell.printed, cell.notes)


def _ours(
  results: Results, summaries: Summaries, column: str, method: str
) -> Comparison:
  one = Comparison(column, method)
  if method in (TEACHER, SUBCLASS_TEACHER):
    groups = list(comparisons.teacher_groups(results).values())
    plain, own = groups[0], groups[1] if len(groups) > 1 else []
    among = plain if method == TEACHER else own
    found = comparisons.teachers(summaries, column, among)
    if not found:
      return one
    whole = estimate(100 * teacher.test.accuracy for teacher in found)
    return dataclasses.replace(one, ours=whole, link=found[0].config)
  summary = summaries.get((column, method))
  if summary is None:
    text = results.same_as.get((column, method), "")
    return dataclasses.replace(one, same_as=text)
  return dataclasses.replace(
    one, ours=summary.test, link=summary.cells[0].config
  )


def rivals(table: PaperTable, gain: str) -> tuple[str, ...]:
  """The methods of a table over which a gain of LELP is.

  Args:
    table: One of Tables 2 to 5.
    gain: One of `GAINS`.
  """
  if gain == "gain_vanilla":
    return ("vanilla",)
  return tuple(
    row.method
    for row in table.rows
    if row.method not in (TEACHER, SUBCLASS_TEACHER)
    and comparisons.is_baseline(row.method)
    and (gain == "gain_best" or row.method != comparisons.SUBCLASS)
  )


def _our_gain(
  results: Results,
  summaries: Summaries,
  table: PaperTable,
  column: str,
  gain: str,
) -> Estimate | None:
  """LELP minus its best rival, paired by trial; None if a rival is missing."""
  among = rivals(table, gain)
  if any(
    (column, rival) not in summaries and (column, rival) not in results.same_as
    for rival in among
  ):
    return None
  best = comparisons.best(results, summaries, column, among.__contains__)
  if best is None:
    return None
  return comparisons.difference_in_column(
    summaries, column, comparisons.LELP, best
  )


def _printed_gain(table: PaperTable, column: str, gain: str) -> Printed | None:
  """The paper's gain, recomputed from its own accuracies, exactly."""
  printed = table.cell(gain, column)
  if printed is None:
    return None
  cells = {row.method: table.cell(row.method, column) for row in table.rows}
  means = {m: Decimal(c.printed.split(" ")[0]) for m, c in cells.items() if c}
  errors = {m: c.spread or 0.0 for m, c in cells.items() if c}
  best = max(rivals(table, gain), key=lambda method: means[method])
  return Printed(
    float(means[comparisons.LELP] - means[best]),
    math.hypot(errors[comparisons.LELP], errors[best]),
    printed.printed,
    printed.notes,
  )
