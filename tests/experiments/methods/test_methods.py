"""Methods against the library and against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from experiments import specs
from experiments.methods import METHODS
from experiments.methods.base import Setup
from experiments.methods.clusterer import Clusterer
from experiments.training import build
from lelp_jax.baselines import kd_loss
from lelp_jax.models import Outputs
from tests import reference
from tests.experiments.methods import batches
from tests.experiments.methods.batches import cell as make_cell
from tests.experiments.methods.batches import LABELS
from tests.experiments.methods.batches import ROWS
from tests.experiments.methods.batches import setup
from tests.experiments.methods.batches import WIDTH

# Compiled whole: an eager call compiles each of its operations.
_kd_loss, _lelp_loss, _log_subsplit = map(
  jax.jit, (kd_loss, lelp_jax.lelp_loss, lelp_jax.log_subsplit)
)


@pytest.fixture
def statistics(rng):
  return batches.random_statistics(rng)


def loss_of(cell, statistics, rng, size):
  """The method's loss of a random batch, its terms, and what it was given."""
  inputs = batches.loss_inputs(cell, statistics, rng, size)
  loss, (metrics, _) = METHODS[cell.method].loss(inputs)
  return loss, metrics, inputs


def log_softmax(logits):
  return np.array([reference.log_softmax(row) for row in np.float64(logits)])


@pytest.mark.parametrize("method", ["vanilla", "lelp"])
def test_loss_is_equation_1(statistics, rng, method):
  cell = make_cell(method, loss__temperature=2.0, loss__hard_label_weight=0.25)
  size = 1 if method == "vanilla" else 3
  loss, metrics, inputs = loss_of(cell, statistics, rng, size)
  student, teacher, targets = inputs.student, inputs.teacher, inputs.targets
  if method == "vanilla":
    distill = _kd_loss(student.logits, teacher.logits, temperature=2.0)
  else:
    log_probs = _log_subsplit(
      *teacher,
      lelp_jax.Subspaces(targets["directions"], targets["means"]),
      temperature=2.0,
      subclass_temperature=cell.loss.subclass_temperature,
    )
    distill = _lelp_loss(student.logits, log_probs, temperature=2.0)
  probs = np.exp(log_softmax(student.logits)).reshape(7, 2, size).sum(-1)
  hard = -np.log(probs[np.arange(7), LABELS[ROWS]])
  expected = 0.25 * hard.mean() + 0.75 * np.mean(distill)
  np.testing.assert_allclose(loss, expected, rtol=2e-6)
  terms = metrics["class_term"] + metrics.get("subclass_term", 0)
  np.testing.assert_allclose(terms, np.mean(distill), rtol=2e-6)


def test_the_weight_of_the_subclass_term_leaves_the_class_term(statistics):
  def terms(weight):
    cell = make_cell("lelp", loss__subclass_weight=weight)
    return loss_of(cell, statistics, np.random.default_rng(1), 3)[:2]

  (_, whole), (loss, part) = terms(1.0), terms(0.25)
  np.testing.assert_allclose(part["class_term"], whole["class_term"])
  quarter = 0.25 * whole["subclass_term"]
  np.testing.assert_allclose(part["subclass_term"], quarter, rtol=1e-6)
  np.testing.assert_allclose(loss, whole["class_term"] + quarter, rtol=1e-6)


@pytest.mark.parametrize("size", [4, 6])
def test_an_ensemble_is_the_mean_of_its_projections(statistics, rng, size):
  cell = make_cell(
    "random_ensemble", subspace__num_subclasses=4, subspace__num_projections=2
  )
  loss, _, inputs = loss_of(cell, statistics, rng, size)
  directions, means = inputs.targets["directions"], inputs.targets["means"]
  expected = np.full((7, 2, size), -np.inf)
  for m in range(2):
    rows = directions[:, m:4:2]
    gram = np.einsum("csd,ctd->cst", rows, rows)
    off = gram * (1 - np.eye(2))
    np.testing.assert_allclose(off, 0, atol=1e-6)  # Each is orthogonal.
    expected[..., m:4:2] = np.log(0.5) + _log_subsplit(
      *inputs.teacher,
      lelp_jax.Subspaces(rows, means),
      temperature=cell.loss.temperature,
      subclass_temperature=cell.loss.subclass_temperature,
    )
  between = np.einsum("cd,cd->c", directions[:, 0], directions[:, 1])
  assert np.abs(between).max() > 1e-3
  distill = _lelp_loss(
    inputs.student.logits,
    jnp.asarray(expected, jnp.float32),
    temperature=cell.loss.temperature,
    where=inputs.targets["where"],
  )
  np.testing.assert_allclose(loss, np.mean(distill), rtol=1e-5)
  assert (np.asarray(inputs.targets["variance_share"]) < 1).all()


def test_an_ensemble_of_one_is_a_random_projection(statistics):
  found = [
    METHODS[cell.method].targets(setup(cell, statistics, 3))
    for cell in (
      make_cell("random_ensemble"),
      make_cell("lelp", subspace__kind="random"),
    )
  ]
  jax.tree.map(np.testing.assert_array_equal, *found)


def test_null_space_share_is_what_the_projection_leaves(statistics):
  found = METHODS["lelp"].details(setup(make_cell("lelp"), statistics, 3))
  head = np.asarray(statistics.head_kernel, np.float64)
  basis, _ = np.linalg.qr(head)
  projector = np.eye(WIDTH) - basis @ basis.T
  scatter = np.asarray(statistics.moments.scatter, np.float64)
  left = np.trace(projector @ scatter @ projector, axis1=1, axis2=2)
  expected = left / np.trace(scatter, axis1=1, axis2=2)
  np.testing.assert_allclose(found["null_space_share"], expected, rtol=1e-5)
  assert ((expected > 0) & (expected < 1)).all()


def test_oracle_loss_is_cross_entropy_over_fine_labels(statistics, rng):
  loss, metrics, inputs = loss_of(make_cell("oracle"), statistics, rng, 3)
  # Outputs: fine labels 0, 2, 4 of class 0, then 1, 3 of class 1, one unused.
  columns = np.array([0, 3, 1, 4, 2])
  log_probs = log_softmax(np.asarray(inputs.student.logits)[:, columns])
  expected = -log_probs[np.arange(7), batches.FINE].mean()
  np.testing.assert_allclose(loss, expected, rtol=2e-6)
  np.testing.assert_array_equal(
    inputs.targets["where"], [[True, True, True], [True, True, False]]
  )
  total = metrics["class_term"] + metrics["subclass_term"]
  np.testing.assert_allclose(total, expected, rtol=2e-6)


def test_standard_loss_is_cross_entropy_at_temperature_one(statistics, rng):
  # Temperature and alpha belong to other methods.
  cell = make_cell(
    "standard", loss__temperature=5.0, loss__hard_label_weight=0.5
  )
  loss, _, inputs = loss_of(cell, statistics, rng, 1)
  log_probs = log_softmax(inputs.student.logits)
  expected = -log_probs[np.arange(7), LABELS[ROWS]].mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  assert inputs.hyperparameters["prediction_temperature"] == 1.0


@pytest.mark.parametrize(
  ("method", "tolerance"), [("lelp", 1e-6), ("lelp_centroids", 0)]
)
def test_padded_targets_are_those_of_the_cells_own_number(
  statistics, rng, method, tolerance
):
  cell = make_cell(method, clustering__num_clusters=3)
  own, padded = (
    METHODS[method].targets(setup(cell, statistics, size)) for size in (3, 4)
  )
  for name in own.keys() & {"directions", "offsets"}:
    np.testing.assert_allclose(
      padded[name][:, :3], own[name], rtol=0, atol=tolerance
    )
    assert not padded[name][:, 3:].any()
  np.testing.assert_array_equal(
    padded["where"], [[True, True, True, False]] * 2
  )
  loss, _, inputs = loss_of(cell, statistics, rng, 4)
  logits = inputs.student.logits.reshape(7, 2, 4)
  alone = inputs._replace(
    student=Outputs(inputs.student.embeddings, logits[..., :3].reshape(7, 6)),
    targets=inputs.targets | own,
  )
  np.testing.assert_allclose(loss, METHODS[method].loss(alone)[0], rtol=1e-6)


def test_a_method_of_subclasses_says_which_exist(statistics, monkeypatch):
  lacking = dataclasses.replace(METHODS["lelp"], targets=METHODS["vid"].targets)
  monkeypatch.setitem(METHODS, "lelp", lacking)
  with pytest.raises(ValueError, match=r"'lelp' has 3 .* \"where\", bool"):
    build.stack_targets([setup(make_cell("lelp"), statistics, 3)])


@pytest.mark.parametrize("kind", ["lelp", "pca", "random", "identity"])
def test_ablations_keep_the_variance_they_should(statistics, kind):
  cell, method = make_cell("lelp", subspace__kind=kind), METHODS["lelp"]
  size = method.num_subclasses(Setup(cell, batches.TASK, WIDTH))
  assert size == (WIDTH if kind == "identity" else 3)
  targets = method.targets(setup(cell, statistics, size))
  share = np.asarray(targets["variance_share"])
  covariance = np.asarray(statistics.moments.scatter)
  spectrum = np.linalg.eigvalsh(covariance)[:, ::-1]
  best = spectrum[:, :3].sum(-1) / spectrum.sum(-1)
  if kind == "identity":
    np.testing.assert_allclose(share, 1, rtol=1e-5)
  elif kind == "pca":
    np.testing.assert_allclose(share, best, rtol=1e-5)
  else:
    assert (share < best).all()
  overlap = targets["directions"] @ statistics.head_kernel
  inside_null_space = np.abs(overlap).max() < 1e-5
  assert inside_null_space == (kind == "lelp")


def test_rotations_follow_the_trial_unless_they_have_a_seed(statistics):
  def directions(**changes):
    made = setup(make_cell("lelp", **changes), statistics, 3)
    return np.asarray(METHODS["lelp"].targets(made)["directions"])

  first, second = directions(trial=1), directions(trial=2)
  assert np.abs(first - second).max() > 1e-2
  np.testing.assert_array_equal(directions(trial=2, subspace__seed=1), first)


def test_prediction_temperature_is_a_switch():
  for choice, expected in (("train", 4.0), ("one", 1.0)):
    cell = make_cell(
      "lelp", loss__temperature=4.0, loss__prediction_temperature=choice
    )
    scalars = METHODS["lelp"].scalars(cell)
    assert scalars["prediction_temperature"] == expected


def test_statistics_are_computed_once(statistics):
  principal = statistics.principal(
    num_directions=2, null_space="weights", rtol=5e-3
  )
  other = dataclasses.replace(statistics, coordinates=principal)
  assert other.moments is statistics.moments
  assert other.transfer_outputs is statistics.transfer_outputs
  spec = specs.ClusteringSpec(num_clusters=2)
  found = statistics.clustering("kmeans", "hard", spec, 5e-3)
  assert other.clustering("kmeans", "hard", spec, 5e-3) is found
  assert other.means.shape == (2, 2 * 2)


# --- Clusters and centroids ---------------------------------------------------


@pytest.fixture
def planted(rng):
  """Statistics of three distinct groups per class off the span of the head."""
  groups = np.arange(batches.N) // 2 % 3
  kernel = rng.normal(size=(WIDTH, 2))
  centers = 20 * rng.normal(size=(2, 3, WIDTH))
  embeddings = centers[LABELS, groups] + rng.normal(size=(batches.N, WIDTH))

  def made(membership="labels"):
    return batches.statistics(embeddings, LABELS, kernel, membership=membership)

  return made, groups


@pytest.mark.parametrize("null_space", ["weights", "none"])
@pytest.mark.parametrize("widening", [1000.0, 0.0])
def test_centroids_are_learned_as_gaussians_of_a_common_variance(
  planted, rng, null_space, widening
):
  made, groups = planted
  statistics = made()
  cell = make_cell(
    "lelp_centroids",
    clustering__num_clusters=3,
    subspace__null_space=null_space,
    subspace__widening=widening,
    loss__subclass_temperature=0.5,
  )
  loss, _, inputs = loss_of(cell, statistics, rng, 3)
  head = np.asarray(statistics.head_kernel)
  _, kept = reference.head_bases(head, WIDTH, null_space)
  points = np.asarray(statistics.transfer_outputs.embeddings, float)
  inertia, centroids = 0.0, np.zeros((2, 3, WIDTH))
  for c, s in np.ndindex(2, 3):
    own = points[(LABELS == c) & (groups == s)]
    centroids[c, s] = own.mean(axis=0)
    inertia += (((own - centroids[c, s]) @ kept) ** 2).sum()
  variance = 1000.0 * inertia / points.size
  if not widening:  # The data choose it.
    found = statistics.centroids(3, null_space=null_space, rtol=5e-3)
    variance = found.soft_variance
    assert 2 < variance * points.size / inertia < 1000
  expected = np.zeros((7, 2, 3))
  logits = np.asarray(inputs.teacher.logits, float) / cell.loss.temperature
  for i, h in enumerate(np.asarray(inputs.teacher.embeddings, float)):
    for c in range(2):
      expected[i, c] = reference.log_softmax(logits[i])[
        c
      ] + reference.centroid_log_softmax(h, centroids[c], kept, variance, 0.5)
  # The clusters may have another order than the groups.
  found = _log_subsplit(
    *inputs.teacher,
    lelp_jax.Subspaces(
      *(inputs.targets[name] for name in ("directions", "means", "offsets"))
    ),
    temperature=cell.loss.temperature,
    subclass_temperature=0.5,
  )
  np.testing.assert_allclose(
    np.sort(found, axis=-1), np.sort(expected, axis=-1), atol=2e-3
  )
  distill = _lelp_loss(
    inputs.student.logits, found, temperature=cell.loss.temperature
  )
  np.testing.assert_allclose(loss, np.mean(distill), rtol=1e-5)


def test_classes_with_fewer_distinct_points_than_clusters(rng):
  embeddings = np.repeat(rng.normal(size=(8, WIDTH)), 10, axis=0)
  labels = np.repeat([0, 0, 0, 1], 20)
  embeddings[labels == 1] = embeddings[-1]
  statistics = batches.statistics(
    embeddings, labels, rng.normal(size=(WIDTH, 2))
  )
  cell = make_cell("lelp_centroids", clustering__num_clusters=8)
  loss, _, inputs = loss_of(cell, statistics, rng, 8)
  assert np.isfinite(loss)
  np.testing.assert_array_equal(inputs.targets["where"].sum(axis=1), [6, 1])
  assert all(np.isfinite(inputs.targets[k]).all() for k in ("offsets", "means"))


@pytest.mark.parametrize("method", ["lelp_centroids", "kmeans", "kmeans_soft"])
def test_clusters_of_the_classes_that_the_teacher_predicts(planted, method):
  made, _ = planted
  statistics = made("teacher")
  classes = np.asarray(statistics.transfer_outputs.logits).argmax(axis=1)
  cell = make_cell(method, clustering__num_clusters=3)
  details = METHODS[method].details(setup(cell, statistics, 3))["clustering"]
  sizes = np.sum(details["sizes"], axis=1)
  assert sizes.tolist() == np.bincount(classes).tolist() != [40, 40]


@pytest.mark.parametrize(
  ("method", "membership"), [("agglomerative", "labels"), ("kmeans", "teacher")]
)
def test_hard_clusters_are_pairs_of_class_and_cluster(
  planted, rng, method, membership
):
  made, _ = planted
  statistics = made(membership)
  embeddings, logits = map(np.asarray, statistics.transfer_outputs)
  classes = LABELS if membership == "labels" else logits.argmax(axis=1)
  assert (classes[ROWS] != LABELS[ROWS]).any() == (membership == "teacher")
  clusters = Clusterer(
    embeddings, classes, num_classes=2, method=method, scope="per_class"
  ).cluster(3)
  cell = make_cell(method, clustering__num_clusters=3)
  loss, _, inputs = loss_of(cell, statistics, rng, 3)
  outputs = classes[ROWS] * 3 + clusters.assignments[ROWS]
  log_probs = log_softmax(inputs.student.logits)
  expected = -log_probs[np.arange(7), outputs].mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_soft_clusters_put_the_teachers_probabilities_on_one_each(
  statistics, rng
):
  cell = make_cell(
    "kmeans_soft", clustering__num_clusters=3, loss__temperature=2.0
  )
  loss, _, inputs = loss_of(cell, statistics, rng, 3)
  probs = np.exp(log_softmax(inputs.teacher.logits / 2.0))
  members = np.asarray(inputs.targets["memberships"])[ROWS]
  log_student = log_softmax(inputs.student.logits / 2.0).reshape(7, 2, 3)
  expected = sum(
    p * (np.log(p) - log_student[i, c, members[i, c]])
    for (i, c), p in np.ndenumerate(probs)
  )
  np.testing.assert_allclose(loss, 2.0**2 * expected / 7, rtol=1e-5)


def test_clusterings_can_be_of_projected_embeddings(planted):
  statistics = planted[0]()
  points = statistics.points("weights", 5e-3)
  _, kept = reference.head_bases(np.asarray(statistics.head_kernel), WIDTH)
  embeddings = np.asarray(statistics.transfer_outputs.embeddings, float)
  np.testing.assert_allclose(points, embeddings @ kept @ kept.T, atol=1e-4)
  found = [
    METHODS["kmeans"].targets(
      setup(
        make_cell(
          "kmeans",
          clustering__num_clusters=9,
          clustering__null_space=null_space,
        ),
        statistics,
        9,
      )
    )["assignments"]
    for null_space in ("none", "weights")
  ]
  assert (found[0] != found[1]).any()
