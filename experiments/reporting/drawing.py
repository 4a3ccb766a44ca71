"""What the pictures of a report share: colours, marks, and their files."""

import os
import pathlib
from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure

from experiments.reporting import comparisons
from experiments.reporting.paper_comparison import compare
from experiments.reporting.paper_comparison import table_of
from experiments.reporting.records import Results

# Okabe and Ito: told apart with every common colour vision deficiency.
COLORS = (
  "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PAPER_COLOR = "#CC79A7"
FAINT = "#555555"
_METHOD_COLORS = {
  comparisons.LELP: "#D55E00",
  "vanilla": "#0072B2",
  "standard": "#56B4E9",
  comparisons.ORACLE: "#BBBBBB",
}
_BASELINE_COLOR = "#009E73"
_OTHER_COLOR = "#E69F00"
_DPI = 150

References = Mapping[tuple[str, str], float]


def method_color(method: str) -> str:
  """The colour of a method's bars; baselines share one."""
  if method in _METHOD_COLORS:
    return _METHOD_COLORS[method]
  return _BASELINE_COLOR if comparisons.is_baseline(method) else _OTHER_COLOR


def paper_references(results: Results) -> References:
  """The paper's accuracies by column and method, where ours are comparable."""
  return {
    (column, method): one.paper.mean
    for (method, column), one in compare(results, table_of(results)).items()
    if one.paper is not None and one.comparable
  }


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
