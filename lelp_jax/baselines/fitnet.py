r"""FitNet (Romero et al., 2015): hints from the teacher's last layer."""

import jax
import jax.numpy as jnp

from lelp_jax.baselines import _vectors


def hint_loss(
  student_embeddings: jax.Array, teacher_embeddings: jax.Array
) -> jax.Array:
  r"""Computes the hint loss of each example.

  It trains a student, through a linear regressor :math:`r`, to reproduce the
  teacher's embeddings in mean square:

  .. math::
    L = \frac{1}{D} \sum_d (h^T_d - r(h^S)_d)^2

  No gradient flows into the teacher.

  Args:
    student_embeddings: Outputs of the regressor :math:`r(h^S)`, float,
      ``[..., D]``. The caller applies it.
    teacher_embeddings: Embeddings of the teacher :math:`h^T`, of the same
      shape.

  Returns:
    The loss of each example, float32 (float64 for float64 embeddings),
    ``[...]``.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If the shapes differ.

  Note:
    Equation (3) of the FitNets paper is half the sum over :math:`d` (A-26):
    multiply by :math:`D / 2` to get it. Public code computes the mean, for
    which one loss weight suits all widths. As in the LELP paper (appendix H),
    hints come from the last layer, and the regressor is one linear layer.
    FitNets guide a convolutional layer in the middle of the network.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import hint_loss
    >>> student, teacher = jnp.array([[3., 4.], [1., 1.]]), jnp.zeros((2, 2))
    >>> print(hint_loss(student, teacher))
    [12.5  1. ]

  References:
    Romero et al., `FitNets: Hints for Thin Deep Nets
    <https://arxiv.org/abs/1412.6550>`_, section 2.2.
  """
  student, teacher = _vectors.checked_embeddings(
    student_embeddings, teacher_embeddings
  )
  return jnp.mean((teacher - student) ** 2, axis=-1)
