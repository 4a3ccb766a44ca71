r"""Subclass Distillation (Müller, Kornblith and Hinton, 2020)."""

import math

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax.baselines import _vectors


def subclass_auxiliary_loss(
  subclass_logits: jax.Array, *, temperature: float | jax.Array
) -> jax.Array:
  r"""Computes what makes a teacher spread its examples over the subclasses.

  With :math:`v_i` the logits of an example, less their mean, of length
  :math:`1 / \sqrt{\tau}` (equations (7) and (8) of the Subclass Distillation
  paper; the standardization is that of the authors' released notebook)

  .. math::
    L = \frac{1}{B} \sum_i \Big[ \log \sum_j e^{\langle v_i, v_j \rangle}
        - \langle v_i, v_i \rangle \Big] - \log B ,

  between :math:`-\log B` and 0, which all rows equal reach: minimizing it
  pushes examples apart. The teacher is trained on the cross entropy of its
  class logits, the log-sum-exp over the contiguous subclasses of each class,
  plus this loss times a weight.

  Released code subtracts the constant :math:`1 / \tau` for :math:`\langle v_i,
  v_i \rangle`, its value unless all logits of an example are equal; then
  :math:`v_i = 0` and that code reports its lowest loss, :math:`- 1 / \tau`, for
  a teacher that has found nothing. Here such an example counts as
  equal to all others, the highest, and has gradient zero. Two logits in all
  carry no more than a sign, and no gradient.

  The value depends on the batch: give the global one.

  Args:
    subclass_logits: Logits of the teacher, those of one class contiguous,
      float, ``[B, C * S]``.
    temperature: Temperature :math:`\tau`, positive scalar; not that of
      distillation.

  Returns:
    The loss in nats, float32 (float64 for float64 logits), ``[]``; zero for a
    batch of one.

  Raises:
    TypeError: If the logits are not floating point.
    ValueError: If they are not of rank 2, there are none, or a concrete
      temperature is not positive.

  Examples:
    >>> logits = jnp.array([[3., 0., 0.], [0., 3., 0.], [0., 0., 3.]])
    >>> round(float(subclass_auxiliary_loss(logits, temperature=1.)), 4)
    -0.7296
    >>> abs(round(float(subclass_auxiliary_loss(logits[:1].repeat(3, axis=0),
    ...   temperature=1.)), 4))
    0.0

  References:
    Müller, Kornblith and Hinton, `Subclass Distillation
    <https://arxiv.org/abs/2002.03936>`_.
  """
  _checks.check_floating("subclass_logits", subclass_logits)
  _checks.check_rank("subclass_logits", subclass_logits, 2, "[B, C * S]")
  _vectors.check_batch("subclass_logits", subclass_logits)
  _checks.check_positive("temperature", temperature)
  (logits,) = _vectors.as_floats(subclass_logits)
  units = _vectors.normalize(_vectors.centre(logits))
  gram = jnp.dot(units, units.T, precision=_vectors.HIGHEST) / temperature
  relative = gram - jnp.diagonal(gram)[:, None]
  return jnp.mean(jax.nn.logsumexp(relative, axis=1)) - math.log(len(logits))
