"""Maps of the students' embeddings, as in Figure 4 of the paper."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn import manifold
from threadpoolctl import threadpool_limits

from experiments.reporting import drawing

# The colours of Okabe and Ito, for the classes.
_CLASS_COLORS = (
  "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
)  # fmt: skip
_MARKERS = ("o", "^", "s", "D", "v", "P")
_MAX_LEGEND = 20
_SEED, _PERPLEXITY = 0, 30.0


@dataclasses.dataclass(frozen=True)
class EmbeddingPanel:
  """The embeddings of one student.

  Attributes:
    title: Title of the student.
    embeddings: Embeddings of examples, ``[N, D]``.
    labels: Their classes, int ``[N]``.
    fine: Their fine classes, int ``[N]``; None if they have none.
  """

  title: str
  embeddings: np.ndarray
  labels: np.ndarray
  fine: np.ndarray | None = None


def embedding_maps(
  panels: Sequence[EmbeddingPanel],
  path: pathlib.Path,
  class_names: Sequence[str],
  fine_names: Sequence[str] = (),
) -> None:
  """Draws a t-SNE map of each student, coloured by class.

  If the examples have fine classes, a second row is coloured by these.
  """
  for panel in panels:
    _check(panel)
  # The perplexity must be below the number of examples.
  perplexity = min(_PERPLEXITY, *((len(p.embeddings) - 1) / 3 for p in panels))
  maps = [tsne(p.embeddings, perplexity=perplexity) for p in panels]
  colors = [
    _CLASS_COLORS[c % len(_CLASS_COLORS)] for c in range(len(class_names))
  ]
  fine = fine_colors(fine_names)
  rows = 2 if fine_names else 1
  figure = Figure(
    figsize=(1.4 + 3.0 * len(panels), 0.2 + 3.1 * rows), layout="constrained"
  )
  axes = figure.subplots(rows, len(panels), squeeze=False)
  for column, panel, points in zip(axes.T, panels, maps, strict=True):
    column[0].set_title(panel.title, fontsize=11)
    _scatter(column[0], points, panel.labels, panel.labels, colors)
    if panel.fine is not None:
      _scatter(column[1], points, panel.labels, panel.fine, fine)
  axes[0, 0].set_ylabel("coloured by class", fontsize=10)
  _legend(axes[0, -1], "class", class_names, colors, range(len(class_names)))
  if panels[0].fine is not None:
    axes[1, 0].set_ylabel("coloured by fine class", fontsize=10)
    # A fine class belongs to one class: take that of its first example.
    owners = np.zeros(len(fine_names), int)
    present, first = np.unique(panels[0].fine, return_index=True)
    owners[present] = panels[0].labels[first]
    if len(fine_names) <= _MAX_LEGEND:
      _legend(axes[1, -1], "fine class", fine_names, fine, owners)
  figure.supxlabel(
    f"t-SNE of the students' embeddings of {len(maps[0]):,} examples,"
    f" perplexity {perplexity:.3g}, seed {_SEED}",
    fontsize=8,
    color=drawing.FAINT,
  )
  drawing.save(figure, path)


def _check(panel: EmbeddingPanel) -> None:
  points = panel.embeddings
  if not np.isfinite(points).all() or not np.ptp(points, axis=0).any():
    raise ValueError(
      f"{panel.title}: the embeddings are not finite, or all of them are equal:"
      " the student has diverged or collapsed."
    )


def tsne(embeddings: np.ndarray, *, perplexity: float) -> np.ndarray:
  """Maps embeddings ``[N, D]`` to the plane, ``[N, 2]``."""
  embeddings = np.asarray(embeddings, np.float32)
  # Any: the stubs of scikit-learn do not accept NumPy arrays with a dtype.
  model: Any = manifold.TSNE(
    init="pca", perplexity=perplexity, random_state=_SEED
  )
  # Threads of t-SNE spin while they wait, so that on shared cores one thread is
  # many times faster. It also sums in a fixed order.
  with threadpool_limits(1):
    return model.fit_transform(embeddings)


def fine_colors(names: Sequence[str]) -> list:
  """Returns a colour for each fine class."""
  if len(names) <= len(drawing.PALETTE):
    return list(drawing.PALETTE[: len(names)])
  # Leave out the light end of the colormap, which is hard to see on white.
  return list(colormaps["viridis"](np.linspace(0.0, 0.95, len(names))))


def _scatter(
  ax: Axes,
  points: np.ndarray,
  labels: np.ndarray,
  coloured_by: np.ndarray,
  colors: Sequence,
) -> None:
  size = float(np.clip(10000 / len(points), 3, 18))
  # A random order: no class covers the others.
  order = np.random.default_rng(0).permutation(len(points))
  for label in np.unique(labels):
    chosen = order[labels[order] == label]
    ax.scatter(
      points[chosen, 0],
      points[chosen, 1],
      s=size,
      c=[colors[i] for i in coloured_by[chosen]],
      marker=_MARKERS[int(label) % len(_MARKERS)],
      lw=0,
      alpha=0.85,
      rasterized=True,  # In an SVG they would be megabytes of paths.
    )
  ax.set_xticks([])
  ax.set_yticks([])
  # Equal scales: the shape of a t-SNE map has a meaning, its units have none.
  ax.set_aspect("equal", adjustable="datalim")
  for spine in ax.spines.values():
    spine.set_color("#BBBBBB")


def _legend(
  ax: Axes,
  title: str,
  names: Sequence[str],
  colors: Sequence,
  classes: Iterable[int],
) -> None:
  """Adds a legend of the colours, with the marker of each colour's class."""
  handles = [
    Line2D([], [], color=color, marker=marker, ls="", ms=6, label=name)
    for name, color, c in zip(names, colors, classes, strict=True)
    for marker in [_MARKERS[c % len(_MARKERS)]]
  ]
  ax.legend(
    handles=handles,
    title=title,
    loc="center left",
    bbox_to_anchor=(1.01, 0.5),
    frameon=False,
    fontsize=9,
    title_fontsize=9,
    ncols=math.ceil(len(names) / 10),
  )
