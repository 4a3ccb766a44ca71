r"""InfoNCE between student and teacher (van den Oord et al., 2018)."""

import jax
import jax.numpy as jnp

from lelp_jax.baselines import _contrast


def info_nce_loss(
  student_projections: jax.Array,
  teacher_projections: jax.Array,
  *,
  temperature: float | jax.Array,
) -> jax.Array:
  r"""Computes the InfoNCE loss of each example in its batch.

  It is the cross entropy of finding the teacher's projection of the same
  example among those of the batch. It is often called CRD without a memory
  bank:

  .. math::
    L_i = - \log \frac{e^{\langle s_i, t_i \rangle / \rho}}
                      {\sum_j e^{\langle s_i, t_j \rangle / \rho}}

  The LELP paper uses `crd_loss` instead. Each student is compared with all
  teachers; exchange the arguments to compare each teacher with all students.
  The value depends on the batch: pass the global batch. Both projections are
  learned, so gradients flow into both: stop the gradient of the teacher's
  embedding *before* its projection.

  Args:
    student_projections: Projected embeddings of the student :math:`s`, unit
      rows (see `unit_rows`), float, ``[B, P]``.
    teacher_projections: Projected embeddings of the teacher :math:`t`, unit
      rows, of the same shape.
    temperature: Temperature :math:`\rho`, positive scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 inputs),
    ``[B]``; zero for a batch of one.

  Raises:
    TypeError: If an array is not floating point or the temperature is not a
      number.
    ValueError: If the shapes are not one ``[B, P]``, the batch is empty, or a
      concrete temperature is not positive and finite.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import info_nce_loss
    >>> rows = jnp.eye(2)
    >>> loss = jax.jit(info_nce_loss)(rows, rows, temperature=1.)
    >>> print(loss.shape, f"{loss[0]:.4f}")
    (2,) 0.3133

  References:
    van den Oord, Li and Vinyals, `Representation Learning with Contrastive
    Predictive Coding <https://arxiv.org/abs/1807.03748>`_, equation (4).
  """
  return _contrast.loss_of_scores(
    lambda scores: jax.nn.logsumexp(scores, axis=1) - jnp.diagonal(scores),
    student_projections,
    teacher_projections,
    temperature,
  )
