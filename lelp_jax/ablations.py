r"""The subspaces that the paper compares its own with (appendix C, Figure 5).

Random directions and coordinate axes. The third, plain principal directions,
is `fit_subspaces` with ``null_space="none", rotation="none"``.
"""

import functools

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax.moments import ClassMoments
from lelp_jax.principal import check_num_directions
from lelp_jax.subspaces import direction_scale
from lelp_jax.subspaces import NORMALIZATIONS
from lelp_jax.subspaces import Subspaces

_HIGHEST = jax.lax.Precision.HIGHEST


def random_subspaces(
  moments: ClassMoments,
  *,
  num_subclasses: int,
  key: jax.Array,
  normalization: str = "max",
) -> Subspaces:
  """Draws S random orthonormal directions per class: the ablation "Rand".

  Paper, appendix C; A-19: no null-space projection, with normalization.

  Args:
    moments: Moments of the embeddings of each class, for means and scale.
    num_subclasses: Number of subclasses of a class, S, at most ``D``.
    key: Random key of the directions.
    normalization: See `subspaces_from_principal`.

  Returns:
    The subspaces: directions ``[C, S, D]`` and means ``[C, D]``.

  Raises:
    ValueError: If S is not in ``[1, D]`` or the normalization is unknown.

  Examples:
    >>> from lelp_jax import class_moments
    >>> h = jax.random.normal(jax.random.key(0), (60, 8))
    >>> moments = class_moments(h, jnp.arange(60) % 2, num_classes=2)
    >>> random_subspaces(
    ...   moments, num_subclasses=3, key=jax.random.key(1)).directions.shape
    (2, 3, 8)
  """
  num_classes, width = moments.mean.shape
  _checks.check_option("normalization", normalization, NORMALIZATIONS)
  check_num_directions("num_subclasses", num_subclasses, width)
  dtype = moments.mean.dtype
  draw = jax.random.orthogonal(key, width, (num_classes,), dtype)
  return _scaled_by_moments(
    moments, draw[:, :num_subclasses], normalization=normalization
  )


def identity_subspaces(
  moments: ClassMoments, *, normalization: str = "max"
) -> Subspaces:
  """Takes every embedding coordinate as a direction: "Identity", S = D.

  Paper, appendix C; A-19: no null-space projection, with normalization.

  Args:
    moments: Moments of the embeddings of each class, for means and scale.
    normalization: See `subspaces_from_principal`.

  Returns:
    The subspaces: directions ``[C, D, D]`` and means ``[C, D]``.

  Raises:
    ValueError: If the normalization is unknown.

  Examples:
    >>> from lelp_jax import class_moments
    >>> h = jnp.array([[2., 0.], [-2., 1.]])
    >>> moments = class_moments(h, jnp.zeros(2, int), num_classes=1)
    >>> identity_subspaces(moments).directions.tolist()
    [[[0.5, 0.0], [0.0, 0.5]]]
  """
  num_classes, width = moments.mean.shape
  _checks.check_option("normalization", normalization, NORMALIZATIONS)
  axes = jnp.eye(width, dtype=moments.mean.dtype)
  axes = jnp.broadcast_to(axes, (num_classes, width, width))
  return _scaled_by_moments(moments, axes, normalization=normalization)


@functools.partial(jax.jit, static_argnames="normalization")
def _scaled_by_moments(
  moments: ClassMoments, directions: jax.Array, *, normalization: str
) -> Subspaces:
  """Scales orthonormal directions by the variance the moments give them."""
  count = jnp.where(moments.count > 0, moments.count, 1)[:, None]
  # One product [S, D] x [D, D] per class; the einsum of all three would not
  # promise that order.
  spread = jnp.matmul(directions, moments.scatter, precision=_HIGHEST)
  variances = jnp.sum(spread * directions, axis=-1) / count
  noise = jnp.finfo(variances.dtype).eps * jnp.linalg.norm(
    moments.mean, axis=-1, keepdims=True
  )
  variances = jnp.where(variances > noise**2, variances, 0)
  has_variance = jnp.any(variances > 0, axis=-1)[:, None, None]
  factor = direction_scale(variances, normalization)
  directions = jnp.where(has_variance, directions * factor[..., None], 0)
  return Subspaces(directions, moments.mean)
