r"""Subspaces for the ablations of the paper (appendix C, Figure 5).

These are random directions and coordinate axes. The third ablation, plain
principal directions, is `fit_subspaces` with ``null_space="none",
rotation="none"``.
"""

import functools

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax.moments import _checked_moments
from lelp_jax.moments import ClassMoments
from lelp_jax.principal import _check_num_directions
from lelp_jax.subspaces import _direction_scale
from lelp_jax.subspaces import _NORMALIZATIONS
from lelp_jax.subspaces import Subspaces

_HIGHEST = jax.lax.Precision.HIGHEST


def random_subspaces(
  moments: ClassMoments,
  *,
  num_subclasses: int,
  key: jax.Array,
  normalization: str = "max",
) -> Subspaces:
  """Draws S random orthonormal directions per class (the ablation "Rand").

  Compare it with `fit_subspaces` to see the gain from principal directions. The
  head is not projected off, and the directions are normalized (paper, appendix
  C; A-19).

  Args:
    moments: Moments of the embeddings of each class; they give means and scale.
    num_subclasses: Number of subclasses per class, S, at most ``D``.
    key: Random key of the directions.
    normalization: See `subspaces_from_principal`.

  Returns:
    The subspaces: directions ``[C, S, D]`` and means ``[C, D]``.

  Raises:
    TypeError: If the moments or the key have another type.
    ValueError: If S is not in ``[1, D]`` or the normalization is unknown.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, random_subspaces
    >>> embeddings = jax.random.normal(jax.random.key(0), (60, 8))
    >>> moments = class_moments(
    ...   embeddings, jnp.arange(60) % 2, num_classes=2)
    >>> subspaces = random_subspaces(
    ...   moments, num_subclasses=3, key=jax.random.key(1))
    >>> print(subspaces.directions.shape)
    (2, 3, 8)
  """
  moments, num_classes, width = _checked_moments("moments", moments)
  _checks.check_option("normalization", normalization, _NORMALIZATIONS)
  num_subclasses = _check_num_directions(
    "num_subclasses", num_subclasses, width
  )
  _checks.check_key("key", key)
  dtype = moments.mean.dtype
  draw = jax.random.orthogonal(key, width, (num_classes,), dtype)
  return _scaled_by_moments(
    moments, draw[:, :num_subclasses], normalization=normalization
  )


def identity_subspaces(
  moments: ClassMoments, *, normalization: str = "max"
) -> Subspaces:
  """Uses each embedding coordinate as a direction ("Identity", S = D).

  Compare it with `fit_subspaces` to see the gain from principal directions. The
  head is not projected off, and the directions are normalized (paper, appendix
  C; A-19).

  Args:
    moments: Moments of the embeddings of each class; they give means and scale.
    normalization: See `subspaces_from_principal`.

  Returns:
    The subspaces: directions ``[C, D, D]`` and means ``[C, D]``.

  Raises:
    TypeError: If the moments are not a `ClassMoments` of arrays.
    ValueError: If the normalization is unknown.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, identity_subspaces
    >>> embeddings = jnp.array([[2., 0.], [-2., 1.]])
    >>> moments = class_moments(embeddings, jnp.zeros(2, int), num_classes=1)
    >>> print(identity_subspaces(moments).directions)
    [[[0.5 0. ]
      [0.  0.5]]]
  """
  moments, num_classes, width = _checked_moments("moments", moments)
  _checks.check_option("normalization", normalization, _NORMALIZATIONS)
  axes = jnp.eye(width, dtype=moments.mean.dtype)
  axes = jnp.broadcast_to(axes, (num_classes, width, width))
  return _scaled_by_moments(moments, axes, normalization=normalization)


@functools.partial(jax.jit, static_argnames="normalization")
def _scaled_by_moments(
  moments: ClassMoments, directions: jax.Array, *, normalization: str
) -> Subspaces:
  """Scales orthonormal directions by their variance in the moments."""
  count = jnp.where(moments.count == 0, 1, moments.count)[:, None]
  # One product [S, D] x [D, D] per class. An einsum of all three factors does
  # not guarantee that order.
  spread = jnp.matmul(directions, moments.scatter, precision=_HIGHEST)
  variances = jnp.sum(spread * directions, axis=-1) / count
  # A variance below the rounding error of the embeddings counts as zero.
  size = jnp.max(jnp.abs(moments.mean), axis=-1, keepdims=True)
  unit = jnp.where(size == 0, 1, size)
  length = jnp.linalg.norm(moments.mean / unit, axis=-1, keepdims=True)
  noise = jnp.finfo(variances.dtype).eps * unit * length
  variances = jnp.where(variances <= noise**2, 0, variances)
  has_variance = jnp.any(variances != 0, axis=-1)[:, None, None]
  factor = _direction_scale(variances, normalization)
  directions = jnp.where(has_variance, directions * factor[..., None], 0)
  return Subspaces(directions, moments.mean)
