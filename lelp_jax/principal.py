r"""Principal directions off the head's span: Algorithm 1, first half.

For every class: project the embeddings off the span of the head's weights
and decompose their covariance. Nothing that a grid search varies enters: one
decomposition serves every number of subclasses, rotation and normalization.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.moments import ClassMoments

_HIGHEST = jax.lax.Precision.HIGHEST
_NULL_SPACES = ("weights", "weight_differences", "none")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PrincipalDirections:
  r"""Principal directions of each class, in the null space of the head.

  Attributes:
    directions: Orthonormal rows :math:`v_{c,k}`, by falling variance, float,
      ``[C, K, D]``. Directions past ``rank`` have no variance and complete
      the basis; past the dimension of the null space rows are zero.
    variances: Variance along each direction, float, ``[C, K]``.
    means: Class means :math:`\mu_c`, not projected (A-7), ``[C, D]``.
    total_variance: Trace of the class covariance before the projection,
      ``[C]``: ``variances.sum(-1) / total_variance`` is the share of the
      teacher's variance inside the directions.
    rank: Number of directions of the class that have variance, among all
      ``D``, int32, ``[C]``.
  """

  directions: jax.Array
  variances: jax.Array
  means: jax.Array
  total_variance: jax.Array
  rank: jax.Array


def principal_directions(
  moments: ClassMoments,
  head_kernel: jax.Array | None = None,
  *,
  num_directions: int,
  null_space: str = "weights",
  rtol: float = 5e-3,
) -> PrincipalDirections:
  r"""Computes the top principal directions of each class off the head's span.

  With :math:`\tilde W` an orthonormal basis of the span of the teacher's
  classifier weights and :math:`P = I - \tilde W \tilde W^T`, the directions
  of class :math:`c` are the leading eigenvectors of :math:`P \Sigma_c P / N_c`
  (paper, Algorithm 1 and section 3.1; A-1: the projection as it must be
  meant; A-5: covariance about the mean). The basis comes from a singular
  value decomposition with a tolerance, because the head of a collapsed
  classifier has rank ``C - 1`` and a QR decomposition would delete one
  arbitrary direction more (A-2). Where the head spans all ``D`` dimensions
  nothing is projected off (section 3.1).

  Args:
    moments: Moments of the embeddings of each class, from `class_moments`.
    head_kernel: Weights :math:`W_T` of the teacher's last layer, float,
      ``[D, C]``. None: there is no head, and nothing is projected off.
    num_directions: Number of directions to keep, ``K``; past ``D`` they are
      zero rows.
    null_space: ``"weights"`` projects off the span of all weights, as the
      paper; ``"weight_differences"`` off that of their differences, all that
      a softmax sees; ``"none"`` nothing (A-3).
    rtol: Singular values of the head below this fraction of the largest
      count as zero. A head of rank ``C - 1`` stored in bfloat16 has a last
      one of 1.5e-3.

  Returns:
    The directions, with the sign that makes the largest entry of each
    positive. A class without variance has zero directions.

  Raises:
    TypeError: If the head is not floating point.
    ValueError: If shapes do not fit together, ``num_directions`` is less than
      one or ``null_space`` is unknown.

  Examples:
    >>> from lelp_jax import class_moments
    >>> h = jnp.array([[0., 0., 9.], [0., 4., -9.], [8., 0., 3.]])
    >>> moments = class_moments(h, jnp.array([0, 0, 0]), num_classes=1)
    >>> head = jnp.array([[0.], [0.], [1.]])
    >>> found = principal_directions(moments, head, num_directions=2)
    >>> (100 * found.directions).round().astype(int).tolist()
    [[[96, -29, 0], [29, 96, 0]]]
    >>> found.rank.tolist()
    [2]
  """
  num_classes, width = moments.mean.shape
  _checks.check_option("null_space", null_space, _NULL_SPACES)
  _checks.check_at_least("num_directions", num_directions, 1)
  if head_kernel is None or null_space == "none":
    basis = jnp.zeros((width, 0), moments.mean.dtype)
  else:
    check_head_kernel(head_kernel, width, num_classes)
    basis = _span(jnp.asarray(head_kernel), rtol, null_space == "weights")
  return _principal_directions(moments, basis, num_directions=num_directions)


def null_space_share(
  moments: ClassMoments, head_kernel: jax.Array, *, rtol: float = 5e-3
) -> jax.Array:
  r"""Computes the share of each class's variance in the head's null space.

  What is left for pseudo-subclasses when the span of the head's weights is
  projected off: :math:`\mathrm{tr}(P \Sigma_c P) / \mathrm{tr} \, \Sigma_c`,
  with :math:`P` as in `principal_directions`.

  Args:
    moments: Moments of the embeddings of each class, from `class_moments`.
    head_kernel: Weights of the teacher's last layer, float, ``[D, C]``.
    rtol: See `principal_directions`.

  Returns:
    The shares, in ``[0, 1]``, float, ``[C]``; zero for a class without
    variance.

  Raises:
    TypeError: If the head is not floating point.
    ValueError: If shapes do not fit together.

  Examples:
    >>> from lelp_jax import class_moments
    >>> h = jnp.array([[3., 1.], [-3., 1.], [3., -1.], [-3., -1.]])
    >>> moments = class_moments(h, jnp.zeros(4, int), num_classes=1)
    >>> share = null_space_share(moments, jnp.array([[2.], [0.]]))
    >>> round(float(share[0]), 4)
    0.1
  """
  num_classes, width = moments.mean.shape
  check_head_kernel(head_kernel, width, num_classes)
  basis = _span(jnp.asarray(head_kernel), rtol, True)
  basis = basis.astype(moments.mean.dtype)
  products = jnp.matmul(moments.scatter, basis[None], precision=_HIGHEST)
  inside = jnp.sum(products * basis[None], axis=(-2, -1))
  total = jnp.trace(moments.scatter, axis1=-2, axis2=-1)
  share = 1 - inside / jnp.where(total > 0, total, 1)
  return jnp.where(total > 0, jnp.clip(share, 0, 1), 0)


def check_num_directions(name: str, value: int, most: int) -> None:
  """Raises unless a number of directions lies in [1, most]."""
  _checks.check_at_least(name, value, 1)
  if value > most:
    raise ValueError(
      f"{name} must be at most {most}, the number of directions there are, "
      f"got {value}."
    )


def check_head_kernel(kernel: jax.Array, width: int, num_classes: int) -> None:
  """Raises unless a head kernel is floating point of shape [D, C]."""
  _checks.check_floating("head_kernel", kernel)
  if np.shape(kernel) != (width, num_classes):
    raise ValueError(
      f"head_kernel must have shape [D, C] = [{width}, {num_classes}], the "
      f"width of the embeddings by the classes, got shape {np.shape(kernel)}; "
      "torch stores the transpose."
    )


@functools.partial(jax.jit, static_argnames="all_weights")
def _span(kernel: jax.Array, rtol: float, all_weights: bool) -> jax.Array:
  """Orthonormal basis [D, C] of the head's span; zero columns past its rank."""
  kernel = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
  if not all_weights:
    kernel = kernel - kernel.mean(axis=1, keepdims=True)
  left, singular, _ = jnp.linalg.svd(kernel, full_matrices=False)
  return left * (singular > rtol * singular[0])[None]


@functools.partial(jax.jit, static_argnames="num_directions")
def _principal_directions(
  moments: ClassMoments, basis: jax.Array, *, num_directions: int
) -> PrincipalDirections:
  """Eigenvectors of each projected covariance, one class at a time."""
  width = moments.mean.shape[-1]
  basis = basis.astype(moments.mean.dtype)
  kept_count = min(num_directions, width)
  spanned = jnp.sum(jnp.any(basis != 0, axis=0))
  # A head that spans everything would leave nothing: the paper then skips
  # the projection.
  basis = jnp.where(spanned < width, basis, 0)
  free = jnp.where(spanned < width, width - spanned, width)
  epsilon = jnp.finfo(moments.mean.dtype).eps

  def one_class(inputs):
    count, mean, scatter = inputs
    covariance = scatter / jnp.where(count > 0, count, 1)
    # In units of its largest entry, so that no square over- or underflows.
    unit = jnp.max(jnp.abs(covariance))
    unit = jnp.where(unit > 0, unit, 1)
    scaled = covariance / unit
    projected = _project_off(_project_off(scaled, basis).T, basis)
    projected = (projected + projected.T) / 2
    # Moving the head's span below every other eigenvalue keeps it out of the
    # directions even where a class has no variance left to order them.
    norm = jnp.linalg.norm(scaled)
    shifted = projected - norm * jnp.dot(basis, basis.T, precision=_HIGHEST)
    values, vectors = jnp.linalg.eigh(shifted)
    values, vectors = values[::-1], vectors[:, ::-1]
    # Below this a variance is rounding, of the covariance or of the inputs.
    inputs_noise = epsilon * jnp.linalg.norm(mean) / jnp.sqrt(unit)
    noise = jnp.maximum(10 * epsilon * norm, inputs_noise**2)
    has_variance = (values > noise) & (jnp.arange(width) < free)
    rank = jnp.sum(has_variance, dtype=jnp.int32)
    # Once more, since the eigenvectors carry rounding into the span.
    directions = _fixed_sign(_project_off(vectors[:, :kept_count], basis).T)
    kept = (jnp.arange(kept_count) < free) & (rank > 0)
    return (
      jnp.where(kept[:, None], directions, 0),
      jnp.where(has_variance, values * unit, 0)[:kept_count],
      jnp.trace(covariance),
      rank,
    )

  directions, variances, total, rank = jax.lax.map(
    one_class, (moments.count, moments.mean, moments.scatter)
  )
  # There are no more than D directions: zero rows stand for the rest.
  missing = (0, num_directions - kept_count)
  directions = jnp.pad(directions, ((0, 0), missing, (0, 0)))
  variances = jnp.pad(variances, ((0, 0), missing))
  return PrincipalDirections(directions, variances, moments.mean, total, rank)


def _project_off(columns: jax.Array, basis: jax.Array) -> jax.Array:
  """Takes the components inside the basis out of each column."""
  inside = jnp.dot(basis.T, columns, precision=_HIGHEST)
  return columns - jnp.dot(basis, inside, precision=_HIGHEST)


def _fixed_sign(rows: jax.Array) -> jax.Array:
  """Flips rows so that the entry of largest magnitude is positive."""
  largest = jnp.argmax(jnp.abs(rows), axis=-1, keepdims=True)
  return rows * jnp.where(jnp.take_along_axis(rows, largest, -1) < 0, -1, 1)
