"""Every loss beside its float64 reference, in one form.

The loss of a batch is a function of student, teacher, `rows` and temperature;
`rows` says what else belongs to each example: its label, its place in a bank.
Log probabilities are weighed, so that there is one number for each example.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from lelp_jax import baselines
from tests import reference
from tests.lelp_jax import baseline_reference

BATCH, WIDTH = 8, 6
TEMPERATURE = 1.5
VARIANCE_LOGITS = np.linspace(-2, 3, WIDTH)
BANK_SIZE = 30
_BANK_ROWS = baseline_reference.unit_rows(
  baseline_reference.golden(2 * BANK_SIZE, WIDTH, 0.7, 0.3)
).reshape(2, BANK_SIZE, WIDTH)
_LOG_NORMALIZERS = np.array([2.5, 3.5])


def labels_of(rows):
  return rows % WIDTH


def ids_of(rows):
  negatives = 10 + (3 * rows[:, None] + np.arange(4)[None]) % 20
  return rows, negatives


def bank_loss(student, teacher, rows, tau):
  dtype = jnp.promote_types(student.dtype, jnp.float32)
  bank = baselines.CRDBank(
    *jnp.asarray(_BANK_ROWS, dtype), jnp.asarray(_LOG_NORMALIZERS, dtype)
  )
  losses, _ = baselines.crd_bank_loss(
    student, teacher, bank, *ids_of(rows), temperature=tau
  )
  return losses


def bank_reference(student, teacher, rows, tau):
  ids = np.concatenate([rows[:, None], ids_of(rows)[1]], axis=1)
  sides = (student, _BANK_ROWS[1]), (teacher, _BANK_ROWS[0])
  return sum(
    baseline_reference.crd_bank_loss(*side, ids, tau, np.exp(log_z))[0]
    for side, log_z in zip(sides, _LOG_NORMALIZERS, strict=True)
  )


@dataclasses.dataclass(frozen=True)
class Case:
  """A loss, its reference, and what is true of it."""

  loss: Callable  # (student, teacher, rows, temperature) -> [B] or []
  expected: Callable
  per_example: bool = True
  learned_teacher: bool = False  # A gradient flows into it.


BASELINES = {
  "kd": Case(
    lambda s, t, n, tau: baselines.kd_loss(s, t, temperature=tau),
    lambda s, t, n, tau: np.array(
      [reference.kd_loss(*pair, tau) for pair in zip(s, t, strict=True)]
    ),
  ),
  "embedding": Case(
    lambda s, t, n, tau: baselines.embedding_loss(s, t),
    lambda s, t, n, tau: baseline_reference.embedding_loss(s, t),
  ),
  "fitnet": Case(
    lambda s, t, n, tau: baselines.hint_loss(s, t),
    lambda s, t, n, tau: baseline_reference.hint_loss(s, t),
  ),
  "vid": Case(
    lambda s, t, n, tau: baselines.vid_loss(
      s, t, VARIANCE_LOGITS.astype(s.dtype)
    ),
    lambda s, t, n, tau: baseline_reference.vid_loss(s, t, VARIANCE_LOGITS),
  ),
  "rkd_distance": Case(
    lambda s, t, n, tau: baselines.rkd_distance_loss(s, t),
    lambda s, t, n, tau: baseline_reference.rkd_distance_loss(s, t),
    per_example=False,
  ),
  "rkd_angle": Case(
    lambda s, t, n, tau: baselines.rkd_angle_loss(s, t),
    lambda s, t, n, tau: baseline_reference.rkd_angle_loss(s, t),
    per_example=False,
  ),
  "dkd": Case(
    lambda s, t, n, tau: baselines.dkd_loss(
      s, t, labels_of(n), temperature=tau, nontarget_weight=3.0
    ),
    lambda s, t, n, tau: baseline_reference.dkd_loss(
      s, t, labels_of(n), tau, 1.0, 3.0
    ),
  ),
  "crd": Case(
    lambda s, t, n, tau: baselines.crd_loss(
      s, t, temperature=tau, dataset_size=50
    ),
    lambda s, t, n, tau: baseline_reference.crd_loss(s, t, tau, 50),
    learned_teacher=True,
  ),
  "crd_bank": Case(bank_loss, bank_reference, learned_teacher=True),
  "info_nce": Case(
    lambda s, t, n, tau: baselines.info_nce_loss(s, t, temperature=tau),
    lambda s, t, n, tau: baseline_reference.info_nce_loss(s, t, tau),
    learned_teacher=True,
  ),
  "subclass": Case(
    lambda s, t, n, tau: baselines.subclass_auxiliary_loss(s, temperature=tau),
    lambda s, t, n, tau: baseline_reference.subclass_auxiliary_loss(s, tau),
    per_example=False,
  ),
  "dist": Case(
    lambda s, t, n, tau: baselines.dist_loss(
      s, t, temperature=tau, inter_weight=1.5, intra_weight=0.5
    ),
    lambda s, t, n, tau: baseline_reference.dist_loss(s, t, tau, 1.5, 0.5),
    per_example=False,
  ),
  "standardized_kd": Case(
    lambda s, t, n, tau: baselines.standardized_kd_loss(s, t, temperature=tau),
    lambda s, t, n, tau: baseline_reference.standardized_kd_loss(s, t, tau),
  ),
}


# --- LELP: six outputs are three classes of two subclasses --------------------

RAGGED = np.array([[True, False], [True, True], [False, True]])
_WEIGHTS = np.array([[1, 2], [3, 4], [5, 6]])
_DIRECTIONS = np.float32(baseline_reference.golden(6, WIDTH, 0.8, 0.2))
_DIRECTIONS = _DIRECTIONS.reshape(3, 2, WIDTH)
_MEANS = np.float32(baseline_reference.golden(3, WIDTH, 1.4, 0.6))


def lelp_case(where, term=None):
  """The loss or one of its terms, with the teacher's distribution as given."""
  exists = np.ones(WIDTH, bool) if where is None else where.ravel()

  def loss(s, t, n, tau):
    present = jnp.broadcast_to(exists, t.shape)
    log_probs = jax.nn.log_softmax(jnp.where(present, t, -jnp.inf))
    # What does not exist may hold anything.
    log_probs = jnp.where(present, log_probs, -7).reshape(*t.shape[:-1], 3, 2)
    function = lelp_jax.lelp_loss if term is None else lelp_jax.lelp_loss_terms
    found = function(s, log_probs, temperature=tau, where=where)
    return found if term is None else found[term]

  def expected(s, t, n, tau):
    s, t = (np.where(exists, logits, -np.inf) for logits in (s, t))
    log_probs = [reference.log_softmax(row).reshape(3, 2) for row in t]
    pairs = zip(s, log_probs, strict=True)
    if term is None:
      return np.array([reference.lelp_loss(*pair, tau) for pair in pairs])
    return np.array(
      [reference.lelp_loss_terms(*pair, tau)[term] for pair in pairs]
    )

  return Case(loss, expected)


def class_case(where):
  """The student's log probabilities of the classes."""
  exists = np.ones(WIDTH, bool) if where is None else where.ravel()

  def expected(s, t, n, tau):
    s = np.where(exists, s, -np.inf)
    found = [reference.class_log_probs(row, 3, tau) for row in s]
    return np.array(found) @ _WEIGHTS[:, 0]

  return Case(
    lambda s, t, n, tau: (
      lelp_jax.class_log_probs(s, num_classes=3, temperature=tau, where=where)
      @ _WEIGHTS[:, 0]
    ),
    expected,
  )


def split_case(where):
  """Algorithm 2; what does not exist has to be -inf."""

  def weighed(log_probs, xp):
    exists, weights = (
      xp.broadcast_to(array, log_probs.shape)
      for array in (np.ones((3, 2), bool) if where is None else where, _WEIGHTS)
    )
    terms = xp.where(exists, weights * log_probs, xp.isneginf(log_probs))
    return terms.sum(axis=(-2, -1))

  def loss(s, t, n, tau):
    subspaces = lelp_jax.Subspaces(
      *(jnp.asarray(array, s.dtype) for array in (_DIRECTIONS, _MEANS))
    )
    log_probs = lelp_jax.log_subsplit(
      s,
      t[..., :3],
      subspaces,
      temperature=tau,
      subclass_temperature=tau / 2,
      where=where,
    )
    return weighed(log_probs, jnp)

  def expected(s, t, n, tau):
    others = _DIRECTIONS, _MEANS, tau, tau / 2, where
    rows = [
      reference.log_subsplit(h, z[:3], *others)
      for h, z in zip(s, t, strict=True)
    ]
    return weighed(np.array(rows), np)

  return Case(loss, expected, learned_teacher=True)


LELP = {
  name + suffix: case
  for suffix, where in (("", None), ("_ragged", RAGGED))
  for name, case in {
    "lelp": lelp_case(where),
    "class_term": lelp_case(where, 0),
    "subclass_term": lelp_case(where, 1),
    "class_log_probs": class_case(where),
    "log_subsplit": split_case(where),
  }.items()
}
CASES = BASELINES | LELP


def make_inputs(rng, dtype=np.float32):
  """Student and teacher without symmetry, and the rows' numbers."""
  student = rng.normal(size=(BATCH, WIDTH)) * rng.uniform(0.5, 2, (1, WIDTH))
  teacher = 1.5 * rng.normal(size=(BATCH, WIDTH)) + 0.5
  return student.astype(dtype), teacher.astype(dtype), np.arange(BATCH)


def in_float64(*arrays):
  return tuple(np.asarray(array, np.float64) for array in arrays)


@functools.cache
def compiled(case):
  """Loss and its gradients to student and teacher, one program for a dtype."""

  def everything(student, teacher, rows, temperature):
    def total(student, teacher):
      loss = case.loss(student, teacher, rows, temperature)
      return jnp.sum(loss), loss

    gradients, loss = jax.grad(total, (0, 1), has_aux=True)(student, teacher)
    return loss, *gradients

  return jax.jit(everything)


def numerical_gradient(function, array):
  flat = reference.gradient(
    lambda x: np.sum(function(x.reshape(array.shape))), array.ravel()
  )
  return flat.reshape(array.shape)
