"""Sensitivity of LELP to each of its hyperparameters."""

import collections
import math
import pathlib
from collections.abc import Iterator

from experiments.reporting import comparisons
from experiments.reporting import drawing
from experiments.reporting import numbers
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.estimates import estimate
from experiments.reporting.names import column_name
from experiments.reporting.paper_figures import ACCURACY_LABEL
from experiments.reporting.selection import along
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import Summary
from experiments.reporting.selection import SweepResults
from experiments.reporting.selection import varied
from experiments.reporting.sentence import in_sentence
from experiments.results import Heading

# Labels of axes, by the last part of a config field's name.
_LABELS = {
  "num_subclasses": "Number of subclasses S",
  "subclass_temperature": "Subclass temperature β",
  "temperature": "Temperature τ",
  "seed": "Seed of the rotation",
  "subclass_weight": "Weight of the term within classes",
  "num_projections": "Number of projections",
}
_LOGARITHMIC = (
  "num_subclasses",
  "subclass_temperature",
  "temperature",
  "num_projections",
)
# Values that have no order, so that no line joins them.
_UNORDERED = ("seed",)
_HEADER = (
  "values",
  "best value",
  "accuracy there",
  "worst value",
  "accuracy there",
  "range",
  "deviation over values",
  "over trials at one value",
)
# The best setting at each value of a hyperparameter, by column.
_Runs = dict[Heading, dict[float, Summary]]


def sensitivity_table(results: SweepResults) -> Table | None:
  """Builds the table of how much each hyperparameter of LELP matters.

  It has a row for each hyperparameter with several values, per column or over
  the replicates. Returns None if no hyperparameter has several values.
  """
  rows, drawn = [], list(_plots(results))
  names = dict.fromkeys(name for plot in drawn for name in plot.lines)
  several = len(names) > 1
  for name in names:
    plots = [plot for plot in drawn if name in plot.lines]
    label = plots[0].lines[name].label
    rows += [TableRow.heading(label, len(_HEADER))] if several else []
    for plot in plots:
      axis = f"{plot.x_label}{f', {plot.title}' if plot.title else ''}"
      cells = _row_cells(plot.lines[name])
      rows.append(TableRow.of(axis, cells, label if several else "", several))
  if not rows:
    return None
  unit = _unit(results)
  return Table(
    title=f"{results.title}: sensitivity{_others_chosen_on(results)}",
    header=tuple(text.replace("trials", unit) for text in _HEADER),
    rows=tuple(rows),
    caption=(
      f"Test accuracy in %, mean over {unit}; range and deviations in points."
      " Each value with the best setting of the other hyperparameters."
      f" Deviations have n - 1; the one over {unit} is the root mean square"
      " over the values. If a hyperparameter has no effect, as is expected of"
      " the seed of the rotation, the deviation over values is at most about"
      f" the one over {unit} divided by the root of the number of {unit}."
    ),
  )


def _row_cells(line: drawing.PlotLine) -> list[str | TableCell]:
  points = line.points
  best = max(points, key=lambda x: points[x].mean)
  worst = min(points, key=lambda x: points[x].mean)
  low, high = points[worst].mean, points[best].mean
  variances = [p.std**2 for p in points.values() if p.std is not None]
  return [
    f"{len(points)}: {numbers.span(points, numbers.setting)}",
    numbers.setting(best),
    TableCell(f"{high:.2f}", link=line.links.get(best, "")),
    numbers.setting(worst),
    TableCell(f"{low:.2f}", link=line.links.get(worst, "")),
    f"{high - low:.2f}",
    f"{estimate(point.mean for point in points.values()).std:.2f}",
    numbers.mean(variances, lambda x: f"{math.sqrt(x):.2f}"),
  ]


def sensitivity_sentence(results: SweepResults) -> str:
  """Returns a sentence on how much each hyperparameter changes the accuracy."""
  ranges: dict[str, list[float]] = {}
  for plot in _plots(results):
    for line in plot.lines.values():
      means = [point.mean for point in line.points.values()]
      own = ranges.setdefault(in_sentence(plot.x_label), [])
      own.append(max(means) - min(means))
  amounts = []
  for name, own in sorted(ranges.items(), key=lambda item: -max(item[1])):
    amounts.append(f"{name} by {numbers.span(own, '{:.2f}'.format)} points")
  if not amounts:
    return ""
  return (
    "From the worst to the best of the values tried, test accuracy changes with"
    f" {', '.join(amounts)}{_others_chosen_on(results)}."
  )


def sensitivity_picture(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws LELP's accuracy over each hyperparameter with several values.

  Returns False, without writing a file, if there is none.
  """
  return drawing.draw_plots(
    list(_plots(results)),
    path,
    title=(
      f"{results.title}: one hyperparameter at a time"
      f"{_others_chosen_on(results)}"
    ),
    explanation=(
      "Each point: the best setting of the others. Whiskers: ± 1 standard"
      f" error over {_unit(results)}."
    ),
  )


def _plots(results: SweepResults) -> Iterator[drawing.Plot]:
  """Yields a panel per row of LELP and hyperparameter with several values."""
  found = _varied(results)
  num_rows = collections.Counter(axis for _, axis in found)
  for (method, axis), runs in found.items():
    yield drawing.Plot(
      method.title if num_rows[axis] > 1 else "",
      _LABELS.get(axis, axis.replace("_", " ")),
      ACCURACY_LABEL,
      _lines(results, runs),
      axis in _LOGARITHMIC,
      joined=axis not in _UNORDERED,
    )


def _varied(results: SweepResults) -> dict[tuple[Heading, str], _Runs]:
  """Returns the runs of each row of LELP and hyperparameter.

  Columns without several values that are numbers are left out.
  """
  found = {}
  for method in results.methods:
    if method.id != comparisons.LELP and not comparisons.is_ablation(method.id):
      continue
    for axis in varied(results, method.id):
      runs_of = {
        column: along(results, method.id, column.id, axis)
        for column in results.columns
      }
      runs = {
        column: {x: run for (x,), run in runs.items()}
        for column, runs in runs_of.items()
        if len(runs) > 1 and all(isinstance(x, int | float) for (x,) in runs)
      }
      if runs:
        found[method, axis] = runs
  return found


def _others_chosen_on(results: SweepResults) -> str:
  """Returns the end of a title: which examples chose the other settings."""
  every = [
    run
    for runs in _varied(results).values()
    for by_value in runs.values()
    for run in by_value.values()
  ]
  said = chosen_on(results, every)
  return said and f", the others{said.removeprefix(',')}"


def _unit(results: SweepResults) -> str:
  return f"{results.repetition}s"


def _lines(results: SweepResults, runs: _Runs) -> dict[str, drawing.PlotLine]:
  """Returns one line per column, or one line over the replicates, by name."""
  if results.averages_columns:
    plural = "s" if len(runs) > 1 else ""
    label = f"mean over {len(runs)} {results.repetition}{plural}"
    values: dict[float, list[float]] = {}
    for by_value in runs.values():
      for x, summary in by_value.items():
        values.setdefault(x, []).append(summary.test.mean)
    points = {x: estimate(means) for x, means in values.items()}
    return {"splits": drawing.PlotLine(label, points)}
  return {
    column.id: drawing.PlotLine(
      column_name(column),
      {x: run.test for x, run in by_value.items()},
      links={x: run.cells[0].config for x, run in by_value.items()},
    )
    for column, by_value in runs.items()
  }
