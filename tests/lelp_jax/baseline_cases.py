"""Every comparison loss beside its float64 reference, in one form.

The loss of a batch is a function of student, teacher, `rows` and temperature;
`rows` says what else belongs to each example: its label, its place in a bank.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import baselines
from tests import reference
from tests.lelp_jax import baseline_reference

BATCH, WIDTH = 8, 5
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
  learned_teacher: bool = False  # Projections of both networks are learned.


CASES = {
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
