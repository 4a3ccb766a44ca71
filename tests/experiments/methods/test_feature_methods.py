"""The methods the paper compares LELP with, composed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from experiments import specs
from experiments.data.dataset import Task
from experiments.methods import method_named
from experiments.methods import METHODS
from experiments.methods.base import Setup
from lelp_jax import baselines
from tests.experiments import tiny
from tests.experiments.methods import batches
from tests.experiments.methods.batches import LABELS
from tests.experiments.methods.batches import N
from tests.experiments.methods.batches import ROWS


@pytest.fixture
def given(rng):
  """A function from a method to inputs of its loss."""
  statistics = batches.random_statistics(rng)

  def given(method, *, width=4, size=1, **loss):
    values = {
      "temperature": 2.0,
      "hard_label_weight": 0.25,
      "feature_weight": 3.0,
      "num_negatives": 5,
    } | loss
    changes = {f"loss__{name}": value for name, value in values.items()}
    cell = batches.cell(method, clustering__num_clusters=size, **changes)
    return batches.loss_inputs(cell, statistics, rng, size, width)

  return given


def without_features(inputs):
  """Eq. (1): alpha of the hard labels, the rest from the teacher."""
  log_probs = jax.nn.log_softmax(inputs.student.logits)
  hard = -log_probs[np.arange(len(ROWS)), LABELS[ROWS]].mean()
  kd = baselines.kd_loss(
    inputs.student.logits, inputs.teacher.logits, temperature=2.0
  )
  return 0.25 * hard + 0.75 * kd.mean()


def projected(inputs, name="projection"):
  """The student's embeddings, or the teacher's by their own projection."""
  outputs = inputs.teacher if name == "teacher" else inputs.student
  layer = inputs.loss_params.get(name)
  if layer is None:
    return outputs.embeddings
  return outputs.embeddings @ layer["kernel"] + layer["bias"][None]


def both(inputs):
  return projected(inputs), inputs.teacher.embeddings


def units(inputs):
  return [
    baselines.unit_rows(projected(inputs, name))
    for name in ("student", "teacher")
  ]


_FEATURES = {
  "embedding": lambda x: baselines.embedding_loss(*both(x)),
  "fitnet": lambda x: baselines.hint_loss(*both(x)),
  "vid": lambda x: baselines.vid_loss(
    *both(x), x.loss_params["variance_logits"]
  ),
  "rkd": lambda x: baselines.rkd_angle_loss(*both(x)),
  "rkd_distance": lambda x: baselines.rkd_distance_loss(*both(x)),
  "crd": lambda x: baselines.crd_loss(
    *units(x), temperature=0.07, dataset_size=N
  ),
  "info_nce": lambda x: baselines.info_nce_loss(*units(x), temperature=0.07),
}


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("name", _FEATURES)
def test_feature_methods_add_their_loss_to_kd(given, name, width):
  inputs = given(name, width=width)
  loss, (metrics, _) = METHODS[name].loss(inputs)
  feature = jnp.mean(_FEATURES[name](inputs))
  expected = without_features(inputs) + 0.75 * 3.0 * feature
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  np.testing.assert_allclose(metrics["feature_term"], feature, rtol=1e-6)


@pytest.mark.parametrize(
  ("name", "width", "projection", "learned"),
  [
    ("embedding", 4, "auto", {"projection"}),
    ("embedding", 6, "auto", set()),
    ("embedding", 6, "always", {"projection"}),
    ("fitnet", 6, "auto", {"projection"}),
    ("fitnet", 6, "never", set()),
    ("vid", 6, "auto", {"variance_logits"}),
    ("vid", 4, "auto", {"projection", "variance_logits"}),
    ("crd", 6, "auto", {"student", "teacher"}),
    ("crd", 6, "never", set()),
    ("rkd", 4, "always", set()),
  ],
)
def test_projections_are_where_they_should(
  given, name, width, projection, learned
):
  inputs = given(name, width=width, projection=projection)
  assert inputs.loss_params.keys() == learned


def test_everything_learned_gets_a_gradient(given):
  for name in (*_FEATURES, "crd_bank"):
    inputs = given(name)
    inputs = inputs._replace(targets=jax.tree.map(jnp.asarray, inputs.targets))

    def loss(loss_params, name=name, inputs=inputs):
      return METHODS[name].loss(inputs._replace(loss_params=loss_params))[0]

    gradient = jax.jit(jax.grad(loss))(inputs.loss_params)
    for leaf in jax.tree.leaves(gradient):
      assert np.abs(leaf).max() > 0


def test_a_bank_is_scored_against_other_classes_and_updated(given, monkeypatch):
  inputs = given("crd_bank", num_negatives=500)
  seen = []
  real = baselines.crd_bank_loss

  def watched(student, teacher, bank, ids, negatives, **options):
    seen.append(np.asarray(negatives))
    return real(student, teacher, bank, ids, negatives, **options)

  monkeypatch.setattr(baselines, "crd_bank_loss", watched)
  _, (_, bank) = METHODS["crd_bank"].loss(inputs)
  METHODS["crd_bank"].loss(inputs._replace(key=jax.random.key(1)))
  first, second = seen
  assert first.shape == (len(ROWS), 500)
  assert (LABELS[first] != LABELS[ROWS][:, None]).all()
  assert len(np.unique(first)) == N  # All of the other class, for both.
  assert (first != second).any()
  changed = np.flatnonzero((bank.student != inputs.loss_state.student).any(1))
  assert changed.tolist() == sorted(ROWS)


def test_pretraining_is_the_feature_loss_alone(given):
  for name in ("fitnet", "crd"):
    whole = given(name)
    alone = given(METHODS[name].pretraining)._replace(
      student=whole.student, teacher=whole.teacher
    )
    assert jax.tree.structure(alone.loss_params) == jax.tree.structure(
      whole.loss_params
    )
    loss, _ = method_named(METHODS[name].pretraining).loss(alone)
    _, (metrics, _) = METHODS[name].loss(whole)
    np.testing.assert_allclose(loss, metrics["feature_term"], rtol=1e-6)


def test_subclass_students_learn_all_outputs_of_their_teacher(given, rng):
  inputs = given("subclass", size=3, hard_label_weight=0.0)
  logits = jnp.asarray(rng.normal(size=(len(ROWS), 6)), jnp.float32)
  inputs = inputs._replace(teacher=inputs.teacher._replace(logits=logits))
  loss, _ = METHODS["subclass"].loss(inputs)
  expected = baselines.kd_loss(inputs.student.logits, logits, temperature=2.0)
  np.testing.assert_allclose(loss, expected.mean(), rtol=1e-6)


def test_subclass_teachers_learn_classes_and_to_spread(given):
  inputs = given("subclass_teacher", size=3)
  loss, (metrics, _) = method_named("subclass_teacher").loss(inputs)
  log_probs = lelp_jax.class_log_probs(
    inputs.student.logits, num_classes=2, temperature=1.0
  )
  nll = -log_probs[np.arange(len(ROWS)), LABELS[ROWS]].mean()
  auxiliary = baselines.subclass_auxiliary_loss(
    inputs.student.logits, temperature=1.0
  )
  np.testing.assert_allclose(loss, nll + auxiliary, rtol=1e-6)
  assert metrics["auxiliary_term"] < 0


def test_degenerate_cases_are_named():
  cell = tiny.cell("standard")
  two, many = Setup(cell, Task("two", 2)), Setup(cell, Task("many", 3))
  assert METHODS["dkd"].same_as(two) == "vanilla"
  assert METHODS["dkd"].same_as(many) is None
  assert METHODS["standardized_kd"].remark(two)
  assert METHODS["dist"].remark(two)
  for name in ("dist", "standardized_kd", "fitnet"):
    assert METHODS[name].remark(many) == ""
  never = specs.replace(cell, {"loss.projection": "never"})
  remark = METHODS["fitnet"].remark(Setup(never, Task("many", 3)))
  assert "Embedding" in remark
