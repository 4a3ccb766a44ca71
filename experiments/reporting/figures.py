"""The pictures of a report, laid out as Figures 3 and 4 of the paper."""

import math
import os
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reporting import comparisons
from experiments.reporting.embeddings import embedding_maps
from experiments.reporting.records import Results
from experiments.reporting.statistics import Estimate
from experiments.reporting.statistics import estimate
from experiments.reporting.statistics import Summaries
from experiments.reporting.statistics import summarize

__all__ = ["accuracy_bars", "embedding_maps"]

# Okabe and Ito: told apart with every common colour vision deficiency.
_COLORS = {
  comparisons.LELP: "#D55E00",
  "vanilla": "#0072B2",
  "standard": "#56B4E9",
  comparisons.ORACLE: "#BBBBBB",
}
_BASELINE_COLOR = "#009E73"
_OTHER_COLOR = "#E69F00"
_TEACHER_COLOR = "#333333"
_DPI = 150
# Inches: a page, what surrounds the bars of a panel, and a bar with the number
# above it and the label below it.
_PAGE = 11.0
_MARGIN = 1.2
_LEAST_PER_BAR = 0.6
_MOST_PER_BAR = 1.15
_PER_UPRIGHT_LABEL = 1.0
_PER_TWO_LINES = 0.55


def accuracy_bars(results: Results, path: str | os.PathLike[str]) -> None:
  """Draws the test accuracy of every method as bars, as the paper's Figure 3.

  Replicates give one panel: bars over the splits with a dot for each split.
  Settings give a panel each: bars over the trials with a dot for each trial.

  Args:
    results: What `results.load` returns.
    path: Where the PNG goes.

  Raises:
    ValueError: If there is no run to draw.
  """
  summaries = summarize(results)
  panels = _panels(results, summaries)
  if not panels:
    raise ValueError(f"{results.name} holds no run to draw: run the sweep.")
  num_bars = max(len(values) for _, values, _ in panels)
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
    # Upright, a label has as many lines as fit the width of a bar.
    _draw_panel(
      ax, results, *panel, letters=13 if per_bar > _PER_TWO_LINES else 20
    )
    if per_bar < _PER_UPRIGHT_LABEL:
      ax.tick_params(axis="x", labelrotation=90)
  for ax in axes.flat[len(panels) :]:
    ax.set_axis_off()
  figure.suptitle(f"{results.title}: test accuracy", fontsize=12)
  figure.supxlabel(_legend(results), fontsize=8, color="#555555")
  figure.savefig(path, dpi=_DPI)


Panel = tuple[str, dict[str, list[float]], float | None]


def _panels(results: Results, summaries: Summaries) -> list[Panel]:
  """Title, values of each method, and the teacher, of each panel."""
  if results.columns_are == "replicates" and len(results.columns) > 1:
    groups = [("", [column.id for column in results.columns])]
  else:
    titled = len(results.columns) > 1
    groups = [(c.title if titled else "", [c.id]) for c in results.columns]
  panels = []
  for title, columns in groups:
    values = {}
    for method in results.methods:
      found = [
        summaries[column, method.id]
        for column in columns
        if (column, method.id) in summaries
      ]
      if len(columns) > 1:
        values[method.id] = [summary.test.mean for summary in found]
      else:
        values[method.id] = [
          100 * cell.test.accuracy for s in found for cell in s.cells
        ]
    values = {method: x for method, x in values.items() if x}
    if values:
      teacher = _teacher(results, summaries, columns)
      panels.append((title, values, teacher))
  return panels


def _teacher(
  results: Results, summaries: Summaries, columns: Sequence[str]
) -> float | None:
  methods = comparisons.teacher_groups(results)["Teacher"]
  means = []
  for column in columns:
    found = comparisons.teachers(summaries, column, methods)
    if found:
      means.append(estimate(100 * t.test.accuracy for t in found).mean)
  return estimate(means).mean if means else None


def _draw_panel(
  ax: Axes,
  results: Results,
  title: str,
  values: dict[str, list[float]],
  teacher: float | None,
  letters: int,
) -> None:
  # The upper bound stands apart, at the left.
  order = sorted(values, key=lambda method: method != comparisons.ORACLE)
  bottom, top = _limits(values, teacher)
  for x, method in enumerate(order):
    _draw_bar(ax, x, method, values[method])
  if teacher is not None:
    ax.axhline(teacher, color=_TEACHER_COLOR, lw=1.2, ls="--", zorder=1)
    ax.annotate(
      f"Teacher\n{teacher:.2f}",
      xy=(1, teacher),
      xycoords=("axes fraction", "data"),
      xytext=(4, 0),
      textcoords="offset points",
      va="center",
      fontsize=8,
      color=_TEACHER_COLOR,
      annotation_clip=False,
    )
  ax.set_title(title, fontsize=10)
  ax.set_ylim(bottom, top)
  ax.set_xlim(-0.6, len(order) - 0.4)
  ax.set_xticks(
    range(len(order)), [_bar_label(results, m, letters) for m in order]
  )
  ax.tick_params(axis="x", labelsize=8.5, length=0)
  cut = f"\n(axis starts at {bottom:g})" if bottom > 0 else ""
  ax.set_ylabel(f"Test accuracy (%){cut}", fontsize=9)
  ax.spines[["top", "right"]].set_visible(False)


def _limits(
  values: dict[str, list[float]], teacher: float | None
) -> tuple[float, float]:
  """A range that shows the differences and leaves room for the numbers."""
  shown = [x for group in values.values() for x in group]
  shown += [teacher] if teacher is not None else []
  low, high = min(shown), max(shown)
  for group in values.values():
    whole = estimate(group)
    low = min(low, whole.mean - (whole.standard_error or 0.0))
    high = max(high, whole.mean + (whole.standard_error or 0.0))
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
    color="#EEEEEE" if oracle else _color(method),
    edgecolor="#888888" if oracle else "white",
    hatch="///" if oracle else None,
    zorder=2,
  )
  if whole.standard_error is not None:
    ax.errorbar(
      x, whole.mean, whole.standard_error, color="black", capsize=4, zorder=3
    )
    # Side by side in the order of the splits, so that none hides another.
    n = len(values)
    places = [x + 0.5 * ((i + 0.5) / n - 0.5) for i in range(n)]
    ax.scatter(
      places, values, s=12, c="white", edgecolors="black", lw=0.7, zorder=4
    )
  _write_number(ax, x, whole, max(values))


def _write_number(ax: Axes, x: int, whole: Estimate, highest: float) -> None:
  error = whole.standard_error
  text = f"{whole.mean:.2f}" + ("" if error is None else f"\n± {error:.2f}")
  ax.annotate(
    text,
    xy=(x, max(highest, whole.mean + (error or 0.0))),
    xytext=(0, 5),
    textcoords="offset points",
    ha="center",
    va="bottom",
    fontsize=8.5,
    linespacing=1.1,
    zorder=5,
    # The teacher's line must not run through the digits.
    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
  )


def _color(method: str) -> str:
  if method in _COLORS:
    return _COLORS[method]
  return _BASELINE_COLOR if comparisons.is_baseline(method) else _OTHER_COLOR


def _bar_label(results: Results, method: str, letters: int) -> str:
  title = results.method_title(method)
  if method == comparisons.ORACLE:
    title += " (upper bound)"
  return textwrap.fill(title, letters, break_long_words=False)


def _legend(results: Results) -> str:
  """Says what bars, whiskers and dots are."""
  if results.columns_are == "replicates" and len(results.columns) > 1:
    n, what = len(results.columns), "splits"
  else:
    n, what = results.num_trials, "trials"
  if n == 1:
    return "Bars: one trial each, so no error is known."
  return (
    f"Bars: mean over {n} {what}. Whiskers: ± 1 standard error."
    f" Dots: the single {what}."
  )
