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
from tests.experiments import tiny

# Class 0 has three fine labels and class 1 two: unequal on purpose.
_TASK = Task("toy", 2, fine_to_class=(0, 1, 0, 1, 0))
_WIDTH = 6


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
    distill = kd_loss(student.logits, teacher.logits, temperature=2.0)
  else:
    log_probs = lelp_jax.log_subsplit(
      *teacher,
      lelp_jax.Subspaces(targets["directions"], targets["means"]),
      temperature=2.0,
      subclass_temperature=cell.loss.subclass_temperature,
    )
    distill = lelp_jax.lelp_loss(student.logits, log_probs, temperature=2.0)
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
    expected[..., m:4:2] = np.log(0.5) + lelp_jax.log_subsplit(
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
  distill = lelp_jax.lelp_loss(
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
  found = statistics.clustering("kmeans", "per_class", 2, "hard")
  assert other.clustering("kmeans", "per_class", 2, "hard") is found
  assert other.means.shape == (2, 2 * 2)


def test_missing_fine_labels_and_directions_are_named():
  coarse = Setup(_cell("oracle"), Task("coarse", 2), _WIDTH)
  with pytest.raises(ValueError, match="fine labels"):
    methods.METHODS["oracle"].num_subclasses(coarse)
  large = Setup(_cell("lelp", subspace__num_subclasses=7), _TASK, _WIDTH)
  with pytest.raises(ValueError, match=r"subspace\.num_subclasses .*, got 7"):
    methods.METHODS["lelp"].num_subclasses(large)
