"""Methods against the library and against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from experiments import methods
from experiments.data.dataset import Task
from experiments.training import fitting
from experiments.training import jobs
from lelp_jax.baselines import kd_loss
from lelp_jax.models import Outputs
from tests.experiments import tiny

# Class 0 has three fine labels and class 1 two: unequal on purpose.
_TASK = Task("toy", 2, fine_to_class=(0, 1, 0, 1, 0))


@pytest.fixture
def statistics(rng) -> fitting.TeacherStatistics:
  embeddings = jnp.asarray(rng.normal(size=(80, 6)), jnp.float32)
  labels = jnp.arange(80) % 2
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=2)
  return fitting.TeacherStatistics(
    moments, jnp.asarray(rng.normal(size=(6, 2)), jnp.float32)
  )


def _outputs(rng, width: int, num_outputs: int) -> Outputs:
  return Outputs(
    jnp.asarray(rng.normal(size=(7, width)), jnp.float32),
    jnp.asarray(2 * rng.normal(size=(7, num_outputs)), jnp.float32),
  )


def _batch(rng) -> dict[str, jax.Array]:
  fine = rng.integers(0, 5, size=7)
  classes = np.array(_TASK.fine_to_class)[fine]
  return {"labels": jnp.asarray(classes), "fine_labels": jnp.asarray(fine)}


def _loss(config, statistics, rng, size, student_width):
  """The method's loss of a random batch, with what went into it."""
  method = methods.METHODS[config.method]
  targets = method.shared_targets(_TASK, statistics, size)
  targets |= method.targets(config, _TASK, statistics, jax.random.key(3), size)
  student, teacher = _outputs(rng, 4, student_width), _outputs(rng, 6, 2)
  batch = _batch(rng)
  scalars = methods.hyperparameter_arrays(config)
  loss, (metrics, _) = method.loss(
    {}, (), student, teacher, targets, batch, scalars, jax.random.key(0)
  )
  return loss, metrics, targets, student, teacher, batch


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("method", ["vanilla", "lelp"])
def test_loss_is_equation_1(statistics, rng, method, weight):
  config = tiny.config(method)
  config.loss.temperature = 2.0
  config.loss.hard_label_weight = weight
  size = 1 if method == "vanilla" else 3
  loss, metrics, targets, student, teacher, batch = _loss(
    config, statistics, rng, size, 2 * size
  )
  if method == "vanilla":
    distill = kd_loss(student.logits, teacher.logits, temperature=2.0)
  else:
    log_probs = lelp_jax.log_subsplit(
      *teacher,
      lelp_jax.Subspaces(targets["directions"], targets["means"]),
      temperature=2.0,
      subclass_temperature=config.loss.subclass_temperature,
    )
    distill = lelp_jax.lelp_loss(student.logits, log_probs, temperature=2.0)
  probs = np.asarray(jax.nn.softmax(student.logits)).reshape(7, 2, size).sum(-1)
  hard = -np.log(probs[np.arange(7), batch["labels"]])
  expected = weight * hard.mean() + (1 - weight) * np.mean(distill)
  np.testing.assert_allclose(loss, expected, rtol=2e-6)
  terms = metrics["class_term"] + metrics.get("subclass_term", 0)
  np.testing.assert_allclose(terms, np.mean(distill), rtol=2e-6)


def test_the_weight_of_the_subclass_term_leaves_the_class_term(statistics, rng):
  config = tiny.config("lelp")
  whole = _loss(config, statistics, rng, 3, 6)[1]
  config.loss.subclass_weight = 0.25
  rng = np.random.default_rng(0)
  rng.normal(size=(80, 6)), rng.normal(size=(6, 2))  # As the fixture drew.
  loss, part, *_ = _loss(config, statistics, rng, 3, 6)
  np.testing.assert_allclose(part["class_term"], whole["class_term"])
  quarter = 0.25 * whole["subclass_term"]
  np.testing.assert_allclose(part["subclass_term"], quarter, rtol=1e-6)
  np.testing.assert_allclose(loss, whole["class_term"] + quarter, rtol=1e-6)
  config.loss.subclass_weight = -1.0
  with pytest.raises(ValueError, match=r"loss\.subclass_weight must not"):
    methods.hyperparameter_arrays(config)


@pytest.mark.parametrize("size", [4, 6])
def test_an_ensemble_is_the_mean_of_its_projections(statistics, rng, size):
  config = tiny.config("lelp")
  config.subspace.kind, config.subspace.num_subclasses = "random", 4
  config.subspace.num_projections = 2
  loss, _, targets, student, teacher, _ = _loss(
    config, statistics, rng, size, 2 * size
  )
  directions, means = targets["directions"], targets["means"]
  expected = np.full((7, 2, size), -np.inf)
  for m in range(2):
    rows = directions[:, m:4:2]
    gram = np.einsum("csd,ctd->cst", rows, rows)
    off = gram * (1 - np.eye(2))
    np.testing.assert_allclose(off, 0, atol=1e-6)  # Each is orthogonal.
    expected[..., m:4:2] = np.log(0.5) + lelp_jax.log_subsplit(
      *teacher,
      lelp_jax.Subspaces(rows, means),
      temperature=config.loss.temperature,
      subclass_temperature=config.loss.subclass_temperature,
    )
  assert np.abs(
    np.einsum("cd,cd->c", directions[:, 0], directions[:, 1])
  ).max() > (1e-3)
  np.testing.assert_allclose(
    np.exp(expected).sum(-1),
    jax.nn.softmax(teacher.logits / config.loss.temperature),
    rtol=1e-5,
  )
  distill = lelp_jax.lelp_loss(
    student.logits,
    jnp.asarray(expected, jnp.float32),
    temperature=config.loss.temperature,
    where=targets["where"],
  )
  np.testing.assert_allclose(loss, np.mean(distill), rtol=1e-5)
  assert (np.asarray(targets["variance_share"]) < 1).all()


def test_projections_that_cannot_be_are_named():
  config = tiny.config("lelp")
  config.subspace.num_projections = 3
  with pytest.raises(ValueError, match=r"needs config\.subspace\.kind"):
    fitting.check_subspace(config.subspace)
  config.subspace.kind, config.subspace.num_subclasses = "random", 4
  with pytest.raises(ValueError, match="must divide"):
    fitting.check_subspace(config.subspace)


def test_null_space_share_is_what_the_projection_leaves(statistics):
  config = tiny.config("lelp")
  found = methods.METHODS["lelp"].details(config, statistics)
  head = np.asarray(statistics.head_kernel, np.float64)
  basis, _ = np.linalg.qr(head)
  projector = np.eye(6) - basis @ basis.T
  scatter = np.asarray(statistics.moments.scatter, np.float64)
  left = np.trace(projector @ scatter @ projector, axis1=1, axis2=2)
  expected = left / np.trace(scatter, axis1=1, axis2=2)
  np.testing.assert_allclose(found["null_space_share"], expected, rtol=1e-5)
  assert ((expected > 0) & (expected < 1)).all()


def test_oracle_loss_is_cross_entropy_over_fine_labels(statistics, rng):
  config = tiny.config("oracle")
  loss, metrics, targets, student, _, batch = _loss(
    config, statistics, rng, 3, 6
  )
  # Outputs: fine labels 0, 2, 4 of class 0, then 1, 3 of class 1, one unused.
  columns = np.array([0, 3, 1, 4, 2])
  logits = np.asarray(student.logits, np.float64)[:, columns]
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  expected = -log_probs[np.arange(7), batch["fine_labels"]].mean()
  np.testing.assert_allclose(loss, expected, rtol=2e-6)
  np.testing.assert_array_equal(
    targets["where"], [[True, True, True], [True, True, False]]
  )
  total = metrics["class_term"] + metrics["subclass_term"]
  np.testing.assert_allclose(total, expected, rtol=2e-6)


def test_standard_loss_is_cross_entropy_at_temperature_one(statistics, rng):
  config = tiny.config("standard")
  config.loss.temperature = 5.0  # Belongs to other methods.
  loss, _, _, student, _, batch = _loss(config, statistics, rng, 1, 2)
  log_probs = np.asarray(jax.nn.log_softmax(student.logits))
  expected = -log_probs[np.arange(7), batch["labels"]].mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  scalars = methods.hyperparameter_arrays(config)
  assert scalars["prediction_temperature"] == 1.0


def test_lelp_targets_padded_to_the_stack_are_those_of_its_own_size(statistics):
  config = tiny.config("lelp")
  targets = methods.METHODS["lelp"].targets
  own = targets(config, _TASK, statistics, jax.random.key(1), 3)
  padded = targets(config, _TASK, statistics, jax.random.key(1), 4)
  np.testing.assert_allclose(
    padded["directions"][:, :3],
    own["directions"],
    atol=1e-6,
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
    jobs.stack_targets([tiny.config("lelp")], _TASK, statistics, 3)


@pytest.mark.parametrize("kind", ["lelp", "pca", "random", "identity"])
def test_ablations_keep_the_variance_they_should(statistics, kind):
  config = tiny.config("lelp")
  config.subspace.kind = kind
  method = methods.METHODS["lelp"]
  size = method.num_subclasses(config, _TASK, statistics.width)
  assert size == (6 if kind == "identity" else 3)
  targets = method.targets(config, _TASK, statistics, jax.random.key(0), size)
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


def test_prediction_temperature_is_a_switch():
  config = tiny.config("lelp")
  config.loss.temperature = 4.0
  scalars = methods.hyperparameter_arrays(config)
  assert scalars["prediction_temperature"] == 4.0
  config.loss.prediction_temperature = "one"
  scalars = methods.hyperparameter_arrays(config)
  assert scalars["prediction_temperature"] == 1.0


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("temperature", 0.0, "temperature must be positive"),
    ("subclass_temperature", -1.0, "subclass_temperature must be positive"),
    ("hard_label_weight", 1.5, "hard_label_weight"),
    ("prediction_temperature", "two", "prediction_temperature"),
  ],
)
def test_bad_hyperparameters_are_named(field, value, message):
  config = tiny.config("lelp")
  config.loss[field] = value
  with pytest.raises(ValueError, match=message):
    methods.hyperparameter_arrays(config)


def test_unknown_kind_and_missing_fine_labels_are_named(statistics):
  config = tiny.config("lelp")
  config.subspace.kind = "psa"
  with pytest.raises(ValueError, match=r"subspace\.kind"):
    methods.METHODS["lelp"].targets(
      config, _TASK, statistics, jax.random.key(0), 3
    )
  coarse = Task("coarse", 2)
  with pytest.raises(ValueError, match="fine labels"):
    methods.METHODS["oracle"].num_subclasses(config, coarse, 6)
