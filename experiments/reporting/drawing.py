"""Drawing functions that the report's pictures share, and their style."""

import dataclasses
import pathlib
import textwrap
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from matplotlib.ticker import NullLocator

from experiments.reporting import comparisons
from experiments.reporting import numbers
from experiments.reporting.estimates import Estimate

# The colours of Okabe and Ito, which people with any common colour vision
# deficiency can tell apart.
_COLORS = ("#009E73", "#E69F00", "#CC79A7", "#000000")
_MARKERS = ("^", "D", "v", "P", "X", "<", ">")
# Colours and markers of the methods that most pictures show.
_METHOD_STYLES = {
  comparisons.LELP: {"color": "#D55E00", "marker": "o"},
  "vanilla": {"color": "#0072B2", "marker": "s"},
  "standard": {"color": "#56B4E9", "marker": "p"},
  comparisons.ORACLE: {"color": "#BBBBBB", "marker": "*"},
}
PALETTE = ("#D55E00", "#0072B2", "#56B4E9", *_COLORS)
_DASHES = ("-", "--", ":")
PAPER_COLOR = "#CC79A7"
FAINT = "#555555"
_BASELINE_COLOR = "#009E73"
_OTHER_COLOR = "#E69F00"
_DPI = 150
# Letters per inch of a title and of a legend, and the width of a symbol in the
# legend, in letters.
_TITLE_LETTERS, _LEGEND_LETTERS = 10.0, 14
_LETTERS_PER_HANDLE = 9
# Lines with more points are drawn with a band of errors, without markers.
_MOST_MARKED = 30
_MOST_TICKS = 9
_PANEL_WIDTH, _PANEL_HEIGHT = 3.9, 3.4  # Inches.
_MOST_IN_ROW = 3


@dataclasses.dataclass(frozen=True)
class PlotLine:
  """One line of a plot.

  Attributes:
    label: Label in the legend.
    points: Our estimates, by position on the horizontal axis.
    paper: The paper's numbers, by position.
    links: Paths of the runs' configs, by position, for tables of the same
      numbers.
  """

  label: str
  points: Mapping[float, Estimate]
  paper: Mapping[float, float] = dataclasses.field(default_factory=dict)
  links: Mapping[float, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Plot:
  """One panel of lines.

  Attributes:
    title: Title.
    x_label: Label of the horizontal axis.
    y_label: Label of the vertical axis.
    lines: Its lines, by name. Lines of one name have the same style in all
      panels.
    logarithmic: Whether the horizontal axis is logarithmic.
    zero: Whether a horizontal line marks zero.
    joined: Whether lines join the points.
  """

  title: str
  x_label: str
  y_label: str
  lines: Mapping[str, PlotLine]
  logarithmic: bool = False
  zero: bool = False
  joined: bool = True


def method_color(method: str) -> str:
  """Returns the colour of a method; most baselines share one."""
  if method in _METHOD_STYLES:
    return _METHOD_STYLES[method]["color"]
  return _BASELINE_COLOR if comparisons.is_baseline(method) else _OTHER_COLOR


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
  """Returns colour, marker and dashes of each line, by its name."""
  names = list(dict.fromkeys(names))
  styles: dict[str, dict[str, Any]] = {
    name: style | {"ls": "-"}
    for name, style in _METHOD_STYLES.items()
    if name in names
  }
  colors = _COLORS if styles else PALETTE
  rest = [name for name in names if name not in styles]
  for i, name in enumerate(rest):
    styles[name] = {
      "color": colors[i % len(colors)],
      "marker": _MARKERS[i % len(_MARKERS)],
      "ls": _DASHES[i // len(colors) % len(_DASHES)],
    }
  return styles


def gain_axes(labels: Sequence[str], height: float) -> tuple[Figure, Axes]:
  """Makes an empty picture of gains with one row per label."""
  figure = Figure(figsize=(7.5, height), layout="constrained")
  ax = figure.subplots()
  ax.axvline(0, color=FAINT, lw=1, zorder=1)
  ax.set_yticks(range(len(labels)), labels, fontsize=9)
  ax.set_ylim(len(labels) - 0.5, -0.5)
  ax.set_xlabel("Gain in test accuracy (points)", fontsize=9)
  ax.tick_params(labelsize=9, axis="y", length=0)
  ax.grid(axis="x", color="#E5E5E5", lw=0.7)
  ax.set_axisbelow(True)
  ax.spines[["top", "right", "left"]].set_visible(False)
  return figure, ax


def draw_gain(
  ax: Axes, y: float, gain: Estimate, color: str, **style: Any
) -> None:
  """Draws a gain as a point, and its interval as a line."""
  low, high = gain.interval or (gain.mean, gain.mean)
  ax.plot([low, high], [y, y], color=color, lw=2.2, zorder=2)
  ax.plot(gain.mean, y, "o", color=color, zorder=3, **style)


def write_title(figure: Figure, title: str) -> None:
  """Writes the title of a picture, wrapped to its width."""
  letters = int(_TITLE_LETTERS * figure.get_figwidth())
  figure.suptitle(textwrap.fill(title, letters), fontsize=12)


def finish(
  figure: Figure, path: pathlib.Path, title: str, explanation: str
) -> None:
  """Adds a title above and an explanation below, and saves the picture."""
  write_title(figure, title)
  figure.supxlabel(explanation, fontsize=8, color=FAINT)
  save(figure, path)


def save(figure: Figure, path: pathlib.Path) -> None:
  """Writes a picture as PNG and SVG; equal pictures give equal bytes."""
  figure.savefig(path, dpi=_DPI)
  with matplotlib.rc_context({"svg.hashsalt": "lelp"}):
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def draw_plots(
  plots: Sequence[Plot],
  path: pathlib.Path,
  *,
  title: str,
  explanation: str,
  in_row: int = _MOST_IN_ROW,
  share_y: bool = False,
) -> bool:
  """Draws panels of lines with one legend, and saves the picture.

  Returns False, without writing a file, if there are no plots.
  """
  if not plots:
    return False
  styles = line_styles(name for plot in plots for name in plot.lines)
  columns = min(in_row, len(plots))
  rows = -(-len(plots) // columns)
  width = (0.62 if columns > _MOST_IN_ROW else 1.0) * _PANEL_WIDTH
  figure = Figure(
    figsize=(max(width * columns, 5.0), 0.9 + _PANEL_HEIGHT * rows),
    layout="constrained",
  )
  axes = figure.subplots(
    rows, columns, squeeze=False, sharey="row" if share_y else False
  )
  for i, (ax, plot) in enumerate(zip(axes.flat, plots, strict=False)):
    _draw(ax, plot, styles)
    if not share_y or i % columns == 0:
      ax.set_ylabel(plot.y_label, fontsize=9)
  for ax in axes.flat[len(plots) :]:
    ax.set_axis_off()
  write_title(figure, title)
  handles = _handles(plots, styles)
  longest = max(len(str(handle.get_label())) for handle in handles)
  room = _LEGEND_LETTERS * figure.get_figwidth()
  figure.legend(
    handles=handles,
    loc="outside lower center",
    ncols=max(1, int(room / (longest + _LETTERS_PER_HANDLE))),
    frameon=False,
    fontsize=8.5,
    title=explanation,
    title_fontsize=8,
  )
  save(figure, path)
  return True


def _draw(ax: Axes, plot: Plot, styles: Mapping[str, Any]) -> None:
  """Draws one panel."""
  if plot.zero:
    ax.axhline(0, color=FAINT, lw=1, zorder=1)
  for name, line in plot.lines.items():
    style = styles[name]
    _draw_line(ax, line, style if plot.joined else style | {"ls": ""})
    ax.plot(
      list(line.paper),
      list(line.paper.values()),
      ls="",
      marker=style["marker"],
      ms=8,
      mfc="none",
      mec=style["color"],
      mew=1.3,
      zorder=4,
    )
  if plot.logarithmic:
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_locator(NullLocator())
  places = sorted(
    {x for line in plot.lines.values() for x in (*line.points, *line.paper)}
  )
  if _has_room(places, plot.logarithmic):
    ax.set_xticks(places)
  form = numbers.setting if plot.logarithmic else "{:,.6g}".format
  ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: form(x)))
  ax.set_title(plot.title, fontsize=10)
  ax.set_xlabel(plot.x_label, fontsize=9)
  ax.tick_params(labelsize=8.5)
  ax.grid(axis="y", color="#E5E5E5", lw=0.7)
  ax.set_axisbelow(True)
  ax.spines[["top", "right"]].set_visible(False)


def _draw_line(ax: Axes, line: PlotLine, style: Mapping[str, Any]) -> None:
  if not line.points:
    return
  x = sorted(line.points)
  means = np.array([line.points[place].mean for place in x])
  errors = np.array([line.points[place].standard_error or 0 for place in x])
  if len(x) > _MOST_MARKED:
    color = style["color"]
    ax.plot(x, means, color=color, ls=style["ls"], lw=1.4)
    ax.fill_between(
      x, means - errors, means + errors, color=color, alpha=0.25, lw=0
    )
    return
  ax.errorbar(
    x, means, errors, **style, ms=4.5, lw=1.4, capsize=2.5, elinewidth=1
  )


def _has_room(places: Sequence[float], logarithmic: bool) -> bool:
  """Returns whether ticks at these places fit without overlap."""
  if len(places) > _MOST_TICKS:
    return False
  gaps = np.diff(np.log2(places) if logarithmic else places)
  return not gaps.size or gaps.min() > 0.08 * gaps.sum()


def _handles(plots: Sequence[Plot], styles: Mapping[str, Any]) -> list[Line2D]:
  """Makes the entries of the legend."""
  labels = {name: line.label for p in plots for name, line in p.lines.items()}
  handles = [
    Line2D([], [], label=labels[name], ms=4.5, lw=1.4, **style)
    for name, style in styles.items()
  ]
  if any(line.paper for plot in plots for line in plot.lines.values()):
    hollow = {"marker": "o", "mfc": "none", "mec": "black", "ms": 8}
    handles.append(Line2D([], [], ls="", label="hollow: the paper's", **hollow))
  return handles
