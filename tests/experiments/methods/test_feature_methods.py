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
from experiments.methods.base import loss_statics
from experiments.methods.base import LossSetup
from experiments.methods.base import Setup
from experiments.methods.clusterer import Clusterer
from experiments.methods.statistics import TeacherStatistics
from lelp_jax import baselines
from lelp_jax.models import Outputs
from lelp_jax.train_step import LossInputs
from tests.experiments import tiny

_TASK = Task("toy", 2)
_N = 40


@pytest.fixture
def statistics(rng) -> TeacherStatistics:
  embeddings = rng.normal(size=(_N, 6)).astype(np.float32)
  labels = np.arange(_N) % 2
  logits = rng.normal(size=(_N, 2)).astype(np.float32)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=2)
  return TeacherStatistics(
    lambda: moments,
    jnp.asarray(rng.normal(size=(6, 2)), jnp.float32),
    lambda: labels,
    lambda: Outputs(jnp.asarray(embeddings), jnp.asarray(logits)),
  )


class Given:
  """A batch of a method, with all that its loss gets."""

  def __init__(self, name, statistics, rng, *, width=4, size=1, **loss):
    values = {
      "temperature": 2.0,
      "hard_label_weight": 0.25,
      "feature_weight": 3.0,
      "num_negatives": 5,
    } | loss
    self.cell = specs.replace(
      tiny.cell("standard"),
      {
        "method": name,
        "clustering.num_clusters": size,
        **{f"loss.{field}": value for field, value in values.items()},
      },
    )
    self.method, statics = method_named(name), loss_statics(self.cell)
    self.loss_params, self.loss_state = self.method.learned(
      LossSetup(statics, width, 6, _N, jax.random.key(4))
    )
    setup = Setup(self.cell, _TASK, 6, statistics, size)
    self.targets = self.method.shared_targets(setup)
    self.targets |= self.method.targets(setup)
    rows = np.array([3, 0, 7, 12, 25, 38])

    def normal(*shape):
      return jnp.asarray(rng.normal(size=shape), jnp.float32)

    self.student = Outputs(normal(6, width), normal(6, 2 * size))
    self.teacher = Outputs(normal(6, 6), normal(6, 2))
    self.batch = {"rows": jnp.asarray(rows), "labels": jnp.asarray(rows % 2)}
    self.hyperparameters = vars(statics) | self.method.scalars(self.cell)

  def loss(self, key=0):
    return self.method.loss(
      LossInputs(
        student=self.student,
        teacher=self.teacher,
        targets=self.targets,
        batch=self.batch,
        hyperparameters=self.hyperparameters,
        loss_params=self.loss_params,
        loss_state=self.loss_state,
        key=jax.random.key(key),
      )
    )

  def without_features(self):
    """Eq. (1): alpha of the hard labels, the rest from the teacher."""
    log_probs = jax.nn.log_softmax(self.student.logits)
    hard = -log_probs[np.arange(6), self.batch["labels"]].mean()
    kd = baselines.kd_loss(
      self.student.logits, self.teacher.logits, temperature=2.0
    )
    return 0.25 * hard + 0.75 * kd.mean()

  def projected(self, name="projection", outputs=None):
    x = (outputs or self.student).embeddings
    layer = self.loss_params.get(name)
    return x if layer is None else x @ layer["kernel"] + layer["bias"][None]


_FEATURES = {
  "embedding": lambda g: baselines.embedding_loss(
    g.projected(), g.teacher.embeddings
  ),
  "fitnet": lambda g: baselines.hint_loss(g.projected(), g.teacher.embeddings),
  "vid": lambda g: baselines.vid_loss(
    g.projected(), g.teacher.embeddings, g.loss_params["variance_logits"]
  ),
  "rkd": lambda g: baselines.rkd_angle_loss(*_both(g)),
  "rkd_distance": lambda g: baselines.rkd_distance_loss(*_both(g)),
  "crd": lambda g: baselines.crd_loss(
    *_units(g), temperature=0.07, dataset_size=_N
  ),
  "info_nce": lambda g: baselines.info_nce_loss(*_units(g), temperature=0.07),
}


def _both(given):
  return given.student.embeddings, given.teacher.embeddings


def _units(given):
  return (
    baselines.unit_rows(given.projected("student")),
    baselines.unit_rows(given.projected("teacher", given.teacher)),
  )


@pytest.mark.parametrize("width", [4, 6])
@pytest.mark.parametrize("name", _FEATURES)
def test_feature_methods_add_their_loss_to_kd(statistics, rng, name, width):
  given = Given(name, statistics, rng, width=width)
  loss, (metrics, _) = given.loss()
  feature = jnp.mean(_FEATURES[name](given))
  expected = given.without_features() + 0.75 * 3.0 * feature
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
  statistics, rng, name, width, projection, learned
):
  given = Given(name, statistics, rng, width=width, projection=projection)
  assert given.loss_params.keys() == learned


def test_unequal_widths_need_a_projection(statistics, rng):
  with pytest.raises(ValueError, match="needs embeddings of one width"):
    Given("embedding", statistics, rng, projection="never")


def test_everything_learned_gets_a_gradient(statistics, rng):
  for name in (*_FEATURES, "crd_bank"):
    given = Given(name, statistics, rng)
    given.targets = jax.tree.map(jnp.asarray, given.targets)

    def loss(loss_params, given=given):
      given.loss_params = loss_params
      return given.loss()[0]

    gradient = jax.jit(jax.grad(loss))(given.loss_params)
    for leaf in jax.tree.leaves(gradient):
      assert np.abs(leaf).max() > 0


def test_a_bank_is_scored_against_other_classes_and_updated(statistics, rng):
  given = Given("crd_bank", statistics, rng, num_negatives=500)
  seen = []
  real = baselines.crd_bank_loss

  def watched(student, teacher, bank, ids, negatives, **options):
    seen.append(np.asarray(negatives))
    return real(student, teacher, bank, ids, negatives, **options)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(baselines, "crd_bank_loss", watched)
    _, (_, bank) = given.loss()
    given.loss(key=1)
  labels = np.asarray(given.batch["labels"])
  first, second = seen
  assert first.shape == (6, 500)
  assert (first % 2 != labels[:, None]).all()
  assert len(np.unique(first)) == _N  # All of the other class, for both.
  assert (first != second).any()
  changed = np.flatnonzero((bank.student != given.loss_state.student).any(1))
  assert changed.tolist() == sorted(given.batch["rows"].tolist())


def test_pretraining_is_the_feature_loss_alone(statistics, rng):
  for name in ("fitnet", "crd"):
    whole = Given(name, statistics, rng)
    alone = Given(METHODS[name].pretraining, statistics, rng)
    alone.student, alone.teacher = whole.student, whole.teacher
    assert jax.tree.structure(alone.loss_params) == jax.tree.structure(
      whole.loss_params
    )
    loss, _ = alone.loss()
    np.testing.assert_allclose(
      loss, whole.loss()[1][0]["feature_term"], rtol=1e-6
    )


@pytest.mark.parametrize("name", ["kmeans", "agglomerative"])
def test_hard_clusters_are_pairs_of_class_and_cluster(statistics, rng, name):
  given = Given(name, statistics, rng, size=3)
  loss, _ = given.loss()
  found = Clusterer(
    np.asarray(statistics.transfer_outputs.embeddings),
    statistics.transfer_labels,
    num_classes=2,
    method=name,
    scope="per_class",
  ).cluster(3)
  rows, labels = given.batch["rows"], np.asarray(given.batch["labels"])
  outputs = labels * 3 + found.assignments[np.asarray(rows)]
  log_probs = np.asarray(jax.nn.log_softmax(given.student.logits))
  np.testing.assert_allclose(
    loss, -log_probs[np.arange(6), outputs].mean(), rtol=1e-6
  )


def test_soft_clusters_put_the_teachers_probabilities_on_one_each(
  statistics, rng
):
  given = Given("kmeans_soft", statistics, rng, size=3, hard_label_weight=0.0)
  loss, _ = given.loss()
  probs = np.asarray(jax.nn.softmax(given.teacher.logits / 2.0), np.float64)
  members = np.asarray(given.targets["memberships"])[given.batch["rows"]]
  target = np.zeros((6, 2, 3))
  for i, c in np.ndindex(6, 2):
    target[i, c, members[i, c]] = probs[i, c]
  log_student = np.asarray(
    jax.nn.log_softmax(given.student.logits / 2.0), np.float64
  ).reshape(6, 2, 3)
  with np.errstate(divide="ignore", invalid="ignore"):
    terms = np.where(target > 0, target * (np.log(target) - log_student), 0)
  np.testing.assert_allclose(loss, 4 * terms.sum((1, 2)).mean(), rtol=1e-5)


def test_subclass_students_learn_all_outputs_of_their_teacher(statistics, rng):
  given = Given("subclass", statistics, rng, size=3, hard_label_weight=0.0)
  given.teacher = given.teacher._replace(
    logits=jnp.asarray(rng.normal(size=(6, 6)), jnp.float32)
  )
  loss, _ = given.loss()
  expected = baselines.kd_loss(
    given.student.logits, given.teacher.logits, temperature=2.0
  )
  np.testing.assert_allclose(loss, expected.mean(), rtol=1e-6)


def test_subclass_teachers_learn_classes_and_to_spread(statistics, rng):
  given = Given("subclass_teacher", statistics, rng, size=3)
  loss, (metrics, _) = given.loss()
  log_probs = lelp_jax.class_log_probs(
    given.student.logits, num_classes=2, temperature=1.0
  )
  nll = -log_probs[np.arange(6), given.batch["labels"]].mean()
  auxiliary = baselines.subclass_auxiliary_loss(
    given.student.logits, temperature=1.0
  )
  np.testing.assert_allclose(loss, nll + auxiliary, rtol=1e-6)
  assert metrics["auxiliary_term"] < 0


def test_degenerate_cases_are_named():
  cell = tiny.cell("standard")
  two, many = Setup(cell, _TASK), Setup(cell, Task("many", 3))
  assert METHODS["dkd"].same_as(two) == "vanilla"
  assert METHODS["dkd"].same_as(many) is None
  assert METHODS["standardized_kd"].remark(two)
  assert METHODS["dist"].remark(two)
  for name in ("dist", "standardized_kd", "fitnet"):
    assert METHODS[name].remark(many) == ""
  never = specs.replace(cell, {"loss.projection": "never"})
  remark = METHODS["fitnet"].remark(Setup(never, Task("many", 3)))
  assert "Embedding" in remark
