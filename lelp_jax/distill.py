r"""Distilling pseudo-subclasses into a student (paper, Algorithm 3).

The student's head has one output per subclass, those of one class
contiguous; one tempered Kullback-Leibler divergence trains all of them, and
their sum over a class predicts it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.subsplit import check_subclass_mask
from lelp_jax.subsplit import masked_log_softmax


def lelp_loss(
  student_logits: jax.Array,
  teacher_log_probs: jax.Array,
  *,
  temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  r"""Computes the LELP loss of each example.

  With :math:`p^S` the softmax of the student's logits over all
  :math:`C \cdot S` subclasses at temperature :math:`\tau` (paper, section 3.3
  and Algorithm 3; A-14: :math:`\tau^2` on the whole loss; A-15: divergence,
  not cross entropy)

  .. math::
    L = \tau^2 \sum_{c,s} p^T_{c,s} \log \frac{p^T_{c,s}}{p^S_{c,s}} .

  With one subclass a class this is vanilla distillation. No gradient flows
  into the teacher.

  Args:
    student_logits: Outputs of the student's head, float, ``[..., C * S]``.
    teacher_log_probs: :math:`\log p^T_{c,s}` from `log_subsplit` at the same
      temperature, float, ``[..., C, S]``; ``-inf`` is allowed.
    temperature: Temperature :math:`\tau`, positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``; by default all.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 logits),
    ``[...]``.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If the head is not ``C * S`` wide, shapes do not fit, or a
      concrete temperature is not positive.

  Examples:
    >>> teacher = jnp.log(jnp.array([[0.5, 0.25], [0.125, 0.125]]))
    >>> lelp_loss(jnp.zeros(4), teacher, temperature=2.).round(4).tolist()
    0.693...
    >>> lelp_loss(teacher.ravel(), teacher, temperature=1.).tolist()
    0.0
  """
  log_probs, student = _aligned(
    student_logits, teacher_log_probs, temperature, where
  )
  return temperature**2 * _divergence(log_probs, student, (-2, -1))


def lelp_loss_terms(
  student_logits: jax.Array,
  teacher_log_probs: jax.Array,
  *,
  temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Splits the LELP loss into what is about classes and about subclasses.

  By the chain rule of the divergence, with :math:`p_c = \sum_s p_{c,s}` and
  :math:`p_{s|c} = p_{c,s} / p_c`,

  .. math::
    L = \tau^2 \, \mathrm{KL}(p^T_c \| p^S_c)
      + \tau^2 \sum_c p^T_c \, \mathrm{KL}(p^T_{s|c} \| p^S_{s|c}) .

  The first term is vanilla distillation of the summed student; the second is
  what LELP adds.

  Args:
    student_logits: See `lelp_loss`, as for all arguments.
    teacher_log_probs: Log probabilities of the teacher, ``[..., C, S]``.
    temperature: Temperature :math:`\tau`, positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``.

  Returns:
    The class term and the subclass term of each example, each ``[...]``;
    their sum is the loss to rounding.

  Raises:
    TypeError: As `lelp_loss`.
    ValueError: As `lelp_loss`.

  Examples:
    >>> teacher = jnp.log(jnp.array([[0.5, 0.25], [0.125, 0.125]]))
    >>> terms = lelp_loss_terms(jnp.zeros(4), teacher, temperature=1.)
    >>> [round(float(term), 4) for term in terms]
    [0.1308, 0.0425]
  """
  log_probs, student = _aligned(
    student_logits, teacher_log_probs, temperature, where
  )
  teacher_class = _log_sum_exp(log_probs)
  student_class = _log_sum_exp(student)
  class_term = _divergence(teacher_class, student_class, -1)
  subclass_terms = _divergence(
    log_probs - _finite(teacher_class)[..., None],
    student - _finite(student_class)[..., None],
    -1,
  )
  subclass_term = jnp.sum(jnp.exp(teacher_class) * subclass_terms, axis=-1)
  return temperature**2 * class_term, temperature**2 * subclass_term


def class_log_probs(
  logits: jax.Array,
  *,
  num_classes: int,
  temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  r"""Sums subclass probabilities into log probabilities of the classes.

  .. math::
    \log p_c = \log \sum_s \mathrm{softmax}(z / \tau)_{c,s}

  (paper, section 3.3). The prediction is the largest. It depends on the
  temperature: predict at the one the student was trained with (A-13).

  Args:
    logits: Outputs of the student's head, float, ``[..., C * S]``, those of
      one class contiguous.
    num_classes: Number of classes :math:`C`.
    temperature: Temperature :math:`\tau`, positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``; by default all.

  Returns:
    Log probabilities, float32 (float64 for float64 logits), ``[..., C]``.

  Raises:
    TypeError: If the logits are not floating point.
    ValueError: If the width is no multiple of ``num_classes``, the mask does
      not fit, or a concrete temperature is not positive.

  Examples:
    >>> logits = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4]))
    >>> probs = jnp.exp(class_log_probs(logits, num_classes=2, temperature=1.))
    >>> [round(float(p), 4) for p in probs]
    [0.3, 0.7]
  """
  _checks.check_floating("logits", logits)
  _checks.check_at_least("num_classes", num_classes, 1)
  _checks.check_positive("temperature", temperature)
  width = np.shape(logits)[-1] if np.ndim(logits) else 0
  if width == 0 or width % num_classes:
    raise ValueError(
      f"logits must have shape [..., C * S] with C = {num_classes} classes, "
      f"got shape {np.shape(logits)}."
    )
  shape = (num_classes, width // num_classes)
  check_subclass_mask(where, shape)
  return _log_sum_exp(_log_probs(logits, shape, temperature, where))


def _aligned(
  student_logits: jax.Array,
  teacher_log_probs: jax.Array,
  temperature: float | jax.Array,
  where: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Checked log probabilities of teacher and student, both [..., C, S]."""
  _checks.check_floating("student_logits", student_logits)
  _checks.check_floating("teacher_log_probs", teacher_log_probs)
  _checks.check_positive("temperature", temperature)
  if np.ndim(teacher_log_probs) < 2:
    raise ValueError(
      "teacher_log_probs must have shape [..., C, S], got shape "
      f"{np.shape(teacher_log_probs)}."
    )
  *lead, num_classes, num_subclasses = np.shape(teacher_log_probs)
  if np.shape(student_logits) != (*lead, num_classes * num_subclasses):
    raise ValueError(
      "student_logits must have shape [..., C * S] = "
      f"{(*lead, num_classes * num_subclasses)} to fit teacher_log_probs "
      f"{np.shape(teacher_log_probs)}, got shape {np.shape(student_logits)}: "
      "give the student's head one output for each subclass."
    )
  shape = (num_classes, num_subclasses)
  check_subclass_mask(where, shape)
  student = _log_probs(student_logits, shape, temperature, where)
  teacher = jax.lax.stop_gradient(
    jnp.asarray(teacher_log_probs).astype(student.dtype)
  )
  if where is not None:
    lead = (None,) * (teacher.ndim - 2)
    teacher = jnp.where(jnp.asarray(where)[lead], teacher, -jnp.inf)
  return teacher, student


def _log_probs(
  logits: jax.Array,
  shape: tuple[int, int],
  temperature: float | jax.Array,
  where: jax.Array | None,
) -> jax.Array:
  """Log-softmax over all subclasses, [..., C, S]; -inf where masked."""
  logits = jnp.asarray(logits)
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  flat = None
  if where is not None:
    flat = jnp.ravel(where)[(None,) * (logits.ndim - 1)]
  log_probs = masked_log_softmax(logits / temperature, flat)
  return log_probs.reshape(*logits.shape[:-1], *shape)


def _finite(log_probs: jax.Array) -> jax.Array:
  """Log probabilities with -inf replaced by zero, for use where p is zero."""
  return jnp.where(jnp.isneginf(log_probs), 0, log_probs)


def _log_sum_exp(log_probs: jax.Array) -> jax.Array:
  """Sums probabilities over the last axis; all-zero rows stay -inf.

  Neither -inf entries nor such rows put NaN into the gradient.
  """
  present = ~jnp.isneginf(log_probs)
  values = jnp.where(present, log_probs, jnp.finfo(log_probs.dtype).min)
  largest = jax.lax.stop_gradient(values.max(axis=-1, keepdims=True))
  terms = jnp.where(present, jnp.exp(values - largest), 0)
  total = terms.sum(axis=-1)
  some = total > 0
  summed = jnp.log(jnp.where(some, total, 1)) + largest[..., 0]
  return jnp.where(some, summed, -jnp.inf)


def _divergence(
  teacher: jax.Array, student: jax.Array, axes: int | tuple[int, ...]
) -> jax.Array:
  """KL from log probabilities; terms of teacher probability zero are zero."""
  counts = jnp.exp(teacher) > 0
  difference = jnp.where(counts, teacher, 0) - jnp.where(counts, student, 0)
  return jnp.sum(jnp.exp(teacher) * difference, axis=axes)
