r"""Splitting a teacher's classes into pseudo-subclasses (paper, Algorithm 2).

The logarithm is the primitive: the loss needs :math:`\log p`, and a
probability that has underflowed cannot give it back.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.coordinates import check_subspaces
from lelp_jax.coordinates import subspace_coordinates
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

  The exponential of `log_subsplit`, which has the equation; distillation
  needs only the latter.

  Args:
    embeddings: See `log_subsplit`, as for all arguments.
    class_logits: The teacher's own logits, ``[..., C]``.
    subspaces: Directions and means of each class.
    temperature: Temperature of the class part.
    subclass_temperature: Temperature of the subclass part.
    where: Subclasses that exist, bool, ``[C, S]``.

  Returns:
    Probabilities :math:`p_{c,s}`, which sum to one over classes and
    subclasses, float32, ``[..., C, S]``; zero where masked.

  Raises:
    TypeError: If an array is not floating point.
    ValueError: If shapes do not fit or a concrete temperature is not
      positive.

  Examples:
    >>> from lelp_jax import Subspaces
    >>> subspaces = Subspaces(
    ...   directions=jnp.array([[[1., 0.], [-1., 0.]]] * 2),
    ...   means=jnp.zeros((2, 2)))
    >>> subsplit(jnp.array([1., 5.]), jnp.array([0., 0.]), subspaces,
    ...   temperature=1., subclass_temperature=2.).round(3).tolist()
    [[0.36..., 0.13...], [0.36..., 0.13...]]
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
  r"""Computes the log probabilities of all pseudo-subclasses.

  With :math:`z_c` the teacher's logits and :math:`z_{c,s} = \tilde
  v_{c,s}^T (h - \mu_c)` the coordinates of its embedding in the subspace of
  **every** class (paper, section 3.2 and Algorithm 2; A-8: logits as the
  teacher computes them)

  .. math::
    \log p_{c,s} = \log \mathrm{softmax}_c(z / \tau)
                 + \log \mathrm{softmax}_s(z_{c,\cdot} / \beta) .

  All directions are applied in one matrix product, to embeddings from which
  the mean of the class means was taken: a mean common to all classes, large
  beside the spread, would otherwise cost the digits of the coordinates. Class
  means up to some twenty spreads apart in every entry cost none that matter.

  Differentiable in embeddings and logits; the losses stop the gradient.

  Args:
    embeddings: Teacher embeddings :math:`h`, float, ``[..., D]``.
    class_logits: The teacher's own logits :math:`z`, float, ``[..., C]``.
    subspaces: Directions ``[C, S, D]`` and means ``[C, D]``.
    temperature: Temperature :math:`\tau` of the class part, positive scalar.
    subclass_temperature: Temperature :math:`\beta` of the subclass part,
      positive scalar.
    where: Subclasses that exist, bool, ``[C, S]``, at least one a class; by
      default all. With it, cells of different S can be stacked.

  Returns:
    The logarithms :math:`\log p_{c,s}`, float32 (float64 for float64
    embeddings), ``[..., C, S]``; ``-inf`` where masked.

  Raises:
    TypeError: If an array is not floating point or the mask not bool.
    ValueError: If shapes do not fit or a concrete temperature is not
      positive.

  Examples:
    >>> from lelp_jax import Subspaces
    >>> subspaces = Subspaces(
    ...   directions=jnp.array([[[1., 0.], [-1., 0.]]] * 2),
    ...   means=jnp.zeros((2, 2)))
    >>> logs = log_subsplit(jnp.array([1., 5.]), jnp.array([0., 0.]),
    ...   subspaces, temperature=1., subclass_temperature=2.)
    >>> logs.round(3).tolist()
    [[-1.00..., -2.00...], [-1.00..., -2.00...]]
  """
  _check_arguments(embeddings, class_logits, subspaces, where)
  _checks.check_positive("temperature", temperature)
  _checks.check_positive("subclass_temperature", subclass_temperature)
  dtype = jnp.promote_types(jnp.result_type(embeddings), jnp.float32)
  if where is not None:  # Whatever stands in masked rows, also NaN.
    kept = jnp.asarray(where)[..., None]
    directions = jnp.where(kept, subspaces.directions, 0)
    subspaces = dataclasses.replace(subspaces, directions=directions)
  coordinates = subspace_coordinates(jnp.asarray(embeddings, dtype), subspaces)
  class_logits = jnp.asarray(class_logits, dtype)
  class_part = jax.nn.log_softmax(class_logits / temperature, axis=-1)
  return class_part[..., None] + masked_log_softmax(
    coordinates / subclass_temperature, where
  )


def masked_log_softmax(logits: jax.Array, where: jax.Array | None) -> jax.Array:
  """Log-softmax over the last axis of the entries that exist.

  Masked entries are ``-inf`` and take no part in value or gradient.

  Args:
    logits: Unnormalized log probabilities, float, ``[..., n]``.
    where: Entries that exist, bool, broadcastable to ``logits`` with its
      leading axes left out, or None for all.

  Returns:
    Log probabilities, of the shape and dtype of ``logits``.
  """
  if where is None:
    return jax.nn.log_softmax(logits, axis=-1)
  where = jnp.broadcast_to(where, logits.shape)
  # Two selections: the inner keeps whatever stands in masked entries out of
  # the gradient, the outer out of the value.
  inner = jnp.where(where, logits, jnp.finfo(logits.dtype).min)
  largest = jax.lax.stop_gradient(inner.max(axis=-1, keepdims=True))
  shifted = jnp.where(where, inner - largest, 0)
  total = jnp.sum(jnp.where(where, jnp.exp(shifted), 0), axis=-1, keepdims=True)
  # A row without any entry has no normalizer: all of it is -inf.
  normalizer = jnp.log(jnp.where(total > 0, total, 1))
  return jnp.where(where, shifted - normalizer, -jnp.inf)


def _check_arguments(
  embeddings: jax.Array,
  class_logits: jax.Array,
  subspaces: Subspaces,
  where: jax.Array | None,
) -> None:
  """Checks shapes and dtypes against the subspaces."""
  _checks.check_floating("embeddings", embeddings)
  _checks.check_floating("class_logits", class_logits)
  num_classes, num_subclasses = check_subspaces(embeddings, subspaces)
  if np.shape(class_logits) != (*np.shape(embeddings)[:-1], num_classes):
    raise ValueError(
      f"class_logits must have shape [..., {num_classes}] with the leading "
      f"axes of embeddings {np.shape(embeddings)}, got shape "
      f"{np.shape(class_logits)}."
    )
  check_subclass_mask(where, (num_classes, num_subclasses))


def check_subclass_mask(
  where: jax.Array | None, shape: tuple[int, int]
) -> None:
  """Raises unless a mask of subclasses is bool, [C, S], one a class at least.

  Args:
    where: The mask, or None.
    shape: The expected ``(C, S)``.

  Raises:
    TypeError: If the mask is not bool.
    ValueError: If its shape differs or a class has no subclass.
  """
  if where is None:
    return
  if jnp.result_type(where) != jnp.bool_:
    raise TypeError(f"where must be bool, got {jnp.result_type(where)}.")
  if np.shape(where) != shape:
    raise ValueError(
      f"where must have shape [C, S] = {shape}, got shape {np.shape(where)}."
    )
  if _checks.is_concrete(where) and not np.asarray(where).any(axis=-1).all():
    raise ValueError("where must keep at least one subclass of each class.")
