r"""Vanilla knowledge distillation (Hinton et al., 2015)."""

import jax

from lelp_jax import _checks
from lelp_jax import _probabilities
from lelp_jax.baselines import _vectors


def kd_loss(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  *,
  temperature: float | jax.Array,
) -> jax.Array:
  r"""Computes the vanilla distillation loss of each example.

  This is the standard way to train a student on a teacher's class
  probabilities:

  .. math::
    L = \tau^2 \, \mathrm{KL}(\mathrm{softmax}(z^T / \tau) \|
                              \mathrm{softmax}(z^S / \tau))

  No gradient flows into the teacher's logits.

  Args:
    student_logits: Unnormalized log probabilities :math:`z^S`, float,
      ``[..., C]``, with at least two classes.
    teacher_logits: Logits of the teacher :math:`z^T`, of the same shape.
    temperature: Temperature :math:`\tau`, positive scalar.

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
    The loss is computed from log probabilities: clipped probabilities would
    have no gradient once the logits are far apart. It stays accurate at high
    temperatures, where the two distributions are close. Its gradient with
    respect to the temperature loses digits from a temperature of about 1,000.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import kd_loss
    >>> student, teacher = jnp.array([0., 0.]), jnp.array([2., 0.])
    >>> print(f"{jax.jit(kd_loss)(student, teacher, temperature=2.):.4f}")
    0.4438

  References:
    Hinton, Vinyals and Dean, `Distilling the Knowledge in a Neural Network
    <https://arxiv.org/abs/1503.02531>`_, section 2.
  """
  student, teacher = _vectors.checked_logits(student_logits, teacher_logits)
  temperature = _checks.temperature("temperature", temperature, student.dtype)
  return temperature**2 * _probabilities.logit_divergence(
    _probabilities.tempered(student, temperature),
    _probabilities.tempered(teacher, temperature),
  )
