"""How much LELP depends on each of its hyperparameters."""

import collections
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from experiments.reporting import comparisons
from experiments.reporting import curves
from experiments.reporting import settings
from experiments.reporting.names import column_name
from experiments.reporting.records import Results
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
  rows = [m for m in results.methods if m.id.startswith(comparisons.LELP)]
  axes = {method: settings.varied(results, method.id) for method in rows}
  times = collections.Counter(axis for found in axes.values() for axis in found)
  plots = []
  for method, found in axes.items():
    for axis in found:
      lines = _lines(results, method.id, axis)
      if lines:
        plots.append(
          curves.Plot(
            method.title if times[axis] > 1 else "",
            _LABELS.get(axis, axis.replace("_", " ")),
            "Test accuracy (%)",
            lines,
            axis in _LOGARITHMIC,
          )
        )
  if plots:
    curves.draw_plots(
      plots,
      path,
      title=f"{results.title}: one hyperparameter at a time",
      explanation=(
        "Each point: the best setting of the others. Whiskers: ± 1 standard"
        f" error over {'splits' if _replicates(results) else 'trials'}."
      ),
    )
  return bool(plots)


def _replicates(results: Results) -> bool:
  return results.columns_are == "replicates" and len(results.columns) > 1


def _lines(results: Results, method: str, axis: str) -> dict[str, curves.Line]:
  """A line for each column, or one over the replicates, by its name."""
  runs = {
    column: settings.along(results, method, column.id, axis)
    for column in results.columns
  }
  # What is no number has no place on an axis, nor has a single value a slope.
  runs = {
    column: found
    for column, found in runs.items()
    if len(found) > 1 and all(isinstance(x, int | float) for (x,) in found)
  }
  if _replicates(results) and runs:
    label = f"mean over {len(runs)} split{'s' if len(runs) > 1 else ''}"
    return {"splits": curves.Line(label, _averaged(runs.values()))}
  return {
    column.id: curves.Line(
      column_name(column), {x: run.test for (x,), run in found.items()}
    )
    for column, found in runs.items()
  }


def _averaged(
  runs: Iterable[Mapping[tuple[Any, ...], Summary]],
) -> dict[float, Estimate]:
  values: dict[float, list[float]] = {}
  for of_column in runs:
    for (x,), summary in of_column.items():
      values.setdefault(x, []).append(summary.test.mean)
  return {x: estimate(means) for x, means in values.items()}
