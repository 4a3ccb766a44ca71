"""Clustering of a teacher's embeddings into pseudo-subclasses (section 4.2).

The three algorithms of the paper are agglomerative clustering with complete
linkage, k-means, and k-means on a two-dimensional t-SNE map. A fourth one is
k-means that uses mini-batches for large problems. All of them run on one
thread, so that sums have a fixed order and a seed determines the result.
"""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.cluster.hierarchy import ClusterWarning
from sklearn import cluster as sklearn_cluster
from sklearn import manifold
from sklearn import metrics
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

import lelp_jax
from experiments.data.load import stratified_subset
from experiments.methods.statistics import Clustering

# The largest number of examples that are clustered together. With n examples of
# width D, complete linkage needs 8 n^2 + 12 n D bytes (each distance twice in
# float64, the embeddings in both precisions) and k-means 8 n D bytes (the
# embeddings twice): 1.6 and 1.5 GiB at D = 4096. t-SNE takes minutes.
MAX_POINTS = {
  "agglomerative": 12_000,
  "kmeans": 50_000,
  "tsne_kmeans": 10_000,
  "fast_kmeans": 50_000,
}
_SEED = 0  # Seed of the sample, of k-means and of t-SNE.
_KMEANS_STARTS = 10
# "fast_kmeans" uses mini-batches if both of these numbers are exceeded.
_MOST_ROWS, _MOST_CLUSTERS = 20_000, 49
# Lower bound of the variance within clusters, as a share of the variance within
# classes. It keeps the variance of clusters of equal points positive.
_LEAST_SHARE = 1e-6
_ROWS = 8192  # Rows that are processed at once.
_SILHOUETTE_POINTS = 2000


class Clusterer:
  """Clusters a teacher's embeddings into any number of clusters.

  The tree of complete linkage and the t-SNE map do not depend on the number of
  clusters. The first call computes them, and later calls reuse them.

  If a class (in scope "global": the data set) has more than `MAX_POINTS`
  examples, a sample of that size is clustered. The other examples are assigned
  to the cluster of the nearest centroid or, with t-SNE, whose clusters need not
  be convex, of the nearest clustered example. Both are nearest in the space of
  the embeddings.

  Note:
    Complete linkage's own criterion would assign an example to the cluster
    whose farthest member is nearest. This favours small clusters: with clusters
    fitted to half of scikit-learn's digits, it recovered 56 to 67 % of the
    assignments of the other half, and the nearest centroid 77 to 84 %.
  """

  def __init__(
    self,
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    method: str,
    scope: str,
  ):
    """Checks the embeddings and draws the examples to cluster.

    Args:
      embeddings: The teacher's embeddings, floating point, ``[N, D]``. They may
        be memory-mapped and are clustered in float32.
      labels: Class of each example, int, ``[N]``: the true class (A-18), or the
        class that the teacher predicts.
      num_classes: C.
      method: "agglomerative" (complete linkage), "kmeans", "tsne_kmeans" or
        "fast_kmeans" (mini-batches where there are many rows and clusters).
      scope: "per_class" clusters each class separately, "global" all examples
        together (A-17).

    Raises:
      ValueError: If an embedding is not finite, or t-SNE gets embeddings of
        width one.
    """
    _check_embeddings(embeddings, method)
    self._embeddings, self._labels = embeddings, labels
    self._num_classes, self._method, self._scope = num_classes, method, scope
    self._groups = [np.arange(len(labels))]
    if scope == "per_class":
      self._groups = [np.flatnonzero(labels == c) for c in range(num_classes)]
    most = MAX_POINTS[method]
    self._samples = [
      group[stratified_subset(labels[group], size=most, seed=_SEED)]
      if len(group) > most
      else group
      for group in self._groups
    ]
    self._fits: dict[int, np.ndarray] = {}

  def cluster(self, num_clusters: int, *, targets: str = "hard") -> Clustering:
    """Finds the clusters of each class, or of all classes together.

    Scope "per_class" makes S = ``num_clusters`` clusters in each class: the
    counts of Table 15, and half of the counts of Tables 13 and 14, which are
    totals over two classes (A-17). Scope "global" makes S clusters in total,
    and a class has the clusters of its examples. In both scopes the student's
    head has S outputs per class, a number that is known without a teacher.
    `Clustering.where` says which of them exist. They are fewer than S if there
    are fewer distinct embeddings.

    Hard targets are one-hot. Soft targets are "weighted by teacher
    probabilities" (section 4.2), which we read as :math:`p_{c,s} = p_c [s =
    a_c]` (`clustering.log_soft_targets`). Here :math:`p_c` is the teacher's
    probability of class c, and :math:`a_c` is the cluster of class c that the
    example is in or would be assigned to. In scope "global" an example has the
    same cluster in all classes, and every pair of class and cluster exists.
    """
    everything, soft = np.arange(len(self._labels)), targets == "soft"
    with threadpool_limits(1):
      parts = [
        self._clusters(i, num_clusters, everything if soft else group)
        for i, group in enumerate(self._groups)
      ]
    if self._scope == "global":
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
    summary = {
      "method": self._method,
      "scope": self._scope,
      "seed": _SEED,
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

  def means(self, clustering: Clustering) -> tuple[np.ndarray, float]:
    """Computes the mean of each cluster, and the variance around the means.

    The means are float32, ``[C, S, D]``, and zero where there is no cluster.
    The variance is the mean over all examples and dimensions. It is always
    positive: for clusters of equal points it is a small share of the variance
    within the classes, and for classes of equal points it is one.
    """
    num_classes, size = clustering.where.shape
    shape = (num_classes, size, self._embeddings.shape[1])
    outputs = self._labels * size + clustering.assignments
    counts = np.bincount(outputs, minlength=num_classes * size)
    sums = np.zeros((num_classes * size, shape[-1]))
    parts = [
      slice(start, start + _ROWS) for start in range(0, len(outputs), _ROWS)
    ]
    for part in parts:
      np.add.at(sums, outputs[part], self._rows(part))
    means = sums / np.maximum(counts, 1)[:, None]
    inertia = sum(
      float(np.square(self._rows(part) - means[outputs[part]]).sum())
      for part in parts
    )

    # The variance within classes is the sum of the variances within and between
    # their clusters.
    counts, means = counts.reshape(shape[:2]), means.reshape(shape)
    in_class = np.maximum(counts.sum(axis=1), 1)[:, None]
    centres = sums.reshape(shape).sum(axis=1) / in_class
    squares = np.square(means - centres[:, None]).sum(axis=-1)
    total = inertia + float((counts * squares).sum())
    size = self._embeddings.size
    least = _LEAST_SHARE * total or float(size)
    return means.astype(np.float32), max(inertia, least) / size

  def soft_variance(self, clustering: Clustering, means: np.ndarray) -> float:
    """Computes `lelp_jax.variance_of_perplexity` of clusters with these means.

    It uses at most `_ROWS` examples, evenly spaced.
    """
    rows = np.unique(np.linspace(0, len(self._labels) - 1, _ROWS).astype(int))
    points, labels = self._rows(rows), self._labels[rows]
    distances = np.zeros((len(rows), means.shape[1]), np.float32)
    with threadpool_limits(1):
      for c in np.unique(labels):
        distances[labels == c] = metrics.pairwise.euclidean_distances(
          points[labels == c], means[c], squared=True
        )
    where = jnp.asarray(clustering.where[labels])
    return float(lelp_jax.variance_of_perplexity(jnp.asarray(distances), where))

  def silhouette(self, clustering: Clustering) -> float | None:
    """Returns the mean over the classes of the silhouette score, at most 1.

    It uses at most 2,000 points per class, and is None if no class has several
    clusters.
    """
    scores = []
    for c in range(self._num_classes):
      rows = np.flatnonzero(self._labels == c)
      rows = rows[:: -(-len(rows) // _SILHOUETTE_POINTS) or 1]
      clusters = clustering.assignments[rows]
      if 1 < len(np.unique(clusters)) < len(rows):
        with threadpool_limits(1):
          score = metrics.silhouette_score(self._rows(rows), clusters)
        scores.append(score)
    return float(np.mean(scores)) if scores else None

  def _clusters(
    self, i: int, num_clusters: int, examples: np.ndarray
  ) -> tuple[np.ndarray, int]:
    """Returns the cluster of some examples in group i, and the cluster count.

    The clusters are int32, ``[N]``, and zero for all other examples.
    """
    clusters = np.zeros(len(self._labels), np.int32)
    sample = self._samples[i]
    if not sample.size:
      return clusters, 0
    points = self._rows(sample)
    names, numbers = np.unique(
      self._partition(i, points, num_clusters), return_inverse=True
    )
    clusters[sample] = numbers
    # Each other example gets the cluster of its nearest anchor.
    anchors, owners = points, numbers
    if self._method != "tsne_kmeans":
      owners = np.arange(len(names))
      means = [points[numbers == k].mean(axis=0, dtype=float) for k in owners]
      anchors = np.array(means, np.float32)
    # Any, since scikit-learn's stubs accept no NumPy array of a known dtype.
    nearest: Any = metrics.pairwise_distances_argmin
    rest = np.setdiff1d(examples, sample, assume_unique=True)
    for start in range(0, len(rest), _ROWS):
      part = rest[start : start + _ROWS]
      clusters[part] = owners[nearest(self._rows(part), anchors)]
    return clusters, len(names)

  def _partition(self, i: int, points: np.ndarray, size: int) -> np.ndarray:
    """Clusters the sample of group i, [n, D], into at most `size` clusters."""
    size = _num_distinct(points, most=size)
    if size == 1:
      return np.zeros(len(points), int)
    if self._method == "kmeans":
      return _kmeans(points, size)
    if self._method == "fast_kmeans":
      many = len(points) > _MOST_ROWS and size > _MOST_CLUSTERS
      return _kmeans(points, size, in_batches=many)
    is_tree = self._method == "agglomerative"
    if i not in self._fits:
      self._fits[i] = _tree(points) if is_tree else _map(points)
    fit = self._fits[i]
    return _cut(fit, size) if is_tree else _kmeans(fit.copy(), size)

  def _rows(self, examples: np.ndarray | slice) -> np.ndarray:
    return np.asarray(self._embeddings[examples], np.float32)


def _tree(points: np.ndarray) -> np.ndarray:
  """Returns the merges of complete linkage in order, int [n - 1, 2].

  Merge i joins two earlier nodes into node n + i. The points are nodes 0 to
  n - 1.
  """
  model: Any = sklearn_cluster.AgglomerativeClustering(1, linkage="complete")
  with warnings.catch_warnings():
    # SciPy may take a small symmetric array of points for distances.
    warnings.simplefilter("ignore", ClusterWarning)
    return model.fit(points).children_


def _cut(tree: np.ndarray, num_clusters: int) -> np.ndarray:
  """Undoes the last `num_clusters` - 1 merges; returns clusters, int [n]."""
  num_points = len(tree) + 1
  root = np.arange(2 * num_points - num_clusters)
  for i in reversed(range(num_points - num_clusters)):
    root[tree[i]] = root[num_points + i]
  return root[:num_points]


def _kmeans(
  points: np.ndarray, num_clusters: int, *, in_batches: bool = False
) -> np.ndarray:
  """Returns the clusters of the best of ten k-means runs.

  Centering the points in place may change them by rounding.
  """
  # Any, since the stubs do not accept a number for n_init.
  kinds: Any = sklearn_cluster
  options = {"n_init": _KMEANS_STARTS, "random_state": _SEED}
  model = (
    kinds.MiniBatchKMeans(num_clusters, **options)
    if in_batches
    else kinds.KMeans(num_clusters, copy_x=False, **options)
  )
  with warnings.catch_warnings():
    # Float32 may distinguish fewer points. The summary records the number.
    warnings.simplefilter("ignore", ConvergenceWarning)
    return model.fit(points).labels_


def _map(points: np.ndarray) -> np.ndarray:
  """Returns the t-SNE map, [n, 2], with perplexity 30 from 91 points on."""
  perplexity = min(30.0, (len(points) - 1) / 3)
  tsne: Any = manifold.TSNE
  model = tsne(init="pca", perplexity=perplexity, random_state=_SEED)
  return model.fit_transform(points)


def _num_distinct(points: np.ndarray, *, most: int) -> int:
  """Counts the distinct rows, up to `most`."""
  seen = set()
  for row in points:
    seen.add((row + 0).tobytes())  # Adding 0 turns -0 into 0.
    if len(seen) == most:
      break
  return len(seen)


def _check_embeddings(embeddings: np.ndarray, method: str) -> None:
  """Raises ValueError for embeddings that cannot be clustered."""
  if method == "tsne_kmeans" and embeddings.shape[1] < 2:
    raise ValueError(
      "method 'tsne_kmeans' needs embeddings of width 2 or more, got shape "
      f"{embeddings.shape}."
    )
  for start in range(0, len(embeddings), _ROWS):
    rows = embeddings[start : start + _ROWS]
    bad = ~(np.abs(rows) <= np.finfo(np.float32).max).all(axis=1)
    if bad.any():
      raise ValueError(
        f"embeddings must be finite in float32, but row {start + bad.argmax()} "
        "is not: the teacher diverged."
      )
