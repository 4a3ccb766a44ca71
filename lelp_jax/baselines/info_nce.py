r"""InfoNCE between student and teacher (van den Oord et al., 2018)."""

import jax
import jax.numpy as jnp

from lelp_jax.baselines import _vectors


def info_nce_loss(
  student_projections: jax.Array,
  teacher_projections: jax.Array,
  *,
  temperature: float | jax.Array,
) -> jax.Array:
  r"""Computes the loss of finding each student's teacher in the batch.

  .. math::
    L_i = - \log \frac{e^{\langle s_i, t_i \rangle / \rho}}
                      {\sum_j e^{\langle s_i, t_j \rangle / \rho}}

  Often called CRD without a memory bank, but another estimator: `crd_loss` is
  the paper's. From student to teacher; exchange the arguments for the other
  direction. The value depends on the batch: give the global one. Both
  projections are learned, so gradients flow into both: what must be constant
  is the teacher's embedding, *before* its projection.

  Args:
    student_projections: Projected embeddings of the student :math:`s`, unit
      rows, float, ``[B, P]``.
    teacher_projections: Those of the teacher :math:`t`, unit rows, of the
      same shape.
    temperature: Temperature :math:`\rho`, positive scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 inputs),
    ``[B]``; zero for a batch of one.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If the shapes are not one ``[B, P]``, or a concrete
      temperature is not positive.

  Examples:
    >>> rows = jnp.eye(2)
    >>> info_nce_loss(rows, rows, temperature=1.).round(4).tolist()
    [0.313..., 0.313...]

  References:
    van den Oord, Li and Vinyals, `Representation Learning with Contrastive
    Predictive Coding <https://arxiv.org/abs/1807.03748>`_, equation (4).
  """
  scores = _vectors.contrastive_scores(
    student_projections, teacher_projections, temperature
  )
  return jax.nn.logsumexp(scores, axis=1) - jnp.diagonal(scores)
