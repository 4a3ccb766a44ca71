r"""Contrastive Representation Distillation (Tian et al., 2020), in the batch.

The objective of the original with the negatives that the paper takes: all
other examples of the batch. `crd_bank_loss` is the original's estimate from a
memory bank, `info_nce_loss` the softmax that is often meant by the name.
"""

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax.baselines import _vectors


def crd_loss(
  student_projections: jax.Array,
  teacher_projections: jax.Array,
  *,
  temperature: float | jax.Array,
  dataset_size: int | jax.Array,
) -> jax.Array:
  r"""Computes the contrastive loss of each student in its batch.

  The critic :math:`h` tells pairs of one example from pairs of two
  (equation (17) of the CRD paper, as the paper cites it), with :math:`N = B -
  1` negatives a positive

  .. math::
    L_i = - \log h_{ii} - \sum_{j \neq i} \log(1 - h_{ij}), \quad
    h_{ij} = \frac{e^{\langle s_i, t_j \rangle / \rho}}
                  {e^{\langle s_i, t_j \rangle / \rho} + N / M} .

  Negatives are summed: :math:`N` times their mean, as printed. The paper
  takes every other example of the batch for a negative, of the same class or
  not (appendix H), and has no memory bank and no augmented views. From
  log-sigmoids; public code adds 1e-7 to denominators instead.

  The mean over the batch is the same with the two arguments exchanged. It
  depends on the batch: give the global one. Both projections are learned, so
  gradients flow into both: what must be constant is the teacher's embedding,
  *before* its projection.

  Args:
    student_projections: Projected embeddings of the student :math:`s`, unit
      rows, float, ``[B, P]``.
    teacher_projections: Those of the teacher :math:`t`, unit rows, of the
      same shape.
    temperature: Temperature :math:`\rho`, positive scalar (0.07 in public
      code).
    dataset_size: Number of training examples :math:`M`, positive scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 inputs),
    ``[B]``; zero for a batch of one.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If the shapes are not one ``[B, P]``, or a concrete
      temperature or size is not positive.

  Examples:
    >>> rows = jnp.eye(2)
    >>> crd_loss(rows, rows, temperature=1., dataset_size=1).round(4).tolist()
    [1.006..., 1.006...]

  References:
    Tian, Krishnan and Isola, `Contrastive Representation Distillation
    <https://arxiv.org/abs/1910.10699>`_.
  """
  _checks.check_positive("dataset_size", dataset_size)
  scores = _vectors.contrastive_scores(
    student_projections, teacher_projections, temperature
  )
  # Without negatives N / M is zero: log-odds of +inf, a loss of zero.
  ratio = (len(scores) - 1) / jnp.asarray(dataset_size, scores.dtype)
  log_odds = scores - jnp.log(ratio)
  positive = jnp.eye(len(scores), dtype=bool)
  terms = jax.nn.softplus(jnp.where(positive, -log_odds, log_odds))
  return jnp.sum(terms, axis=1)


def unit_rows(vectors: jax.Array) -> jax.Array:
  r"""Computes :math:`v / \|v\|`: projections as contrastive losses take them.

  Without a constant in the denominator, which would also scale the gradient:
  of a zero vector, value and gradient are zero.

  Args:
    vectors: Float, ``[..., P]``.

  Returns:
    The vectors, of length one, float32 (float64 for float64 vectors),
    ``[..., P]``.

  Raises:
    TypeError: If the vectors are not floating point.

  Examples:
    >>> unit_rows(jnp.array([[3., 4.], [0., 0.]])).round(3).tolist()
    [[0.6..., 0.8...], [0.0, 0.0]]
  """
  _checks.check_floating("vectors", vectors)
  (vectors,) = _vectors.as_floats(vectors)
  return _vectors.normalize(vectors)
