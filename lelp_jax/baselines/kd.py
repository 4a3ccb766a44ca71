r"""Vanilla knowledge distillation (Hinton, Vinyals and Dean, 2014)."""

import jax

from lelp_jax import _checks
from lelp_jax.baselines import _vectors
from lelp_jax.distill import lelp_loss


def kd_loss(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  *,
  temperature: float | jax.Array,
) -> jax.Array:
  r"""Computes the vanilla distillation loss of each example.

  .. math::
    L = \tau^2 \, \mathrm{KL}(\mathrm{softmax}(z^T / \tau) \|
                              \mathrm{softmax}(z^S / \tau))

  From log probabilities throughout: clipped probabilities would stop the
  gradient once the logits are far apart. No gradient flows into the teacher.

  Args:
    student_logits: Unnormalized log probabilities :math:`z^S`, float,
      ``[..., C]``.
    teacher_logits: Those of the teacher :math:`z^T`, of the same shape.
    temperature: Temperature :math:`\tau`, positive scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 logits),
    ``[...]``.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If the shapes differ or a concrete temperature is not
      positive.

  Examples:
    >>> import jax.numpy as jnp
    >>> student, teacher = jnp.array([0., 0.]), jnp.array([2., 0.])
    >>> round(float(kd_loss(student, teacher, temperature=2.)), 4)
    0.4438

  References:
    Hinton, Vinyals and Dean, `Distilling the Knowledge in a Neural Network
    <https://arxiv.org/abs/1503.02531>`_, section 2.
  """
  _vectors.check_pair(
    ("student_logits", "teacher_logits"),
    (student_logits, teacher_logits),
    "[..., C]",
  )
  _checks.check_positive("temperature", temperature)
  (teacher_logits,) = _vectors.as_floats(teacher_logits)
  log_probs = jax.nn.log_softmax(teacher_logits / temperature)
  # One subclass a class: the same divergence, written once.
  return lelp_loss(
    student_logits, log_probs[..., None], temperature=temperature
  )
