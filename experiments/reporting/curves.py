"""Lines over an axis, with their errors and the paper's numbers beside them."""

import dataclasses
import itertools
import math
import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from matplotlib.ticker import NullLocator

from experiments.reporting import drawing
from experiments.reporting.formats import short
from experiments.reporting.statistics import Estimate

# More points than this have no marker each, and a band instead of whiskers.
_MOST_MARKED = 30
_MOST_TICKS = 9
_PANEL_WIDTH = 3.9
_PANEL_HEIGHT = 3.4
_MOST_IN_ROW = 3
# Of the legend.
_LETTERS_PER_INCH = 14
_LETTERS_PER_HANDLE = 9


@dataclasses.dataclass(frozen=True)
class Line:
  """One line.

  Attributes:
    label: What the legend says.
    points: Where, and what was measured there.
    paper: Where, and the paper's number.
    links: Where, and the config of a run of that point; not drawn.
  """

  label: str
  points: Mapping[float, Estimate]
  paper: Mapping[float, float] = dataclasses.field(default_factory=dict)
  links: Mapping[float, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Plot:
  """One panel.

  Attributes:
    title: What stands above it.
    x_label: What is across.
    y_label: What is upwards.
    lines: Its lines by a name that gives them their style.
    logarithmic: Whether equal steps across are equal factors.
    zero: Whether a line marks zero.
    joined: Whether lines join their points.
  """

  title: str
  x_label: str
  y_label: str
  lines: Mapping[str, Line]
  logarithmic: bool = False
  zero: bool = False
  joined: bool = True


def draw_plots(
  plots: Sequence[Plot],
  path: str | os.PathLike[str],
  *,
  title: str,
  explanation: str,
  in_row: int = _MOST_IN_ROW,
  share_y: bool = False,
) -> None:
  """Draws panels of lines with one legend.

  Args:
    plots: The panels, row by row.
    path: Where the PNG goes, and the SVG beside it.
    title: What stands above all.
    explanation: What whiskers and marks are.
    in_row: Panels in a row at most.
    share_y: Whether the panels of a row share their vertical axis.

  Raises:
    ValueError: If there is no line to draw.
  """
  names = [name for plot in plots for name in plot.lines]
  if not names:
    raise ValueError(f"{title}: there is no run to draw.")
  styles = drawing.line_styles(names)
  columns = min(in_row, len(plots))
  rows = -(-len(plots) // columns)
  narrow = columns > _MOST_IN_ROW
  width = (0.62 if narrow else 1.0) * _PANEL_WIDTH
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
  drawing.write_title(figure, title)
  handles = _handles(plots, styles)
  longest = max(len(str(handle.get_label())) for handle in handles)
  room = _LETTERS_PER_INCH * figure.get_figwidth()
  figure.legend(
    handles=handles,
    loc="outside lower center",
    ncols=max(1, int(room / (longest + _LETTERS_PER_HANDLE))),
    frameon=False,
    fontsize=8.5,
    title=explanation,
    title_fontsize=8,
  )
  drawing.save(figure, path)


def _draw(ax: Axes, plot: Plot, styles: Mapping[str, Any]) -> None:
  if plot.zero:
    ax.axhline(0, color=drawing.FAINT, lw=1, zorder=1)
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
  places = {
    x for line in plot.lines.values() for x in (*line.points, *line.paper)
  }
  if _has_room(sorted(places), plot.logarithmic):
    ax.set_xticks(sorted(places))
  ax.xaxis.set_major_formatter(FuncFormatter(_form(plot.logarithmic)))
  ax.set_title(plot.title, fontsize=10)
  ax.set_xlabel(plot.x_label, fontsize=9)
  ax.tick_params(labelsize=8.5)
  ax.grid(axis="y", color="#E5E5E5", lw=0.7)
  ax.set_axisbelow(True)
  ax.spines[["top", "right"]].set_visible(False)


def _draw_line(ax: Axes, line: Line, style: Mapping[str, Any]) -> None:
  if not line.points:
    return
  x = sorted(line.points)
  means = [line.points[place].mean for place in x]
  errors = [line.points[place].standard_error or 0.0 for place in x]
  if len(x) > _MOST_MARKED:
    ax.plot(x, means, color=style["color"], ls=style["ls"], lw=1.4)
    low = [mean - error for mean, error in zip(means, errors, strict=True)]
    high = [mean + error for mean, error in zip(means, errors, strict=True)]
    ax.fill_between(x, low, high, color=style["color"], alpha=0.25, lw=0)
    return
  ax.errorbar(
    x, means, errors, **style, ms=4.5, lw=1.4, capsize=2.5, elinewidth=1
  )


def _has_room(places: Sequence[float], logarithmic: bool) -> bool:
  """Whether ticks at these places would stand apart."""
  if len(places) > _MOST_TICKS:
    return False
  if logarithmic:
    places = [math.log2(place) for place in places]
  gaps = [b - a for a, b in itertools.pairwise(places)]
  return not gaps or min(gaps) > 0.08 * (places[-1] - places[0])


def _form(logarithmic: bool) -> Callable[[float, int], str]:
  return lambda x, _: short(x) if logarithmic else f"{x:,.6g}"


def _handles(plots: Sequence[Plot], styles: Mapping[str, Any]) -> list[Line2D]:
  labels = {name: line.label for p in plots for name, line in p.lines.items()}
  handles = [
    Line2D([], [], label=labels[name], ms=4.5, lw=1.4, **style)
    for name, style in styles.items()
  ]
  if any(line.paper for plot in plots for line in plot.lines.values()):
    handles.append(
      Line2D(
        [],
        [],
        ls="",
        marker="o",
        mfc="none",
        mec="black",
        ms=8,
        label="hollow: the paper's",
      )
    )
  return handles
