r"""Subclass Distillation (Müller, Kornblith and Hinton, 2020)."""

import math

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax import _sharding
from lelp_jax.baselines import _vectors


def subclass_auxiliary_loss(
  subclass_logits: jax.Array, *, temperature: float | jax.Array
) -> jax.Array:
  r"""Computes the loss that spreads a teacher's examples over its subclasses.

  The teacher of Subclass Distillation is trained on the cross entropy of its
  class logits, the log-sum-exp over the contiguous subclasses of each class,
  plus this loss times a weight. With :math:`v_i` the logits of an example,
  minus their mean and scaled to length :math:`1 / \sqrt{\tau}` (equations (7)
  and (8) of the Subclass Distillation paper; the standardization is that of the
  authors' released notebook)

  .. math::
    L = \frac{1}{B} \sum_i \Big[ \log \sum_j e^{\langle v_i, v_j \rangle}
        - \langle v_i, v_i \rangle \Big] - \log B .

  It lies between :math:`-\log B` and 0, its value if all rows are equal:
  minimizing it pushes examples apart. The value depends on the batch: pass the
  global batch.

  Args:
    subclass_logits: Logits of the teacher, float, ``[B, C * S]``, with the
      logits of each class contiguous. If there are two logits in all, only the
      sign of their difference matters, and the gradient is zero.
    temperature: Temperature :math:`\tau`, positive scalar; not the temperature
      of distillation.

  Returns:
    The loss in nats, float32 (float64 for float64 logits), ``[]``; zero for a
    batch of one.

  Raises:
    TypeError: If the logits are not floating point or the temperature is not a
      number.
    ValueError: If the logits do not have rank 2, the batch is empty, there is
      only one logit per example, concrete logits are probabilities, or a
      concrete temperature is not positive and finite.

  Note:
    The released code subtracts the constant :math:`1 / \tau` instead of
    :math:`\langle v_i, v_i \rangle`. They are the same unless all logits of an
    example are equal, so that :math:`v_i = 0`. If this holds for all examples,
    that code reports its lowest loss, :math:`- 1 / \tau`, for a teacher without
    any subclasses. Here such an example counts as equal to all others, which is
    the highest loss, and has gradient zero.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import subclass_auxiliary_loss
    >>> logits = jnp.array([[3., 0., 0.], [0., 3., 0.], [0., 0., 3.]])
    >>> loss = jax.jit(subclass_auxiliary_loss)
    >>> print(f"{loss(logits, temperature=1.):.4f}")
    -0.7296

  References:
    Müller, Kornblith and Hinton, `Subclass Distillation
    <https://arxiv.org/abs/2002.03936>`_.
  """
  logits = _checks.floating("subclass_logits", subclass_logits, "[B, C * S]")
  _vectors.check_batch("subclass_logits", logits)
  _checks.check_logits("subclass_logits", logits)
  (logits,) = _checks.as_floats(logits)
  tau = _checks.temperature("temperature", temperature, logits.dtype)

  def loss(logits, tau):
    units = _vectors.normalize(_vectors.centre(logits))
    gram = jnp.dot(units, units.T, precision=_vectors.HIGHEST) / tau
    relative = gram - jnp.diagonal(gram)[:, None]
    return jnp.mean(jax.nn.logsumexp(relative, axis=1)) - math.log(len(logits))

  return _sharding.on_auto_axes(loss, logits, tau)
