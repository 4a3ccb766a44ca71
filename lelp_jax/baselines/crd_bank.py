r"""CRD with the memory bank of the original (Tian et al., 2020)."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.baselines import _vectors


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CRDBank:
  """Past projections of every training example, and frozen normalizers.

  Belongs into checkpoints: neither part can be computed again.

  Attributes:
    student: Unit rows, float, ``[M, P]``, a row an example.
    teacher: The same of the teacher's projections.
    log_normalizers: Logarithms of the constants that turn scores into
      probabilities, for students and for teachers as anchors, ``[2]``;
      ``-inf`` until the first batch has set them.
  """

  student: jax.Array
  teacher: jax.Array
  log_normalizers: jax.Array

  @classmethod
  def init(cls, key: jax.Array, *, num_examples: int, width: int) -> "CRDBank":
    r"""Makes a bank of random rows without normalizers.

    Args:
      key: A random key.
      num_examples: Number of training examples :math:`M`, at least 1.
      width: Width of the projections :math:`P`, at least 1.

    Returns:
      Rows uniform in :math:`\pm \sqrt{3 / P}`, of norm about one, float32, as
      in the authors' code. They take :math:`8 M P` bytes.

    Raises:
      TypeError: If a size is not an integer.
      ValueError: If a size is below 1.

    Examples:
      >>> bank = CRDBank.init(jax.random.key(0), num_examples=5, width=3)
      >>> bank.student.shape, bank.log_normalizers.tolist()
      ((5, 3), [-inf, -inf])
    """
    _checks.check_at_least("num_examples", num_examples, 1)
    _checks.check_at_least("width", width, 1)
    bound = (3 / width) ** 0.5
    student, teacher = jax.random.uniform(
      key, (2, num_examples, width), jnp.float32, -bound, bound
    )
    return cls(student, teacher, jnp.full(2, -jnp.inf, jnp.float32))


def crd_bank_loss(
  student_projections: jax.Array,
  teacher_projections: jax.Array,
  bank: CRDBank,
  example_ids: jax.Array,
  negative_ids: jax.Array,
  *,
  temperature: float | jax.Array,
  momentum: float | jax.Array = 0.5,
) -> tuple[jax.Array, CRDBank]:
  r"""Computes the CRD loss against a memory bank, and the bank afterwards.

  Every projection is an anchor :math:`a` scored against rows :math:`b` of the
  *other* network's bank: its own example's and :math:`K` negatives' (the CRD
  paper's released code)

  .. math::
    L = - \log h_0 - \sum_{k=1}^K \log(1 - h_k), \quad
    h = \frac{P}{P + K / M}, \quad
    P = e^{\langle a, b \rangle / \rho} / Z ,

  summed over the student and the teacher as anchors. :math:`Z` is :math:`M`
  times the mean of :math:`e^{\langle a, b \rangle / \rho}` in the first
  batch, and frozen from then on: a noisy estimate that the whole run keeps.
  Afterwards rows of the batch become :math:`m b + (1 - m) a`, made unit.

  The formula is the released code's less its 1e-7 in denominators, in
  logarithms. Rows of the bank are constants, so gradients flow into each
  projection as an anchor, both of which are learned: what must be constant is
  the teacher's embedding, *before* its projection. Give the global batch: the
  first one sets :math:`Z`.

  Args:
    student_projections: Projected embeddings of the student, unit rows,
      float, ``[B, P]``.
    teacher_projections: Those of the teacher, of the same shape.
    bank: Rows of :math:`M` examples.
    example_ids: Rows of the batch in the bank, integers in ``[0, M)``,
      ``[B]``. Of equal ones, one is kept.
    negative_ids: Rows of the negatives of each example, integers in ``[0,
      M)``, ``[B, K]``. The original draws 16,384 from other classes.
    temperature: Temperature :math:`\rho`, positive scalar (0.07 there).
    momentum: Part :math:`m` of the old row in the new one, scalar in
      ``[0, 1]``.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 inputs),
    ``[B]``, and the bank after the batch.

  Raises:
    TypeError: If an array is not floating point or ids are not integers.
    ValueError: If shapes do not fit, or a concrete id, temperature or
      momentum is out of range.

  Examples:
    >>> bank = CRDBank.init(jax.random.key(0), num_examples=5, width=2)
    >>> losses, bank = crd_bank_loss(
    ...   jnp.eye(2), jnp.eye(2), bank, jnp.array([0, 1]),
    ...   jnp.array([[2, 3], [3, 4]]), temperature=1.)
    >>> losses.shape, bool(jnp.all(jnp.isfinite(bank.log_normalizers)))
    ((2,), True)

  References:
    Tian, Krishnan and Isola, `Contrastive Representation Distillation
    <https://arxiv.org/abs/1910.10699>`_.
  """
  _check_arguments(
    student_projections, teacher_projections, bank, example_ids, negative_ids
  )
  _checks.check_positive("temperature", temperature)
  _checks.check_scalar("momentum", momentum)
  if _checks.is_concrete(momentum) and not 0 <= float(momentum) <= 1:
    raise ValueError(f"momentum must lie in [0, 1], got {momentum}.")
  bank = jax.lax.stop_gradient(bank)
  ids = jnp.concatenate(
    [jnp.asarray(example_ids)[:, None], jnp.asarray(negative_ids)], axis=1
  )
  student_loss, student_log_z = _one_side(
    student_projections, bank.teacher, ids, temperature, bank.log_normalizers[0]
  )
  teacher_loss, teacher_log_z = _one_side(
    teacher_projections, bank.student, ids, temperature, bank.log_normalizers[1]
  )
  bank = CRDBank(
    student=_updated(bank.student, student_projections, ids[:, 0], momentum),
    teacher=_updated(bank.teacher, teacher_projections, ids[:, 0], momentum),
    log_normalizers=jnp.stack([student_log_z, teacher_log_z]).astype(
      bank.log_normalizers.dtype
    ),
  )
  return student_loss + teacher_loss, jax.lax.stop_gradient(bank)


def _one_side(
  anchors: jax.Array,
  rows: jax.Array,
  ids: jax.Array,
  temperature: float | jax.Array,
  log_z: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Loss of each anchor and log Z; the first of its ids is the positive."""
  anchors, rows = _vectors.as_floats(anchors, rows)
  num_examples, num_negatives = len(rows), ids.shape[1] - 1
  scores = _products(anchors, rows, ids) / temperature
  log_mean = jax.nn.logsumexp(scores) - math.log(scores.size)
  first = jax.lax.stop_gradient(log_mean) + math.log(num_examples)
  log_z = jnp.where(jnp.isneginf(log_z), first, log_z).astype(scores.dtype)
  log_odds = scores - log_z - math.log(num_negatives / num_examples)
  positive = jax.nn.softplus(-log_odds[:, 0])
  return positive + jax.nn.softplus(log_odds[:, 1:]).sum(axis=1), log_z


def _products(anchors: jax.Array, rows: jax.Array, ids: jax.Array) -> jax.Array:
  """Inner products of each anchor with its rows, the way that takes less."""
  if len(rows) <= ids.shape[1] * rows.shape[1]:
    products = jnp.dot(anchors, rows.T, precision=_vectors.HIGHEST)
    return jnp.take_along_axis(products, ids, axis=1)
  return jnp.einsum(
    "bp,bkp->bk", anchors, rows[ids], precision=_vectors.HIGHEST
  )


def _updated(
  rows: jax.Array,
  projections: jax.Array,
  ids: jax.Array,
  momentum: float | jax.Array,
) -> jax.Array:
  """Rows with those of the batch moved towards its projections."""
  old, new = _vectors.as_floats(rows[ids], projections)
  moved = _vectors.normalize(momentum * old + (1 - momentum) * new)
  return rows.at[ids].set(moved.astype(rows.dtype))


def _check_arguments(
  student: jax.Array,
  teacher: jax.Array,
  bank: CRDBank,
  example_ids: jax.Array,
  negative_ids: jax.Array,
) -> None:
  """Checks shapes, dtypes and, where they are concrete, ids."""
  _vectors.check_pair(
    ("student_projections", "teacher_projections"),
    (student, teacher),
    "[B, P]",
    rank=2,
  )
  batch, width = np.shape(student)
  num_examples = len(bank.student)
  for name in ("student", "teacher"):
    rows = getattr(bank, name)
    _checks.check_floating(f"bank.{name}", rows)
    if np.shape(rows) != (num_examples, width):
      raise ValueError(
        f"bank.{name} must have shape [M, P] = {(num_examples, width)} to fit "
        f"student_projections {np.shape(student)}, got shape {np.shape(rows)}."
      )
  _checks.check_labels("example_ids", example_ids, num_examples)
  _checks.check_labels("negative_ids", negative_ids, num_examples)
  shapes = np.shape(example_ids), np.shape(negative_ids)
  if (
    shapes[0] != (batch,)
    or len(shapes[1]) != 2
    or shapes[1][0] != batch
    or shapes[1][1] < 1
  ):
    raise ValueError(
      f"example_ids must have shape [B] and negative_ids [B, K], K at least 1, "
      f"with B = {batch}, got shapes {shapes[0]} and {shapes[1]}."
    )
