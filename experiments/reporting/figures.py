"""Pictures of a sweep: gains, accuracies, and information of subclasses."""

import dataclasses
import math
import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import comparisons
from experiments.reporting import drawing
from experiments.reporting.comparisons import TEACHER
from experiments.reporting.estimates import estimate
from experiments.reporting.names import column_name
from experiments.reporting.paper_tables import paper_accuracies
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import SweepResults
from experiments.reporting.sentence import in_sentence
from experiments.reporting.tables import column_groups

_TEACHER_COLOR = "#333333"
# Widths in inches: of a page, and of the space beside the bars of a panel.
_PAGE = 11.0
_MARGIN = 1.2
# The least and the greatest width of a bar with the space around it.
_LEAST_PER_BAR = 0.6
_MOST_PER_BAR = 1.15
# Below the first width labels are rotated, below the second their lines are
# longer.
_PER_UPRIGHT_LABEL = 1.0
_PER_TWO_LINES = 0.55
# The picture of information is left out if it would have fewer points.
_LEAST_POINTS = 6


def gain_picture(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws gains over vanilla distillation, ours and the paper's.

  A sweep of one setting has a line per method. A sweep of several settings has
  a line per setting, for LELP alone. If vanilla distillation is not a row of
  the sweep, gains are over standard training. Returns False, without writing a
  file, if we have no gain to draw.
  """
  titles = {method.id: method.title for method in results.methods}
  base = next((m for m in ("vanilla", "standard") if m in titles), None)
  if base is None:
    return False
  if results.is_one_setting:
    lines = [(titles[m], results.whole, m) for m in titles if m != base]
  else:
    lelp = comparisons.LELP
    lines = [(column_name(c), c.id, lelp) for c in results.columns]
  paper = paper_accuracies(results)
  rows = []
  for label, column, method in lines:
    ours = comparisons.difference_of_methods(results, column, method, base)
    theirs = None
    if column and {(column, method), (column, base)} <= paper.keys():
      theirs = paper[column, method] - paper[column, base]
    if ours or theirs is not None:
      rows.append((label, method, ours, theirs))
  estimates = [ours for _, _, ours, _ in rows if ours]
  if not estimates:
    return False
  labels = [label for label, *_ in rows]
  figure, ax = drawing.gain_axes(labels, 1.6 + 0.36 * len(rows))
  for y, (_, method, ours, theirs) in enumerate(rows):
    if ours:
      drawing.draw_gain(ax, y, ours, drawing.method_color(method), ms=7)
    if theirs is not None:
      style = {"mfc": "none", "mec": drawing.PAPER_COLOR, "mew": 1.8, "ms": 9}
      ax.plot(theirs, y, "D", zorder=4, **style)
  unit = f"{results.repetition}s"
  if not any(gain.interval for gain in estimates):
    text = f"One of the {unit} each: no interval."
  elif all(gain.n == 1 for gain in estimates):
    text = "Lines: 95 % interval over test examples, one trial."
  else:
    text = f"Lines: 95 % interval over {unit}."
  if any(theirs is not None for *_, theirs in rows):
    text += " Diamonds: the paper's."
  whose = "" if results.is_one_setting else f" of {titles[comparisons.LELP]}"
  title = f"{results.title}: gain{whose} over {in_sentence(titles[base])}"
  drawing.finish(figure, path, f"{title}{chosen_on(results)}", text)
  return True


def accuracy_bars(results: SweepResults, path: pathlib.Path) -> None:
  """Draws the test accuracy of every method as a bar, as the paper's Figure 3.

  Replicates share one panel: bars are means over them, with a dot for each.
  Otherwise each column has a panel, with means over trials and a dot per trial.
  The paper's accuracies are lines.
  """
  panels = _panels(results)
  num_bars = max(len(panel.values) for panel in panels)
  room = math.floor(_PAGE / (_MARGIN + _LEAST_PER_BAR * num_bars))
  rows = math.ceil(len(panels) / max(1, room))
  in_row = math.ceil(len(panels) / rows)
  width = min(in_row * (_MARGIN + _MOST_PER_BAR * num_bars), _PAGE)
  per_bar = (width / in_row - _MARGIN) / num_bars
  figure = Figure(
    figsize=(max(width, 5.0), 0.7 + 3.9 * rows), layout="constrained"
  )
  axes = figure.subplots(rows, in_row, squeeze=False)
  for ax, panel in zip(axes.flat, panels, strict=False):
    # Narrow bars get fewer lines of label, with more letters per line.
    _draw_panel(
      ax, results, panel, letters=13 if per_bar > _PER_TWO_LINES else 20
    )
    if per_bar < _PER_UPRIGHT_LABEL:
      ax.tick_params(axis="x", labelrotation=90)
  for ax in axes.flat[len(panels) :]:
    ax.set_axis_off()
  legend = _legend(results)
  if any(panel.paper for panel in panels):
    legend += " Pink lines: the paper's."
  title = f"{results.title}: test accuracy{chosen_on(results)}"
  drawing.finish(figure, path, title, legend)


@dataclasses.dataclass(frozen=True)
class _Panel:
  """One panel of bars; all numbers are in percent.

  Attributes:
    title: Title.
    values: Accuracies that the bar of each method averages: the mean of each
      column, or each trial of a single column.
    teacher: Accuracy of the teacher, None if it is unknown.
    paper: The paper's accuracies by method, and that of its teacher.
  """

  title: str
  values: dict[str, list[float]]
  teacher: float | None
  paper: dict[str, float]


def _panels(results: SweepResults) -> list[_Panel]:
  references = paper_accuracies(results)
  methods = [m.id for m in results.methods if m.id != comparisons.SUBCLASS]
  taught = comparisons.teacher_accuracies(results, methods)
  panels = []
  for title, columns in column_groups(results):
    values = {}
    for method in results.methods:
      every = results.of_method(method.id)
      own = [every[column] for column in columns if column in every]
      values[method.id] = (
        [summary.test.mean for summary in own]
        if len(columns) > 1
        else [100 * c.test.accuracy for s in own for c in s.cells]
      )
    if not any(values.values()):
      continue
    paper = {
      method: references[columns[0], method]
      for method in (*values, TEACHER)
      if len(columns) == 1 and (columns[0], method) in references
    }
    values = {m: x for m, x in values.items() if x or m in paper}
    means = [taught[c][0].mean for c in columns if c in taught]
    teacher = estimate(means).mean if means else None
    panels.append(_Panel(title, values, teacher, paper))
  return panels


def _draw_panel(
  ax: Axes, results: SweepResults, panel: _Panel, letters: int
) -> None:
  # The oracle, an upper bound, is the leftmost bar.
  order = sorted(panel.values, key=lambda method: method != comparisons.ORACLE)
  bottom, top = _limits(panel)
  for x, method in enumerate(order):
    if panel.values[method]:
      _draw_bar(ax, x, method, panel.values[method])
    if method in panel.paper:
      _draw_reference(ax, x, panel.paper[method])
  papers = panel.paper.get(TEACHER)
  if panel.teacher is not None:
    _draw_teacher(ax, panel.teacher, f"Teacher\n{panel.teacher:.2f}")
    if papers is not None:
      _draw_reference(ax, len(order) - 0.46, papers, half=0.06)
  elif papers is not None:
    _draw_teacher(ax, papers, f"Teacher\n{papers:.2f}\n(paper)")
  ax.set_title(panel.title, fontsize=10)
  ax.set_ylim(bottom, top)
  ax.set_xlim(-0.6, len(order) - 0.4)
  titles = [
    results.method_title(m) + " (upper bound)" * (m == comparisons.ORACLE)
    for m in order
  ]
  ax.set_xticks(
    range(len(order)),
    [textwrap.fill(t, letters, break_long_words=False) for t in titles],
  )
  ax.tick_params(axis="x", labelsize=8.5, length=0)
  cut = f"\n(axis starts at {bottom:g})" if bottom > 0 else ""
  ax.set_ylabel(f"Test accuracy (%){cut}", fontsize=9)
  ax.spines[["top", "right"]].set_visible(False)


def _draw_teacher(ax: Axes, accuracy: float, text: str) -> None:
  ax.axhline(accuracy, color=_TEACHER_COLOR, lw=1.2, ls="--", zorder=1)
  ax.annotate(
    text,
    xy=(1, accuracy),
    xycoords=("axes fraction", "data"),
    xytext=(4, 0),
    textcoords="offset points",
    va="center",
    fontsize=8,
    color=_TEACHER_COLOR,
    annotation_clip=False,
  )


def _draw_reference(
  ax: Axes, x: float, accuracy: float, half: float = 0.42
) -> None:
  """Draws the paper's number as a line that is a little wider than the bar."""
  for color, width in (("white", 3.4), (drawing.PAPER_COLOR, 2.0)):
    ax.hlines(accuracy, x - half, x + half, color=color, lw=width, zorder=2.5)


def _limits(panel: _Panel) -> tuple[float, float]:
  """Returns the range of the vertical axis, with room for the numbers."""
  shown = [*panel.paper.values()]
  shown += [panel.teacher] if panel.teacher is not None else []
  for group in filter(None, panel.values.values()):
    whole = estimate(group)
    error = whole.standard_error or 0.0
    shown += [*group, whole.mean - error, whole.mean + error]
  low, high = min(shown), max(shown)
  span = max(high - low, 0.5)
  step = 10 ** math.floor(math.log10(span)) / 2
  bottom = math.floor((low - 0.5 * span) / step) * step
  return max(0.0, round(bottom, 6)), high + 0.25 * span


def _draw_bar(ax: Axes, x: int, method: str, values: Sequence[float]) -> None:
  whole = estimate(values)
  oracle = method == comparisons.ORACLE
  ax.bar(
    x,
    whole.mean,
    width=0.68,
    color="#EEEEEE" if oracle else drawing.method_color(method),
    edgecolor="#888888" if oracle else "white",
    hatch="///" if oracle else None,
    zorder=2,
  )
  text, top = f"{whole.mean:.2f}", max(values)
  if (error := whole.standard_error) is not None:
    text += f"\n± {error:.2f}"
    top = max(top, whole.mean + error)
    ax.errorbar(x, whole.mean, error, color="black", capsize=4, zorder=3)
    # Place the dots side by side, so that none hides another.
    n = len(values)
    places = [x + 0.5 * ((i + 0.5) / n - 0.5) for i in range(n)]
    ax.scatter(
      places, values, s=12, c="white", edgecolors="black", lw=0.7, zorder=4
    )
  ax.annotate(
    text,
    xy=(x, top),
    xytext=(0, 5),
    textcoords="offset points",
    ha="center",
    va="bottom",
    fontsize=8.5,
    linespacing=1.1,
    zorder=5,
    # A white box keeps the teacher's line from running through the digits.
    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
  )


def _legend(results: SweepResults) -> str:
  """Explains bars, whiskers and dots."""
  n, unit = results.num_trials, results.repetition
  if results.averages_columns:
    n = len(results.columns)
  if n == 1:
    return "Bars: one trial each, so no error is known."
  return (
    f"Bars: mean over {n} {unit}s. Whiskers: ± 1 standard error."
    f" Dots: one per {unit}."
  )


def information_points(
  results: SweepResults,
) -> dict[str, list[tuple[float, float]]]:
  """Returns the points of `information_picture`, by the title of the method.

  There is a point per cell: the adjusted mutual information of its subclasses
  with the fine labels, and its test accuracy minus the mean of vanilla
  distillation in its column, in points.
  """
  base = {
    column: 100 * float(np.mean([c.test.accuracy for c in summary.cells]))
    for (column, method), summary in results.summaries.items()
    if method == "vanilla"
  }
  points: dict[str, list[tuple[float, float]]] = {}
  for cell in results.cells:
    if cell.subclass_information is not None and cell.column in base:
      gain = 100 * cell.test.accuracy - base[cell.column]
      # Rows of one method are merged: "LELP: wide" counts as "LELP".
      title = results.method_title(cell.method).partition(": ")[0]
      points.setdefault(title, []).append((cell.subclass_information, gain))
  return points


def information_picture(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws each gain against the information on the hidden classes.

  Returns False, without writing a file, if there are too few points.
  """
  points = information_points(results)
  if sum(map(len, points.values())) < _LEAST_POINTS:
    return False
  figure = Figure(figsize=(7.0, 4.4), layout="constrained")
  ax = figure.subplots()
  ax.axhline(0, color=drawing.FAINT, lw=1, zorder=1)
  styles = drawing.line_styles(points)
  for title, own in points.items():
    style = {k: v for k, v in styles[title].items() if k != "ls"}
    x, y = zip(*own, strict=True)
    ax.plot(x, y, ls="", ms=5.5, alpha=0.8, label=title, **style)
  ax.set_xlabel("Adjusted mutual information with the hidden classes")
  ax.set_ylabel("Gain over vanilla distillation (points)")
  ax.spines[["top", "right"]].set_visible(False)
  ax.legend(fontsize=8, frameon=False)
  drawing.write_title(figure, f"{results.title}: a point per student")
  drawing.save(figure, path)
  return True
