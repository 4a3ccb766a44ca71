"""Maps of the students' embeddings, laid out as Figure 4 of the paper."""

import math
import os
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

# Okabe and Ito for the classes.
_CLASS_COLORS = (
  "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
)  # fmt: skip
_MARKERS = ("o", "^", "s", "D", "v", "P")
_MAX_LEGEND = 20

Panel = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def embedding_maps(
  panels: Sequence[Panel],
  path: str | os.PathLike[str],
  class_names: Sequence[str],
  fine_names: Sequence[str],
  *,
  seed: int = 0,
  perplexity: float = 30.0,
) -> None:
  """Draws a t-SNE map of each student, coloured by class and by fine class.

  Args:
    panels: For each student its title, embeddings `[N, D]`, labels `[N]` and
      fine labels `[N]`.
    path: Where the PNG goes.
    class_names: A name for each label.
    fine_names: A name for each fine label.
    seed: Of the t-SNE.
    perplexity: Of the t-SNE; a third of the examples at most is used.

  Raises:
    ValueError: If a panel's arrays do not belong together.
  """
  if not panels:
    raise ValueError("panels must hold one student or more, got none.")
  for panel in panels:
    _check_panel(*panel, len(class_names), len(fine_names))
  # It must stay below the number of examples.
  perplexity = min(perplexity, *((len(p[1]) - 1) / 3 for p in panels))
  maps = [tsne(p[1], seed=seed, perplexity=perplexity) for p in panels]
  figure = Figure(figsize=(1.4 + 3.0 * len(panels), 6.4), layout="constrained")
  axes = figure.subplots(2, len(panels), squeeze=False)
  for column, (panel, points) in enumerate(zip(panels, maps, strict=True)):
    title, _, labels, fine = panel
    axes[0, column].set_title(title, fontsize=11)
    colors = [_class_color(c) for c in range(len(class_names))]
    _scatter(axes[0, column], points, labels, labels, colors)
    _scatter(axes[1, column], points, labels, fine, _fine_colors(fine_names))
  axes[0, 0].set_ylabel("coloured by class", fontsize=10)
  axes[1, 0].set_ylabel("coloured by fine class", fontsize=10)
  _legends(list(axes[:, -1]), panels, class_names, fine_names)
  sizes = [len(points) for points in maps]
  figure.supxlabel(
    f"t-SNE of the students' embeddings of {_range(sizes)} examples,"
    f" perplexity {perplexity:.3g}, seed {seed}",
    fontsize=8,
    color="#555555",
  )
  drawing.save(figure, path)


def _check_panel(
  title: str,
  embeddings: np.ndarray,
  labels: np.ndarray,
  fine: np.ndarray,
  num_classes: int,
  num_fine: int,
) -> None:
  shape = np.shape(embeddings)
  if len(shape) != 2 or min(shape) < 4:
    raise ValueError(
      f"{title}: embeddings must be [N, D] of 4 or more each, got {shape}."
    )
  if not np.isfinite(embeddings).all() or not np.ptp(embeddings, 0).any():
    raise ValueError(
      f"{title}: embeddings must be finite and not all the same: the student"
      " diverged or is dead."
    )
  for name, values, size in (
    ("labels", labels, num_classes),
    ("fine labels", fine, num_fine),
  ):
    if np.shape(values) != shape[:1]:
      raise ValueError(
        f"{title}: {name} must have shape {shape[:1]}, got {np.shape(values)}."
      )
    if np.min(values) < 0 or np.max(values) >= size:
      raise ValueError(
        f"{title}: {name} must lie in [0, {size}), for which there are names,"
        f" got {np.min(values)} to {np.max(values)}."
      )


def tsne(embeddings: np.ndarray, *, seed: int, perplexity: float) -> np.ndarray:
  """Lays embeddings `[N, D]` out in the plane, `[N, 2]`."""
  embeddings = np.asarray(embeddings, np.float32)
  # Any: the stubs of scikit-learn take no NumPy array of a known dtype.
  model: Any = manifold.TSNE(
    init="pca",
    perplexity=perplexity,
    random_state=seed,
  )
  # Its threads wait for each other by spinning: on cores shared with anything
  # else one thread is many times faster. It also sums in one order.
  with threadpool_limits(1):
    return model.fit_transform(embeddings)


def _range(sizes: Sequence[int]) -> str:
  low, high = f"{min(sizes):,}", f"{max(sizes):,}"
  return low if low == high else f"{low} to {high}"


def _class_color(label: int) -> str:
  return _CLASS_COLORS[label % len(_CLASS_COLORS)]


def _fine_colors(names: Sequence[str]) -> list:
  if len(names) <= len(drawing.PALETTE):
    return list(drawing.PALETTE[: len(names)])
  # Its light end is lost on white. The marker tells the class besides.
  return list(colormaps["viridis"](np.linspace(0.0, 0.95, len(names))))


def _marker(label: int) -> str:
  return _MARKERS[label % len(_MARKERS)]


def _scatter(
  ax: Axes,
  points: np.ndarray,
  labels: np.ndarray,
  coloured_by: np.ndarray,
  colors: Sequence,
) -> None:
  size = float(np.clip(10000 / len(points), 3, 18))
  # In one shuffled order: no class is drawn over the others.
  order = np.random.default_rng(0).permutation(len(points))
  for label in np.unique(labels):
    chosen = order[labels[order] == label]
    ax.scatter(
      points[chosen, 0],
      points[chosen, 1],
      s=size,
      c=[colors[i] for i in coloured_by[chosen]],
      marker=_marker(int(label)),
      lw=0,
      alpha=0.85,
      rasterized=True,  # In an SVG they would be megabytes of paths.
    )
  ax.set_xticks([])
  ax.set_yticks([])
  # The units of a t-SNE map mean nothing, its shape does.
  ax.set_aspect("equal", adjustable="datalim")
  for spine in ax.spines.values():
    spine.set_color("#BBBBBB")


def _legends(
  axes: Sequence[Axes],
  panels: Sequence[Panel],
  class_names: Sequence[str],
  fine_names: Sequence[str],
) -> None:
  _, _, labels, fine = panels[0]
  _legend(
    axes[0],
    "class",
    class_names,
    [_class_color(c) for c in range(len(class_names))],
    [_marker(c) for c in range(len(class_names))],
  )
  if len(fine_names) > _MAX_LEGEND:
    return
  # A fine class lies in one class: the first example says in which.
  owners = [
    int(labels[np.argmax(fine == f)]) if (fine == f).any() else 0
    for f in range(len(fine_names))
  ]
  _legend(
    axes[1],
    "fine class",
    fine_names,
    _fine_colors(fine_names),
    [_marker(owner) for owner in owners],
  )


def _legend(
  ax: Axes,
  title: str,
  names: Sequence[str],
  colors: Sequence,
  markers: Sequence[str],
) -> None:
  handles = [
    Line2D([], [], color=color, marker=marker, ls="", ms=6, label=name)
    for name, color, marker in zip(names, colors, markers, strict=True)
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
