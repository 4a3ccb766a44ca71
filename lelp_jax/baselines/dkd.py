r"""Decoupled Knowledge Distillation (Zhao et al., 2022)."""

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax import _probabilities
from lelp_jax.baselines import _vectors


def dkd_loss(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  labels: jax.Array,
  *,
  temperature: float | jax.Array,
  target_weight: float | jax.Array = 1.0,
  nontarget_weight: float | jax.Array,
) -> jax.Array:
  r"""Computes the decoupled distillation loss of each example.

  It splits the divergence of `kd_loss` into one between the label and all other
  classes and one among the other classes, and weights the two independently.
  With :math:`b = (p_y, 1 - p_y)` the probabilities of the label and of all
  other classes together, and :math:`\hat p` the distribution over the others
  (equations (1), (2) and (7) of the DKD paper)

  .. math::
    L = \tau^2 \big[ \alpha \, \mathrm{KL}(b^T \| b^S)
        + \beta \, \mathrm{KL}(\hat p^T \| \hat p^S) \big],

  where :math:`\alpha = 1, \beta = 1 - p^T_y` is vanilla distillation. **With
  two classes, there is one other class: the second term is zero for any**
  :math:`\beta`, **and the loss is** :math:`\alpha` **times** `kd_loss`. No
  gradient flows into the teacher's logits.

  Args:
    student_logits: Logits of the student, float, ``[..., C]``, finite.
    teacher_logits: Logits of the teacher, of the same shape, finite.
    labels: True classes :math:`y`, integers in ``[0, C)``, ``[...]``. Under a
      trace, an example with a label outside the range has loss NaN.
    temperature: Temperature :math:`\tau`, positive scalar.
    target_weight: Weight :math:`\alpha` of the target class, scalar.
    nontarget_weight: Weight :math:`\beta` of the other classes, scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 logits),
    ``[...]``.

  Raises:
    TypeError: If logits are not floating point, labels are not integers, or
      scalars are not numbers.
    ValueError: If shapes do not fit, there are fewer than two classes, or a
      concrete label or temperature is out of range.

  Note:
    Both terms are divergences between logits: the log-sum-exp of the other
    logits stands for :math:`\log(1 - p_y)`. Public code takes the logarithm of
    a probability, which becomes NaN for logits a few hundred apart, and masks
    the label by subtracting 1000 from its logit; here the label is left out.
    Both terms stay accurate at high temperatures, as `kd_loss` does. The caller
    adds the cross entropy and the warm-up of 20 epochs that public code has.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import dkd_loss
    >>> student, teacher = jnp.array([0., 1., 0.]), jnp.array([2., 0., 0.])
    >>> for weight in (0., 1.):
    ...   loss = jax.jit(dkd_loss)(
    ...     student, teacher, jnp.array(0),
    ...     temperature=1., nontarget_weight=weight)
    ...   print(f"{loss:.4f}")
    0.7538
    0.8739

  References:
    Zhao et al., `Decoupled Knowledge Distillation
    <https://arxiv.org/abs/2203.08679>`_.
  """
  student, teacher = _vectors.checked_logits(student_logits, teacher_logits)
  *lead, num_classes = student.shape
  labels = _checks.integers("labels", labels)
  _checks.check_labels("labels", labels, num_classes)
  if np.shape(labels) != tuple(lead):
    raise ValueError(
      f"labels must have shape {tuple(lead)} to fit student_logits "
      f"{student.shape}, got shape {np.shape(labels)}."
    )
  dtype = student.dtype
  temperature = _checks.temperature("temperature", temperature, dtype)
  target_weight = _checks.scalar("target_weight", target_weight, dtype)
  nontarget_weight = _checks.scalar("nontarget_weight", nontarget_weight, dtype)
  labels = _checks.in_range(labels, num_classes)
  is_target = jax.nn.one_hot(labels, num_classes, dtype=bool)
  target, others = [], []
  for logits in (student, teacher):
    scaled = _probabilities.tempered(logits, temperature)
    hidden = jnp.where(is_target, -jnp.inf, scaled)
    label_logit = jnp.sum(jnp.where(is_target, scaled, 0), axis=-1)
    other_logit = jax.nn.logsumexp(hidden, axis=-1)
    target.append(jnp.stack([label_logit, other_logit], axis=-1))
    others.append(hidden)
  nontarget_term = _probabilities.logit_divergence(*others)

  # Compute the gap between the log-sum-exps from the divergence: where the
  # logits are close, as at high temperatures, this is more accurate than
  # subtracting the two.
  weights = jnp.exp(others[1] - target[1][..., 1:])
  gaps = jnp.where(is_target, 0, others[1] - others[0])
  other_gap = jnp.where(
    jnp.max(jnp.abs(gaps), axis=-1) < 1,
    jnp.sum(weights * gaps, axis=-1) - nontarget_term,
    jnp.inf,
  )
  label_gap = target[1][..., 0] - target[0][..., 0]
  target_term = _probabilities.logit_divergence(
    *target, gaps=jnp.stack([label_gap, other_gap], axis=-1)
  )
  loss = target_weight * target_term + nontarget_weight * nontarget_term
  return jnp.where(labels < 0, jnp.nan, temperature**2 * loss)
