r"""Rotated, scaled subspaces of each class: Algorithm 1, second half and whole.

The first S principal directions of a class (`lelp_jax.principal`) are rotated
at random, so that no subclass owns most of the variance, and scaled so that
the largest standard deviation along a direction of the class is one.
"""

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.moments import class_moments
from lelp_jax.moments import ClassMoments
from lelp_jax.principal import check_num_directions
from lelp_jax.principal import principal_directions
from lelp_jax.principal import PrincipalDirections

_HIGHEST = jax.lax.Precision.HIGHEST
_ROTATIONS = ("haar", "none")
NORMALIZATIONS = ("max", "per_direction", "none")
_RANK_DEFICIENT = ("complete", "error")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Subspaces:
  r"""What splits classes into subclasses: all that distillation needs.

  Attributes:
    directions: Rotated and scaled directions :math:`\tilde v_{c,s}`, float,
      ``[C, S, D]``.
    means: Class means :math:`\mu_c`, float, ``[C, D]``.
  """

  directions: jax.Array
  means: jax.Array


def subspaces_from_principal(
  principal: PrincipalDirections,
  *,
  num_subclasses: int,
  key: jax.Array | None = None,
  rotation: str = "haar",
  normalization: str = "max",
  rank_deficient: str = "complete",
) -> Subspaces:
  r"""Rotates and scales the first S principal directions of each class.

  With :math:`Q^c` a random orthogonal matrix, drawn for each class, and
  :math:`\sigma_{c,s}` the standard deviation along a rotated direction
  (paper, Algorithm 1; A-4: rows of :math:`QV`; A-6: one scale per class)

  .. math::
    \tilde V_c = Q^c V_c / \max_s \sigma_{c,s} .

  Args:
    principal: At least S directions per class, from `principal_directions`.
    num_subclasses: Number of subclasses of a class, :math:`S`.
    key: Random key of the rotations; not needed for ``rotation="none"``.
    rotation: ``"haar"`` or ``"none"`` (the ablation of appendix C).
    normalization: ``"max"`` divides the directions of a class by the largest
      standard deviation among them, ``"per_direction"`` each by its own
      (whitening; zero where there is no variance), ``"none"`` nothing.
    rank_deficient: What to do where a class has variance in fewer than S
      directions (A-10). ``"complete"`` warns and uses directions without
      variance inside the null space of the head, then zero directions that
      take no part in the rotation; ``"error"`` raises. Neither can be seen
      under a trace, where the basis is completed silently.

  Returns:
    The subspaces. A class without variance has zero directions.

  Raises:
    ValueError: If fewer than S directions are given, a key is missing, an
      option is unknown, or on request if a class has too few directions.

  Examples:
    >>> h = jnp.array([[4., 0.], [-4., 0.], [0., 1.], [0., -1.]])
    >>> moments = class_moments(h, jnp.zeros(4, int), num_classes=1)
    >>> found = principal_directions(moments, num_directions=2)
    >>> subspaces = subspaces_from_principal(
    ...   found, num_subclasses=2, rotation="none")
    >>> jnp.abs(subspaces.directions * 8**0.5).round(3).tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
  """
  _checks.check_option("rotation", rotation, _ROTATIONS)
  _checks.check_option("normalization", normalization, NORMALIZATIONS)
  _checks.check_option("rank_deficient", rank_deficient, _RANK_DEFICIENT)
  available = principal.directions.shape[1]
  check_num_directions("num_subclasses", num_subclasses, available)
  _check_rank(principal.rank, num_subclasses, rank_deficient)
  if rotation == "haar" and key is None:
    raise ValueError('rotation="haar" needs a key; pass key=jax.random.key(0).')
  return _subspaces_from_principal(
    principal,
    key if rotation == "haar" else None,
    num_subclasses=num_subclasses,
    normalization=normalization,
  )


def fit_subspaces_from_moments(
  moments: ClassMoments,
  head_kernel: jax.Array | None,
  *,
  num_subclasses: int,
  key: jax.Array | None,
  null_space: str = "weights",
  rotation: str = "haar",
  normalization: str = "max",
  rank_deficient: str = "complete",
) -> Subspaces:
  """Fits the subspaces of LELP to streamed moments: Algorithm 1, whole.

  `principal_directions` followed by `subspaces_from_principal`.

  Args:
    moments: Moments of the embeddings of each class, from `class_moments`
      and `merge_moments`.
    head_kernel: Weights of the teacher's last layer, float, ``[D, C]``.
    num_subclasses: Number of subclasses of a class, S, at most ``D``.
    key: Random key of the rotations.
    null_space: See `principal_directions`.
    rotation: See `subspaces_from_principal`.
    normalization: See `subspaces_from_principal`.
    rank_deficient: See `subspaces_from_principal`.

  Returns:
    The subspaces: directions ``[C, S, D]`` and means ``[C, D]``.

  Raises:
    TypeError: If the head is not floating point.
    ValueError: If an argument is out of range or the shapes do not fit.

  Examples:
    >>> h = jax.random.normal(jax.random.key(0), (60, 8))
    >>> moments = class_moments(h, jnp.arange(60) % 2, num_classes=2)
    >>> head = jax.random.normal(jax.random.key(1), (8, 2))
    >>> subspaces = fit_subspaces_from_moments(
    ...   moments, head, num_subclasses=3, key=jax.random.key(2))
    >>> subspaces.directions.shape, subspaces.means.shape
    ((2, 3, 8), (2, 8))
  """
  _checks.check_at_least("num_subclasses", num_subclasses, 1)
  principal = principal_directions(
    moments,
    head_kernel,
    num_directions=num_subclasses,
    null_space=null_space,
  )
  return subspaces_from_principal(
    principal,
    num_subclasses=num_subclasses,
    key=key,
    rotation=rotation,
    normalization=normalization,
    rank_deficient=rank_deficient,
  )


def fit_subspaces(
  embeddings: jax.Array,
  labels: jax.Array,
  head_kernel: jax.Array,
  *,
  num_subclasses: int,
  key: jax.Array | None,
  null_space: str = "weights",
  rotation: str = "haar",
  normalization: str = "max",
  rank_deficient: str = "complete",
) -> Subspaces:
  """Fits the subspaces of LELP to a set of embeddings: Algorithm 1, whole.

  Args:
    embeddings: Teacher embeddings of the training examples, float,
      ``[N, D]``. Where they do not fit in memory, accumulate `class_moments`
      and call `fit_subspaces_from_moments`.
    labels: Class of each example, integers in ``[0, C)``, ``[N]``.
    head_kernel: Weights of the teacher's last layer, float, ``[D, C]``; its
      columns tell the number of classes.
    num_subclasses: Number of subclasses of a class, S, at most ``D``.
    key: Random key of the rotations.
    null_space: See `principal_directions`.
    rotation: See `subspaces_from_principal`.
    normalization: See `subspaces_from_principal`.
    rank_deficient: See `subspaces_from_principal`.

  Returns:
    The subspaces: directions ``[C, S, D]`` and means ``[C, D]``.

  Raises:
    TypeError: If embeddings or head are not floating point or labels not
      integers.
    ValueError: If an argument is out of range or the shapes do not fit.

  Examples:
    >>> h = jax.random.normal(jax.random.key(0), (60, 8))
    >>> head = jax.random.normal(jax.random.key(1), (8, 2))
    >>> subspaces = fit_subspaces(h, jnp.arange(60) % 2, head,
    ...   num_subclasses=3, key=jax.random.key(2))
    >>> overlap = jnp.einsum("csd,dk->csk", subspaces.directions, head)
    >>> bool(jnp.abs(overlap).max() < 1e-5)
    True
  """
  _checks.check_rank("embeddings", embeddings, 2, "[N, D]")
  if head_kernel is None:
    raise ValueError(
      "head_kernel is needed for the number of classes: pass it, with "
      'null_space="none" to leave its span in, or fit to class_moments.'
    )
  _checks.check_rank("head_kernel", head_kernel, 2, "[D, C]")
  width, num_classes = np.shape(head_kernel)
  if width != np.shape(embeddings)[1]:
    raise ValueError(
      f"head_kernel must have shape [{np.shape(embeddings)[1]}, C] to fit "
      f"embeddings {np.shape(embeddings)}, got shape {np.shape(head_kernel)}; "
      "torch stores the transpose."
    )
  return fit_subspaces_from_moments(
    class_moments(embeddings, labels, num_classes=num_classes),
    head_kernel,
    num_subclasses=num_subclasses,
    key=key,
    null_space=null_space,
    rotation=rotation,
    normalization=normalization,
    rank_deficient=rank_deficient,
  )


@functools.partial(jax.jit, static_argnames=("num_subclasses", "normalization"))
def _subspaces_from_principal(
  principal: PrincipalDirections,
  key: jax.Array | None,
  *,
  num_subclasses: int,
  normalization: str,
) -> Subspaces:
  """Rotates the nonzero directions of each class and scales all."""
  directions = principal.directions[:, :num_subclasses]
  variances = principal.variances[:, :num_subclasses]
  if key is not None:
    rotate = _haar(key, jnp.any(directions != 0, axis=-1), directions.dtype)
    directions = jnp.einsum(
      "cst,ctd->csd", rotate, directions, precision=_HIGHEST
    )
    variances = jnp.einsum(
      "cst,ct->cs", rotate**2, variances, precision=_HIGHEST
    )
  factor = direction_scale(variances, normalization)
  return Subspaces(directions * factor[..., None], principal.means)


def _haar(key: jax.Array, active: jax.Array, dtype: jnp.dtype) -> jax.Array:
  """Haar rotations [C, S, S] of the active directions, fixing the others.

  The QR decomposition of a Gaussian matrix is Haar distributed once the signs
  of R's diagonal are moved into Q. An identity block for inactive directions
  stays apart in it.
  """
  size = active.shape[-1]
  gaussian = jax.random.normal(key, (*active.shape, size), dtype)
  both = active[:, :, None] & active[:, None, :]
  q, r = jnp.linalg.qr(jnp.where(both, gaussian, jnp.eye(size, dtype=dtype)))
  diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
  return q * jnp.where(diagonal < 0, -1, 1)[:, None, :]


def direction_scale(variances: jax.Array, normalization: str) -> jax.Array:
  """The factor [C, S] of each direction; zero where there is no variance."""
  if normalization == "none":
    return jnp.ones_like(variances)
  if normalization == "max":
    largest = jnp.max(variances, axis=-1, keepdims=True)
    variances = jnp.broadcast_to(largest, variances.shape)
  has_variance = variances > 0
  return jnp.where(
    has_variance, jax.lax.rsqrt(jnp.where(has_variance, variances, 1)), 0
  )


def _check_rank(rank: jax.Array, num_subclasses: int, policy: str) -> None:
  """Warns or raises where concrete ranks fall short of S."""
  if not _checks.is_concrete(rank):
    return
  short = np.flatnonzero(np.asarray(rank) < num_subclasses)
  if not short.size:
    return
  message = (
    f"num_subclasses={num_subclasses} is more than the directions with "
    f"variance of class {', '.join(map(str, short))} "
    f"(there are {', '.join(map(str, np.asarray(rank)[short]))})"
  )
  if policy == "error":
    raise ValueError(f"{message}; use fewer subclasses or more examples.")
  warnings.warn(
    f"{message}; the rest have none and are uninformative.", stacklevel=3
  )


@jax.jit
def variance_share(subspaces: Subspaces, moments: ClassMoments) -> jax.Array:
  r"""Computes the share of each class's variance inside its subspace.

  For orthogonal directions, whatever their scale,

  .. math::
    \sum_s \frac{\tilde v_{c,s}^T \Sigma_c \tilde v_{c,s}}
                {\|\tilde v_{c,s}\|^2} \Big/ \mathrm{tr} \, \Sigma_c .

  Args:
    subspaces: Directions ``[C, S, D]``; zero ones count for nothing.
    moments: Moments of the embeddings of each class.

  Returns:
    The shares, in ``[0, 1]``, float, ``[C]``; zero for a class without
    variance.

  Examples:
    >>> h = jnp.array([[3., 1.], [-3., 1.], [3., -1.], [-3., -1.]])
    >>> moments = class_moments(h, jnp.zeros(4, int), num_classes=1)
    >>> axis = Subspaces(jnp.array([[[5., 0.]]]), jnp.zeros((1, 2)))
    >>> round(float(variance_share(axis, moments)[0]), 4)
    0.9
  """
  directions = subspaces.directions
  spread = jnp.matmul(directions, moments.scatter, precision=_HIGHEST)
  variances = jnp.sum(spread * directions, axis=-1)
  norms = jnp.sum(directions**2, axis=-1)
  inside = jnp.sum(variances / jnp.where(norms > 0, norms, 1), axis=-1)
  total = jnp.trace(moments.scatter, axis1=-2, axis2=-1)
  return jnp.where(total > 0, inside / jnp.where(total > 0, total, 1), 0)
