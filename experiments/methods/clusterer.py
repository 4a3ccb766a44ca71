"""Pseudo-subclasses found by clustering a teacher's embeddings (section 4.2).

Three ways, as in the paper: agglomerative clustering with complete linkage,
k-means, and k-means on a t-SNE map in the plane. All on one thread: sums then
have one order, and a seed gives one result.
"""

import dataclasses
import warnings
from typing import Any

import numpy as np
from sklearn import cluster as sklearn_cluster
from sklearn import manifold
from sklearn import metrics
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from experiments.data.load import stratified_subset

# How many examples are clustered together; the rest are placed afterwards.
# With n of width D, complete linkage holds 8 n^2 + 12 n D bytes (all distances
# twice in float64, the embeddings in both precisions), k-means 8 n D (for their
# variance a second time): 1.6 and 1.5 GiB at D = 4096. t-SNE takes minutes.
MAX_POINTS = {"agglomerative": 12_000, "kmeans": 50_000, "tsne_kmeans": 10_000}
_KMEANS_STARTS = 10
_ROWS = 8192


@dataclasses.dataclass(frozen=True)
class Clustering:
  """Pseudo-subclasses of N examples, at most S for each of C classes.

  Attributes:
    assignments: Cluster of each example, int32, ``[N]``, in [0, S). The hard
      target is output ``label * S + assignment`` of the student.
    memberships: The cluster each example belongs to, or would, in each class,
      int32, ``[N, C]``; that of its own class is its assignment. None unless
      targets are soft.
    where: Subclasses that exist, bool, ``[C, S]``. A class without examples
      keeps one, so that the student can give it a probability.
    summary: What results record, plain data: "method", "scope", "targets",
      "seed"; "num_clusters", as asked for; "num_subclasses" of each class;
      "sizes", C lists of S, the examples of each; "num_clustered" examples
      were clustered, and "num_placed" given a cluster afterwards.
  """

  assignments: np.ndarray
  memberships: np.ndarray | None
  where: np.ndarray
  summary: dict[str, Any]


class Clusterer:
  """Clusters a teacher's embeddings into any number of clusters.

  What does not depend on that number, the tree of complete linkage and the
  t-SNE map, is computed at the first call and shared by the others.

  Where a class (in scope "global": the data) has more than ``max_points``
  examples, so many are drawn and clustered, and the rest are placed: with the
  nearest centroid, or for t-SNE, whose clusters need not be convex, with the
  nearest clustered example; both in the space of the embeddings. By complete
  linkage's own criterion, the cluster whose farthest member is nearest, small
  clusters take what belongs to large ones: with the clusters of half of
  scikit-learn's digits known it found 56 to 67 % of the others', the nearest
  centroid 77 to 84 %.
  """

  def __init__(
    self,
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    method: str = "agglomerative",
    scope: str = "per_class",
    seed: int = 0,
    max_points: int | None = None,
  ):
    """Checks the data and draws the examples to cluster.

    Args:
      embeddings: The teacher's embeddings, floating point, ``[N, D]``; may be
        memory-mapped, and are read in parts. They are clustered in float32.
      labels: The class of each example, int, ``[N]``: the true one, or the
        teacher's prediction (A-18).
      num_classes: C.
      method: "agglomerative" (complete linkage), "kmeans" or "tsne_kmeans".
      scope: "per_class" clusters each class by itself, "global" all examples
        together (A-17).
      seed: Of the draw, of k-means and of t-SNE.
      max_points: The most examples that are clustered together, by default
        `MAX_POINTS`; in scope "global" every class in its proportion.

    Raises:
      TypeError: If a dtype does not fit, or a size is no int.
      ValueError: If an argument is out of range, shapes do not fit, or an
        embedding is not finite.
    """
    _check_option("method", method, tuple(MAX_POINTS))
    _check_option("scope", scope, ("per_class", "global"))
    _check_at_least("num_classes", num_classes, 1)
    _check_at_least("seed", seed, 0)
    most = MAX_POINTS[method] if max_points is None else max_points
    _check_at_least("max_points", most, 1)
    self._embeddings = _checked(embeddings, method)
    self._labels = np.asarray(labels)
    if self._labels.shape != self._embeddings.shape[:1]:
      raise ValueError(
        f"labels must have shape {self._embeddings.shape[:1]}, one for each "
        f"embedding, got shape {self._labels.shape}."
      )
    _check_labels(self._labels, num_classes)
    self._num_classes = num_classes
    self._options = {"method": method, "scope": scope, "seed": seed}
    self._method, self._seed = method, seed
    classes = [np.flatnonzero(self._labels == c) for c in range(num_classes)]
    everything = [np.arange(len(self._labels))]
    self._groups = classes if scope == "per_class" else everything
    self._samples = [
      group[stratified_subset(self._labels[group], size=most, seed=seed)]
      if len(group) > most
      else group
      for group in self._groups
    ]
    self._fits: dict[int, np.ndarray] = {}

  def cluster(self, num_clusters: int, *, targets: str = "hard") -> Clustering:
    """Finds the clusters of each class, or of all classes together.

    Scope "per_class" makes ``num_clusters`` in each class: the counts of Table
    15, and half of those of Tables 13 and 14, which are totals over two
    classes (A-17). Scope "global" makes ``num_clusters`` in total, and a class
    has those that its examples fall in. In both the student's head has S =
    ``num_clusters`` outputs a class, known without a teacher, and
    `Clustering.where` tells which exist: fewer where there are fewer distinct
    embeddings (the summary says how many).

    Hard targets are one-hot. Soft ones are "weighted by teacher probabilities"
    (section 4.2), which we read as :math:`p_{c,s} = p_c [s = a_c]`
    (`clustering.log_soft_targets`). Here :math:`p_c` is the teacher's
    probability of class c, and :math:`a_c` is the example's membership, the
    cluster of c that it is in or would be placed in. In scope "global" its one
    cluster serves all classes, and every pair exists.

    Args:
      num_clusters: S.
      targets: "hard" or "soft".

    Returns:
      The clusters.

    Raises:
      TypeError: If ``num_clusters`` is no int.
      ValueError: If an argument is out of range.
    """
    _check_at_least("num_clusters", num_clusters, 1)
    _check_option("targets", targets, ("hard", "soft"))
    everything, soft = np.arange(len(self._labels)), targets == "soft"
    with threadpool_limits(1):
      parts = [
        self._clusters(i, num_clusters, everything if soft else group)
        for i, group in enumerate(self._groups)
      ]
    if self._options["scope"] == "global":
      parts *= self._num_classes
    memberships = np.stack([clusters for clusters, _ in parts], axis=1)
    assignments = memberships[everything, self._labels]
    sizes = np.zeros((self._num_classes, num_clusters), int)
    np.add.at(sizes, (self._labels, assignments), 1)
    where = sizes > 0
    if soft:
      where = np.arange(num_clusters) < np.array([[n] for _, n in parts])
    where[:, 0] |= ~where.any(axis=1)
    num_clustered = sum(map(len, self._samples))
    summary = self._options | {
      "targets": targets,
      "num_clusters": num_clusters,
      "num_subclasses": where.sum(axis=1).tolist(),
      "sizes": sizes.tolist(),
      "num_clustered": num_clustered,
      "num_placed": len(everything) - num_clustered,
    }
    return Clustering(
      assignments, memberships if soft else None, where, summary
    )

  def _clusters(
    self, i: int, num_clusters: int, examples: np.ndarray
  ) -> tuple[np.ndarray, int]:
    """Clusters group i: int32 [N], zero except for `examples`, and how many."""
    clusters = np.zeros(len(self._labels), np.int32)
    sample = self._samples[i]
    if not sample.size:
      return clusters, 0
    points = self._rows(sample)
    found = self._partition(i, points, num_clusters)
    names, found = np.unique(found, return_inverse=True)
    clusters[sample] = found
    anchors, owners = points, found
    if self._method != "tsne_kmeans":
      owners = np.arange(len(names))
      means = [points[found == k].mean(axis=0, dtype=float) for k in owners]
      anchors = np.array(means, np.float32)
    # Any: the stubs of scikit-learn take no NumPy array of a known dtype.
    nearest: Any = metrics.pairwise_distances_argmin
    rest = np.setdiff1d(examples, sample, assume_unique=True)
    for start in range(0, len(rest), _ROWS):
      part = rest[start : start + _ROWS]
      clusters[part] = owners[nearest(self._rows(part), anchors)]
    return clusters, len(names)

  def _partition(self, i: int, points: np.ndarray, size: int) -> np.ndarray:
    """Clusters the sample of group i, [n, D], into at most `size`: int [n]."""
    size = _num_distinct(points, most=size)
    if size == 1:
      return np.zeros(len(points), int)
    if self._method == "kmeans":
      return _kmeans(points, size, self._seed)
    tree = self._method == "agglomerative"
    if i not in self._fits:
      self._fits[i] = _tree(points) if tree else _map(points, self._seed)
    fit = self._fits[i]
    return _cut(fit, size) if tree else _kmeans(fit.copy(), size, self._seed)

  def _rows(self, examples: np.ndarray) -> np.ndarray:
    return np.asarray(self._embeddings[examples], np.float32)


def _tree(points: np.ndarray) -> np.ndarray:
  """Merges of complete linkage in their order, int [n - 1, 2].

  Merge i makes node n + i of two nodes before it; the points are the first n.
  """
  model: Any = sklearn_cluster.AgglomerativeClustering(1, linkage="complete")
  return model.fit(points).children_


def _cut(tree: np.ndarray, num_clusters: int) -> np.ndarray:
  """Clusters of the points before the last `num_clusters` - 1 merges."""
  num_points = len(tree) + 1
  root = np.arange(2 * num_points - num_clusters)
  for i in reversed(range(num_points - num_clusters)):
    root[tree[i]] = root[num_points + i]
  return root[:num_points]


def _kmeans(points: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
  """Clusters of k-means, best of ten starts, int [n]; rounds the points."""
  model: Any = sklearn_cluster.KMeans(
    num_clusters, n_init=_KMEANS_STARTS, random_state=seed, copy_x=False
  )
  with warnings.catch_warnings():
    # Too few points that float32 tells apart: the summary has the number.
    warnings.simplefilter("ignore", ConvergenceWarning)
    return model.fit(points).labels_


def _map(points: np.ndarray, seed: int) -> np.ndarray:
  """t-SNE map, [n, 2]; perplexity 30, less for fewer than 91 points."""
  perplexity = min(30.0, (len(points) - 1) / 3)
  tsne: Any = manifold.TSNE
  model = tsne(init="pca", perplexity=perplexity, random_state=seed)
  return model.fit_transform(points)


def _num_distinct(points: np.ndarray, *, most: int) -> int:
  """Number of different rows, counted up to `most`."""
  seen = set()
  for row in points:
    seen.add((row + 0).tobytes())  # Negative zero is zero.
    if len(seen) == most:
      break
  return len(seen)


def _checked(embeddings: Any, method: str) -> np.ndarray:
  """Returns the embeddings as an array, or raises."""
  embeddings = np.asarray(embeddings)
  if not np.issubdtype(embeddings.dtype, np.floating):
    raise TypeError(
      f"embeddings must be floating point, got dtype {embeddings.dtype}."
    )
  least = 2 if method == "tsne_kmeans" else 1
  shape = embeddings.shape
  if len(shape) != 2 or shape[0] < 1 or shape[1] < least:
    raise ValueError(
      f"embeddings must have shape [N, D] with N >= 1 and, for {method}, D >= "
      f"{least}, got shape {shape}."
    )
  for start in range(0, len(embeddings), _ROWS):
    rows = embeddings[start : start + _ROWS]
    bad = ~(np.abs(rows) <= np.finfo(np.float32).max).all(axis=1)
    if bad.any():
      raise ValueError(
        f"embeddings must be finite in float32, and row {start + bad.argmax()} "
        "is not: the teacher diverged."
      )
  return embeddings


def _check_option(name: str, value: str, options: tuple[str, ...]) -> None:
  """Raises ValueError unless `value` is one of `options`."""
  if value not in options:
    raise ValueError(f"{name} must be one of {options}, got {value!r}.")


def _check_at_least(name: str, value: int, least: int) -> None:
  """Raises unless a size is an integer of at least `least`."""
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    raise TypeError(f"{name} must be an int, got {value!r}.")
  if value < least:
    raise ValueError(f"{name} must be at least {least}, got {value}.")


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
  """Raises unless labels are integers in [0, num_classes)."""
  if not np.issubdtype(labels.dtype, np.integer):
    raise TypeError(f"labels must hold integers, got dtype {labels.dtype}.")
  if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
    raise ValueError(
      f"labels must lie in [0, {num_classes}), "
      f"got values from {labels.min()} to {labels.max()}."
    )
