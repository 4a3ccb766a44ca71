"""Information of subclasses about hidden classes, against the gain."""

import pathlib

import numpy as np
from matplotlib.figure import Figure

from experiments.reporting import drawing
from experiments.reporting.selection import SweepResults

_LEAST = 6  # Points of a picture that shows anything.
_BASE = "vanilla"


def information_points(
  results: SweepResults,
) -> dict[str, list[tuple[float, float]]]:
  """Returns a point per cell, by the title of its method.

  A point is the adjusted mutual information of the cell's subclasses with the
  fine labels, and its test accuracy minus the mean of vanilla distillation in
  its column, in points.
  """
  base = {
    column: 100 * float(np.mean([c.test.accuracy for c in summary.cells]))
    for (column, method), summary in results.summaries.items()
    if method == _BASE
  }
  found: dict[str, list[tuple[float, float]]] = {}
  for cell in results.cells:
    if cell.subclass_information is not None and cell.column in base:
      gain = 100 * cell.test.accuracy - base[cell.column]
      point = (cell.subclass_information, gain)
      # The rows "kmeans" and "kmeans_5" are one method.
      title = results.method_title(cell.method).partition(": ")[0]
      found.setdefault(title, []).append(point)
  return found


def information_picture(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws these points; returns whether there are enough of them."""
  points = information_points(results)
  if sum(map(len, points.values())) < _LEAST:
    return False
  figure = Figure(figsize=(7.0, 4.4), layout="constrained")
  ax = figure.subplots()
  ax.axhline(0, color=drawing.FAINT, lw=1, zorder=1)
  styles = drawing.line_styles(points)
  for title, found in points.items():
    style = {k: v for k, v in styles[title].items() if k != "ls"}
    x, y = zip(*found, strict=True)
    ax.plot(x, y, ls="", ms=5.5, alpha=0.8, label=title, **style)
  ax.set_xlabel("Adjusted mutual information with the hidden classes")
  ax.set_ylabel("Gain over vanilla distillation (points)")
  ax.spines[["top", "right"]].set_visible(False)
  ax.legend(fontsize=8, frameon=False)
  drawing.write_title(figure, f"{results.title}: a point per student")
  drawing.save(figure, path)
  return True
