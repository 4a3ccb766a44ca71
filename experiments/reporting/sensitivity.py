"""How much LELP depends on each of its hyperparameters."""

import collections
import math
import pathlib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

from experiments.reporting import comparisons
from experiments.reporting import curves
from experiments.reporting import settings
from experiments.reporting.formats import short
from experiments.reporting.layout import heading
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.names import column_name
from experiments.reporting.records import Named
from experiments.reporting.records import Results
from experiments.reporting.sentence import in_sentence
from experiments.reporting.statistics import chosen_on
from experiments.reporting.statistics import Estimate
from experiments.reporting.statistics import estimate
from experiments.reporting.statistics import Summary

# By the last part of a config's field; and those that equal factors suit.
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

# What lies between two of these values means nothing.
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


def sensitivity_table(results: Results) -> Table | None:
  """Builds the table of what each hyperparameter of LELP moves.

  Args:
    results: What `results.load` returns.

  Returns:
    A row for each hyperparameter of which several values were tried, in each
    column, or over the replicates. None without any.
  """
  rows, drawn = [], list(_plots(results))
  names = dict.fromkeys(name for plot in drawn for name in plot.lines)
  for name in names:
    of_column = [plot for plot in drawn if name in plot.lines]
    label = of_column[0].lines[name].label
    several = len(names) > 1
    rows += [heading(label, len(_HEADER))] if several else []
    for plot in of_column:
      axis = f"{plot.x_label}{f', {plot.title}' if plot.title else ''}"
      cells = _row_cells(plot.lines[name])
      rows.append(Row(axis, cells, label if several else "", detail=several))
  if not rows:
    return None
  unit = "splits" if _replicates(results) else "trials"
  caption = (
    f"Test accuracy in %, mean over {unit}; range and deviations in points."
    " Each value: with the best setting of the others. Deviations have n - 1;"
    f" that over {unit} is the root of the mean square over the values. Where"
    " the value does nothing, as where one rotation is as good as another, the"
    f" first is at most about the second over the root of the number of {unit}."
  )
  header = [text.replace("trials", unit) for text in _HEADER]
  return Table(
    title=f"{results.title}: sensitivity{_others_chosen_on(results)}",
    header=tuple(header),
    rows=tuple(rows),
    caption=caption,
  )


def _row_cells(line: curves.Line) -> tuple[TableCell, ...]:
  points = line.points
  best = max(points, key=lambda x: points[x].mean)
  worst = min(points, key=lambda x: points[x].mean)
  low, high = points[worst].mean, points[best].mean
  deviations = [p.std for p in points.values() if p.std is not None]
  over = estimate(point.mean for point in points.values()).std
  within = (
    math.sqrt(estimate(s * s for s in deviations).mean) if deviations else None
  )
  return (
    TableCell(f"{len(points)}: {short(min(points))} to {short(max(points))}"),
    TableCell(short(best)),
    TableCell(f"{high:.2f}", link=line.links.get(best, "")),
    TableCell(short(worst)),
    TableCell(f"{low:.2f}", link=line.links.get(worst, "")),
    TableCell(f"{high - low:.2f}"),
    TableCell("" if over is None else f"{over:.2f}"),
    TableCell("" if within is None else f"{within:.2f}"),
  )


def sensitivity_sentence(results: Results) -> str:
  """Says how far the best and the worst value of each lie apart."""
  ranges: dict[str, list[float]] = {}
  for plot in _plots(results):
    for line in plot.lines.values():
      means = [point.mean for point in line.points.values()]
      found = ranges.setdefault(in_sentence(plot.x_label), [])
      found.append(max(means) - min(means))
  amounts = [
    f"{name} {_amount(found)}"
    for name, found in sorted(ranges.items(), key=lambda item: -max(item[1]))
  ]
  if not amounts:
    return ""
  return (
    "From the worst to the best of the values tried, test accuracy changes with"
    f" {', '.join(amounts)}{_others_chosen_on(results)}."
  )


def _amount(ranges: list[float]) -> str:
  low, high = f"{min(ranges):.2f}", f"{max(ranges):.2f}"
  return f"by {low if low == high else f'{low} to {high}'} points"


def sensitivity(results: Results, path: pathlib.Path) -> bool:
  """Draws LELP's accuracy over each hyperparameter of which several were tried.

  At each value stands the best setting of the others. Columns have a line
  each; replicates are averaged.

  Args:
    results: What `results.load` returns.
    path: Where the PNG goes.

  Returns:
    Whether there was anything to draw.
  """
  plots = list(_plots(results))
  if plots:
    curves.draw_plots(
      plots,
      path,
      title=(
        f"{results.title}: one hyperparameter at a time"
        f"{_others_chosen_on(results)}"
      ),
      explanation=(
        "Each point: the best setting of the others. Whiskers: ± 1 standard"
        f" error over {'splits' if _replicates(results) else 'trials'}."
      ),
    )
  return bool(plots)


def _plots(results: Results) -> Iterator[curves.Plot]:
  """A panel for each hyperparameter of each row of LELP that was varied."""
  axes = _axes(results)
  times = collections.Counter(axis for found in axes.values() for axis in found)
  for method, found in axes.items():
    for axis in found:
      lines = _lines(results, method.id, axis)
      if lines:
        yield curves.Plot(
          method.title if times[axis] > 1 else "",
          _LABELS.get(axis, axis.replace("_", " ")),
          "Test accuracy (%)",
          lines,
          axis in _LOGARITHMIC,
          joined=axis not in _UNORDERED,
        )


def _axes(results: Results) -> dict[Named, list[str]]:
  """What was varied in each row of LELP."""
  rows = [m for m in results.methods if m.id.startswith(comparisons.LELP)]
  return {method: settings.varied(results, method.id) for method in rows}


def _others_chosen_on(results: Results) -> str:
  """Where the other hyperparameters were chosen, if there was any choice."""
  runs = {
    (method.id, axis, column.id, value): run
    for method, axes in _axes(results).items()
    for axis in axes
    for column, found in _runs(results, method.id, axis).items()
    for value, run in found.items()
  }
  said = chosen_on(results, runs)
  return said and f", the others{said.removeprefix(',')}"


def _replicates(results: Results) -> bool:
  return results.columns_are == "replicates" and len(results.columns) > 1


def _runs(
  results: Results, method: str, axis: str
) -> dict[Named, dict[float, Summary]]:
  """The best setting at each value, in the columns that have several."""
  found = {
    column: settings.along(results, method, column.id, axis)
    for column in results.columns
  }
  # What is no number has no place on an axis, nor has a single value a slope.
  return {
    column: {x: run for (x,), run in runs.items()}
    for column, runs in found.items()
    if len(runs) > 1 and all(isinstance(x, int | float) for (x,) in runs)
  }


def _lines(results: Results, method: str, axis: str) -> dict[str, curves.Line]:
  """A line for each column, or one over the replicates, by its name."""
  runs = _runs(results, method, axis)
  if _replicates(results) and runs:
    label = f"mean over {len(runs)} split{'s' if len(runs) > 1 else ''}"
    return {"splits": curves.Line(label, _averaged(runs.values()))}
  return {
    column.id: curves.Line(
      column_name(column),
      {x: run.test for x, run in found.items()},
      links={x: run.cells[0].config for x, run in found.items()},
    )
    for column, found in runs.items()
  }


def _averaged(
  runs: Iterable[Mapping[float, Summary]],
) -> dict[float, Estimate]:
  values: dict[float, list[float]] = {}
  for of_column in runs:
    for x, summary in of_column.items():
      values.setdefault(x, []).append(summary.test.mean)
  return {x: estimate(means) for x, means in values.items()}
