"""The tables of a sweep: accuracies, chosen hyperparameters, diagnostics."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from experiments.reporting import comparisons
from experiments.reporting import numbers
from experiments.reporting.document import BEST
from experiments.reporting.document import SECOND
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.estimates import estimate
from experiments.reporting.names import column_header
from experiments.reporting.names import column_name
from experiments.reporting.names import corner
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import Summary
from experiments.reporting.selection import SweepResults
from experiments.reporting.selection import was_chosen
from experiments.reporting.sentence import in_sentence
from experiments.results import Heading

_DIAGNOSTICS = (
  "agreement",
  "class term",
  "subclass term",
  "variance share",
  "null space",
  "parameters",
)
# Notes on the replicates of a sweep, by the unit of repetition.
_SHARED = {
  "split": (
    "The splits share the examples of one data set: intervals over splits are"
    " for a new split of this data set and somewhat too narrow."
  ),
  "teacher": (
    "The teachers share their data and initial weights: intervals over teachers"
    " are for another seed. Methods without a teacher have the same result for"
    " all of them."
  ),
}


def accuracy_table(results: SweepResults) -> Table:
  """Builds the main table: test accuracies and the gains of LELP.

  Its columns are those of the sweep, and the mean over them if they are
  replicates (`SweepResults.places`). Its rows are teachers and oracle, then
  students, then gains.
  """
  rows, students = _teacher_rows(results), []
  for method in results.methods:
    cells = _accuracy_cells(results, method.id)
    if method.id == comparisons.ORACLE:
      label = f"{method.title} (upper bound)"
      rows.append(TableRow.of(label, cells, "references"))
    else:
      students.append(TableRow.of(method.title, cells, "students"))
  rows += [*students, *_gain_rows(results)]
  if not results.is_smoke:
    rows = mark_rows(rows, lambda row: row.group == "students")
  headers = {column.id: column_header(column) for column in results.columns}
  header = tuple(
    headers[column] if column else _overall_title(results)
    for column, _ in results.places
  )
  return Table(
    title=f"{results.title}: test accuracy{chosen_on(results)}",
    header=header,
    rows=tuple(rows),
    caption=_caption(results),
    notes=(
      *_best_baseline_notes(results),
      *_missing_notes(results),
      *([_SHARED[results.repetition]] if results.averages_columns else []),
      *results.notes,
    ),
    corner=corner(header),
  )


def accuracy_cell(summary: Summary | None, num_trials: int) -> TableCell:
  """Makes the cell of a method's test accuracy; empty for None."""
  if summary is None:
    return TableCell()
  text = numbers.number(summary.test, num_trials)
  return TableCell(text, link=summary.cells[0].config)


def mark_rows(
  rows: Sequence[TableRow], is_ranked: Callable[[TableRow], bool]
) -> list[TableRow]:
  """Marks the best and the second best cell of each column in some rows."""
  ranked = [row.cells for row in rows if is_ranked(row)]
  marked = zip(*map(mark_cells, zip(*ranked, strict=True)), strict=True)
  return [
    dataclasses.replace(row, cells=next(marked)) if is_ranked(row) else row
    for row in rows
  ]


def mark_cells(cells: Sequence[TableCell]) -> list[TableCell]:
  """Marks the best and the second best of some cells.

  Equal printed numbers share a rank. Means over fewer trials than those of the
  others ("n=") are not ranked.
  """
  printed = [
    None if "(n=" in cell.text else _leading_number(cell.text) for cell in cells
  ]
  order = sorted({x for x in printed if x is not None}, reverse=True)
  marks = dict(zip(order, (BEST, SECOND), strict=False))
  return [
    dataclasses.replace(cell, mark=marks.get(x, "") if x is not None else "")
    for cell, x in zip(cells, printed, strict=True)
  ]


def _leading_number(text: str) -> float | None:
  try:
    return float(text.partition(" ")[0])
  except ValueError:  # The cell is empty, or names the method that it repeats.
    return None


def _overall_title(results: SweepResults) -> str:
  return f"all {len(results.columns)} {results.repetition}s"


def _accuracy_cells(results: SweepResults, method: str) -> list[TableCell]:
  """Makes the accuracies of a method, one cell per place."""
  cells = []
  for column, expected in results.places:
    text = link = ""
    if accuracy := results.accuracy(column, method):
      text = numbers.number(accuracy, expected)
      if column is not None:
        link = results.summaries[column, method].cells[0].config
    elif column is not None:
      text = results.repeats(column, method)
    cells.append(TableCell(text, link=link))
  return cells


def _teacher_rows(results: SweepResults) -> list[TableRow]:
  """Makes the rows of the shared teacher and of Subclass Distillation's own."""
  rows = []
  for heading, methods in comparisons.teacher_groups(results).items():
    accuracies = comparisons.teacher_accuracies(results, methods)
    cells: dict[str | None, TableCell] = {
      column: TableCell(numbers.number(accuracy), link=link)
      for column, (accuracy, link) in accuracies.items()
    }
    if cells:
      whole = estimate(accuracy.mean for accuracy, _ in accuracies.values())
      cells[None] = TableCell(numbers.number(whole, len(results.columns)))
      own = [cells.get(column, TableCell()) for column, _ in results.places]
      rows.append(TableRow.of(heading.title, own, "references"))
  return rows


def _gain_rows(results: SweepResults) -> list[TableRow]:
  """Makes the rows of LELP's gains over its rivals."""
  titles = {m.id: in_sentence(m.title) for m in results.methods}
  names = {
    "gain_best": "best baseline",
    "gain_non_subclass": (
      f"best baseline without {titles.get(comparisons.SUBCLASS)}"
    ),
    "gain_clustering": "best clustering",
  } | {f"gain_{method}": title for method, title in titles.items()}
  return [
    TableRow.of(
      f"{results.method_title(comparisons.LELP)} - {names[name]}",
      [
        numbers.with_interval(
          comparisons.gain(results, column, among), expected
        )
        for column, expected in results.places
      ],
      "gains",
    )
    for name, among in comparisons.rivals(results).items()
  ]


def _best_baseline_notes(results: SweepResults) -> list[str]:
  """Names the best baseline of each column."""
  if results.is_smoke:
    return []
  titles: dict[str | None, str] = {
    c.id: column_name(c) for c in results.columns
  }
  # Names of columns of the paper contain commas themselves.
  comma = "; " if any("," in title for title in titles.values()) else ", "
  titles[None] = _overall_title(results)
  where: dict[str, list[str]] = {}
  for column, _ in results.places:
    if method := comparisons.best(results, column):
      where.setdefault(results.method_title(method), []).append(titles[column])
  named = "; ".join(
    f"{method} ({comma.join(at) if len(where) > 1 else 'every column'})"
    for method, at in where.items()
  )
  return [f"Best baseline by test accuracy: {named}."] if where else []


def _missing_notes(results: SweepResults) -> list[str]:
  """Names the methods without a finished cell if the sweep is unfinished."""
  if not results.num_missing:
    return []
  absent = []
  for method in results.methods:
    missing = [
      column_name(column)
      for column in results.columns
      if (column.id, method.id) not in results.summaries
      and not results.repeats(column.id, method.id)
    ]
    if missing:
      everywhere = len(missing) == len(results.columns)
      where = "every column" if everywhere else "; ".join(missing)
      absent.append(f"{method.title} ({where})")
  return [f"No cell is finished of {', '.join(absent)}."] if absent else []


def _caption(results: SweepResults) -> str:
  """Returns the caption of the main table, which explains its numbers."""
  trials = results.num_trials
  text = "Test accuracy in % after the last step"
  if trials > 1:
    text += f": mean ± standard error over {trials} trials"
    if any(summary.test.n != trials for summary in results.summaries.values()):
      text += " (n=: over that many)"
  else:
    text += ", one trial, so no error"
  if not was_chosen(results.summaries.values()):
    text += ". There is one setting per method: nothing was chosen."
  elif results.selection == "test":
    text += (
      ". Hyperparameters chosen on the TEST data, as in the paper:"
      " the numbers are optimistic."
    )
  else:
    text += ". Hyperparameters chosen on held-out validation data."
  if comparisons.rivals(results):
    text += " Gains in points, paired by trial"
    if trials > 1:
      text += ", in brackets their 95 % interval."
    elif any(s.cells[0].test.predictions for s in results.summaries.values()):
      text += ", in brackets their 95 % interval over test examples."
    else:
      text += "."
  if results.averages_columns:
    alone = len(results.places) == 1
    text += (
      f" {'Shown' if alone else 'Last column'}: mean ± standard error over the "
      f"{len(results.columns)} {results.repetition}s' means, gains paired by "
      f"{results.repetition}."
    )
  return text


def hyperparameter_table(results: SweepResults) -> Table:
  """Builds the table of the chosen hyperparameters.

  Its columns are those of the sweep. The rows of a method are the chosen
  values, their held-out accuracy, and the spread of their test accuracy.
  """
  header = tuple(column_header(column) for column in results.columns)
  where = "held-out validation" if results.selection == "heldout" else "TEST"
  return Table(
    title=f"{results.title}: hyperparameters{chosen_on(results)}",
    header=header,
    corner=corner(header),
    rows=tuple(
      row
      for method in results.methods
      for row in _hyperparameter_rows(results, method)
    ),
    caption=(
      f"Of all settings tried, the one with the highest mean {where} accuracy"
      " over trials. Validation accuracy in %: its mean over trials. Test"
      " deviation in points: the standard deviation (n - 1) of its test"
      " accuracy over trials."
    ),
  )


def _hyperparameter_rows(
  results: SweepResults, method: Heading
) -> list[TableRow]:
  """Makes the rows of a method, without those that are empty."""
  summaries = [
    results.summaries.get((c.id, method.id)) for c in results.columns
  ]
  readers: dict[str, Callable[[Summary], str]] = {
    name.replace("_", " "): lambda s, name=name: numbers.setting(
      s.hyperparameters.get(name)
    )
    for summary in summaries
    if summary
    for name in summary.hyperparameters
  }
  readers["settings tried"] = lambda s: str(s.num_settings)
  readers["validation accuracy"] = lambda s: (
    f"{s.validation.mean:.2f}" if s.validation else ""
  )
  readers["test deviation"] = lambda s: (
    "" if s.test.std is None else f"{s.test.std:.2f}"
  )
  rows = []
  for label, read in readers.items():
    texts = [read(summary) if summary else "" for summary in summaries]
    cells = [
      TableCell(text, link=s.cells[0].config if s and text else "")
      for text, s in zip(texts, summaries, strict=True)
    ]
    if any(texts):
      rows.append(TableRow.of(f"{method.title}, {label}", cells, method.id))
  return rows


def diagnostics_table(
  results: SweepResults, *, teacher_is_ours: bool = True
) -> Table:
  """Builds the table of agreement, loss terms, variance shares and sizes.

  It has one row per method, or per method and column unless the columns are
  replicates, and rows for teachers unless they were trained elsewhere.
  """
  chosen = [
    cell for summary in results.summaries.values() for cell in summary.cells
  ]
  empty = [""] * (len(_DIAGNOSTICS) - 1)

  def teacher_texts(cells: Sequence[FinishedCell]) -> list[str]:
    if not teacher_is_ours:
      return []
    sizes = (cell.teacher.num_parameters for cell in cells)
    return [*empty, numbers.span(sizes, "{:,}".format)]

  return Table(
    title=f"{results.title}: diagnostics{chosen_on(results)}",
    header=_DIAGNOSTICS,
    rows=tuple(rows_by_method(results, chosen, teacher_texts, _diagnostics)),
    caption=(
      "Means over the trials with the chosen hyperparameters. Agreement: test"
      " examples in % on which student and teacher predict the same class."
      " Class and subclass term: the two parts of the training loss at the last"
      " step, not comparable between methods or temperatures. Variance share: %"
      " of the teacher's variance within a class that the chosen directions"
      " carry, mean over classes; null space: % of it that the head does not"
      " see (A-3)."
    ),
  )


def column_groups(results: SweepResults) -> list[tuple[str, list[str]]]:
  """Returns the groups of columns that divide a table of rows by method.

  A group is a name and the ids of its columns. Replicates are one group without
  a name.
  """
  if results.is_one_setting:
    return [("", [column.id for column in results.columns])]
  return [(column_name(column), [column.id]) for column in results.columns]


def rows_by_method(
  results: SweepResults,
  cells: Sequence[FinishedCell],
  teacher_texts: Callable[[Sequence[FinishedCell]], Sequence[str]],
  method_texts: Callable[[Sequence[FinishedCell]], Sequence[str]],
) -> Iterator[TableRow]:
  """Yields a row per teacher and method, for each group of columns.

  Args:
    results: The sweep.
    cells: The cells that the table is about.
    teacher_texts: Returns the texts of a teacher's row from the cells that use
      it; no texts for no row.
    method_texts: Returns the texts of a method's row from its cells.
  """
  for name, columns in column_groups(results):
    own = [cell for cell in cells if cell.column in columns]
    groups = [
      (heading.title, methods, teacher_texts)
      for heading, methods in comparisons.teacher_groups(results).items()
    ]
    groups += [(m.title, [m.id], method_texts) for m in results.methods]
    rows = []
    for label, methods, make in groups:
      chosen = [cell for cell in own if cell.method in methods]
      if texts := make(chosen) if chosen else ():
        rows.append(TableRow.of(label, texts, name, detail=bool(name)))
    if name and rows:
      yield TableRow.heading(name, len(rows[0].cells))
    yield from rows


def _diagnostics(cells: Sequence[FinishedCell]) -> list[str]:
  """Formats the diagnostics of some cells, averaged over them."""

  def term(name: str) -> str:
    return numbers.mean((c.train.get(name) for c in cells), "{:.3g}".format)

  agreements = (cell.test.agreement for cell in cells)
  shares = (x for cell in cells for x in cell.variance_share or ())
  null_spaces = (x for cell in cells for x in cell.null_space_share or ())
  sizes = (cell.num_parameters for cell in cells)
  return [
    numbers.mean(agreements, lambda x: f"{100 * x:.2f}"),
    term("class_term"),
    term("subclass_term"),
    numbers.mean(shares, numbers.percent),
    numbers.mean(null_spaces, numbers.percent),
    numbers.span(sizes, "{:,}".format),
  ]
