"""The headline of a report on several sweeps: how the main methods compare."""

import pathlib
import textwrap
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from experiments.methods import METHODS
from experiments.reporting import comparisons
from experiments.reporting import drawing
from experiments.reporting import numbers
from experiments.reporting.document import Table
from experiments.reporting.document import TableCell
from experiments.reporting.document import TableRow
from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import estimate
from experiments.reporting.selection import SweepResults
from experiments.reporting.tables import mark_cells

_FEATURES = ("embedding", "fitnet", "vid", "rkd", "rkd_distance")
_FEATURES += ("crd", "crd_bank", "info_nce")
_ROWS = ("standard", "vanilla", "subclass", "features", "kmeans", "lelp")
_ROWS += ("lelp_centroids", "oracle")
_GAINING = ("lelp", "lelp_centroids", "kmeans")
_NUM_RESAMPLES = 2000
_LETTERS = 26  # Letters per line of a label.


# Sweeps that each study a single setting, by their titles in the report.
Settings = Mapping[str, SweepResults]


def settings_of(
  titles: Sequence[str], sweeps: Sequence[SweepResults]
) -> Settings:
  """Returns the sweeps that belong in the headline, by title.

  Each has a single setting. A sweep without standard training or vanilla
  distillation does not compare methods and is left out, as are smoke tests.
  """
  return {
    title: results
    for title, results in zip(titles, sweeps, strict=True)
    if results.is_one_setting
    and not results.is_smoke
    and all(results.accuracy(None, row) for row in ("standard", "vanilla"))
  }


def accuracy_table(settings: Settings) -> Table:
  """Builds the table of the main methods' accuracies, one row per setting."""
  methods = [
    row
    for row in _ROWS
    if any(_accuracy(x, row).text for x in settings.values())
  ]
  students = [row for row in methods if row != comparisons.ORACLE]
  header = ["Teacher", *map(_title, students)]
  if is_bounded := len(students) < len(methods):
    header.append(f"{_title(comparisons.ORACLE)}\n(upper bound)")
  rows = []
  for title, results in settings.items():
    cells = mark_cells([_accuracy(results, row) for row in students])
    if is_bounded:
      cells.append(_accuracy(results, comparisons.ORACLE))
    rows.append(TableRow.of(title, [_teacher(results), *cells]))
  return Table(
    title="Test accuracy, percent",
    header=tuple(header),
    rows=tuple(rows),
    caption=(
      "Mean ± standard error over teachers or splits, or over the trials of a "
      "single teacher. Held-out examples choose the hyperparameters of each "
      "method, and the best method that compares features."
    ),
  )


def gain_table(settings: Settings) -> Table:
  """Builds the table of gains over vanilla distillation, with intervals."""
  columns: dict[str, list[Estimate | None]] = {}
  for method in _GAINING:
    gains = [_gain(results, method) for results in settings.values()]
    if any(gains):
      columns[f"{_title(method)}\nover repetitions"] = gains
      gains = [_over_examples(x, method) for x in settings.values()]
      if any(gains):
        columns[f"{_title(method)}\nover test examples"] = gains
  rows = [
    TableRow.of(title, map(numbers.with_interval, gains))
    for title, *gains in zip(settings, *columns.values(), strict=True)
  ]
  return Table(
    title="Gain over vanilla distillation, points",
    header=tuple(columns),
    rows=tuple(rows),
    caption=(
      "Mean and 95 % interval. Over repetitions: the t interval of paired "
      "differences over teachers, splits, or the trials of a single teacher. "
      "Over test examples: a paired bootstrap of the same students, whose "
      "interval says how much the gain could differ on other test examples."
    ),
  )


def gain_picture(settings: Settings, path: pathlib.Path) -> None:
  """Draws the gains over vanilla distillation, with one row per setting."""
  labels = [textwrap.fill(title, _LETTERS) for title in settings]
  figure, ax = drawing.gain_axes(labels, 1.4 + 0.75 * len(settings))
  for number, method in enumerate(_GAINING):
    color, label = drawing.PALETTE[number], _title(method)
    for row, results in enumerate(settings.values()):
      if gain := _gain(results, method):
        y = row + 0.22 * (number - 1)
        drawing.draw_gain(ax, y, gain, color, ms=6, label=label)
        label = "_"
  ax.legend(fontsize=8, frameon=False)
  drawing.finish(
    figure,
    path,
    "Gain over vanilla distillation",
    "Lines: 95 % interval over teachers or splits, or over the trials of one.",
  )


def _title(row: str) -> str:
  return "Best feature method" if row == "features" else METHODS[row].title


def _accuracy(results: SweepResults, row: str) -> TableCell:
  method = _best_feature(results) if row == "features" else row
  accuracy = method and results.accuracy(results.whole, method)
  if not method or not accuracy:
    return TableCell()
  name = f" ({METHODS[method].title})" if row == "features" else ""
  return TableCell(numbers.number(accuracy) + name)


def _teacher(results: SweepResults) -> str:
  """Returns the mean accuracy of the teachers of vanilla distillation."""
  found = comparisons.teacher_accuracies(results, ["vanilla"])
  accuracy = estimate(accuracy.mean for accuracy, _ in found.values())
  return numbers.number(accuracy)


def _best_feature(results: SweepResults) -> str | None:
  """Returns the method of `_FEATURES` that is best on held-out examples."""
  scores = {}
  for method in _FEATURES:
    summaries = results.of_method(method).values()
    means = [x.validation.mean for x in summaries if x.validation]
    if means:
      scores[method] = float(np.mean(means))
  return max(scores, key=lambda name: scores[name]) if scores else None


def _gain(results: SweepResults, method: str) -> Estimate | None:
  return comparisons.difference_of_methods(
    results, results.whole, method, "vanilla"
  )


def _over_examples(results: SweepResults, method: str) -> Estimate | None:
  """Bootstraps the gain over vanilla distillation over test examples.

  Returns None for splits, because their test examples differ.
  """
  if results.repetition == "split":
    return None
  own, other = results.of_method(method), results.of_method("vanilla")
  pairs = [
    [comparisons.correct(evaluation) for evaluation in pair]
    for column, summary in own.items()
    for pair in comparisons.pairs(summary, other.get(column))
  ]
  if len({len(each) for pair in pairs for each in pair}) != 1:
    return None
  per_example = 100 * np.mean([own - other for own, other in pairs], axis=0)
  size = len(per_example)
  if size < 2:
    return None
  rng = np.random.default_rng(0)
  means = [
    per_example[rng.integers(size, size=size)].mean()
    for _ in range(_NUM_RESAMPLES)
  ]
  low, high = np.quantile(means, (0.025, 0.975))
  mean = float(per_example.mean())
  return Estimate(mean, 1, interval=(float(low), float(high)))
