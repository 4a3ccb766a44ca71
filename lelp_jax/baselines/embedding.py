r"""Embedding distillation (the paper, equation (2))."""

import jax

from lelp_jax.baselines import _vectors


def embedding_loss(
  student_embeddings: jax.Array, teacher_embeddings: jax.Array
) -> jax.Array:
  r"""Computes the distance of each student embedding from the teacher's.

  It trains a student, through a linear projection, to reproduce the
  teacher's embeddings:

  .. math::
    L = \| h^T - W h^S \|_2

  as printed in equation (2) of the paper: the norm, not its square (A-26).
  The caller projects: ``student_embeddings`` are :math:`W h^S`. FitNet
  without a regressor is this method with the square (`hint_loss`). No
  gradient flows into the teacher. Where an example equals the teacher's, the
  norm has no gradient, and zero is used.

  Args:
    student_embeddings: Embeddings of the student, projected to the teacher's
      width where it differs, float, ``[..., D]``.
    teacher_embeddings: Those of the teacher :math:`h^T`, of the same shape.

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
