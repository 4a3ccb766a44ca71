r"""CRD with the memory bank of the original (Tian et al., 2020)."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax import _sharding
from lelp_jax.baselines import _vectors


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CRDBank:
  """The memory bank of `crd_bank_loss`: past projections, frozen normalizers.

  Save it in checkpoints: neither part can be recomputed.

  Attributes:
    student: The student's projections, one row per training example, float,
      ``[M, P]``.
    teacher: The teacher's projections, of the same shape.
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
      A bank with float32 rows drawn uniformly from :math:`\pm \sqrt{3 / P}`, of
      norm about one, as in the authors' code. It takes :math:`8 M P` bytes.

    Raises:
      TypeError: If a size is not an integer or the key is not a random key.
      ValueError: If a size is below 1.

    Examples:
      >>> import jax
      >>> from lelp_jax.baselines import CRDBank
      >>> bank = CRDBank.init(jax.random.key(0), num_examples=5, width=3)
      >>> print(bank.student.shape, bank.log_normalizers)
      (5, 3) [-inf -inf]
    """
    _checks.check_key("key", key)
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
  r"""Computes the CRD loss against a memory bank, and updates the bank.

  This is the estimate of the CRD paper, with negatives from the whole data set;
  `crd_loss` takes its negatives from the batch. Every projection is an anchor
  :math:`a`, scored against rows :math:`b` of the *other* network's bank: that
  of the same example and those of :math:`K` negatives (formulas of the CRD
  paper's released code)

  .. math::
    L = - \log h_0 - \sum_{k=1}^K \log(1 - h_k), \quad
    h = \frac{P}{P + K / M}, \quad
    P = e^{\langle a, b \rangle / \rho} / Z ,

  summed over the student and the teacher as anchors. The first batch sets
  :math:`Z` to :math:`M` times its mean of :math:`e^{\langle a, b \rangle /
  \rho}`, a noisy estimate that is then frozen for the whole run. In the
  returned bank, the rows of the batch are :math:`m b + (1 - m) a`, normalised
  to length one.

  The bank and :math:`Z` are constants. Both projections are learned, so
  gradients flow into both: stop the gradient of the teacher's embedding
  *before* its projection. Pass the global batch, since the first one sets
  :math:`Z`.

  Args:
    student_projections: Projected embeddings of the student, unit rows,
      float, ``[B, P]``.
    teacher_projections: Projected embeddings of the teacher, of the same shape.
    bank: The memory bank of :math:`M` examples.
    example_ids: Row of each example in the bank, integers in ``[0, M)``,
      ``[B]``. If ids are equal, one of their updates is kept.
    negative_ids: Rows of the negatives of each example, integers in ``[0, M)``,
      ``[B, K]``. The CRD paper draws 16,384 from other classes.
    temperature: Temperature :math:`\rho`, positive scalar (0.07 in the
      CRD paper).
    momentum: Weight :math:`m` of the old row in the new one, scalar in
      ``[0, 1]``.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 inputs),
    ``[B]``, and the bank after the batch. Under a trace, an example with an
    id outside the range has loss NaN, and such a row is not updated.

  Raises:
    TypeError: If an array is not floating point, ids are not integers, the bank
      is not a `CRDBank`, or a scalar is not a number.
    ValueError: If shapes do not fit, the batch is empty, or a concrete id,
      temperature or momentum is out of range.

  Note:
    The formula is that of the released code, but computed in logarithms instead
    of with 1e-7 added to denominators.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import crd_bank_loss, CRDBank
    >>> bank = CRDBank.init(jax.random.key(0), num_examples=5, width=2)
    >>> losses, bank = jax.jit(crd_bank_loss)(
    ...   jnp.eye(2), jnp.eye(2), bank, jnp.array([0, 1]),
    ...   jnp.array([[2, 3], [3, 4]]), temperature=1.)
    >>> print(losses.shape, jnp.isfinite(bank.log_normalizers))
    (2,) [ True  True]

  References:
    Tian, Krishnan and Isola, `Contrastive Representation Distillation
    <https://arxiv.org/abs/1910.10699>`_.
  """
  student, teacher = _vectors.checked_pair(
    ("student_projections", "teacher_projections"),
    (student_projections, teacher_projections),
    "[B, P]",
  )
  _vectors.check_batch("student_projections", student)
  bank = _checked_bank(bank, student.shape[1])
  ids = _checked_ids(example_ids, negative_ids, len(student), len(bank.student))
  dtype = student.dtype
  rho = _checks.temperature("temperature", temperature, dtype)
  kept = _checks.scalar("momentum", momentum, dtype)
  if _checks.is_concrete(kept) and not 0 <= float(kept) <= 1:
    raise ValueError(f"momentum must lie in [0, 1], got {float(kept)}.")
  bank = jax.lax.stop_gradient(jax.tree.map(jnp.asarray, bank))

  def of_batch(
    student, teacher, bank_student, bank_teacher, log_z, ids, rho, kept
  ):
    # Students are scored against teachers' rows, and teachers against
    # students'.
    losses, student_log_z = _one_side(student, bank_teacher, ids, rho, log_z[0])
    teacher_losses, teacher_log_z = _one_side(
      teacher, bank_student, ids, rho, log_z[1]
    )
    updated = CRDBank(
      student=_updated(bank_student, student, ids[:, 0], kept),
      teacher=_updated(bank_teacher, teacher, ids[:, 0], kept),
      log_normalizers=jnp.stack([student_log_z, teacher_log_z]).astype(
        log_z.dtype
      ),
    )
    return losses + teacher_losses, updated

  losses, updated = _sharding.on_auto_axes(
    of_batch,
    student,
    teacher,
    bank.student,
    bank.teacher,
    bank.log_normalizers,
    ids,
    rho,
    kept,
    like=(student, bank),
  )
  return losses, jax.lax.stop_gradient(updated)


def _one_side(
  anchors: jax.Array,
  rows: jax.Array,
  ids: jax.Array,
  temperature: jax.Array,
  log_z: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Returns each anchor's loss, and log Z; the first id is the positive."""
  anchors, rows = _checks.as_floats(anchors, rows)
  num_examples, num_negatives = len(rows), ids.shape[1] - 1
  scores = _products(anchors, rows, jnp.maximum(ids, 0)) / temperature

  # The first batch replaces the placeholder of -inf for log Z.
  log_mean = jax.nn.logsumexp(scores) - math.log(scores.size)
  first = jax.lax.stop_gradient(log_mean) + math.log(num_examples)
  log_z = jnp.where(jnp.isneginf(log_z), first, log_z.astype(scores.dtype))

  # The critic's log-odds: first the positive, then the negatives.
  log_odds = scores - log_z - math.log(num_negatives / num_examples)
  positive = jax.nn.softplus(-log_odds[:, 0])
  losses = positive + jax.nn.softplus(log_odds[:, 1:]).sum(axis=1)
  in_range = jnp.all(ids >= 0, axis=1)
  return jnp.where(in_range, losses, jnp.nan), log_z


def _products(anchors: jax.Array, rows: jax.Array, ids: jax.Array) -> jax.Array:
  """Computes inner products of anchors with their rows, the cheaper way."""
  if len(rows) <= ids.shape[1] * rows.shape[1]:
    products = jnp.dot(anchors, rows.T, precision=_vectors.HIGHEST)
    return jnp.take_along_axis(products, ids, axis=1)
  return jnp.einsum(
    "bp,bkp->bk", anchors, rows[ids], precision=_vectors.HIGHEST
  )


def _updated(
  rows: jax.Array, projections: jax.Array, ids: jax.Array, momentum: jax.Array
) -> jax.Array:
  """Moves the rows of the batch towards its projections."""
  old, new = _checks.as_floats(rows[jnp.maximum(ids, 0)], projections)
  moved = _vectors.normalize(momentum * old + (1 - momentum) * new)
  # Drop ids outside the range: -1 would index the last row.
  targets = jnp.where(ids < 0, len(rows), ids)
  return rows.at[targets].set(moved.astype(rows.dtype), mode="drop")


def _checked_bank(bank: CRDBank, width: int) -> CRDBank:
  """Returns a bank with rows of the given width as arrays, or raises."""
  axes = {"student": "[M, P]", "teacher": "[M, P]", "log_normalizers": "[2]"}
  checked, _ = _checks.container(
    "bank", bank, CRDBank, "make it with CRDBank.init", axes, sizes={"P": width}
  )
  return checked


def _checked_ids(
  example_ids: jax.Array, negative_ids: jax.Array, batch: int, num_examples: int
) -> jax.Array:
  """Returns the ids of positives and negatives, `[B, 1 + K]`, -1 if invalid."""
  example_ids = _checks.integers("example_ids", example_ids)
  negative_ids = _checks.integers("negative_ids", negative_ids)
  if np.shape(example_ids) != (batch,):
    raise ValueError(
      f"example_ids must have shape [B] with B = {batch}, "
      f"got shape {np.shape(example_ids)}."
    )
  shape = np.shape(negative_ids)
  if len(shape) != 2 or shape[0] != batch or shape[1] < 1:
    raise ValueError(
      f"negative_ids must have shape [B, K] with B = {batch} and K at least 1, "
      f"got shape {shape}."
    )
  _checks.check_labels("example_ids", example_ids, num_examples)
  _checks.check_labels("negative_ids", negative_ids, num_examples)
  example_ids = _checks.in_range(example_ids, num_examples)[:, None]
  negative_ids = _checks.in_range(negative_ids, num_examples)
  return jnp.concatenate([example_ids, negative_ids], axis=1)
