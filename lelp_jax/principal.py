r"""Principal directions in the null space of the head: Algorithm 1, first half.

For each class, the covariance of the embeddings is projected off the span of
the head's weights and decomposed. The result does not depend on anything that
a grid search varies: one decomposition serves every number of subclasses,
rotation and normalization.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax import _leading
from lelp_jax.moments import _checked_moments
from lelp_jax.moments import _num_examples
from lelp_jax.moments import ClassMoments
from lelp_jax.sketches import _checked_sketch
from lelp_jax.sketches import _reconstructed
from lelp_jax.sketches import ClassSketch

_HIGHEST = jax.lax.Precision.HIGHEST
_NULL_SPACES = ("weights", "weight_differences", "none")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PrincipalDirections:
  r"""Principal directions of each class, in the null space of the head.

  `principal_directions` computes them. `subspaces_from_principal` turns them
  into subspaces for any number of subclasses.

  Attributes:
    directions: Orthonormal rows :math:`v_{c,k}`, by decreasing variance,
      float, ``[C, K, D]``. Directions past ``rank`` have no variance and
      complete the basis; past the dimension of the null space rows are zero.
    variances: Variance along each direction, float, ``[C, K]``.
    means: Class means :math:`\mu_c`, not projected (A-7), ``[C, D]``.
    total_variance: Trace of the class covariance before the projection,
      ``[C]``: ``variances.sum(-1) / total_variance`` is the share of the
      teacher's variance inside the directions.
    rank: Number of directions of the class that have variance, int32, ``[C]``.
      Only directions that `principal_directions` computed are counted.
  """

  directions: jax.Array
  variances: jax.Array
  means: jax.Array
  total_variance: jax.Array
  rank: jax.Array


_AXES = {
  "directions": "[C, K, D]",
  "variances": "[C, K]",
  "means": "[C, D]",
  "total_variance": "[C]",
  "rank": "[C]",
}


def principal_directions(
  moments: ClassMoments | ClassSketch,
  head_kernel: jax.Array | None = None,
  *,
  num_directions: int,
  null_space: str = "weights",
  rtol: float = 5e-3,
) -> PrincipalDirections:
  r"""Computes the top principal directions of each class off the head's span.

  Call it once per teacher, with as many directions as the largest number of
  subclasses, and `subspaces_from_principal` for each setting. With
  :math:`\tilde W` an orthonormal basis of the span of the teacher's classifier
  weights and :math:`P = I - \tilde W \tilde W^T`, the directions of class
  :math:`c` are the leading eigenvectors of :math:`P \Sigma_c P / N_c` (paper,
  Algorithm 1 and section 3.1; A-1: the projection as it must be meant; A-5:
  covariance about the mean). If the head spans all ``D`` dimensions, nothing is
  projected off (section 3.1).

  Args:
    moments: Moments of the embeddings of each class, from `class_moments`, or
      a sketch of them, from `class_sketch`.
    head_kernel: Weights :math:`W_T` of the teacher's last layer, float,
      ``[D, C]`` (the transpose of a torch weight). With None, nothing is
      projected off.
    num_directions: Number of directions to keep, ``K``; past ``D`` they are
      zero rows. With a sketch, at most its number of columns.
    null_space: ``"weights"`` projects off the span of all weights, as the
      paper does; ``"weight_differences"`` projects off the span of their
      differences, which is all that a softmax sees; ``"none"`` projects
      nothing off (A-3).
    rtol: Singular values of the head below this fraction of the largest count
      as zero. Rounding to bfloat16 leaves a head of rank ``C - 1`` with a last
      singular value of about 1.5e-3 of the largest.

  Returns:
    The directions, with signs that make the largest entry of each positive. A
    class without variance has zero directions.

  Raises:
    TypeError: If the moments are not a `ClassMoments` of arrays, or the head
      is not an array of floating point numbers.
    ValueError: If shapes do not fit together, ``num_directions`` is less than
      one, ``null_space`` is unknown, or concrete moments or weights are not
      finite.

  Note:
    The basis comes from a singular value decomposition with a tolerance: the
    head of a collapsed classifier has rank ``C - 1``, and a QR decomposition
    would delete one arbitrary direction more (A-2). A direction counts towards
    ``rank`` if its variance exceeds the rounding errors of the projected
    covariance, of the part that was projected off, and of the embeddings
    themselves.

    If ``D`` is at least 1,024 and at least ``8 * K``, only the ``K`` directions
    are computed, by products of the covariance with a thin block. If they miss
    more than 1e-5 of the variance that the exact directions capture, the whole
    covariance is decomposed instead. Directions of nearly equal variance may be
    rotated within their span. ``rank`` then counts among these ``K``
    directions. With a sketch, it counts among the columns of the probe, without
    variances that the reconstruction cannot tell from zero.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, principal_directions
    >>> embeddings = jnp.array([[0., 0., 9.], [0., 4., -9.], [8., 0., 3.]])
    >>> moments = class_moments(embeddings, jnp.zeros(3, int), num_classes=1)
    >>> head = jnp.array([[0.], [0.], [1.]])
    >>> found = principal_directions(moments, head, num_directions=2)
    >>> print((100 * found.directions).astype(int))
    [[[ 95 -28   0]
      [ 28  95   0]]]
    >>> print(found.rank)
    [2]
  """
  moments, num_classes, width = _checked_statistics(moments)
  kernel = None
  if head_kernel is not None and null_space != "none":
    kernel = _checked_head_kernel(head_kernel, width, num_classes)
  return _find_directions(
    moments,
    kernel,
    num_directions=num_directions,
    null_space=null_space,
    rtol=rtol,
  )


def _checked_statistics(
  moments: Any,
) -> tuple[ClassMoments | ClassSketch, int, int]:
  """Returns finite moments or a sketch as arrays, C and D, or raises."""
  if isinstance(moments, ClassSketch):
    moments, sizes = _checked_sketch("moments", moments)
    num_classes, width = sizes["C"], sizes["D"]
  else:
    moments, num_classes, width = _checked_moments("moments", moments)
  _check_finite(moments)
  return moments, num_classes, width


def _find_directions(
  moments: ClassMoments | ClassSketch,
  kernel: jax.Array | None,
  *,
  num_directions: int,
  null_space: str,
  rtol: Any = 5e-3,
) -> PrincipalDirections:
  """Finds the principal directions of checked moments off a checked head."""
  _checks.check_option("null_space", null_space, _NULL_SPACES)
  num_directions = _checks.check_at_least("num_directions", num_directions, 1)
  if isinstance(moments, ClassSketch):
    width, size = moments.probe.shape
    if size < min(num_directions, width):
      raise ValueError(
        f"num_directions must be at most {size}, the size of the sketch's "
        f"probe, got {num_directions}; make a larger probe."
      )
  basis = _head_basis(moments, kernel, null_space, rtol)
  find = (
    _sketched_directions
    if isinstance(moments, ClassSketch)
    else _principal_directions
  )
  return find(moments, basis, num_directions=num_directions)


def _head_basis(
  moments: ClassMoments | ClassSketch,
  kernel: jax.Array | None,
  null_space: str,
  rtol: Any,
) -> jax.Array:
  """Returns a basis of the span to project off, `[D, C]` or `[D, 0]`."""
  tolerance = _checks.positive("rtol", rtol, jnp.float32)
  if kernel is None or null_space == "none":
    return jnp.zeros((moments.mean.shape[1], 0), moments.mean.dtype)
  _check_orientation(kernel, moments)
  return _span(kernel, tolerance, null_space == "weights")


def null_space_share(
  moments: ClassMoments, head_kernel: jax.Array, *, rtol: float = 5e-3
) -> jax.Array:
  r"""Computes the share of each class's variance in the head's null space.

  Pseudo-subclasses can use only this share of the variance:
  :math:`\mathrm{tr}(P \Sigma_c P) / \mathrm{tr} \, \Sigma_c`, where :math:`P`
  projects off the span of the head's weights, as in `principal_directions`.

  Args:
    moments: Moments of the embeddings of each class, from `class_moments`.
    head_kernel: Weights of the teacher's last layer, float, ``[D, C]``.
    rtol: See `principal_directions`.

  Returns:
    The shares, in ``[0, 1]``, float, ``[C]``; zero for a class without
    variance, and for all classes if the head spans all dimensions, although
    `principal_directions` then projects nothing off.

  Raises:
    TypeError: If the moments are not a `ClassMoments` of arrays, or the head
      is not an array of floating point numbers.
    ValueError: If shapes do not fit together, or concrete moments or weights
      are not finite.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, null_space_share
    >>> embeddings = jnp.array([[3., 1.], [-3., 1.], [3., -1.], [-3., -1.]])
    >>> moments = class_moments(embeddings, jnp.zeros(4, int), num_classes=1)
    >>> share = null_space_share(moments, jnp.array([[2.], [0.]]))
    >>> print(f"{share[0]:.4f}")
    0.1000
  """
  moments, num_classes, width = _checked_moments("moments", moments)
  tolerance = _checks.positive("rtol", rtol, jnp.float32)
  _check_finite(moments)
  kernel = _checked_head_kernel(head_kernel, width, num_classes)
  _check_orientation(kernel, moments)
  return _null_space_share(moments, _span(kernel, tolerance, True))


@jax.jit
def _null_space_share(moments: ClassMoments, basis: jax.Array) -> jax.Array:
  """Returns one minus the share inside the span of the basis."""
  basis = basis.astype(moments.mean.dtype)
  products = jnp.matmul(moments.scatter, basis[None], precision=_HIGHEST)
  inside = jnp.sum(products * basis[None], axis=(-2, -1))
  total = jnp.trace(moments.scatter, axis1=-2, axis2=-1)
  share = 1 - inside / jnp.where(total == 0, 1, total)
  return jnp.where(total == 0, 0, jnp.clip(share, 0, 1))


# --- Checks ------------------------------------------------------------------


def _check_num_directions(name: str, value: int, most: int) -> int:
  """Returns a number of directions as an int, or raises outside [1, most]."""
  value = _checks.check_at_least(name, value, 1)
  if value > most:
    raise ValueError(
      f"{name} must be at most {most}, the number of available directions, "
      f"got {value}."
    )
  return value


def _check_finite(moments: ClassMoments | ClassSketch) -> None:
  """Raises if concrete moments hold NaN or infinity."""
  arrays = jax.tree.leaves(moments)
  if all(map(_checks.is_concrete, arrays)):
    with jax.ensure_compile_time_eval():
      finite = bool(_is_finite(moments))
    if not finite:
      raise ValueError(
        "moments must be finite, got NaN or infinity; leave such examples out "
        "of class_moments with `where`."
      )


@jax.jit
def _is_finite(moments: ClassMoments | ClassSketch) -> jax.Array:
  """Returns whether the means and the sums of squares are finite."""
  if isinstance(moments, ClassSketch):
    squares = moments.products
  else:
    squares = jnp.diagonal(moments.scatter, axis1=-2, axis2=-1)
  return jnp.all(jnp.isfinite(squares)) & jnp.all(jnp.isfinite(moments.mean))


def _checked_head_kernel(
  kernel: Any, width: int, num_classes: int | None
) -> jax.Array:
  """Returns a head's kernel `[D, C]` as an array, or raises.

  Args:
    kernel: The argument.
    width: D.
    num_classes: C, or None if the kernel itself determines it.
  """
  if isinstance(kernel, tuple | list | dict):
    raise TypeError(
      f"head_kernel must be an array [D, C], got {_checks.describe(kernel)}; "
      "pass the kernel of the last layer alone, without its bias."
    )
  kernel = _checks.as_array("head_kernel", kernel)
  _checks.check_floating("head_kernel", kernel)
  shape = np.shape(kernel)
  if shape in ((width,), (width, 1)) and num_classes != 1:
    raise ValueError(
      f"head_kernel must have one column per class, got shape {shape}; "
      "lelp_jax.binary_head turns a head with one logit into two columns."
    )
  if (
    len(shape) != 2 or shape[0] != width or num_classes not in (None, shape[1])
  ):
    raise ValueError(
      f"head_kernel must have shape [D, C] = "
      f"[{width}, {'C' if num_classes is None else num_classes}], the width of "
      f"the embeddings by the classes, got shape {shape}; torch stores the "
      "transpose."
    )
  kernel = jnp.asarray(kernel)
  _checks.check_finite("head_kernel", kernel, "check the teacher's weights")
  return kernel


def _check_orientation(
  kernel: jax.Array, moments: ClassMoments | ClassSketch
) -> None:
  """Raises if a concrete square head was clearly passed transposed.

  A head should classify the means of its own classes. If its transpose gets all
  of them right and the head less than half, the head is in torch's layout.
  Heads of so few classes that this could be chance are not checked.
  """
  size = kernel.shape[0]
  arrays = kernel, moments.mean, moments.count
  if kernel.shape[1] != size or not all(map(_checks.is_concrete, arrays)):
    return
  weights, mean, count = (np.asarray(array, np.float64) for array in arrays)
  classes = np.flatnonzero(count > 0)
  if len(classes) < 3 or size ** -float(len(classes)) > 1e-6:
    return
  right, right_transposed = (
    np.argmax(mean[classes] @ matrix, axis=1) == classes
    for matrix in (weights, weights.T)
  )
  if right_transposed.all() and right.mean() < 0.5:
    raise ValueError(
      f"head_kernel of shape {kernel.shape} seems to be transposed: its "
      "transpose classifies all class means correctly, and it does not; pass "
      "head_kernel.T (torch stores the transpose)."
    )


def _checked_principal(principal: Any) -> PrincipalDirections:
  """Returns the argument `principal` with its fields as arrays, or raises."""
  remedy = "make it with lelp_jax.principal_directions"
  checked, _ = _checks.container(
    "principal",
    principal,
    PrincipalDirections,
    remedy,
    _AXES,
    integers=("rank",),
  )
  return checked


# --- The computation ---------------------------------------------------------


@functools.partial(jax.jit, static_argnames="all_weights")
def _span(kernel: jax.Array, rtol: jax.Array, all_weights: bool) -> jax.Array:
  """Returns an orthonormal basis of the head's span, zero past its rank."""
  (kernel,) = _checks.as_floats(kernel)
  # LAPACK's decomposition never returns for infinity, but does for NaN.
  kernel = jnp.where(jnp.isfinite(kernel).all(), kernel, jnp.nan)
  if not all_weights:
    kernel = kernel - kernel.mean(axis=1, keepdims=True)
  left, singular, _ = jnp.linalg.svd(kernel, full_matrices=False)
  counts = singular > rtol.astype(singular.dtype) * singular[0]
  return left * counts[None].astype(left.dtype)


@functools.partial(jax.jit, static_argnames="num_directions")
def _principal_directions(
  moments: ClassMoments, basis: jax.Array, *, num_directions: int
) -> PrincipalDirections:
  """Decomposes each projected covariance, one class at a time."""
  width = moments.mean.shape[-1]
  basis, free = _checked_basis(basis, moments.mean.dtype)
  kept_count = min(num_directions, width)

  def one_class(inputs):
    count, number, mean, scatter = inputs
    covariance = scatter / jnp.where(count == 0, 1, count)
    # Divide the covariance by its largest entry, so that squares stay in range.
    unit = jnp.max(jnp.abs(covariance))
    unit = jnp.where(unit == 0, 1, unit)
    scaled = covariance / unit

    # Decompose, and bound the eigenvalues that rounding alone can make.
    values, vectors, left = _eigenpairs(scaled, basis, free, kept_count)
    noise = _noise(width, jnp.linalg.norm(scaled), left, mean, number, unit)
    rows, variances, rank = _kept(
      values, vectors, noise, basis, free, kept_count
    )
    spoiled = jnp.isnan(left)  # NaN in gives NaN out.
    return (
      jnp.where(spoiled, jnp.nan, rows),
      jnp.where(spoiled, jnp.nan, variances * unit),
      jnp.trace(covariance),
      rank,
    )

  inputs = moments.count, _float_number(moments), moments.mean, moments.scatter
  found = jax.lax.map(one_class, inputs)
  return _padded(found, moments.mean, num_directions)


@functools.partial(jax.jit, static_argnames="num_directions")
def _sketched_directions(
  sketch: ClassSketch, basis: jax.Array, *, num_directions: int
) -> PrincipalDirections:
  """Decomposes each reconstructed covariance, one class at a time."""
  width, size = sketch.probe.shape
  basis, free = _checked_basis(basis, sketch.mean.dtype)
  kept_count = min(num_directions, width)

  def one_class(inputs):
    count, number, mean, products, squares = inputs
    divisor = jnp.where(count == 0, 1, count)
    unit = jnp.max(jnp.abs(products)) / divisor
    unit = jnp.where(unit == 0, 1, unit)
    scaled = products / divisor / unit
    values, vectors, least = _reconstructed(scaled, sketch.probe, basis)
    norms = jnp.linalg.norm(scaled), jnp.linalg.norm(values)
    noise = jnp.maximum(_noise(width, *norms, mean, number, unit), least)
    rows, variances, rank = _kept(
      values, vectors, noise, basis, jnp.minimum(free, size), kept_count
    )
    spoiled = jnp.isnan(norms[0])
    return (
      jnp.where(spoiled, jnp.nan, rows),
      jnp.where(spoiled, jnp.nan, variances * unit),
      squares / divisor,
      rank,
    )

  inputs = (
    sketch.count,
    _float_number(sketch),
    sketch.mean,
    sketch.products,
    sketch.squares,
  )
  found = jax.lax.map(one_class, inputs)
  return _padded(found, sketch.mean, num_directions)


def _checked_basis(
  basis: jax.Array, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array]:
  """Returns the basis of the head's span, and the dimension of its complement.

  A head that spans everything would leave nothing. As in the paper, nothing is
  projected off then: the basis is zero.
  """
  width = basis.shape[0]
  basis = basis.astype(dtype)
  spanned = jnp.sum(jnp.any(basis != 0, axis=0), dtype=jnp.int32)
  is_kept = (spanned < width) | jnp.isnan(basis).any()  # NaN in, NaN out.
  free = jnp.where(spanned < width, width - spanned, width)
  return jnp.where(is_kept, basis, 0), free


def _float_number(moments: ClassMoments | ClassSketch) -> jax.Array:
  """Returns the number of examples of each class as a float."""
  return _num_examples(moments).astype(moments.mean.dtype)


def _kept(
  values: jax.Array,
  vectors: jax.Array,
  noise: jax.Array,
  basis: jax.Array,
  free: jax.Array,
  number: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Keeps the first directions and counts those with variance.

  Args:
    values: Eigenvalues, largest first.
    vectors: Eigenvectors in columns.
    noise: The largest eigenvalue that rounding alone can make.
    basis: Orthonormal columns of the head's span, or zero ones.
    free: Number of dimensions off the span.
    number: Number of directions to keep.

  Returns:
    The directions in rows, the variances along them, and the rank.
  """
  has_variance = (values > noise) & (jnp.arange(len(values)) < free)
  rank = jnp.sum(has_variance, dtype=jnp.int32)
  # Project once more: rounding gives eigenvectors components in the span.
  directions = _fixed_sign(_leading.project_off(vectors[:, :number], basis).T)
  kept = (jnp.arange(number) < free) & (rank > 0)
  directions = jnp.where(kept[:, None], directions, 0)
  return directions, jnp.where(has_variance, values, 0)[:number], rank


def _padded(
  found: tuple[jax.Array, ...], means: jax.Array, number: int
) -> PrincipalDirections:
  """Appends zero rows if more than D directions were requested."""
  directions, variances, total, rank = found
  missing = (0, number - directions.shape[1])
  directions = jnp.pad(directions, ((0, 0), missing, (0, 0)))
  variances = jnp.pad(variances, ((0, 0), missing))
  return PrincipalDirections(directions, variances, means, total, rank)


def _eigenpairs(
  scaled: jax.Array, basis: jax.Array, free: jax.Array, number: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Finds the eigenpairs of a covariance off a basis, largest first.

  Args:
    scaled: The covariance, with entries of at most one.
    basis: Orthonormal columns, or zero ones.
    free: Number of dimensions off their span.
    number: Number of eigenvectors that are needed.

  Returns:
    The eigenvalues, the eigenvectors, in columns, and the norm of the projected
    covariance. There are `number` eigenpairs if these are found faster than all
    `D`.
  """
  if not _leading.is_faster(len(scaled), number):
    return _all_eigenpairs(scaled, basis)
  found = _leading.leading(scaled, number, basis)

  def whole():
    values, vectors, left = _all_eigenpairs(scaled, basis)
    return values[:number], vectors[:, :number], left

  return jax.lax.cond(
    found.is_accurate & (free >= found.size),
    lambda: (found.values, found.vectors, _projected_norm(scaled, basis)),
    whole,
  )


def _all_eigenpairs(
  scaled: jax.Array, basis: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Finds all eigenpairs by a full decomposition."""
  # Project both sides, each twice: if most of the variance lies inside the
  # span, the rounding errors of one projection leave some of it.
  project_off = _leading.project_off
  projected = project_off(project_off(scaled, basis), basis)
  projected = project_off(project_off(projected.T, basis), basis)
  projected = (projected + projected.T) / 2
  left = jnp.linalg.norm(projected)

  # Decompose. Moving the span below every other eigenvalue keeps it out of
  # the directions even where a class has no variance left to order them.
  shift = left * jnp.dot(basis, basis.T, precision=_HIGHEST)
  values, vectors = jnp.linalg.eigh(projected - shift)
  return values[::-1], vectors[:, ::-1], left


def _projected_norm(scaled: jax.Array, basis: jax.Array) -> jax.Array:
  """Computes the norm of a projected covariance by products with the basis.

  The differences lose digits only if most of the covariance is projected off,
  and then the norm does not determine `_noise`.
  """
  inside = jnp.dot(scaled, basis, precision=_HIGHEST)
  twice = jnp.dot(basis.T, inside, precision=_HIGHEST)
  squares = jnp.sum(scaled**2) - 2 * jnp.sum(inside**2) + jnp.sum(twice**2)
  return jnp.sqrt(jnp.maximum(squares, 0))


def _noise(
  width: int,
  whole: jax.Array,
  left: jax.Array,
  mean: jax.Array,
  number: jax.Array,
  unit: jax.Array,
) -> jax.Array:
  """Bounds the eigenvalues that rounding alone can make.

  Args:
    width: D.
    whole: Norm of the covariance in units of `unit`, before the projection.
    left: Its norm after the projection.
    mean: Mean of the class.
    number: Number of its examples.
    unit: Unit of the covariance.

  Returns:
    The bound, in units of `unit`.
  """
  epsilon = jnp.finfo(mean.dtype).eps
  # The entries of the covariance have rounding errors relative to their size,
  # which grow with the number of examples. A random matrix of such errors has
  # eigenvalues of about eps * norm / sqrt(width). The constants are 1.5 times
  # the largest that were measured, for widths of 8 to 1,024.
  growth = jnp.sqrt(1 + number / 8_000)
  of_projection = min(1.0, 10 / width**0.5) * growth * whole
  of_covariance = epsilon * jnp.maximum(of_projection, 10 * left)
  # The embeddings have rounding errors relative to their mean.
  size = jnp.max(jnp.abs(mean))
  length = jnp.linalg.norm(mean / jnp.where(size == 0, 1, size))
  of_embeddings = (epsilon * length * (size / jnp.sqrt(unit))) ** 2
  return jnp.maximum(of_covariance, of_embeddings)


def _fixed_sign(rows: jax.Array) -> jax.Array:
  """Flips rows so that the entry of largest magnitude is positive."""
  largest = jnp.argmax(jnp.abs(rows), axis=-1, keepdims=True)
  is_negative = jnp.take_along_axis(rows, largest, -1) < 0
  return jnp.where(is_negative, -rows, rows)
