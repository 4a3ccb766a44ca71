r"""DIST, distillation from a stronger teacher (Huang et al., 2022)."""

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax import _probabilities
from lelp_jax import _sharding
from lelp_jax.baselines import _vectors


def dist_loss(
  student_logits: jax.Array,
  teacher_logits: jax.Array,
  *,
  temperature: float | jax.Array,
  inter_weight: float | jax.Array = 1.0,
  intra_weight: float | jax.Array = 1.0,
) -> jax.Array:
  r"""Computes the DIST loss of a batch.

  The student's probabilities need only correlate with the teacher's, across the
  classes of each example and across the examples of each class. With :math:`Y`
  the ``[B, C]`` probabilities at temperature :math:`\tau` and :math:`\rho`
  Pearson's correlation (DIST paper)

  .. math::
    L = \tau^2 \Big[
      \beta \frac{1}{B} \sum_i \big(1 - \rho(Y^S_{i,:}, Y^T_{i,:})\big)
      + \gamma \frac{1}{C} \sum_c \big(1 - \rho(Y^S_{:,c}, Y^T_{:,c})\big)
    \Big] .

  **With two classes, every** :math:`\rho` **within an example is 1 or -1: the
  first term only says whether the two networks agree, and has no gradient.**
  The second term depends on the batch: pass the global batch. No gradient flows
  into the teacher's logits.

  Args:
    student_logits: Logits of the student, float, ``[B, C]``, with at least
      two classes.
    teacher_logits: Logits of the teacher, of the same shape.
    temperature: Temperature :math:`\tau`, positive scalar.
    inter_weight: Weight :math:`\beta` of the relations between classes, scalar;
      public code uses 2 at :math:`\tau = 4` for CIFAR-100.
    intra_weight: Weight :math:`\gamma` of the relations within a class, scalar;
      public code uses the same value.

  Returns:
    The loss, dimensionless, float32 (float64 for float64 logits), ``[]``.

  Raises:
    TypeError: If an array is not floating point or a scalar not a number.
    ValueError: If the shapes are not one ``[B, C]``, the batch is empty,
      there is one class (see `lelp_jax.binary_head`), a concrete temperature
      is not positive and finite, or concrete logits are probabilities.

  Note:
    The factor :math:`\tau^2` is that of the authors' code; the listing in their
    appendix A.1 does not have it. Their code adds 1e-8 to the product of norms,
    which matters for columns of tiny probabilities. Here nothing is added: a
    row or column that is constant up to rounding, whose correlation is
    undefined, counts as uncorrelated, with gradient zero.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import dist_loss
    >>> student = jnp.array([[1., 0., 0.], [0., 1., 0.]])
    >>> teacher = jnp.array([[2., 1., 0.], [0., 1., 0.]])
    >>> print(f"{jax.jit(dist_loss)(student, teacher, temperature=1.):.4f}")
    0.3505

  References:
    Huang et al., `Knowledge Distillation from A Stronger Teacher
    <https://arxiv.org/abs/2205.10536>`_.
  """
  student, teacher = _vectors.checked_logits(
    student_logits, teacher_logits, "[B, C]"
  )
  _vectors.check_batch("student_logits", student)
  dtype = student.dtype
  tau = _checks.temperature("temperature", temperature, dtype)
  inter_weight = _checks.scalar("inter_weight", inter_weight, dtype)
  intra_weight = _checks.scalar("intra_weight", intra_weight, dtype)

  def distances(student, teacher, tau):
    student, teacher = (
      jax.nn.softmax(_probabilities.tempered(logits, tau))
      for logits in (student, teacher)
    )
    inter = 1 - jnp.mean(_correlation(student, teacher))
    intra = 1 - jnp.mean(_correlation(student.T, teacher.T))
    return jnp.stack([inter, intra])

  inter, intra = _sharding.on_auto_axes(distances, student, teacher, tau)
  return tau**2 * (inter_weight * inter + intra_weight * intra)


def _correlation(a: jax.Array, b: jax.Array) -> jax.Array:
  """Computes Pearson's correlation over the last axis, 0 for constant rows."""
  units = (_vectors.normalize(_vectors.centre(rows)) for rows in (a, b))
  return jnp.sum(jnp.multiply(*units), axis=-1)
