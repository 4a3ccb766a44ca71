r"""Coordinates of embeddings: all that the splitting of classes sees of them.

A subspace is rows :math:`\tilde V_c = Q^c V_c / \sigma_c` of a rotation and K
principal directions (Algorithm 1; A-4, A-6), and classes are split by
:math:`\tilde V_c (h - \mu_c) = Q^c (V_c (h - \mu_c)) / \sigma_c`. So the
numbers :math:`V_c (h - \mu_c)` stand for an embedding in everything that
follows: any S up to K, any rotation, normalization and temperature.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.principal import PrincipalDirections
from lelp_jax.subspaces import Subspaces

_HIGHEST = jax.lax.Precision.HIGHEST


def principal_coordinates(
  embeddings: jax.Array, principal: PrincipalDirections
) -> jax.Array:
  r"""Computes the coordinates of embeddings on the directions of every class.

  .. math::
    x_{c,k} = v_{c,k}^T (h - \mu_c)

  With `coordinate_directions` they take the place of the embeddings: what
  `subspaces_from_principal` and `log_subsplit` make of the two is, up to
  rounding, what they make of the embeddings and their directions.

  Args:
    embeddings: Teacher embeddings :math:`h`, float, ``[..., D]``.
    principal: Directions ``[C, K, D]`` and means ``[C, D]``, from
      `principal_directions`.

  Returns:
    The coordinates, those of one class contiguous, float32 (float64 for
    float64 embeddings), ``[..., C * K]``; zero along zero directions.

  Raises:
    TypeError: If the embeddings are not floating point.
    ValueError: If their width is not that of the directions.

  Examples:
    >>> from lelp_jax import class_moments, principal_directions
    >>> h = jnp.array([[4., 0.], [0., 0.], [0., 1.], [0., 3.]])
    >>> moments = class_moments(h, jnp.array([0, 0, 1, 1]), num_classes=2)
    >>> principal = principal_directions(moments, num_directions=1)
    >>> principal_coordinates(h, principal).tolist()
    [[2.0, -2.0], [-2.0, -2.0], [-2.0, -1.0], [-2.0, 1.0]]
  """
  found = subspace_coordinates(
    embeddings, Subspaces(principal.directions, principal.means)
  )
  return found.reshape(*found.shape[:-2], -1)


def coordinate_directions(
  principal: PrincipalDirections,
) -> PrincipalDirections:
  """Returns the principal directions of coordinates: unit vectors, no means.

  Args:
    principal: What the coordinates were computed with, ``[C, K, D]``.

  Returns:
    The same, as seen in `principal_coordinates`: direction k of class c is
    the unit vector of its place, zero where it was zero, and means are zero.
    Directions ``[C, K, C * K]``; variances, total variance and rank, and so
    normalization and what is done about too low a rank (A-10), are kept.

  Examples:
    >>> from lelp_jax import class_moments, principal_directions
    >>> h = jnp.array([[4., 0.], [0., 0.], [0., 1.], [0., 3.]])
    >>> moments = class_moments(h, jnp.array([0, 0, 1, 1]), num_classes=2)
    >>> principal = principal_directions(moments, num_directions=1)
    >>> coordinate_directions(principal).directions.tolist()
    [[[1.0, 0.0]], [[0.0, 1.0]]]
  """
  num_classes, num_directions, _ = principal.directions.shape
  size = num_classes * num_directions
  exist = jnp.any(principal.directions != 0, axis=-1)
  units = jnp.eye(size, dtype=principal.directions.dtype)
  units = units.reshape(num_classes, num_directions, size)
  return dataclasses.replace(
    principal,
    directions=jnp.where(exist[..., None], units, 0),
    means=jnp.zeros((num_classes, size), principal.means.dtype),
  )


def subspace_coordinates(
  embeddings: jax.Array, subspaces: Subspaces
) -> jax.Array:
  r"""Computes the coordinates of embeddings in the subspace of every class.

  .. math::
    z_{c,s} = \tilde v_{c,s}^T (h - \mu_c)

  (paper, Algorithm 2). The subclass of the largest coordinate is the most
  probable one of its class, at any temperature.

  Args:
    embeddings: Teacher embeddings, float, ``[..., D]``.
    subspaces: Directions ``[C, S, D]`` and means ``[C, D]``.

  Returns:
    The coordinates, float32 at least, ``[..., C, S]``.

  Raises:
    TypeError: If the embeddings are not floating point.
    ValueError: If shapes do not fit.

  Examples:
    >>> subspaces = Subspaces(
    ...   directions=jnp.array([[[1., 0.], [0., 2.]]]),
    ...   means=jnp.array([[1., 1.]]))
    >>> subspace_coordinates(jnp.array([4., 5.]), subspaces).tolist()
    [[3.0, 8.0]]
  """
  _checks.check_floating("embeddings", embeddings)
  num_classes, num_subclasses = check_subspaces(embeddings, subspaces)
  dtype = jnp.promote_types(jnp.result_type(embeddings), jnp.float32)
  embeddings = jnp.asarray(embeddings, dtype)
  directions = subspaces.directions.astype(embeddings.dtype)
  means = subspaces.means.astype(embeddings.dtype)
  # The mean of an empty class is a placeholder of zeros: left out. From the
  # means alone, so that stacked cells of one teacher share this difference.
  counts = jnp.any(means != 0, axis=1).astype(embeddings.dtype)
  centre = jnp.dot(counts, means, precision=_HIGHEST) / jnp.maximum(
    counts.sum(), 1
  )
  offsets = jnp.einsum(
    "cd,csd->cs", means - centre[None], directions, precision=_HIGHEST
  )
  folded = directions.reshape(num_classes * num_subclasses, -1)
  products = jnp.matmul(
    embeddings - centre[(None,) * (embeddings.ndim - 1)],
    folded.T,
    precision=_HIGHEST,
  )
  shape = (*embeddings.shape[:-1], num_classes, num_subclasses)
  lead = (None,) * (embeddings.ndim - 1)
  return products.reshape(shape) - offsets[lead]


def check_subspaces(
  embeddings: jax.Array, subspaces: Subspaces
) -> tuple[int, int]:
  """Checks that embeddings and subspaces fit.

  Args:
    embeddings: ``[..., D]``.
    subspaces: Directions ``[C, S, D]`` and means ``[C, D]``.

  Returns:
    C and S.

  Raises:
    ValueError: If they do not fit.
  """
  _checks.check_rank(
    "subspaces.directions", subspaces.directions, 3, "[C, S, D]"
  )
  num_classes, num_subclasses, width = np.shape(subspaces.directions)
  if np.shape(subspaces.means) != (num_classes, width):
    raise ValueError(
      f"subspaces.means must have shape {(num_classes, width)} to fit "
      f"directions {np.shape(subspaces.directions)}, got shape "
      f"{np.shape(subspaces.means)}."
    )
  if np.shape(embeddings)[-1:] != (width,):
    raise ValueError(
      f"embeddings must have shape [..., {width}] to fit subspaces of "
      f"directions {np.shape(subspaces.directions)}, got shape "
      f"{np.shape(embeddings)}."
    )
  return num_classes, num_subclasses
