"""Clusters of embeddings: scikit-learn's and SciPy's, within their memory."""

import pathlib
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from scipy.cluster import hierarchy
from sklearn import cluster as sklearn_cluster
from sklearn import datasets
from sklearn import manifold
from sklearn import metrics
from threadpoolctl import threadpool_limits

from experiments.methods import clusterer as clusterer_lib
from experiments.methods.clusterer import Clusterer
from tests import reference

METHODS = tuple(clusterer_lib.MAX_POINTS)


def make(embeddings, labels, method, *, num_classes=2, scope="per_class"):
  return Clusterer(
    embeddings, labels, num_classes=num_classes, method=method, scope=scope
  )


@pytest.fixture
def at_most(monkeypatch):
  """Sets the number of examples that are clustered together."""

  def set_most(number):
    most = dict.fromkeys(METHODS, number)
    monkeypatch.setattr(clusterer_lib, "MAX_POINTS", most)

  return set_most


def blobs(sizes=((12, 18), (15, 9, 11)), width=5, seed=0):
  """Well separated blobs, shuffled: embeddings, labels, blob in the class."""
  rng = np.random.default_rng(seed)
  parts = []
  for label, counts in enumerate(sizes):
    for blob, count in enumerate(counts):
      center = rng.normal(size=width) * 100
      points = center[None] + rng.normal(size=(count, width))
      parts += [(point, label, blob) for point in points]
  order = rng.permutation(len(parts))
  points, labels, blob = zip(*(parts[i] for i in order), strict=True)
  return np.array(points, np.float32), np.array(labels), np.array(blob)


def same_partition(a, b):
  """Whether two labelings differ in their names alone."""
  pairs = set(zip(np.ravel(a), np.ravel(b), strict=True))
  return len(pairs) == len(np.unique(a)) == len(np.unique(b))


@pytest.fixture(scope="module")
def digits():
  images, digit = datasets.load_digits(return_X_y=True)
  return np.float32(images), digit % 2, digit


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("most", [1000, 20])
def test_separated_blobs_are_found(method, most, at_most):
  at_most(most)
  embeddings, labels, blob = blobs()
  # As many clusters as each class has blobs, so one class at a time.
  for label, count in enumerate((2, 3)):
    own = labels == label
    one = np.zeros(own.sum(), int)
    found = make(embeddings[own], one, method, num_classes=1).cluster(count)
    assert same_partition(found.assignments, blob[own])
    assert found.assignments.dtype == np.int32
    assert found.where.tolist() == [[True] * count]
    clustered = min(own.sum(), most)
    assert found.summary["num_clustered"] == clustered
    assert found.summary["num_placed"] == own.sum() - clustered


@pytest.mark.parametrize("method", METHODS)
def test_the_global_scope_clusters_classes_together(method):
  embeddings, labels, blob = blobs(((12, 18), (15,)))
  # Two examples of class 1 among those of class 0's first blob.
  moved = np.flatnonzero((labels == 0) & (blob == 0))[:2]
  labels[moved] = 1
  clusterer = make(embeddings, labels, method, num_classes=3, scope="global")
  found = clusterer.cluster(3)
  original = np.where(labels == 1, 2, blob)
  original[moved] = 0
  assert same_partition(found.assignments, original)
  # Class 0 has two of the three clusters, class 1 two, class 2 no example.
  assert found.summary["num_subclasses"] == [2, 2, 1]
  assert found.where[2].tolist() == [True, False, False]
  sizes = np.array(found.summary["sizes"])
  assert sorted(sizes[0]) == [0, 10, 18]
  assert sorted(sizes[1]) == [0, 2, 15]
  np.testing.assert_array_equal(found.where[:2], sizes[:2] > 0)


@pytest.mark.parametrize("num_clusters", [2, 7, 40])
def test_agglomerative_equals_scipy(digits, num_clusters):
  embeddings, labels, _ = (array[:500] for array in digits)
  found = make(embeddings, labels, "agglomerative").cluster(num_clusters)
  for label in range(2):
    tree = hierarchy.linkage(embeddings[labels == label], "complete")
    expected = hierarchy.cut_tree(tree, num_clusters)
    assert same_partition(found.assignments[labels == label], expected)


def test_tsne_kmeans_equals_scikit_learn(digits):
  embeddings = digits[0][:100]
  one = np.zeros(100, int)
  found = make(embeddings, one, "tsne_kmeans", num_classes=1).cluster(6)
  with threadpool_limits(1):
    tsne = manifold.TSNE(init="pca", perplexity=30, random_state=0)
    plane = tsne.fit_transform(embeddings)
    model = sklearn_cluster.KMeans(6, n_init=10, random_state=0)
    expected = model.fit_predict(plane)
  np.testing.assert_array_equal(found.assignments, expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_is_repeatable_and_shared(digits, method, monkeypatch, at_most):
  at_most(30)
  embeddings, labels, _ = (array[:100] for array in digits)
  calls = []
  for name in ("_tree", "_map"):
    fit = getattr(clusterer_lib, name)
    monkeypatch.setattr(
      clusterer_lib, name, lambda *a, fit=fit: calls.append(1) or fit(*a)
    )
  clusterer = make(embeddings, labels, method)
  first = clusterer.cluster(9)
  clusterer.cluster(4)
  assert len(calls) == (2 if method in ("agglomerative", "tsne_kmeans") else 0)
  again = make(embeddings, labels, method).cluster(9)
  np.testing.assert_array_equal(first.assignments, again.assignments)
  assert first.summary == again.summary


@pytest.mark.parametrize("scope", ["per_class", "global"])
@pytest.mark.parametrize("method", METHODS)
def test_placed_examples_join_the_nearest(digits, method, scope, at_most):
  at_most(50)
  embeddings, labels, _ = (array[:200] for array in digits)
  clusterer = make(embeddings, labels, method, scope=scope)
  found = clusterer.cluster(4)
  for group, sample in zip(clusterer._groups, clusterer._samples, strict=True):
    assert len(sample) == 50
    share = np.bincount(labels[group], minlength=2) / len(group)
    drawn = np.bincount(labels[sample], minlength=2)
    assert np.abs(drawn - 50 * share).max() <= 1
    names = found.assignments[sample]
    anchors, owners = embeddings[sample], names
    if method != "tsne_kmeans":
      owners = np.arange(4)
      anchors = np.stack([anchors[names == k].mean(axis=0) for k in owners])
    for example in np.setdiff1d(group, sample):
      distances = np.linalg.norm(embeddings[example][None] - anchors, axis=1)
      assert found.assignments[example] == owners[distances.argmin()]


@pytest.mark.parametrize("method", METHODS)
def test_soft_targets_have_a_cluster_in_each_class(method):
  # Class 1 has a point in each blob of class 0, and the other way around.
  centers = np.array([[0, 0], [50, 0], [0, 50]], np.float32)
  # Blobs larger than the perplexity of 30: t-SNE tells them apart.
  noise = np.random.default_rng(0).normal(size=(240, 2))
  embeddings = np.float32(np.tile(centers, (80, 1)) + noise)
  labels = np.repeat([0, 1], 120)
  hard, soft = (
    make(embeddings, labels, method).cluster(3, targets=targets)
    for targets in ("hard", "soft")
  )
  assert hard.memberships is None
  np.testing.assert_array_equal(hard.assignments, soft.assignments)
  np.testing.assert_array_equal(hard.where, soft.where)
  own = soft.memberships[np.arange(240), labels]
  np.testing.assert_array_equal(own, soft.assignments)
  for label in range(2):
    assert same_partition(soft.memberships[:, label], np.arange(240) % 3)


@pytest.mark.parametrize("scope", ["per_class", "global"])
@pytest.mark.parametrize("method", METHODS)
@hypothesis.settings(max_examples=10, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_every_target_exists_and_is_counted(method, scope, data):
  """Few points, many of them equal, classes that may be empty."""
  targets = data.draw(st.sampled_from(["hard", "soft"]))
  num_points = data.draw(st.integers(1, 12))
  num_clusters = data.draw(st.integers(1, 6))
  coordinate = st.sampled_from([-0.0, 0.0, 1.0, 1e-3, 1e4])
  row = st.tuples(coordinate, coordinate)
  points = st.lists(row, min_size=num_points, max_size=num_points)
  embeddings = np.array(data.draw(points), np.float32)
  label = st.integers(0, 2)
  labels = np.array(
    data.draw(st.lists(label, min_size=num_points, max_size=num_points))
  )
  most = dict.fromkeys(METHODS, data.draw(st.sampled_from([5, 12])))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(clusterer_lib, "MAX_POINTS", most)
    clusterer = make(embeddings, labels, method, num_classes=3, scope=scope)
    found = clusterer.cluster(num_clusters, targets=targets)
  assert found.where.shape == (3, num_clusters)
  assert found.where.any(axis=1).all()
  assert found.where[labels, found.assignments].all()
  sizes = np.zeros((3, num_clusters), int)
  for label, assignment in zip(labels, found.assignments, strict=True):
    sizes[label, assignment] += 1
  assert found.summary["sizes"] == sizes.tolist()
  assert found.summary["num_subclasses"] == found.where.sum(axis=1).tolist()
  if targets == "soft":
    assert found.where[np.arange(3)[None], found.memberships].all()
    if scope == "global":  # Every class has all clusters.
      assert (found.memberships == found.assignments[:, None]).all()
      assert (found.where == found.where[:1]).all()
  # Equal embeddings share a cluster; a t-SNE map may tear them apart.
  if method != "tsne_kmeans":
    groups = labels if scope == "per_class" else np.zeros_like(labels)
    clusters = {}
    for group, row, own in zip(
      groups, embeddings + 0, found.assignments, strict=True
    ):
      assert clusters.setdefault((group, row.tobytes()), own) == own


@pytest.mark.parametrize(
  ("embeddings", "method", "message"),
  [
    (np.zeros((4, 1), np.float32), "tsne_kmeans", r"tsne_kmeans.*\(4, 1\)"),
    (
      np.float32([[0, 0], [1, 1], [np.nan, 0], [np.inf, 0]]),
      "kmeans",
      "finite .* row 2",
    ),
    (np.float64([[0, 0], [1, 1e39], [0, 0], [0, 0]]), "kmeans", "row 1"),
  ],
)
def test_embeddings_that_cannot_be_clustered_are_named(
  embeddings, method, message
):
  with pytest.raises(ValueError, match=message):
    make(embeddings, np.array([0, 1, 0, 1]), method)


_PEAK = """
import pathlib, sys
import numpy as np
from experiments.methods.clusterer import Clusterer
embeddings = np.random.default_rng(0).normal(size=(30_000, 256))
found = Clusterer(embeddings.astype(np.float32), np.zeros(30_000, int),
                  num_classes=1, method=sys.argv[1],
                  scope="per_class").cluster(20)
assert found.summary["num_clustered"] + found.summary["num_placed"] == 30_000
(peak,) = [line.split()[1] for line in open("/proc/self/status")
           if line.startswith("VmHWM")]
print(found.summary["num_clustered"], peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(
  not pathlib.Path("/proc/self/status").exists(), reason="needs Linux's /proc"
)
@pytest.mark.parametrize("method", METHODS)
def test_thirty_thousand_examples_stay_below_two_gibibytes(method):
  # Not ru_maxrss: that of a child starts at its parent's.
  out = subprocess.run(
    [sys.executable, "-c", _PEAK, method],
    check=True,
    capture_output=True,
    text=True,
  ).stdout
  clustered, kibibytes = map(int, out.split())
  assert clustered == min(30_000, clusterer_lib.MAX_POINTS[method])
  assert kibibytes * 2**10 < 2 * 2**30


def test_means_and_the_variance_around_them():
  embeddings, labels, _ = blobs()
  clusterer = make(embeddings, labels, "kmeans", num_classes=3)
  found = clusterer.cluster(3)
  means, variance = clusterer.means(found)
  squares = 0.0
  for c, s in np.ndindex(3, 3):
    own = embeddings[(labels == c) & (found.assignments == s)].astype(float)
    if not len(own):
      assert not means[c, s].any()
      continue
    np.testing.assert_allclose(means[c, s], own.mean(axis=0), rtol=1e-5)
    squares += ((own - own.mean(axis=0)) ** 2).sum()
  assert variance == pytest.approx(squares / embeddings.size, rel=1e-4)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_clusters_of_equal_points_have_a_positive_variance(spread):
  embeddings = np.repeat([[0.0, 0.3], [spread, 0.3]], 20, axis=0)
  one = np.zeros(40, int)
  clusterer = make(embeddings.astype("f"), one, "kmeans", num_classes=1)
  _, variance = clusterer.means(clusterer.cluster(3))
  # Between two points at a distance of one it is 1/4 in one of two dimensions.
  assert variance == (pytest.approx(1e-6 / 8) if spread else 1.0)


@pytest.fixture
def clouds(rng):
  """Two classes of points, the second with two distinct points alone."""
  points = rng.normal(size=(90, 5)).astype("f")
  labels = np.arange(90) % 3 // 2
  points[labels == 1] = points[2]
  points[2] += 1
  clusterer = make(points, labels, "kmeans")
  return points, labels, clusterer, clusterer.cluster(4)


def test_the_soft_variance_gives_examples_one_and_a_half_clusters(clouds):
  points, labels, clusterer, found = clouds
  assert found.where.sum(axis=1).tolist() == [4, 2]
  means, _ = clusterer.means(found)
  variance = clusterer.soft_variance(found, means)
  perplexities = []
  for point, c in zip(np.float64(points), labels, strict=True):
    distances = np.square(point - means[c][found.where[c]]).sum(axis=1)
    log_probs = reference.log_softmax(-distances / (2 * variance))
    perplexities.append(np.exp(-(np.exp(log_probs) * log_probs).sum()))
  np.testing.assert_allclose(np.mean(perplexities), 1.5, rtol=1e-4)


def test_the_silhouette_is_the_mean_of_the_classes(clouds):
  points, labels, clusterer, found = clouds
  scores = [
    metrics.silhouette_score(
      points[labels == c], found.assignments[labels == c]
    )
    for c in range(2)
  ]
  np.testing.assert_allclose(clusterer.silhouette(found), np.mean(scores))
  assert clusterer.silhouette(clusterer.cluster(1)) is None


def test_fast_kmeans_learns_from_mini_batches_of_many_rows(monkeypatch):
  embeddings, labels, blob = blobs()
  monkeypatch.setattr(clusterer_lib, "_MOST_ROWS", 32)
  monkeypatch.setattr(clusterer_lib, "_MOST_CLUSTERS", 1)
  fits, fit = [], sklearn_cluster.MiniBatchKMeans.fit

  def counted(self, points):
    fits.append(len(points))
    return fit(self, points)

  monkeypatch.setattr(sklearn_cluster.MiniBatchKMeans, "fit", counted)
  found = make(embeddings, labels, "fast_kmeans").cluster(3)
  assert fits == [35]  # The other class has 30 rows.
  own = labels == 1
  assert same_partition(found.assignments[own], blob[own])
  make(embeddings, labels, "kmeans").cluster(3)
  assert fits == [35]
