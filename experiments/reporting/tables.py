"""The tables of a report, laid out as Tables 1 and 3 of the paper."""

from collections.abc import Callable

from experiments.reporting import comparisons
from experiments.reporting.details import diagnostics_table
from experiments.reporting.details import hyperparameter_table
from experiments.reporting.formats import mark_rows
from experiments.reporting.formats import number
from experiments.reporting.formats import with_interval
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.layout import to_markdown
from experiments.reporting.layout import to_text
from experiments.reporting.names import column_header
from experiments.reporting.names import column_name
from experiments.reporting.names import corner
from experiments.reporting.records import Results
from experiments.reporting.sentence import in_sentence
from experiments.reporting.sentence import what_to_read_off
from experiments.reporting.statistics import chosen_on
from experiments.reporting.statistics import estimate
from experiments.reporting.statistics import Summaries
from experiments.reporting.statistics import summarize
from experiments.reporting.statistics import was_chosen

__all__ = [
  "accuracy_table",
  "hyperparameter_table",
  "diagnostics_table",
  "what_to_read_off",
  "to_markdown",
  "to_text",
]


def accuracy_table(results: Results) -> Table:
  """Builds the main table: test accuracies and the gains of LELP.

  Args:
    results: What `results.load` returns.

  Returns:
    A column for each of the sweep's, and one over all where they are
    replicates. Rows: teacher and oracle, the students, the gains.
  """
  summaries = summarize(results)
  students = [m for m in results.methods if m.id != comparisons.ORACLE]
  references = [m for m in results.methods if m.id == comparisons.ORACLE]
  rows = _teacher_rows(results, summaries)
  for method in references:
    label = f"{method.title} (upper bound)"
    cells = _accuracy_cells(results, summaries, method.id)
    rows.append(Row(label, cells, "references"))
  ranked = [
    Row(m.title, _accuracy_cells(results, summaries, m.id), "students")
    for m in students
  ]
  rows += mark_rows(ranked)
  rows += _gain_rows(results, summaries)
  header = [column_header(column) for column in results.columns]
  corner_text = corner(tuple(header))
  if _has_overall(results):
    header.append(_overall_title(results))
  return Table(
    title=f"{results.title}: test accuracy{chosen_on(results, summaries)}",
    header=tuple(header),
    rows=tuple(rows),
    caption=_caption(results, summaries),
    notes=(
      *_best_baseline_notes(results, summaries),
      *_missing_notes(results, summaries),
      *_replicate_notes(results),
      *results.notes,
    ),
    corner=corner_text,
  )


def _has_overall(results: Results) -> bool:
  return results.columns_are == "replicates" and len(results.columns) > 1


def _overall_title(results: Results) -> str:
  return f"all {len(results.columns)} splits"


def _accuracy_cells(
  results: Results, summaries: Summaries, method: str
) -> tuple[TableCell, ...]:
  cells = []
  for column in results.columns:
    summary = summaries.get((column.id, method))
    text, link = results.same_as.get((column.id, method), ""), ""
    if summary:
      text = number(summary.test, results.num_trials)
      link = summary.cells[0].config
    cells.append(TableCell(text, link=link))
  if _has_overall(results):
    whole = comparisons.over_columns(results, summaries, method)
    text = number(whole, len(results.columns)) if whole else ""
    cells.append(TableCell(text))
  return tuple(cells)


def _teacher_rows(results: Results, summaries: Summaries) -> list[Row]:
  """The teacher, and the one that Subclass Distillation trains for itself."""
  rows = []
  for label, methods in comparisons.teacher_groups(results).items():
    cells, means = [], []
    for column in results.columns:
      found = comparisons.teachers(summaries, column.id, methods)
      text, link = "", ""
      if found:
        whole = estimate(100 * teacher.test.accuracy for teacher in found)
        means.append(whole.mean)
        text, link = number(whole, whole.n), found[0].config
      cells.append(TableCell(text, link=link))
    if _has_overall(results):
      text = number(estimate(means), len(results.columns)) if means else ""
      cells.append(TableCell(text))
    if means:
      rows.append(Row(label, tuple(cells), "references"))
  return rows


def _gain_rows(results: Results, summaries: Summaries) -> list[Row]:
  """LELP minus the best of its rivals, vanilla distillation and standard."""
  titles = {m.id: in_sentence(m.title) for m in results.methods}
  names = {
    "gain_best": "best baseline",
    "gain_non_subclass": (
      f"best baseline without {titles.get(comparisons.SUBCLASS)}"
    ),
    "gain_clustering": "best clustering",
  } | {f"gain_{method}": title for method, title in titles.items()}
  lelp = dict((m.id, m.title) for m in results.methods).get(comparisons.LELP)
  return [
    Row(
      f"{lelp} - {names[gain]}",
      _gain_cells(results, summaries, among),
      "gains",
    )
    for gain, among in comparisons.rivals(results).items()
  ]


def _gain_cells(
  results: Results, summaries: Summaries, among: Callable[[str], bool]
) -> tuple[TableCell, ...]:
  places: list[tuple[str | None, int]] = [
    (column.id, results.num_trials) for column in results.columns
  ]
  if _has_overall(results):
    places.append((None, len(results.columns)))
  gains = [
    (comparisons.gain(results, summaries, column, among), expected)
    for column, expected in places
  ]
  return tuple(
    TableCell(with_interval(gain, expected) if gain else "")
    for gain, expected in gains
  )


def _best_baseline_notes(results: Results, summaries: Summaries) -> list[str]:
  """Says which baseline is the best one, for each column."""
  titles = {column.id: column_name(column) for column in results.columns}
  best = {
    title: comparisons.best(results, summaries, column)
    for column, title in titles.items()
  }
  if _has_overall(results):
    whole = comparisons.best(results, summaries)
    best[_overall_title(results)] = whole
  where: dict[str, list[str]] = {}
  for title, method in best.items():
    if method is not None:
      where.setdefault(results.method_title(method), []).append(title)
  # Names of the paper's columns have commas in them.
  comma = "; " if any("," in title for title in titles.values()) else ", "
  named = "; ".join(
    f"{method} ({comma.join(at) if len(where) > 1 else 'every column'})"
    for method, at in where.items()
  )
  return [f"Best baseline by test accuracy: {named}."] if where else []


def _missing_notes(results: Results, summaries: Summaries) -> list[str]:
  """Names what nothing is there of, where something is missing at all."""
  if not results.num_missing:
    return []
  absent = {}
  for method in results.methods:
    missing = [
      column_name(column)
      for column in results.columns
      if (column.id, method.id) not in summaries
      and (column.id, method.id) not in results.same_as
    ]
    if missing:
      everywhere = len(missing) == len(results.columns)
      where = "every column" if everywhere else "; ".join(missing)
      absent[method.title] = where
  named = ", ".join(f"{method} ({where})" for method, where in absent.items())
  return [f"Nothing is there yet of {named}."] if absent else []


def _replicate_notes(results: Results) -> list[str]:
  if not _has_overall(results):
    return []
  return [
    "The splits share the examples of one data set: intervals over splits are"
    " for a new split of this data set and somewhat too narrow."
  ]


def _caption(results: Results, summaries: Summaries) -> str:
  """Says what every number of the main table is."""
  trials = results.num_trials
  text = "Test accuracy in % after the last step"
  if trials > 1:
    text += f": mean ± standard error over {trials} trials"
    if any(summary.test.n != trials for summary in summaries.values()):
      text += " (n=: over that many)"
  else:
    text += ", one trial, so no error"
  text += f". {_selection(results, summaries)}"
  if comparisons.rivals(results):
    text += " Gains in points, paired by trial"
    text += ", in brackets their 95 % interval." if trials > 1 else "."
  if _has_overall(results):
    text += (
      f" Last column: mean ± standard error over the {len(results.columns)}"
      " splits' means, gains paired by split."
    )
  return text


def _selection(results: Results, summaries: Summaries) -> str:
  if not was_chosen(summaries):
    return "One setting of each method: nothing was chosen."
  if results.selection == "test":
    return (
      "Hyperparameters chosen on the TEST data, as in the paper:"
      " the numbers are optimistic."
    )
  return "Hyperparameters chosen on held-out validation data."
