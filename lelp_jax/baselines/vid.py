r"""Variational Information Distillation (Ahn et al., 2019)."""

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.baselines import _vectors


def vid_loss(
  predicted_mean: jax.Array,
  teacher_embeddings: jax.Array,
  variance_logits: jax.Array,
  *,
  floor: float | jax.Array = 1e-5,
  reduction: str = "mean",
) -> jax.Array:
  r"""Computes the VID loss of each example.

  It trains a student to predict the teacher's embeddings where they can be
  predicted: the loss is the negative log likelihood of the teacher's
  embedding under a Gaussian whose mean the student predicts and whose
  variances are learned, one per dimension (equation (5) of the VID paper)

  .. math::
    L = \frac{1}{D} \sum_d \frac{1}{2} \Big[
        \frac{(h^T_d - \mu_d)^2}{\sigma_d^2} + \log \sigma_d^2 \Big],
    \quad \sigma_d^2 = \mathrm{softplus}(\alpha_d) + \varepsilon .

  The constant :math:`\frac{1}{2} \log 2\pi` is left out, so the loss may be
  negative. The variances are parameters: train ``variance_logits`` with the
  student. No gradient flows into the teacher.

  Args:
    predicted_mean: The student's prediction :math:`\mu`, its projected
      embedding, float, ``[..., D]``.
    teacher_embeddings: Embeddings of the teacher :math:`h^T`, of the same
      shape.
    variance_logits: Learned :math:`\alpha`, float, ``[D]``.
    floor: Smallest variance :math:`\varepsilon`, positive scalar, in squared
      units of the embeddings.
    reduction: ``"mean"`` or ``"sum"`` over the :math:`D` dimensions.

  Returns:
    The loss of each example in nats (per dimension, or in total), float32
    (float64 for float64 embeddings), ``[...]``.

  Raises:
    TypeError: If an array is not floating point or the floor is not a number.
    ValueError: If shapes do not fit, the reduction is unknown, or a concrete
      floor is not positive and finite.

  Note:
    The VID paper sums over :math:`d`. Public code averages, so that one loss
    weight suits all widths. ``reduction`` selects either (A-26). Public code
    initializes the variances to 5, where :math:`\alpha = \log(e^{5 -
    \varepsilon} - 1) = 4.9932294`. One version of it does not train the
    variances, which leaves a scaled squared error.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import vid_loss
    >>> mean, teacher = jnp.array([[1., 2.]]), jnp.array([[1., 4.]])
    >>> unit_variance = jnp.log(jnp.expm1(jnp.ones(2)))
    >>> print(jax.jit(vid_loss)(mean, teacher, unit_variance).round(3))
    [1.]

  References:
    Ahn et al., `Variational Information Distillation for Knowledge Transfer
    <https://arxiv.org/abs/1904.05835>`_.
  """
  mean, teacher = _vectors.checked_embeddings(
    predicted_mean, teacher_embeddings, "predicted_mean"
  )
  logits = _checks.as_array("variance_logits", variance_logits)
  _checks.check_floating("variance_logits", logits)
  _checks.check_option("reduction", reduction, ("mean", "sum"))
  if np.shape(logits) != mean.shape[-1:]:
    raise ValueError(
      f"variance_logits must have shape [D] = {mean.shape[-1:]} to fit "
      f"predicted_mean {mean.shape}, got shape {np.shape(logits)}."
    )
  mean, teacher, logits = _checks.as_floats(mean, teacher, logits)
  floor = _checks.positive("floor", floor, mean.dtype)
  # log(1 + exp(x)) as written overflows where softplus does not.
  variance = (jax.nn.softplus(logits) + floor)[(None,) * (mean.ndim - 1)]
  terms = 0.5 * ((teacher - mean) ** 2 / variance + jnp.log(variance))
  reduce = jnp.mean if reduction == "mean" else jnp.sum
  return reduce(terms, axis=-1)
