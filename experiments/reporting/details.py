"""The smaller tables: what was chosen, and what happened inside."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from experiments.reporting import comparisons
from experiments.reporting.layout import heading
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.names import column_header
from experiments.reporting.names import column_name
from experiments.reporting.names import corner
from experiments.reporting.records import Cell
from experiments.reporting.records import Named
from experiments.reporting.records import Results
from experiments.reporting.statistics import chosen_on
from experiments.reporting.statistics import estimate
from experiments.reporting.statistics import Summaries
from experiments.reporting.statistics import summarize
from experiments.reporting.statistics import Summary

_DIAGNOSTICS = (
  "agreement",
  "class term",
  "subclass term",
  "variance share",
  "null space",
  "parameters",
)


def hyperparameter_table(results: Results) -> Table:
  """Builds the table of the chosen hyperparameters.

  Args:
    results: What `results.load` returns.

  Returns:
    A column for each of the sweep's. Rows for each method: what was chosen,
    by which held-out accuracy, and the spread of the test accuracy.
  """
  summaries = summarize(results)
  rows = []
  for method in results.methods:
    rows += _method_rows(results, summaries, method)
  header = tuple(column_header(column) for column in results.columns)
  where = "held-out validation" if results.selection == "heldout" else "TEST"
  return Table(
    title=(f"{results.title}: hyperparameters{chosen_on(results, summaries)}"),
    header=header,
    corner=corner(header),
    rows=tuple(rows),
    caption=(
      f"Of all settings tried, the one of the highest mean {where} accuracy"
      " over trials. Validation accuracy in %: its mean over trials. Test"
      " deviation in points: the standard deviation (n - 1) of its test"
      " accuracy over trials."
    ),
  )


def _method_rows(
  results: Results, summaries: Summaries, method: Named
) -> list[Row]:
  found = [summaries.get((c.id, method.id)) for c in results.columns]
  names = {name: None for s in found if s for name in s.hyperparameters}
  readers: dict[str, Callable[[Summary], str]] = {
    name.replace("_", " "): lambda s, name=name: _short(
      s.hyperparameters.get(name)
    )
    for name in names
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
    cells = tuple(_chosen_cell(summary, read) for summary in found)
    if any(cell.text for cell in cells):
      rows.append(Row(f"{method.title}, {label}", cells, method.id))
  return rows


def _chosen_cell(
  summary: Summary | None, read: Callable[[Summary], str]
) -> TableCell:
  text = read(summary) if summary else ""
  if summary is None or not text:
    return TableCell()
  return TableCell(text, link=summary.cells[0].config)


def _short(value: Any) -> str:
  if value is None:
    return ""
  return f"{value:g}" if isinstance(value, float) else str(value)


def diagnostics_table(results: Results) -> Table:
  """Builds the table of what the students did beside their accuracy.

  Args:
    results: What `results.load` returns.

  Returns:
    A row for each method, over all columns where they are replicates, else for
    each method of each column.
  """
  summaries = summarize(results)
  groups = [("", [column.id for column in results.columns])]
  if results.columns_are == "settings" and len(results.columns) > 1:
    groups = [(column_name(c), [c.id]) for c in results.columns]
  rows = []
  for name, columns in groups:
    found = _diagnostic_rows(results, summaries, name, columns)
    rows += [heading(name, len(_DIAGNOSTICS))] if name and found else []
    rows += found
  return Table(
    title=f"{results.title}: diagnostics{chosen_on(results, summaries)}",
    header=_DIAGNOSTICS,
    rows=tuple(rows),
    caption=(
      "Means over the runs with the chosen hyperparameters. Agreement: test"
      " examples in % on which student and teacher predict the same class."
      " Class and subclass term: the two parts of the training loss at the last"
      " step, not comparable between methods or temperatures. Variance share: %"
      " of the teacher's variance within a class that the chosen directions"
      " carry, mean over classes; null space: % of it that the head does not"
      " see (A-3)."
    ),
  )


def _diagnostic_rows(
  results: Results, summaries: Summaries, name: str, columns: Sequence[str]
) -> list[Row]:
  """Those of some columns: details of their name where they have one."""
  rows = []
  for label, methods in comparisons.teacher_groups(results).items():
    found = [
      teacher
      for column in columns
      for teacher in comparisons.teachers(summaries, column, methods)
    ]
    texts = ("", "", "", "", "", _count(t.num_parameters for t in found))
    if found:
      rows.append(_row(label, texts, name or "teacher", detail=bool(name)))
  for method in results.methods:
    cells = [
      cell
      for column in columns
      if (column, method.id) in summaries
      for cell in summaries[column, method.id].cells
    ]
    if cells:
      texts = _diagnostics(cells)
      rows.append(_row(method.title, texts, name, detail=bool(name)))
  return rows


def _row(
  label: str, texts: Iterable[str], group: str, *, detail: bool = False
) -> Row:
  return Row(label, tuple(TableCell(text) for text in texts), group, detail)


def _diagnostics(cells: Sequence[Cell]) -> tuple[str, ...]:
  return (
    _mean((c.test.agreement for c in cells), lambda x: f"{100 * x:.2f}"),
    _mean((c.train.get("class_term") for c in cells), lambda x: f"{x:.3g}"),
    _mean((c.train.get("subclass_term") for c in cells), lambda x: f"{x:.3g}"),
    _mean((x for c in cells for x in c.variance_share), _percent),
    _mean((x for c in cells for x in c.null_space_share), _percent),
    _count(c.num_parameters for c in cells),
  )


def _mean(values: Iterable[float | None], form: Callable[[float], str]) -> str:
  known = [value for value in values if value is not None]
  return form(estimate(known).mean) if known else ""


def _percent(share: float) -> str:
  return f"{100 * share:.1f}"


def _count(values: Iterable[int | None]) -> str:
  """One number, or a range where the columns differ."""
  known = sorted({value for value in values if value is not None})
  if not known:
    return ""
  if len(known) == 1:
    return f"{known[0]:,}"
  return f"{known[0]:,} to {known[-1]:,}"
