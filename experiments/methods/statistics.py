"""Statistics of a teacher from which methods prepare their targets."""

import dataclasses
from collections.abc import Callable
from collections.abc import Hashable
from typing import Any
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.specs import ClusteringSpec
from lelp_jax.models import Outputs

if TYPE_CHECKING:
  from experiments.methods.clusterer import Clusterer

_ROWS = 8192  # Rows that are projected at once.


@dataclasses.dataclass(frozen=True)
class Clustering:
  """Pseudo-subclasses of N examples, at most S for each of C classes.

  Attributes:
    assignments: Cluster of each example in its class, int32, ``[N]``, in
      [0, S). The hard target is the student's output ``class * S +
      assignment``.
    memberships: Cluster of each example in each class, int32, ``[N, C]``. In
      its own class this is its assignment, in another class the cluster that it
      would be assigned to. None for hard targets.
    where: Subclasses that exist, bool, ``[C, S]``. A class without examples
      keeps one, so that the student can give the class a probability.
    summary: JSON-compatible record for `result.json`: "method", "scope",
      "targets" and "seed"; the requested "num_clusters"; "num_subclasses" of
      each class; "sizes", the number of examples in each of C x S subclasses;
      "num_clustered", the number of examples that were clustered, and
      "num_placed", the number of those assigned afterwards.
  """

  assignments: np.ndarray
  memberships: np.ndarray | None
  where: np.ndarray
  summary: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Centroids:
  """Centroids of the clusters of each class, at most K per class.

  Attributes:
    centroids: Mean of the points of each cluster, float32, ``[C, K, D]``; zero
      where there is no cluster.
    variance: Variance per dimension of the points around their centroids,
      positive.
    soft_variance: The variance s^2 of `lelp_jax.variance_of_perplexity`.
    where: Clusters that exist, bool, ``[C, K]``.
    summary: As `Clustering.summary`, with both variances and the mean
      "silhouette".
  """

  centroids: np.ndarray
  variance: float
  soft_variance: float
  where: np.ndarray
  summary: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class TeacherStatistics:
  """Lazily computed statistics of a teacher.

  Each is computed when it is first used and then kept. All cells of a sweep
  with the same teacher share them.

  Attributes:
    compute_moments: Returns the class moments of the embeddings of the examples
      that the subspaces are fitted to.
    head_kernel: Weights of the teacher's last layer, with D rows and one column
      per output.
    compute_labels: Returns the labels of the students' training examples, int
      ``[N]``.
    compute_outputs: Returns the teacher's outputs on these, as NumPy arrays.
    membership: `config.subspace.membership` (A-11).
    coordinates: Principal directions whose coordinates students get in place
      of embeddings, or None if they get embeddings.
    kept: What has been computed.
  """

  compute_moments: Callable[[], lelp_jax.ClassMoments]
  head_kernel: jax.Array
  compute_labels: Callable[[], np.ndarray]
  compute_outputs: Callable[[], Outputs]
  membership: str = "labels"
  coordinates: lelp_jax.PrincipalDirections | None = None
  kept: dict[Hashable, Any] = dataclasses.field(default_factory=dict)

  @property
  def width(self) -> int:
    """Width D of the teacher's embeddings."""
    return self.head_kernel.shape[0]

  @property
  def moments(self) -> lelp_jax.ClassMoments:
    """Class moments of the teacher's embeddings."""
    return self._once("moments", self.compute_moments)

  @property
  def transfer_labels(self) -> np.ndarray:
    """Labels of the students' training examples, int ``[N]``.

    For an example without a label it is the class that the teacher predicts
    (A-11).
    """
    return self._once("transfer labels", self.compute_labels)

  @property
  def transfer_classes(self) -> np.ndarray:
    """Classes by which the students' training examples are clustered, ``[N]``.

    They are the labels or, with membership "teacher", the classes that the
    teacher predicts (A-11).
    """
    if self.membership == "labels":
      return self.transfer_labels
    return self._once(
      "transfer classes",
      lambda: predicted_classes(
        self.transfer_outputs.logits, self.moments.mean.shape[0]
      ),
    )

  @property
  def transfer_outputs(self) -> Outputs:
    """The teacher's outputs on the students' training examples, in NumPy."""
    return self._once("transfer outputs", self.compute_outputs)

  @property
  def means(self) -> jax.Array:
    """Class means of the embeddings or coordinates that students get."""
    if self.coordinates is None:
      return self.moments.mean
    return lelp_jax.coordinate_directions(self.coordinates).means

  def principal(
    self, *, num_directions: int, null_space: str, rtol: float
  ) -> lelp_jax.PrincipalDirections:
    """Returns `lelp_jax.principal_directions` of the embeddings."""
    return self._once(
      ("principal", num_directions, null_space, rtol),
      lambda: lelp_jax.principal_directions(
        self.moments,
        self.head_kernel,
        num_directions=num_directions,
        null_space=null_space,
        rtol=rtol,
      ),
    )

  def null_space_share(self, rtol: float) -> jax.Array:
    """Returns `lelp_jax.null_space_share` of the embeddings, ``[C]`` (A-3)."""
    return self._once(
      ("null space share", rtol),
      lambda: lelp_jax.null_space_share(
        self.moments, self.head_kernel, rtol=rtol
      ),
    )

  def variance_share(self, subspaces: lelp_jax.Subspaces) -> jax.Array:
    """Returns the share of each class's variance inside a subspace, ``[C]``."""
    if self.coordinates is None:
      return lelp_jax.variance_share(subspaces, self.moments)
    # The directions are a rotation of the first principal directions, which
    # does not change the sum of the variances.
    size = subspaces.directions.shape[1]
    inside = self.coordinates.variances[:, :size].sum(axis=-1)
    total = self.coordinates.total_variance
    return jnp.where(total > 0, inside / jnp.where(total > 0, total, 1), 0)

  def clustering(
    self, algorithm: str, targets: str, spec: ClusteringSpec, rtol: float
  ) -> Clustering:
    """Clusters the teacher's embeddings of the students' training examples.

    Args:
      algorithm: A key of `clusterer.MAX_POINTS`.
      targets: "hard" or "soft".
      spec: Settings of the clustering.
      rtol: Tolerance of the head's rank, see `points`.
    """
    return self._once(
      ("clustering", algorithm, targets, spec, rtol),
      lambda: self._clusterer(
        algorithm, spec.scope, spec.null_space, rtol
      ).cluster(spec.num_clusters, targets=targets),
    )

  def centroids(
    self, num_clusters: int, *, null_space: str, rtol: float
  ) -> Centroids:
    """Returns the k-means centroids of each class, in the space of `points`."""

    def compute() -> Centroids:
      clusterer = self._clusterer("fast_kmeans", "per_class", null_space, rtol)
      clustering = clusterer.cluster(num_clusters)
      means, variance = clusterer.means(clustering)
      soft = clusterer.soft_variance(clustering, means)
      summary = clustering.summary | {
        "variance": variance,
        "soft_variance": soft,
        "silhouette": clusterer.silhouette(clustering),
      }
      return Centroids(means, variance, soft, clustering.where, summary)

    return self._once(("centroids", num_clusters, null_space, rtol), compute)

  def points(self, null_space: str, rtol: float) -> np.ndarray:
    """Returns the points to cluster, ``[N, D]``.

    They are the teacher's embeddings of the students' training examples. Unless
    the null space is "none", `lelp_jax.project_off_head` projects them off the
    span of the head.
    """
    embeddings = np.asarray(self.transfer_outputs.embeddings)
    if null_space == "none":
      return embeddings

    def compute() -> np.ndarray:
      points = np.empty(embeddings.shape, np.float32)
      for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        points[rows] = lelp_jax.project_off_head(
          jnp.asarray(embeddings[rows]),
          self.head_kernel,
          null_space=null_space,
          rtol=rtol,
        )
      return points

    return self._once(("points", null_space, rtol), compute)

  def _clusterer(
    self, algorithm: str, scope: str, null_space: str, rtol: float
  ) -> "Clusterer":
    # Imported here because importing scikit-learn takes a second.
    from experiments.methods.clusterer import Clusterer

    return self._once(
      ("clusterer", algorithm, scope, null_space, rtol),
      lambda: Clusterer(
        self.points(null_space, rtol),
        np.asarray(self.transfer_classes),
        num_classes=self.moments.mean.shape[0],
        method=algorithm,
        scope=scope,
      ),
    )

  def _once(self, name: Hashable, compute: Callable[[], Any]) -> Any:
    """Returns the value of `compute`, which is called once per name."""
    if name not in self.kept:
      self.kept[name] = compute()
    return self.kept[name]


def predicted_classes(
  logits: jax.Array | np.ndarray, num_classes: int
) -> np.ndarray:
  """Returns the class that a teacher predicts for each example, int32."""
  # The probability of a class is the sum over the teacher's subclasses.
  log_probs = lelp_jax.class_log_probs(
    jnp.asarray(logits), num_classes=num_classes, temperature=1.0
  )
  return np.asarray(log_probs.argmax(axis=-1), np.int32)
