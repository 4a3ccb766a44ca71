r"""Contrastive Representation Distillation (Tian et al., 2020) in a batch.

`crd_loss` is the objective of the CRD paper with the negatives of the LELP
paper: all other examples of the batch. `crd_bank_loss` takes negatives from a
memory bank, as the CRD paper does. `info_nce_loss` is the softmax over the
batch that is often called CRD.
"""

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax.baselines import _contrast
from lelp_jax.baselines import _vectors


def crd_loss(
  student_projections: jax.Array,
  teacher_projections: jax.Array,
  *,
  temperature: float | jax.Array,
  dataset_size: int | jax.Array,
) -> jax.Array:
  r"""Computes the contrastive loss of each example in its batch.

  It trains a student whose projection of an example identifies the teacher's
  projection of the same example. The critic :math:`h` distinguishes pairs of
  projections of one example from pairs of two examples (equation (17) of the
  CRD paper, as the LELP paper cites it), with :math:`N = B - 1` negatives per
  positive

  .. math::
    L_i = - \log h_{ii} - \sum_{j \neq i} \log(1 - h_{ij}), \quad
    h_{ij} = \frac{e^{\langle s_i, t_j \rangle / \rho}}
                  {e^{\langle s_i, t_j \rangle / \rho} + N / M} .

  The negatives are summed, which is :math:`N` times their mean, as printed. The
  mean over the batch does not change if the two arguments are exchanged. The
  value depends on the batch: pass the global batch. Both projections are
  learned, so gradients flow into both: stop the gradient of the teacher's
  embedding *before* its projection.

  Args:
    student_projections: Projected embeddings of the student :math:`s`, unit
      rows (see `unit_rows`), float, ``[B, P]``.
    teacher_projections: Projected embeddings of the teacher :math:`t`, unit
      rows, of the same shape.
    temperature: Temperature :math:`\rho`, positive scalar (0.07 in public
      code).
    dataset_size: Number of training examples :math:`M`, positive scalar.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 inputs),
    ``[B]``; zero for a batch of one.

  Raises:
    TypeError: If an array is not floating point or a scalar not a number.
    ValueError: If the shapes are not one ``[B, P]``, the batch is empty, or a
      concrete temperature or size is not positive and finite.

  Note:
    In the LELP paper, every other example of the batch is a negative, whether
    of the same class or not (appendix H), and there are no memory bank and no
    augmented views. The loss is computed from log-sigmoids; public code adds
    1e-7 to denominators instead.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import crd_loss
    >>> rows = jnp.eye(2)
    >>> loss = jax.jit(crd_loss)(rows, rows, temperature=1., dataset_size=1)
    >>> print(loss.shape, f"{loss[0]:.4f}")
    (2,) 1.0064

  References:
    Tian, Krishnan and Isola, `Contrastive Representation Distillation
    <https://arxiv.org/abs/1910.10699>`_.
  """

  def loss(scores, dataset_size):
    # Without negatives, N / M is zero: the log-odds are +inf, the loss is zero.
    ratio = jnp.asarray(len(scores) - 1, scores.dtype) / dataset_size
    log_odds = scores - jnp.log(ratio)
    positive = jnp.eye(len(scores), dtype=bool)
    terms = jax.nn.softplus(jnp.where(positive, -log_odds, log_odds))
    return jnp.sum(terms, axis=1)

  return _contrast.loss_of_scores(
    loss,
    student_projections,
    teacher_projections,
    temperature,
    dataset_size=dataset_size,
  )


def unit_rows(vectors: jax.Array) -> jax.Array:
  r"""Scales vectors to length one, as the contrastive losses require.

  It computes :math:`v / \|v\|`, without a constant in the denominator, which
  would also scale the gradient. For a zero vector, value and gradient are zero.

  Args:
    vectors: Float, ``[..., P]``.

  Returns:
    The vectors, of length one, float32 (float64 for float64 vectors),
    ``[..., P]``.

  Raises:
    TypeError: If the vectors are not floating point.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.baselines import unit_rows
    >>> print(unit_rows(jnp.array([[0., 4.], [0., 0.]])))
    [[0. 1.]
     [0. 0.]]
  """
  (vectors,) = _checks.as_floats(
    _checks.floating("vectors", vectors, "[..., P]")
  )
  return _vectors.normalize(vectors)
