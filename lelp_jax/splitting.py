r"""Splitting a teacher's classes into pseudo-subclasses (paper, Algorithm 2).

The loss takes logarithms, from `log_subsplit`: :math:`\log p` cannot be
recovered from a probability that has underflowed.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax import _probabilities
from lelp_jax.coordinates import subspace_coordinates
from lelp_jax.subspaces import _checked_subspaces
from lelp_jax.subspaces import Subspaces


def subsplit(
  embeddings: jax.Array,
  class_logits: jax.Array,
  subspaces: Subspaces,
  *,
  temperature: float | jax.Array,
  subclass_temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  r"""Computes the teacher's probabilities of all pseudo-subclasses.

  Use it to inspect the subclasses. `lelp_loss` takes the logarithms of these
  probabilities, from `log_subsplit`, whose docstring has the equation.

  Args:
    embeddings: Teacher embeddings, float, ``[..., D]``.
    class_logits: The teacher's own logits, float, ``[..., C]``.
    subspaces: Directions and means of each class.
    temperature: Temperature of the class part, positive scalar.
    subclass_temperature: Temperature of the subclass part, positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``.

  Returns:
    Probabilities :math:`p_{c,s}`, which sum to one over classes and
    subclasses, float32 (float64 for float64 embeddings), ``[..., C, S]``;
    zero where masked.

  Raises:
    TypeError: See `log_subsplit`.
    ValueError: See `log_subsplit`.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import subsplit, Subspaces
    >>> subspaces = Subspaces(
    ...   directions=jnp.array([[[1., 0.], [-1., 0.]]] * 2),
    ...   means=jnp.zeros((2, 2)))
    >>> probabilities = subsplit(
    ...   jnp.array([1., 5.]), jnp.array([0., 0.]), subspaces,
    ...   temperature=1., subclass_temperature=2.)
    >>> print((100 * probabilities).round())
    [[37. 13.]
     [37. 13.]]
  """
  return jnp.exp(
    log_subsplit(
      embeddings,
      class_logits,
      subspaces,
      temperature=temperature,
      subclass_temperature=subclass_temperature,
      where=where,
    )
  )


def log_subsplit(
  embeddings: jax.Array,
  class_logits: jax.Array,
  subspaces: Subspaces,
  *,
  temperature: float | jax.Array,
  subclass_temperature: float | jax.Array,
  where: jax.Array | None = None,
) -> jax.Array:
  r"""Computes the teacher's log probabilities of all pseudo-subclasses.

  These are the targets of `lelp_loss`. With :math:`z_c` the teacher's logits
  and :math:`z_{c,s} = \tilde v_{c,s}^T (h - \mu_c)` the coordinates of its
  embedding in the subspace of **every** class, plus the offsets :math:`b_{c,s}`
  where the subspaces have any (paper, section 3.2 and Algorithm 2; A-8: logits
  as the teacher computes them)

  .. math::
    \log p_{c,s} = \log \mathrm{softmax}_c(z / \tau)
                 + \log \mathrm{softmax}_s(z_{c,\cdot} / \beta) .

  The result is differentiable in embeddings, logits and both temperatures;
  the losses stop the gradient.

  Args:
    embeddings: Teacher embeddings :math:`h`, float, ``[..., D]``.
    class_logits: The teacher's own logits :math:`z`, float, ``[..., C]``,
      with at least two classes. For a head with one logit see `binary_head`.
    subspaces: Directions ``[C, S, D]`` and means ``[C, D]``, from
      `fit_subspaces`, or with offsets ``[C, S]``, from `centroid_subspaces`.
    temperature: Temperature :math:`\tau` of the class part, positive scalar.
    subclass_temperature: Temperature :math:`\beta` of the subclass part,
      positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``, at least one per class; by
      default all. Masks let settings of different S share one shape, and so one
      program. Directions and offsets of masked subclasses may hold anything.

  Returns:
    The logarithms :math:`\log p_{c,s}`, float32 (float64 for float64
    embeddings), ``[..., C, S]``; ``-inf`` where masked.

  Raises:
    TypeError: If an array is not floating point, the mask is not bool, a
      temperature is not a number, or the subspaces are not a `Subspaces`.
    ValueError: If shapes do not fit, a concrete temperature is not positive
      and finite, or concrete logits are probabilities.

  Note:
    All directions are applied in one matrix product, to embeddings from which
    the mean of the class means was subtracted. Otherwise a mean that all
    classes share and that is large compared with the spread would cost digits
    of the coordinates. Class means that are up to about twenty standard
    deviations apart in every entry cost no digits that matter.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax import log_subsplit, Subspaces
    >>> subspaces = Subspaces(
    ...   directions=jnp.array([[[1., 0.], [-1., 0.]]] * 2),
    ...   means=jnp.zeros((2, 2)))
    >>> log_probs = log_subsplit(
    ...   jnp.array([1., 5.]), jnp.array([0., 0.]), subspaces,
    ...   temperature=1., subclass_temperature=2.)
    >>> print((100 * log_probs).round())
    [[-101. -201.]
     [-101. -201.]]
  """
  subspaces = _checked_subspaces(subspaces)
  num_classes, num_subclasses, _ = subspaces.directions.shape
  embeddings = _checks.floating("embeddings", embeddings, "[..., D]")
  logits = _checks.floating("class_logits", class_logits, "[..., C]")
  if logits.shape != (*embeddings.shape[:-1], num_classes):
    raise ValueError(
      f"class_logits must have shape [..., {num_classes}] with the leading "
      f"axes of embeddings {embeddings.shape}, got shape {logits.shape}."
    )
  _checks.check_logits("class_logits", logits)
  where = _checked_mask(where, (num_classes, num_subclasses))
  (embeddings,) = _checks.as_floats(embeddings)
  logits, dtype = logits.astype(embeddings.dtype), embeddings.dtype
  temperature = _checks.temperature("temperature", temperature, dtype)
  subclass_temperature = _checks.temperature(
    "subclass_temperature", subclass_temperature, dtype
  )
  if where is not None:
    directions = jnp.where(where[..., None], subspaces.directions, 0)
    offsets = subspaces.offsets
    if offsets is not None:
      offsets = jnp.where(where, offsets, 0)
    subspaces = Subspaces(directions, subspaces.means, offsets)
    where = where[(None,) * (embeddings.ndim - 1)]
  coordinates = subspace_coordinates(embeddings, subspaces)
  classes = _probabilities.log_softmax(
    _probabilities.tempered(logits, temperature)
  )
  subclasses = _probabilities.log_softmax(
    coordinates / subclass_temperature, where
  )
  return classes[..., None] + subclasses


def _checked_mask(where: Any, shape: tuple[int, int]) -> jax.Array | None:
  """Returns a mask of subclasses as an array, or raises.

  Args:
    where: The argument, or None.
    shape: The expected ``(C, S)``.

  Raises:
    TypeError: If the mask is not bool.
    ValueError: If its shape differs or a class has no subclass.
  """
  if where is None:
    return None
  where = _checks.mask("where", where, shape, "[C, S]")
  if _checks.is_concrete(where) and not np.asarray(where).any(axis=-1).all():
    raise ValueError("where must keep at least one subclass of each class.")
  return where
