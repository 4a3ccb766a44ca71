"""Methods against the library and against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from experiments import methods
from experiments import specs
from experiments.data.dataset import Task
from experiments.methods.base import loss_statics
from experiments.methods.base import Setup
from experiments.methods.statistics import TeacherStatistics
from experiments.training import build
from lelp_jax.baselines import kd_loss
from lelp_jax.models import Outputs
from lelp_jax.train_step import LossInputs
from tests import reference
from tests.experiments import tiny

# Class 0 has three fine labels and class 1 two: unequal on purpose.
_TASK = Task("toy", 2, fine_to_class=(0, 1, 0, 1, 0))
_WIDTH = 6
# Compiled whole: an eager call compiles each of its operations.
_kd_loss, _lelp_loss, _log_subsplit = map(
  jax.jit, (kd_loss, lelp_jax.lelp_loss, lelp_jax.log_subsplit)
)


@pytest.fixture
def statistics(rng) -> TeacherStatistics:
  embeddings = jnp.asarray(rng.normal(size=(80, _WIDTH)), jnp.float32)
  labels = np.arange(80) % 2
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=2)
  kernel = jnp.asarray(rng.normal(size=(_WIDTH, 2)), jnp.float32)
  outputs = Outputs(embeddings, embeddings @ kernel)
  return TeacherStatistics(
    lambda: moments, kernel, lambda: labels, lambda: outputs
  )


def _cell(method, **changes):
  named = {name.replace("__", "."): x for name, x in changes.items()}
  return specs.replace(tiny.cell("standard"), {"method": method, **named})


def _setup(cell, statistics, size):
  return Setup(cell, _TASK, _WIDTH, statistics, size)


def _outputs(rng, width: int, num_outputs: int) -> Outputs:
  return Outputs(
    jnp.asarray(rng.normal(size=(7, width)), jnp.float32),
    jnp.asarray(2 * rng.normal(size=(7, num_outputs)), jnp.float32),
  )


def _loss(cell, statistics, rng, size):
  """The method's loss of a random batch, its terms, and what it was given."""
  method, setup = methods.METHODS[cell.method], _setup(cell, statistics, size)
  fine = rng.integers(0, 5, size=7)
  classes = np.array(_TASK.fine_to_class)[fine]
  inputs = LossInputs(
    student=_outputs(rng, 4, 2 * size),
    teacher=_outputs(rng, _WIDTH, 2),
    targets=method.shared_targets(setup) | method.targets(setup),
    batch={"labels": jnp.asarray(classes), "fine_labels": jnp.asarray(fine)},
    hyperparameters=vars(loss_statics(cell)) | method.scalars(cell),
    loss_params={},
    loss_state=(),
    key=jax.random.key(0),
  )
  loss, (metrics, _) = method.loss(inputs)
  return loss, metrics, inputs


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("method", ["vanilla", "lelp"])
def test_loss_is_equation_1(statistics, rng, method, weight):
  cell = _cell(method, loss__temperature=2.0, loss__hard_label_weight=weight)
  size = 1 if method == "vanilla" else 3
  loss, metrics, inputs = _loss(cell, statistics, rng, size)
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
  probs = np.asarray(jax.nn.softmax(student.logits)).reshape(7, 2, size).sum(-1)
  hard = -np.log(probs[np.arange(7), inputs.batch["labels"]])
  expected = weight * hard.mean() + (1 - weight) * np.mean(distill)
  np.testing.assert_allclose(loss, expected, rtol=2e-6)
  terms = metrics["class_term"] + metrics.get("subclass_term", 0)
  np.testing.assert_allclose(terms, np.mean(distill), rtol=2e-6)


def test_the_weight_of_the_subclass_term_leaves_the_class_term(statistics):
  def terms(weight):
    cell = _cell("lelp", loss__subclass_weight=weight)
    return _loss(cell, statistics, np.random.default_rng(1), 3)[:2]

  (_, whole), (loss, part) = terms(1.0), terms(0.25)
  np.testing.assert_allclose(part["class_term"], whole["class_term"])
  quarter = 0.25 * whole["subclass_term"]
  np.testing.assert_allclose(part["subclass_term"], quarter, rtol=1e-6)
  np.testing.assert_allclose(loss, whole["class_term"] + quarter, rtol=1e-6)


@pytest.mark.parametrize("size", [4, 6])
def test_an_ensemble_is_the_mean_of_its_projections(statistics, rng, size):
  cell = _cell(
    "random_ensemble", subspace__num_subclasses=4, subspace__num_projections=2
  )
  loss, _, inputs = _loss(cell, statistics, rng, size)
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
  np.testing.assert_allclose(
    np.exp(expected).sum(-1),
    jax.nn.softmax(inputs.teacher.logits / cell.loss.temperature),
    rtol=1e-5,
  )
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
    methods.METHODS[cell.method].targets(_setup(cell, statistics, 3))
    for cell in (
      _cell("random_ensemble"),
      _cell("lelp", subspace__kind="random"),
    )
  ]
  jax.tree.map(np.testing.assert_array_equal, *found)


def test_null_space_share_is_what_the_projection_leaves(statistics):
  setup = _setup(_cell("lelp"), statistics, 3)
  found = methods.METHODS["lelp"].details(setup)
  head = np.asarray(statistics.head_kernel, np.float64)
  basis, _ = np.linalg.qr(head)
  projector = np.eye(_WIDTH) - basis @ basis.T
  scatter = np.asarray(statistics.moments.scatter, np.float64)
  left = np.trace(projector @ scatter @ projector, axis1=1, axis2=2)
  expected = left / np.trace(scatter, axis1=1, axis2=2)
  np.testing.assert_allclose(found["null_space_share"], expected, rtol=1e-5)
  assert ((expected > 0) & (expected < 1)).all()


def test_oracle_loss_is_cross_entropy_over_fine_labels(statistics, rng):
  loss, metrics, inputs = _loss(_cell("oracle"), statistics, rng, 3)
  # Outputs: fine labels 0, 2, 4 of class 0, then 1, 3 of class 1, one unused.
  columns = np.array([0, 3, 1, 4, 2])
  logits = np.asarray(inputs.student.logits, np.float64)[:, columns]
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  expected = -log_probs[np.arange(7), inputs.batch["fine_labels"]].mean()
  np.testing.assert_allclose(loss, expected, rtol=2e-6)
  np.testing.assert_array_equal(
    inputs.targets["where"], [[True, True, True], [True, True, False]]
  )
  total = metrics["class_term"] + metrics["subclass_term"]
  np.testing.assert_allclose(total, expected, rtol=2e-6)


def test_standard_loss_is_cross_entropy_at_temperature_one(statistics, rng):
  # Temperature and alpha belong to other methods.
  cell = _cell("standard", loss__temperature=5.0, loss__hard_label_weight=0.5)
  loss, _, inputs = _loss(cell, statistics, rng, 1)
  log_probs = np.asarray(jax.nn.log_softmax(inputs.student.logits))
  expected = -log_probs[np.arange(7), inputs.batch["labels"]].mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  assert inputs.hyperparameters["prediction_temperature"] == 1.0


def test_lelp_targets_padded_to_the_stack_are_those_of_its_own_size(statistics):
  cell, targets = _cell("lelp"), methods.METHODS["lelp"].targets
  own = targets(_setup(cell, statistics, 3))
  padded = targets(_setup(cell, statistics, 4))
  np.testing.assert_allclose(
    padded["directions"][:, :3], own["directions"], atol=1e-6
  )
  assert not padded["directions"][:, 3:].any()
  np.testing.assert_array_equal(
    padded["where"], [[True, True, True, False]] * 2
  )


def test_a_method_of_subclasses_says_which_exist(statistics, monkeypatch):
  whole = methods.METHODS["lelp"]
  lacking = dataclasses.replace(whole, targets=methods.METHODS["vid"].targets)
  monkeypatch.setitem(methods.METHODS, "lelp", lacking)
  with pytest.raises(ValueError, match=r"'lelp' has 3 .* \"where\", bool"):
    build.stack_targets([_setup(_cell("lelp"), statistics, 3)])


@pytest.mark.parametrize("kind", ["lelp", "pca", "random", "identity"])
def test_ablations_keep_the_variance_they_should(statistics, kind):
  cell, method = _cell("lelp", subspace__kind=kind), methods.METHODS["lelp"]
  size = method.num_subclasses(Setup(cell, _TASK, statistics.width))
  assert size == (_WIDTH if kind == "identity" else 3)
  targets = method.targets(_setup(cell, statistics, size))
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
    setup = _setup(_cell("lelp", **changes), statistics, 3)
    return np.asarray(methods.METHODS["lelp"].targets(setup)["directions"])

  first, second = directions(trial=1), directions(trial=2)
  assert np.abs(first - second).max() > 1e-2
  np.testing.assert_array_equal(directions(trial=2, subspace__seed=1), first)


def test_prediction_temperature_is_a_switch():
  for choice, expected in (("train", 4.0), ("one", 1.0)):
    cell = _cell(
      "lelp", loss__temperature=4.0, loss__prediction_temperature=choice
    )
    scalars = methods.METHODS["lelp"].scalars(cell)
    assert scalars["prediction_temperature"] == expected


def test_statistics_are_computed_once(statistics):
  other = statistics.in_coordinates(
    statistics.principal(num_directions=2, null_space="weights", rtol=5e-3)
  )
  assert other.moments is statistics.moments
  assert other.transfer_outputs is statistics.transfer_outputs
  spec = specs.ClusteringSpec(num_clusters=2)
  found = statistics.clustering("kmeans", "hard", spec, 5e-3)
  assert other.clustering("kmeans", "hard", spec, 5e-3) is found
  assert other.means.shape == (2, 2 * 2)


def test_missing_directions_are_named():
  large = Setup(_cell("lelp", subspace__num_subclasses=7), _TASK, _WIDTH)
  with pytest.raises(ValueError, match=r"subspace\.num_subclasses .*, got 7"):
    methods.METHODS["lelp"].num_subclasses(large)


# --- LELP with centroids ------------------------------------------------------


@pytest.fixture
def planted(rng):
  """Statistics of three distinct groups per class off the span of the head."""
  labels, groups = np.arange(80) % 2, np.arange(80) // 2 % 3
  kernel = rng.normal(size=(_WIDTH, 2)).astype("f")
  centers = 20 * rng.normal(size=(2, 3, _WIDTH))
  embeddings = centers[labels, groups] + rng.normal(size=(80, _WIDTH))
  outputs = Outputs(jnp.asarray(embeddings, jnp.float32), embeddings @ kernel)
  moments = lelp_jax.class_moments(outputs.embeddings, labels, num_classes=2)

  def made(membership="labels"):
    return TeacherStatistics(
      lambda: moments,
      jnp.asarray(kernel),
      lambda: labels,
      lambda: outputs,
      membership=membership,
    )

  return made, labels, groups


@pytest.mark.parametrize("null_space", ["weights", "none"])
@pytest.mark.parametrize("widening", [1000.0, 0.0])
def test_centroids_are_learned_as_gaussians_of_a_common_variance(
  planted, rng, null_space, widening
):
  made, labels, groups = planted
  statistics = made()
  cell = _cell(
    "lelp_centroids",
    clustering__num_clusters=3,
    subspace__null_space=null_space,
    subspace__widening=widening,
    loss__subclass_temperature=0.5,
  )
  loss, _, inputs = _loss(cell, statistics, rng, 3)
  head = np.asarray(statistics.head_kernel)
  _, kept = reference.head_bases(head, _WIDTH, null_space)
  points = np.asarray(statistics.transfer_outputs.embeddings, float)
  inertia, centroids = 0.0, np.zeros((2, 3, _WIDTH))
  for c, s in np.ndindex(2, 3):
    own = points[(labels == c) & (groups == s)]
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


def test_one_centroid_per_class_is_vanilla_distillation(statistics):
  losses = [
    _loss(
      _cell(method, loss__temperature=2.0, clustering__num_clusters=1),
      statistics,
      np.random.default_rng(1),
      1,
    )[0]
    for method in ("lelp_centroids", "vanilla")
  ]
  np.testing.assert_allclose(*losses, rtol=1e-5)


def test_padded_centroids_are_those_of_their_own_number(statistics, rng):
  cell = _cell("lelp_centroids", clustering__num_clusters=3)
  method = methods.METHODS["lelp_centroids"]
  own, padded = (
    method.targets(_setup(cell, statistics, size)) for size in (3, 5)
  )
  for name in ("directions", "offsets"):
    np.testing.assert_array_equal(padded[name][:, :3], own[name])
    assert not padded[name][:, 3:].any()
  np.testing.assert_array_equal(padded["where"], [[True] * 3 + [False] * 2] * 2)
  _, _, inputs = _loss(cell, statistics, rng, 5)
  logits = inputs.student.logits.reshape(7, 2, 5)
  alone = inputs._replace(
    student=Outputs(inputs.student.embeddings, logits[..., :3].reshape(7, 6)),
    targets=inputs.targets | own,
  )
  found, expected = (method.loss(given)[0] for given in (inputs, alone))
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_classes_with_fewer_distinct_points_than_clusters(rng):
  embeddings = np.repeat(rng.normal(size=(4, _WIDTH)), 5, axis=0).astype("f")
  labels = np.repeat([0, 0, 0, 1], 5)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=2)
  kernel = jnp.asarray(rng.normal(size=(_WIDTH, 2)), jnp.float32)
  statistics = TeacherStatistics(
    lambda: moments,
    kernel,
    lambda: labels,
    lambda: Outputs(jnp.asarray(embeddings), jnp.zeros((20, 2))),
  )
  cell = _cell("lelp_centroids", clustering__num_clusters=4)
  loss, _, inputs = _loss(cell, statistics, rng, 4)
  assert np.isfinite(loss)
  np.testing.assert_array_equal(inputs.targets["where"].sum(axis=1), [3, 1])
  assert all(np.isfinite(inputs.targets[k]).all() for k in ("offsets", "means"))


@pytest.mark.parametrize("method", ["lelp_centroids", "kmeans", "kmeans_soft"])
def test_clusters_of_the_classes_that_the_teacher_predicts(planted, method):
  made, labels, _ = planted
  statistics = made("teacher")
  logits = statistics.transfer_outputs.logits
  classes = np.asarray(logits).argmax(axis=1)
  assert (classes != labels).any()
  cell = _cell(method, clustering__num_clusters=3)
  setup = _setup(cell, statistics, 3)
  details = methods.METHODS[method].details(setup)["clustering"]
  sizes = np.sum(details["sizes"], axis=1)
  np.testing.assert_array_equal(sizes, np.bincount(classes, minlength=2))
  if method == "kmeans":
    found = methods.METHODS[method].targets(setup)
    np.testing.assert_array_equal(found["classes"], classes)


def test_hard_targets_have_the_class_that_was_clustered(planted, rng):
  made, labels, _ = planted
  statistics = made("teacher")
  cell = _cell("kmeans", clustering__num_clusters=3)
  setup = _setup(cell, statistics, 3)
  targets = methods.METHODS["kmeans"].targets(setup)
  rows = np.flatnonzero(labels != targets["classes"])[:7]
  student = _outputs(rng, 4, 6)
  student = Outputs(
    student.embeddings[: len(rows)], student.logits[: len(rows)]
  )
  inputs = LossInputs(
    student=student,
    teacher=None,
    targets=targets,
    batch={"labels": jnp.asarray(labels[rows]), "rows": jnp.asarray(rows)},
    hyperparameters=methods.METHODS["kmeans"].scalars(cell),
    loss_params={},
    loss_state=(),
    key=jax.random.key(0),
  )
  loss, _ = methods.METHODS["kmeans"].loss(inputs)
  outputs = targets["classes"][rows] * 3 + targets["assignments"][rows]
  log_probs = np.asarray(jax.nn.log_softmax(student.logits))
  expected = -log_probs[np.arange(len(rows)), outputs].mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_clusterings_can_be_of_projected_embeddings(planted):
  statistics = planted[0]()
  points = statistics.points("weights", 5e-3)
  _, kept = reference.head_bases(np.asarray(statistics.head_kernel), _WIDTH)
  embeddings = np.asarray(statistics.transfer_outputs.embeddings, float)
  np.testing.assert_allclose(points, embeddings @ kept @ kept.T, atol=1e-4)
  found = [
    methods.METHODS["kmeans"].targets(
      _setup(
        _cell(
          "kmeans", clustering__num_clusters=9, clustering__null_space=space
        ),
        statistics,
        9,
      )
    )["assignments"]
    for space in ("none", "weights")
  ]
  assert (found[0] != found[1]).any()
  spec = specs.ClusteringSpec(num_clusters=9, null_space="weights")
  expected = statistics.clustering("kmeans", "hard", spec, 5e-3)
  np.testing.assert_array_equal(found[1], expected.assignments)
