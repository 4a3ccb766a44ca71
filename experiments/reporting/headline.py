"""The main methods over several sweeps: one table, their gains, one picture."""

import dataclasses
import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

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
_LETTERS = 26  # Of a line of a label.


@dataclasses.dataclass(frozen=True)
class Setting:
  """A sweep of one setting, and its name in a report of several."""

  title: str
  results: SweepResults

  @property
  def column(self) -> str | None:
    """Its only column; None for the mean over replicates."""
    columns = self.results.columns
    return columns[0].id if len(columns) == 1 else None


def settings_of(
  titles: Sequence[str], sweeps: Sequence[SweepResults]
) -> list[Setting]:
  """Returns the sweeps of one setting that have the basic methods.

  A sweep without standard training studies something else than the methods.
  """
  return [
    Setting(title, results)
    for title, results in zip(titles, sweeps, strict=True)
    if results.is_one_setting
    and not results.is_smoke
    and all(results.accuracy(None, row) for row in ("standard", "vanilla"))
  ]


def accuracy_table(settings: Sequence[Setting]) -> Table:
  """Returns the accuracies of the main methods, a row per setting."""
  methods = [
    row for row in _ROWS if any(_accuracy(each, row).text for each in settings)
  ]
  students = [row for row in methods if row != comparisons.ORACLE]
  header = ["Teacher", *map(_title, students)]
  if is_bounded := len(students) < len(methods):
    header.append(f"{_title(comparisons.ORACLE)}\n(upper bound)")
  rows = []
  for setting in settings:
    found = mark_cells([_accuracy(setting, row) for row in students])
    if is_bounded:
      found.append(_accuracy(setting, comparisons.ORACLE))
    rows.append(TableRow.of(setting.title, [_teacher(setting), *found]))
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


def gain_table(settings: Sequence[Setting]) -> Table:
  """Returns the gains over vanilla distillation, with both intervals."""
  header, columns = [], []
  for method in _GAINING:
    gains = [_gain(setting, method) for setting in settings]
    if any(gains):
      header.append(f"{_title(method)}\nover repetitions")
      columns.append([_with_interval(gain) for gain in gains])
      over_examples = [_over_examples(each, method) for each in settings]
      if any(over_examples):
        header.append(f"{_title(method)}\nover test examples")
        columns.append([_with_interval(gain) for gain in over_examples])
  rows = [
    TableRow.of(setting.title, [column[number] for column in columns])
    for number, setting in enumerate(settings)
  ]
  return Table(
    title="Gain over vanilla distillation, points",
    header=tuple(header),
    rows=tuple(rows),
    caption=(
      "Mean and 95 % interval. Over repetitions: the t interval of paired "
      "differences over teachers, splits, or the trials of a single teacher. "
      "Over test examples: a paired bootstrap of the same students, whose "
      "interval says what other test examples would change."
    ),
  )


def gain_picture(settings: Sequence[Setting], path: pathlib.Path) -> None:
  """Draws the gains over vanilla distillation, a group of lines per setting."""
  height = 1.4 + 0.75 * len(settings)
  figure = Figure(figsize=(7.5, height), layout="constrained")
  ax = figure.subplots()
  ax.axvline(0, color=drawing.FAINT, lw=1, zorder=1)
  for number, method in enumerate(_GAINING):
    color, label = drawing.PALETTE[number], _title(method)
    for row, setting in enumerate(settings):
      gain = _gain(setting, method)
      if gain is None:
        continue
      y = row + 0.22 * (number - 1)
      low, high = gain.interval or (gain.mean, gain.mean)
      ax.plot([low, high], [y, y], color=color, lw=2.2, zorder=2)
      ax.plot(gain.mean, y, "o", color=color, ms=6, zorder=3, label=label)
      label = "_"
  labels = [textwrap.fill(setting.title, _LETTERS) for setting in settings]
  ax.set_yticks(range(len(settings)), labels, fontsize=9)
  ax.set_ylim(len(settings) - 0.5, -0.5)
  ax.set_xlabel("Gain in test accuracy (points)", fontsize=9)
  ax.tick_params(labelsize=9, axis="y", length=0)
  ax.grid(axis="x", color="#E5E5E5", lw=0.7)
  ax.set_axisbelow(True)
  ax.spines[["top", "right", "left"]].set_visible(False)
  ax.legend(fontsize=8, frameon=False)
  drawing.write_title(figure, "Gain over vanilla distillation")
  figure.supxlabel(
    "Lines: 95 % interval over teachers or splits, or over the trials of one.",
    fontsize=8,
    color=drawing.FAINT,
  )
  drawing.save(figure, path)


def _title(row: str) -> str:
  return "Best feature method" if row == "features" else METHODS[row].title


def _accuracy(setting: Setting, row: str) -> TableCell:
  results = setting.results
  method = _best_feature(setting) if row == "features" else row
  found = method and results.accuracy(setting.column, method)
  if not method or not found:
    return TableCell()
  name = f" ({METHODS[method].title})" if row == "features" else ""
  return TableCell(numbers.number(found, found.n) + name)


def _teacher(setting: Setting) -> str:
  """Returns the accuracy of the teachers that vanilla distillation asks."""
  results = setting.results
  means = [
    100 * found.cells[0].teacher.test.accuracy
    for column in results.columns
    if (found := results.summaries.get((column.id, "vanilla")))
  ]
  found = estimate(means)
  return numbers.number(found, found.n)


def _best_feature(setting: Setting) -> str | None:
  """Returns the method of `_FEATURES` that is best on held-out examples."""
  scores = {}
  for method in _FEATURES:
    found = [
      summary.validation.mean
      for column in setting.results.columns
      if (summary := setting.results.summaries.get((column.id, method)))
      and summary.validation
    ]
    if found:
      scores[method] = float(np.mean(found))
  return max(scores, key=lambda name: scores[name]) if scores else None


def _gain(setting: Setting, method: str) -> Estimate | None:
  return comparisons.difference_of_methods(
    setting.results, setting.column, method, "vanilla"
  )


def _over_examples(setting: Setting, method: str) -> Estimate | None:
  """Returns the gain with a bootstrap interval over test examples.

  None for splits, whose test examples differ.
  """
  if setting.results.repetition == "split":
    return None
  pairs = [
    (comparisons.correct(own.test), comparisons.correct(other.test))
    for column in setting.results.columns
    if (a := setting.results.summaries.get((column.id, method)))
    and (b := setting.results.summaries.get((column.id, "vanilla")))
    for own in a.cells
    for other in b.cells
    if own.trial == other.trial
  ]
  if len({len(each) for pair in pairs for each in pair}) != 1:
    return None
  differences = [own - other for own, other in pairs]
  per_example = 100 * np.mean(differences, axis=0)
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


def _with_interval(gain: Estimate | None) -> str:
  return numbers.with_interval(gain, gain.n) if gain else ""
