r"""Embedding distillation (the paper, equation (2))."""

import jax

from lelp_jax.baselines import _vectors


def embedding_loss(
  student_embeddings: jax.Array, teacher_embeddings: jax.Array
) -> jax.Array:
  r"""Computes the distance of each student embedding from the teacher's.

  It trains a student, through a linear projection :math:`W`, to reproduce the
  teacher's embeddings (the paper, equation (2), as printed: the norm and not
  its square, A-26):

  .. math::
    L = \| h^T - W h^S \|_2

  The caller applies the projection: ``student_embeddings`` are :math:`W h^S`.
  With the mean square in place of the norm, it is `hint_loss`. No gradient
  flows into the teacher. Where both embeddings are equal, the norm is not
  differentiable, and the gradient is zero.

  Args:
    student_embeddings: Embeddings of the student, projected to the teacher's
      width where it differs, float, ``[..., D]``.
    teacher_embeddings: Embeddings of the teacher :math:`h^T`, of the same
      shape.

  Returns:
    The loss of each example, in the units of the embeddings, float32 (float64
    for float64 embeddings), ``[...]``.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If the shapes differ.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import embedding_loss
    >>> student, teacher = jnp.array([[3., 4.], [0., 2.]]), jnp.zeros((2, 2))
    >>> print(embedding_loss(student, teacher))
    [5. 2.]
  """
  student, teacher = _vectors.checked_embeddings(
    student_embeddings, teacher_embeddings
  )
  return _vectors.norm(teacher - student)
