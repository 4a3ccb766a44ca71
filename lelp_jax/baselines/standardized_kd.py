r"""Distillation of standardized logits (Sun et al., 2024)."""

import math

import jax

from lelp_jax import _checks
from lelp_jax import _probabilities
from lelp_jax.baselines import _vectors


def standardized_kd_loss(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  *,
  temperature: float | jax.Array,
) -> jax.Array:
  r"""Computes the distillation loss of each example on standardized logits.

  It is vanilla distillation in which the student need not reach the teacher's
  range of logits. With :math:`\bar z` the mean of an example's logits and
  :math:`\sigma` their standard deviation (Sun et al., algorithms 1 and 2)

  .. math::
    L = \tau^2 \, \mathrm{KL}\big(\mathrm{softmax}(Z(z^T) / \tau) \|
                                  \mathrm{softmax}(Z(z^S) / \tau)\big),
    \quad Z(z) = \frac{z - \bar z}{\sigma(z)} .

  **With two classes,** :math:`Z` **is 1 and -1: the loss only says whether the
  two networks agree, and has no gradient. Do not use it for two classes.** No
  gradient flows into the teacher's logits.

  Args:
    student_logits: Logits of the student :math:`z^S`, float, ``[..., C]``,
      with at least two classes.
    teacher_logits: Logits of the teacher :math:`z^T`, of the same shape.
    temperature: Base temperature :math:`\tau`, positive scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 logits),
    ``[...]``.

  Raises:
    TypeError: If an array is not floating point or the temperature is not a
      number.
    ValueError: If the shapes differ, there is one class (see
      `lelp_jax.binary_head`), a concrete temperature is not positive and
      finite, or concrete logits are probabilities.

  Note:
    :math:`\sigma` divides by :math:`C`, as in the algorithm. The authors' code
    and figures divide by :math:`C - 1`: their :math:`\tau` is :math:`\tau
    \sqrt{C / (C - 1)}` here, and their loss is :math:`(C - 1) / C` times this
    one. If all logits of an example are equal, :math:`Z` and its gradient are
    zero (the authors' code adds 1e-7 to :math:`\sigma`). The caller multiplies
    by the weight of the loss, 9 in the authors' examples.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import standardized_kd_loss
    >>> student, teacher = jnp.array([0., 1., 5.]), jnp.array([3., 0., 9.])
    >>> for logits in (teacher, 7 * student + 1):
    ...   loss = jax.jit(standardized_kd_loss)(
    ...     student, logits, temperature=2.)
    ...   print(f"{loss:.4f}")
    0.0857
    0.0000

  References:
    Sun et al., `Logit Standardization in Knowledge Distillation
    <https://arxiv.org/abs/2403.01427>`_.
  """
  student, teacher = (
    math.sqrt(logits.shape[-1]) * _vectors.normalize(_vectors.centre(logits))
    for logits in _vectors.checked_logits(student_logits, teacher_logits)
  )
  temperature = _checks.temperature("temperature", temperature, student.dtype)
  return temperature**2 * _probabilities.logit_divergence(
    student / temperature, teacher / temperature
  )
