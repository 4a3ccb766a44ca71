"""Tables 1 to 5 in the paper's layout: ours, the paper's, the difference."""

from collections.abc import Sequence

from experiments.paper.tables import PaperTable
from experiments.reporting import comparisons
from experiments.reporting.formats import interval
from experiments.reporting.formats import mark_rows
from experiments.reporting.formats import number
from experiments.reporting.formats import signed
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.names import column_header
from experiments.reporting.names import column_name
from experiments.reporting.names import corner
from experiments.reporting.paper_comparison import compare
from experiments.reporting.paper_comparison import Comparison
from experiments.reporting.paper_comparison import GAINS
from experiments.reporting.paper_comparison import of_paper_data
from experiments.reporting.paper_comparison import SUBCLASS_TEACHER
from experiments.reporting.paper_comparison import TEACHER
from experiments.reporting.records import Named
from experiments.reporting.records import Results
from experiments.reporting.statistics import chosen_on
from experiments.reporting.statistics import summarize

_REFERENCES = (TEACHER, SUBCLASS_TEACHER, comparisons.ORACLE)
_CAPTION = (
  "Test accuracy in % after the last step. First line of a row: ours, mean ±"
  " standard error over {trials}. Second: the paper's, to the letter."
  " Third: ours minus the paper's in points and, in brackets, in standard"
  " errors (SE): both sides' in quadrature, the paper's ± taken for one (A-28)."
  " A teacher is a single model and has no error."
)
_GAINS = (
  " Gains: ours from our numbers, paired by trial, as is their interval; the"
  " paper's recomputed from its numbers."
)


def paper_layout(results: Results, paper: PaperTable) -> Table:
  """Builds one of the paper's tables with ours in it.

  Args:
    results: What `results.load` returns.
    paper: The table, from `paper_comparison.table_of`.

  Returns:
    The paper's rows and columns in its order, three lines each; what was run
    besides follows. What was not run is empty. The best and the second best
    are marked on each side.
  """
  found = compare(results, paper)
  methods = list(dict.fromkeys(method for method, _ in found))
  columns = list(dict.fromkeys(column for _, column in found))
  footnotes: list[str] = []
  ours, intervals, papers, differences = {}, {}, {}, {}
  for method in methods:
    cells = [found[method, column] for column in columns]
    group = _group(method)
    label = _label(results, paper, method)
    ours[method] = Row(label, _our_cells(results, cells), group)
    for rows, label, made in (
      (intervals, "95 % interval of ours", map(_interval_cell, cells)),
      (papers, _paper_label(method), _paper_cells(cells, footnotes)),
      (differences, "difference", map(_difference_cell, cells)),
    ):
      rows[method] = Row(label, tuple(made), group, detail=True)
  for rows in (ours, papers):
    students = [m for m in methods if _group(m) == "students"]
    marked = mark_rows([rows[m] for m in students])
    rows |= dict(zip(students, marked, strict=True))
  several = results.num_trials > 1
  trials = f"{results.num_trials} trials" if several else "one trial, so none"
  caption = _CAPTION.format(trials=trials)
  other = any(not of_paper_data(results, column) for column in columns)
  header = tuple(column_header(Named(c, c)) for c in columns)
  return Table(
    title=(
      f"Table {paper.number} of the paper beside ours"
      f"{', NOT on its data' if other else ''}"
      f"{chosen_on(results, summarize(results))}"
    ),
    header=header,
    rows=tuple(
      rows[method]
      for method in methods
      for rows in (ours, intervals, papers, differences)
      if not _is_empty(rows[method])
      or (rows is ours and _wanted(paper, method))
    ),
    caption=caption + (_GAINS if paper.gains else ""),
    notes=(*_notes(results, paper, columns), *results.notes),
    footnotes=tuple(footnotes),
    corner=corner(header),
  )


def _paper_label(method: str) -> str:
  return "paper, recomputed" if method in GAINS else "paper"


def _group(method: str) -> str:
  if method in GAINS:
    return "gains"
  return "references" if method in _REFERENCES else "students"


def _is_empty(row: Row) -> bool:
  return not any(cell.text for cell in row.cells)


def _wanted(paper: PaperTable, method: str) -> bool:
  """Whether a row stands there although nothing was run."""
  return method in (row.method for row in (*paper.rows, *paper.gains))


def _label(results: Results, paper: PaperTable, method: str) -> str:
  """The paper's own label, else ours."""
  for row in (*paper.rows, *paper.gains):
    if row.method == method:
      return row.label
  if method in (TEACHER, SUBCLASS_TEACHER):
    return method.replace("_", " ").capitalize()
  return f"{results.method_title(method)} (not in the paper's table)"


def _our_cells(
  results: Results, cells: Sequence[Comparison]
) -> tuple[TableCell, ...]:
  made = []
  for cell in cells:
    text = cell.same_as
    if cell.ours is not None:
      single = cell.method in (TEACHER, SUBCLASS_TEACHER)
      expected = cell.ours.n if single else results.num_trials
      text = number(cell.ours, expected, sign=cell.method in GAINS)
    made.append(TableCell(text, link=cell.link))
  return tuple(made)


def _paper_cells(
  cells: Sequence[Comparison], footnotes: list[str]
) -> tuple[TableCell, ...]:
  made = []
  for cell in cells:
    if cell.paper is None:
      made.append(TableCell())
      continue
    text, printed = cell.paper.text, ""
    if cell.method in GAINS:
      text = signed(cell.paper.mean)
      printed = f"{cell.paper.text} is printed. " if cell.is_misprinted else ""
    notes = [
      f"{note.kind.capitalize()} ({note.item}): {printed}{note.text}"
      for note in cell.paper.notes
    ]
    made.append(TableCell(text, footnotes=_numbered(notes, footnotes)))
  return tuple(made)


def _numbered(texts: Sequence[str], footnotes: list[str]) -> tuple[int, ...]:
  """The numbers of footnotes, those that are new being added."""
  footnotes += [text for text in texts if text not in footnotes]
  return tuple(footnotes.index(text) + 1 for text in texts)


def _interval_cell(cell: Comparison) -> TableCell:
  if cell.method not in GAINS or cell.ours is None:
    return TableCell()
  return TableCell(interval(cell.ours))


def _difference_cell(cell: Comparison) -> TableCell:
  if cell.difference is None:
    return TableCell()
  text = signed(cell.difference)
  if cell.standard_errors is not None:
    # Without a sign where it rounds to zero: the points may have another.
    errors = round(cell.standard_errors, 1)
    text += f" ({errors:+.1f} SE)" if errors else " (0.0 SE)"
  return TableCell(text)


def _notes(
  results: Results, paper: PaperTable, columns: Sequence[str]
) -> list[str]:
  """What holds for whole columns or the whole table."""
  notes = [
    f"{note.item}: {note.text}{_where(note.columns, columns)}"
    for note in paper.notes
    if not note.rows
  ]
  others = [c for c in columns if not of_paper_data(results, c)]
  if others:
    kinds = sorted({results.datasets[column] for column in others})
    notes.append(
      f"NOT the paper's data, so nothing is subtracted: {len(others)} of"
      f" {len(columns)} columns were run on {', '.join(kinds)}."
    )
  known = {column.id for column in results.columns}
  absent = [column for column in columns if column not in known]
  if absent:
    notes.append(
      f"{len(absent)} of {len(columns)} columns are not in this sweep."
    )
  return notes


def _where(concerned: Sequence[str], columns: Sequence[str]) -> str:
  if not concerned or set(columns) <= set(concerned):
    return ""
  names = [column_name(Named(column, column)) for column in concerned]
  return f" ({'; '.join(names)})"
