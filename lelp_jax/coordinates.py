r"""Coordinates of embeddings in the subspaces of the classes.

They are all that splitting a class needs of an embedding. The directions of a
subspace are K principal directions, rotated and scaled: :math:`\tilde V_c = Q^c
V_c / \sigma_c` (Algorithm 1; A-4, A-6). A class is split by :math:`\tilde V_c
(h - \mu_c) = Q^c (V_c (h - \mu_c)) / \sigma_c`. So the numbers :math:`V_c (h -
\mu_c)` can replace an embedding in all later steps, for any S up to K and any
rotation, normalization and temperature. Caches store them instead of wide
embeddings.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from lelp_jax import _checks
from lelp_jax.principal import _checked_principal
from lelp_jax.principal import PrincipalDirections
from lelp_jax.subspaces import _checked_subspaces
from lelp_jax.subspaces import Subspaces

_HIGHEST = jax.lax.Precision.HIGHEST


def principal_coordinates(
  embeddings: jax.Array, principal: PrincipalDirections
) -> jax.Array:
  r"""Computes the coordinates of embeddings on all principal directions.

  Use it to store ``C * K`` numbers per example in place of a wide embedding:

  .. math::
    x_{c,k} = v_{c,k}^T (h - \mu_c)

  Together with `coordinate_directions`, they replace the embeddings: up to
  rounding, `subspaces_from_principal` and `log_subsplit` give the same results
  for both.

  Args:
    embeddings: Teacher embeddings :math:`h`, float, ``[..., D]``.
    principal: Directions ``[C, K, D]`` and means ``[C, D]``, from
      `principal_directions`.

  Returns:
    The coordinates, float32 (float64 for float64 embeddings), ``[..., C * K]``,
    with the coordinates of each class contiguous; zero along zero directions.

  Raises:
    TypeError: If the embeddings are not floating point.
    ValueError: If embeddings and directions differ in width.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, principal_coordinates
    >>> from lelp_jax import principal_directions
    >>> embeddings = jnp.array([[4., 0.], [0., 0.], [0., 1.], [0., 3.]])
    >>> labels = jnp.array([0, 0, 1, 1])
    >>> moments = class_moments(embeddings, labels, num_classes=2)
    >>> principal = principal_directions(moments, num_directions=1)
    >>> print(jax.jit(principal_coordinates)(embeddings, principal))
    [[ 2. -2.]
     [-2. -2.]
     [-2. -1.]
     [-2.  1.]]
  """
  principal = _checked_principal(principal)
  found = subspace_coordinates(
    embeddings, Subspaces(principal.directions, principal.means)
  )
  return found.reshape(*found.shape[:-2], math.prod(found.shape[-2:]))


def coordinate_directions(
  principal: PrincipalDirections,
) -> PrincipalDirections:
  """Returns the principal directions in the space of their coordinates.

  Pass the result to `subspaces_from_principal` where `principal_coordinates`
  are used in place of embeddings.

  Args:
    principal: The directions that the coordinates were computed with,
      ``[C, K, D]``.

  Returns:
    Principal directions ``[C, K, C * K]``: direction k of class c is the unit
    vector of entry ``c * K + k``, or zero where the given direction is zero.
    The means are zero. Variances, total variance and rank are unchanged, and
    so are normalization and the treatment of missing directions (A-10).

  Raises:
    TypeError: If the argument is not a `PrincipalDirections`.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax import class_moments, coordinate_directions
    >>> from lelp_jax import principal_directions
    >>> embeddings = jnp.array([[4., 0.], [0., 0.], [0., 1.], [0., 3.]])
    >>> labels = jnp.array([0, 0, 1, 1])
    >>> moments = class_moments(embeddings, labels, num_classes=2)
    >>> principal = principal_directions(moments, num_directions=1)
    >>> print(jax.jit(coordinate_directions)(principal).directions)
    [[[1. 0.]]
    <BLANKLINE>
     [[0. 1.]]]
  """
  principal = _checked_principal(principal)
  num_classes, num_directions, _ = principal.directions.shape
  size = num_classes * num_directions
  lengths = jnp.max(jnp.abs(principal.directions), axis=-1, keepdims=True)
  units = jnp.eye(size, dtype=principal.directions.dtype)
  units = units.reshape(num_classes, num_directions, size)
  directions = jnp.where(lengths == 0, 0, units)
  return dataclasses.replace(
    principal,
    directions=jnp.where(jnp.isnan(lengths), jnp.nan, directions),
    means=jnp.zeros((num_classes, size), principal.means.dtype),
  )


def subspace_coordinates(
  embeddings: jax.Array, subspaces: Subspaces
) -> jax.Array:
  r"""Computes the coordinates of embeddings in the subspace of every class.

  .. math::
    z_{c,s} = \tilde v_{c,s}^T (h - \mu_c) + b_{c,s}

  (paper, Algorithm 2, where the offsets are zero). Use it to assign examples
  to subclasses: the subclass with the largest coordinate is the most probable
  one of its class at any temperature.

  Args:
    embeddings: Teacher embeddings, float, ``[..., D]``.
    subspaces: Directions ``[C, S, D]``, means ``[C, D]`` and, if it has any,
      offsets ``[C, S]``.

  Returns:
    The coordinates, float32 (float64 for float64 embeddings), ``[..., C, S]``.

  Raises:
    TypeError: If the embeddings are not floating point, or the subspaces are
      not a `Subspaces`.
    ValueError: If shapes do not fit.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import subspace_coordinates, Subspaces
    >>> subspaces = Subspaces(
    ...   directions=jnp.array([[[1., 0.], [0., 2.]]]),
    ...   means=jnp.array([[1., 1.]]))
    >>> print(subspace_coordinates(jnp.array([4., 5.]), subspaces))
    [[3. 8.]]
  """
  embeddings = _checks.floating("embeddings", embeddings, "[..., D]")
  subspaces = _checked_subspaces(subspaces)
  num_classes, num_subclasses, width = subspaces.directions.shape
  if embeddings.shape[-1] != width:
    raise ValueError(
      f"embeddings must have shape [..., {width}] to fit subspaces of "
      f"directions {subspaces.directions.shape}, got shape {embeddings.shape}."
    )
  (embeddings,) = _checks.as_floats(embeddings)
  directions = jnp.asarray(subspaces.directions).astype(embeddings.dtype)
  means = jnp.asarray(subspaces.means).astype(embeddings.dtype)

  # Subtract the mean of the class means from the embeddings first: a common
  # offset that is large compared with the spread would cost digits. The mean of
  # an empty class is a placeholder of zeros and is left out. The difference
  # does not depend on the directions, so stacked cells of one teacher share it.
  counts = jnp.any(means != 0, axis=1).astype(embeddings.dtype)
  centre = jnp.dot(counts, means, precision=_HIGHEST) / jnp.maximum(
    counts.sum(), 1
  )
  lead = (None,) * (embeddings.ndim - 1)
  centred = embeddings - centre[lead]

  # Apply all directions in one product. Then subtract the coordinates of the
  # remaining class means, and add the offsets.
  folded = directions.reshape(num_classes * num_subclasses, width)
  products = jnp.matmul(centred, folded.T, precision=_HIGHEST)
  constants = jnp.einsum(
    "cd,csd->cs", means - centre[None], directions, precision=_HIGHEST
  )
  if subspaces.offsets is not None:
    constants -= jnp.asarray(subspaces.offsets).astype(embeddings.dtype)
  shape = (*embeddings.shape[:-1], num_classes, num_subclasses)
  return products.reshape(shape) - constants[lead]
