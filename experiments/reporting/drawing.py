"""What the pictures of a report share: colours, marks, and their files."""

import os
import pathlib
import textwrap
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from experiments.reporting import comparisons
from experiments.reporting.paper_comparison import compare
from experiments.reporting.paper_comparison import table_of
from experiments.reporting.records import Results

# Okabe and Ito: told apart with every common colour vision deficiency.
COLORS = ("#009E73", "#E69F00", "#CC79A7", "#000000")
MARKERS = ("^", "D", "v", "P", "X", "<", ">")
# Those that stand in most pictures have their own.
_METHOD_COLORS = {
  comparisons.LELP: "#D55E00",
  "vanilla": "#0072B2",
  "standard": "#56B4E9",
  comparisons.ORACLE: "#BBBBBB",
}
_METHOD_MARKERS = {
  comparisons.LELP: "o",
  "vanilla": "s",
  "standard": "p",
  comparisons.ORACLE: "*",
}
# All of them, for what has no colour of its own.
PALETTE = (*_METHOD_COLORS.values(),)[:3] + COLORS
_DASHES = ("-", "--", ":")
PAPER_COLOR = "#CC79A7"
FAINT = "#555555"
_BASELINE_COLOR = "#009E73"
_OTHER_COLOR = "#E69F00"
_DPI = 150
_LETTERS_PER_INCH = 10.0  # Of a title.

References = Mapping[tuple[str, str], float]


def method_color(method: str) -> str:
  """The colour of a method's bars; baselines share one."""
  if method in _METHOD_COLORS:
    return _METHOD_COLORS[method]
  return _BASELINE_COLOR if comparisons.is_baseline(method) else _OTHER_COLOR


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
  """A colour, a marker and a dash for each of several lines, LELP's first.

  Args:
    names: What the lines are of: methods, or anything else.
  """
  names = list(dict.fromkeys(names))
  known = [name for name in _METHOD_COLORS if name in names]
  styles = {
    name: {
      "color": _METHOD_COLORS[name],
      "marker": _METHOD_MARKERS[name],
      "ls": "-",
    }
    for name in known
  }
  colors = COLORS if known else PALETTE
  rest = [name for name in names if name not in known]
  for i, name in enumerate(rest):
    styles[name] = {
      "color": colors[i % len(colors)],
      "marker": MARKERS[i % len(MARKERS)],
      "ls": _DASHES[i // len(colors) % len(_DASHES)],
    }
  return styles


def paper_references(results: Results) -> References:
  """The paper's accuracies by column and method, where ours are comparable."""
  return {
    (column, method): one.paper.mean
    for (method, column), one in compare(results, table_of(results)).items()
    if one.paper is not None and one.comparable
  }


def write_title(figure: Figure, title: str) -> None:
  """Writes a title above a picture, on as many lines as it needs.

  Args:
    figure: The picture, of its final width.
    title: The title.
  """
  letters = int(_LETTERS_PER_INCH * figure.get_figwidth())
  figure.suptitle(textwrap.fill(title, letters), fontsize=12)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
  """Writes a picture as PNG, and as SVG beside it: the same bytes every time.

  Args:
    figure: The picture.
    path: Where the PNG goes.
  """
  path = pathlib.Path(path)
  figure.savefig(path, dpi=_DPI)
  with matplotlib.rc_context({"svg.hashsalt": "lelp"}):
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
