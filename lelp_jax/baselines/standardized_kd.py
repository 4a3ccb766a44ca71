r"""Distillation of standardized logits (Sun et al., 2024)."""

import math

import jax

from lelp_jax import _checks
from lelp_jax.baselines import _vectors
from lelp_jax.baselines.kd import kd_loss


def standardized_kd_loss(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  *,
  temperature: float | jax.Array,
) -> jax.Array:
  r"""Computes the distillation loss of each example on standardized logits.

  With :math:`\bar z` the mean of an example's logits and :math:`\sigma` their
  standard deviation (Sun et al., algorithms 1 and 2)

  .. math::
    L = \tau^2 \, \mathrm{KL}\big(\mathrm{softmax}(Z(z^T) / \tau) \|
                                  \mathrm{softmax}(Z(z^S) / \tau)\big),
    \quad Z(z) = \frac{z - \bar z}{\sigma(z)},

  so the student need not reach the teacher's range. :math:`\sigma` divides by
  :math:`C` as in the algorithm; the authors' code and figures divide by
  :math:`C - 1`: their :math:`\tau` is :math:`\tau \sqrt{C / (C - 1)}` here,
  and their loss :math:`(C - 1) / C` of this one. Equal logits have no standard
  deviation: their :math:`Z` is zero with gradient zero (the code adds 1e-7).
  The weight, 9 in the authors' examples, is the caller's.

  **With two classes** :math:`Z` **is 1 and -1: the loss only says whether the
  two networks agree and has no gradient. Do not use it there.**

  Args:
    student_logits: Logits of the student :math:`z^S`, float, ``[..., C]``.
    teacher_logits: Those of the teacher :math:`z^T`, of the same shape.
    temperature: Base temperature :math:`\tau`, positive scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 logits),
    ``[...]``.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If the shapes differ or a concrete temperature is not
      positive.

  Examples:
    >>> import jax.numpy as jnp
    >>> student, teacher = jnp.array([0., 1., 5.]), jnp.array([3., 0., 9.])
    >>> round(float(standardized_kd_loss(student, teacher, temperature=2.)), 4)
    0.0857
    >>> loss = standardized_kd_loss(student, 7 * student + 1, temperature=2.)
    >>> abs(round(float(loss), 4))
    0.0

  References:
    Sun et al., `Logit Standardization in Knowledge Distillation
    <https://arxiv.org/abs/2403.01427>`_.
  """
  _vectors.check_pair(
    ("student_logits", "teacher_logits"),
    (student_logits, teacher_logits),
    "[..., C]",
  )
  _checks.check_positive("temperature", temperature)
  student, teacher = (
    math.sqrt(logits.shape[-1]) * _vectors.normalize(_vectors.centre(logits))
    for logits in _vectors.as_floats(student_logits, teacher_logits)
  )
  return kd_loss(student, teacher, temperature=temperature)
