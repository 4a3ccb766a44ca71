r"""Distilling pseudo-subclasses into a student (paper, Algorithm 3).

The student's head has one output per subclass, with the outputs of each class
contiguous. One tempered Kullback-Leibler divergence trains all outputs. The
predicted probability of a class is the sum over its subclasses.
"""

import functools

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax import _probabilities
from lelp_jax.splitting import _checked_mask


def lelp_loss(
  student_logits: jax.Array,
  teacher_log_probs: jax.Array,
  *,
  temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  r"""Computes the LELP loss: KL(teacher || student) over all subclasses.

  It trains a student whose head has one output for each of the :math:`C \cdot
  S` pseudo-subclasses, into which `log_subsplit` divides the teacher's classes.
  With :math:`p^S` the softmax of the student's logits over all subclasses at
  temperature :math:`\tau` (paper, section 3.3 and Algorithm 3; A-14:
  :math:`\tau^2` on the whole loss; A-15: divergence, not cross entropy)

  .. math::
    L = \tau^2 \sum_{c,s} p^T_{c,s} \log \frac{p^T_{c,s}}{p^S_{c,s}} .

  With one subclass per class this is vanilla distillation. No gradient flows
  into the teacher's log probabilities: a gradient with respect to the
  temperature treats them as constant, although they were computed at that
  temperature.

  Args:
    student_logits: Outputs of the student's head, float, ``[..., C * S]``.
    teacher_log_probs: :math:`\log p^T_{c,s}` from `log_subsplit` at the same
      temperature, float, ``[..., C, S]``; ``-inf`` is allowed.
    temperature: Temperature :math:`\tau`, positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``; by default all. Masked
      entries of both arguments may hold anything.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 logits),
    ``[...]``.

  Raises:
    TypeError: If an array is not floating point, the mask is not bool, or the
      temperature is not a number.
    ValueError: If the head is not ``C * S`` wide, shapes do not fit, a
      concrete temperature is not positive and finite, or concrete log
      probabilities are positive.

  Note:
    Each term is computed as :math:`p^T (d + e^{-d} - 1)` with :math:`d = \log
    p^T / p^S`. The sum is the same, since both distributions sum to one, but it
    stays accurate where the two are close, as at high temperatures. The
    gradient with respect to the temperature loses digits from a temperature of
    about 1,000.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import lelp_loss
    >>> loss = jax.jit(lelp_loss)
    >>> teacher = jnp.log(jnp.array([[0.5, 0.25], [0.125, 0.125]]))
    >>> print(f"{loss(jnp.zeros(4), teacher, temperature=2.):.4f}")
    0.6931
    >>> print(f"{loss(teacher.ravel(), teacher, temperature=1.):.4f}")
    0.0000
  """
  return _lelp_loss(
    *_checked(student_logits, teacher_log_probs, temperature, where)
  )


@functools.partial(jax.checkpoint, prevent_cse=False)
def _lelp_loss(
  student: jax.Array,
  teacher: jax.Array,
  temperature: jax.Array,
  where: jax.Array | None,
) -> jax.Array:
  """Computes the loss of checked arguments.

  Only the arguments are stored for the backward pass, which recomputes the
  rest, or shares it with the forward pass if both are in one program.
  """
  log_probs, student = _aligned(student, teacher, temperature, where)
  # Operations on one long axis are faster than on two short ones.
  flat = log_probs.reshape(student.shape)
  return temperature**2 * _probabilities.divergence(flat, student, -1)


def lelp_loss_terms(
  student_logits: jax.Array,
  teacher_log_probs: jax.Array,
  *,
  temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  r"""Splits the LELP loss into a class term and a subclass term.

  Use it to monitor the two terms, or to weight them differently. By the chain
  rule of the divergence, with :math:`p_c = \sum_s p_{c,s}` and :math:`p_{s|c} =
  p_{c,s} / p_c`,

  .. math::
    L = \tau^2 \, \mathrm{KL}(p^T_c \| p^S_c)
      + \tau^2 \sum_c p^T_c \, \mathrm{KL}(p^T_{s|c} \| p^S_{s|c}) .

  The first term is vanilla distillation of the student's class probabilities;
  LELP adds the second term.

  Args:
    student_logits: See `lelp_loss`, as for all arguments.
    teacher_log_probs: Log probabilities of the teacher, ``[..., C, S]``.
    temperature: Temperature :math:`\tau`, positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``.

  Returns:
    The class term and the subclass term of each example, each ``[...]``;
    their sum is the loss up to rounding.

  Raises:
    TypeError: See `lelp_loss`.
    ValueError: See `lelp_loss`.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import lelp_loss_terms
    >>> teacher = jnp.log(jnp.array([[0.5, 0.25], [0.125, 0.125]]))
    >>> class_term, subclass_term = jax.jit(lelp_loss_terms)(
    ...   jnp.zeros(4), teacher, temperature=1.)
    >>> print(f"{class_term:.4f} {subclass_term:.4f}")
    0.1308 0.0425
  """
  student, teacher, temperature, where = _checked(
    student_logits, teacher_log_probs, temperature, where
  )
  log_probs, student = _aligned(student, teacher, temperature, where)
  split, flat = log_probs.shape, student.shape
  teacher_class = _probabilities.log_sum_exp(log_probs)
  student_class = _probabilities.log_sum_exp(student.reshape(split))
  class_term = _probabilities.divergence(teacher_class, student_class, -1)

  # Give the student's classes the teacher's probabilities: the divergence that
  # is left is the subclass term. If a class of the student has probability
  # zero, its subclasses are -inf anyway.
  present = jnp.where(jnp.isneginf(student_class), 0, student_class)
  shift = (present - teacher_class)[..., None]
  shift = jnp.broadcast_to(shift, split).reshape(flat)
  subclass_term = _probabilities.divergence(
    log_probs.reshape(flat), student - shift, -1
  )
  return temperature**2 * class_term, temperature**2 * subclass_term


def class_log_probs(
  logits: jax.Array,
  *,
  num_classes: int,
  temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  r"""Sums a student's subclass probabilities into class log probabilities.

  This is how a student trained with `lelp_loss` predicts: the largest entry
  is the predicted class.

  .. math::
    \log p_c = \log \sum_s \mathrm{softmax}(z / \tau)_{c,s}

  (paper, section 3.3). The prediction depends on the temperature: use the one
  that the student was trained with (A-13).

  Args:
    logits: Outputs of the student's head, float, ``[..., C * S]``, with the
      outputs of each class contiguous.
    num_classes: Number of classes :math:`C`.
    temperature: Temperature :math:`\tau`, positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``; by default all. Masked
      logits may hold anything.

  Returns:
    Log probabilities, float32 (float64 for float64 logits), ``[..., C]``.

  Raises:
    TypeError: If the logits are not floating point, the mask is not bool, or
      the temperature is not a number.
    ValueError: If the width is not a multiple of ``num_classes``, the mask
      does not fit, or a concrete temperature is not positive and finite.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_log_probs
    >>> logits = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4]))
    >>> log_probs = class_log_probs(logits, num_classes=2, temperature=1.)
    >>> print([f"{p:.4f}" for p in jnp.exp(log_probs)])
    ['0.3000', '0.7000']
  """
  logits = _checks.floating("logits", logits, "[..., C * S]")
  num_classes = _checks.check_at_least("num_classes", num_classes, 1)
  width = logits.shape[-1]
  if width == 0 or width % num_classes:
    raise ValueError(
      f"logits must have shape [..., C * S] with C = {num_classes} classes, "
      f"got shape {logits.shape}."
    )
  shape = (num_classes, width // num_classes)
  where = _checked_mask(where, shape)
  (logits,) = _checks.as_floats(logits)
  temperature = _checks.temperature("temperature", temperature, logits.dtype)
  log_probs = _log_probs(logits, temperature, where)
  return _probabilities.log_sum_exp(
    log_probs.reshape(*logits.shape[:-1], *shape)
  )


def _checked(
  student_logits: jax.Array,
  teacher_log_probs: jax.Array,
  temperature: float | jax.Array,
  where: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
  """Returns the arguments of the loss as arrays, or raises."""
  student = _checks.floating("student_logits", student_logits, "[..., C * S]")
  teacher = _checks.floating(
    "teacher_log_probs", teacher_log_probs, "[..., C, S]"
  )
  *lead, num_classes, num_subclasses = teacher.shape
  if student.shape != (*lead, num_classes * num_subclasses):
    raise ValueError(
      "student_logits must have shape [..., C * S] = "
      f"{(*lead, num_classes * num_subclasses)} to fit teacher_log_probs "
      f"{teacher.shape}, got shape {student.shape}: give the student's head "
      "one output for each subclass."
    )
  if num_classes * num_subclasses < 2:
    _checks.check_logits("student_logits", student)
  where = _checked_mask(where, (num_classes, num_subclasses))
  dtype = _checks.float_dtype(student)
  temperature = _checks.temperature("temperature", temperature, dtype)
  _check_log_probs(_masked(teacher, where))
  return student, teacher, temperature, where


def _aligned(
  student: jax.Array,
  teacher: jax.Array,
  temperature: jax.Array,
  where: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Returns log probabilities of teacher [..., C, S], student [..., C * S]."""
  (student,) = _checks.as_floats(student)
  teacher = _masked(teacher, where).astype(student.dtype)
  teacher = jax.lax.stop_gradient(teacher)
  return teacher, _log_probs(student, temperature, where)


def _masked(log_probs: jax.Array, where: jax.Array | None) -> jax.Array:
  """Sets masked log probabilities [..., C, S] to -inf."""
  if where is None:
    return log_probs
  return jnp.where(where[(None,) * (log_probs.ndim - 2)], log_probs, -jnp.inf)


def _check_log_probs(log_probs: jax.Array) -> None:
  """Raises if concrete log probabilities seem to be probabilities."""
  if not _checks.is_concrete(log_probs) or not log_probs.size:
    return
  with jax.ensure_compile_time_eval():
    largest = float(jnp.max(log_probs))
    # Positive values are rounding only if others are negative: a tensor of
    # small probabilities has no negative values.
    is_positive = largest > 0 and not bool(
      jnp.any((log_probs < 0) & jnp.isfinite(log_probs))
    )
  # The bound exceeds the rounding of log probabilities in bfloat16.
  if largest > 0.05 or is_positive:
    raise ValueError(
      "teacher_log_probs must be log probabilities, got values up to "
      f"{largest:.3g}; pass the result of log_subsplit, not of subsplit."
    )


def _log_probs(
  logits: jax.Array, temperature: jax.Array, where: jax.Array | None
) -> jax.Array:
  """Returns the tempered log-softmax over all subclasses, [..., C * S]."""
  if where is not None:
    where = jnp.ravel(where)[(None,) * (logits.ndim - 1)]
  logits = _probabilities.tempered(logits, temperature, where)
  return _probabilities.log_softmax(logits, where)
