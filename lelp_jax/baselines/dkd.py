r"""Decoupled Knowledge Distillation (Zhao et al., 2022)."""

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.baselines import _vectors
from lelp_jax.baselines.kd import kd_loss


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

  With :math:`b = (p_y, 1 - p_y)` the probability of the label and of all
  other classes together, and :math:`\hat p` the distribution over the others
  (equations (1), (2) and (7) of the DKD paper)

  .. math::
    L = \tau^2 \big[ \alpha \, \mathrm{KL}(b^T \| b^S)
        + \beta \, \mathrm{KL}(\hat p^T \| \hat p^S) \big],

  where :math:`\alpha = 1, \beta = 1 - p^T_y` is vanilla distillation. **With
  two classes there is one other class, the second term is zero for any**
  :math:`\beta` **and the loss is** :math:`\alpha` **times** `kd_loss`.

  Both terms are divergences between logits: the log-sum-exp of the other
  logits stands for :math:`\log(1 - p_y)`. Public code takes the logarithm of a
  probability and turns to NaN at logits a few hundred apart; and it hides the
  label by subtracting 1000, here it is left out. Its cross entropy and its
  warm-up of 20 epochs are the caller's. No gradient flows into the teacher.

  Args:
    student_logits: Logits of the student, float, ``[..., C]``, finite.
    teacher_logits: Those of the teacher, of the same shape, finite.
    labels: True classes :math:`y`, integers in ``[0, C)``, ``[...]``.
    temperature: Temperature :math:`\tau`, positive scalar.
    target_weight: Weight :math:`\alpha` of the target class, scalar.
    nontarget_weight: Weight :math:`\beta` of the other classes, scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 logits),
    ``[...]``.

  Raises:
    TypeError: If logits are not floating point or labels not integers.
    ValueError: If shapes do not fit, there are fewer than two classes, or a
      concrete label or temperature is out of range.

  Examples:
    >>> student, teacher = jnp.array([0., 1., 0.]), jnp.array([2., 0., 0.])
    >>> for weight in (0., 1.):
    ...   print(round(float(dkd_loss(student, teacher, jnp.array(0),
    ...     temperature=1., nontarget_weight=weight)), 4))
    0.7538
    0.8739

  References:
    Zhao et al., `Decoupled Knowledge Distillation
    <https://arxiv.org/abs/2203.08679>`_.
  """
  _vectors.check_pair(
    ("student_logits", "teacher_logits"),
    (student_logits, teacher_logits),
    "[..., C]",
  )
  *lead, num_classes = np.shape(student_logits)
  _checks.check_at_least("the number of classes C", num_classes, 2)
  _checks.check_labels("labels", labels, num_classes)
  _checks.check_positive("temperature", temperature)
  if np.shape(labels) != tuple(lead):
    raise ValueError(
      f"labels must have shape {tuple(lead)} to fit student_logits "
      f"{np.shape(student_logits)}, got shape {np.shape(labels)}."
    )
  is_target = jax.nn.one_hot(labels, num_classes, dtype=bool)
  target, others = [], []
  for logits in _vectors.as_floats(student_logits, teacher_logits):
    scaled = logits / temperature
    hidden = jnp.where(is_target, -jnp.inf, scaled)
    label_logit = jnp.sum(jnp.where(is_target, scaled, 0), axis=-1)
    other_logit = jax.nn.logsumexp(hidden, axis=-1)
    target.append(jnp.stack([label_logit, other_logit], axis=-1))
    others.append(hidden)
  return temperature**2 * (
    target_weight * kd_loss(*target, temperature=1.0)
    + nontarget_weight * kd_loss(*others, temperature=1.0)
  )
