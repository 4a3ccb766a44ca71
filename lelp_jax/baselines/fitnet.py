r"""FitNet (Romero et al., 2015): hints from the teacher's last layer."""

import jax
import jax.numpy as jnp

from lelp_jax.baselines import _vectors


def hint_loss(
  student_embeddings: jax.Array, teacher_embeddings: jax.Array
) -> jax.Array:
  r"""Computes the hint loss of each example.

  .. math::
    L = \frac{1}{D} \sum_d (h^T_d - r(h^S)_d)^2

  Equation (3) of FitNets has half the sum over :math:`d` (A-26); the mean of
  squares is what public code computes and makes one weight fit all widths:
  multiply by :math:`D / 2` for theirs. Hints come from the last layer, and
  the regressor :math:`r` is one linear layer, applied by the caller (the
  paper, appendix H; the original guides a convolutional layer in the middle).
  No gradient flows into the teacher.

  Args:
    student_embeddings: Outputs of the regressor :math:`r(h^S)`, float,
      ``[..., D]``.
    teacher_embeddings: Embeddings of the teacher :math:`h^T`, of the same
      shape.

  Returns:
    The loss of each example, float32 (float64 for float64 embeddings),
    ``[...]``.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If the shapes differ.

  Examples:
    >>> student, teacher = jnp.array([[3., 4.], [1., 1.]]), jnp.zeros((2, 2))
    >>> hint_loss(student, teacher).tolist()
    [12.5, 1.0]

  References:
    Romero et al., `FitNets: Hints for Thin Deep Nets
    <https://arxiv.org/abs/1412.6550>`_, section 2.2.
  """
  student, teacher = _vectors.checked_embeddings(
    student_embeddings, teacher_embeddings
  )
  return jnp.mean((teacher - student) ** 2, axis=-1)
