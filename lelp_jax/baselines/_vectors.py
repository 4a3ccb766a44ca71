"""Shared parts of the losses: checked pairs of arrays, norms, unit vectors.

The norm of a vector is not differentiable at zero: JAX returns NaN, and public
implementations add a constant whose reciprocal then multiplies the gradient.
Here the gradient at zero is zero. Vectors are divided by their largest entry
first, so that squares neither overflow nor underflow. NaN is propagated.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks

HIGHEST = jax.lax.Precision.HIGHEST


def checked_pair(
  names: tuple[str, str],
  arrays: tuple[Any, Any],
  axes: str,
  advice: str = "",
) -> tuple[jax.Array, jax.Array]:
  """Returns two arrays of one shape in float32 or float64, or raises.

  Args:
    names: Names of the arguments, for errors.
    arrays: The arguments.
    axes: Their axes, such as ``"[B, P]"`` or ``"[..., C]"``.
    advice: Text to add to an error about shapes.
  """
  first, second = (
    _checks.floating(name, array, axes)
    for name, array in zip(names, arrays, strict=True)
  )
  if first.shape != second.shape:
    raise ValueError(
      f"{names[0]} and {names[1]} must have the same shape {axes}, "
      f"got {first.shape} and {second.shape}{advice}."
    )
  first, second = _checks.as_floats(first, second)
  return first, second


def checked_embeddings(
  student: Any, teacher: Any, first: str = "student_embeddings"
) -> tuple[jax.Array, jax.Array]:
  """Returns embeddings of one shape, without gradient to the teacher's."""
  student, teacher = checked_pair(
    (first, "teacher_embeddings"),
    (student, teacher),
    "[..., D]",
    advice=": project the student's to the teacher's width",
  )
  return student, jax.lax.stop_gradient(teacher)


def checked_logits(
  student: Any, teacher: Any, axes: str = "[..., C]"
) -> tuple[jax.Array, jax.Array]:
  """Returns logits of one shape, without gradient to the teacher's."""
  names = "student_logits", "teacher_logits"
  pair = checked_pair(names, (student, teacher), axes)
  for name, logits in zip(names, pair, strict=True):
    _checks.check_logits(name, logits)
  return pair[0], jax.lax.stop_gradient(pair[1])


def check_batch(name: str, array: Any) -> None:
  """Raises ValueError for a batch without examples."""
  if not np.shape(array)[0]:
    raise ValueError(
      f"{name} must have at least one example, got shape {np.shape(array)}."
    )


def norm(vectors: jax.Array) -> jax.Array:
  """Computes the Euclidean norm over the last axis, with gradient 0 at zero."""
  _, length, largest = _rescaled(vectors)
  return (largest * length)[..., 0]


def normalize(vectors: jax.Array) -> jax.Array:
  """Scales vectors to length one; zero vectors stay zero, with gradient 0."""
  scaled, length, _ = _rescaled(vectors)
  return scaled / length


def centre(vectors: jax.Array) -> jax.Array:
  """Subtracts the mean over the last axis; a constant vector becomes zero.

  A vector that is constant up to rounding counts as constant, since the
  direction of rounding errors means nothing. For example, the softmaxes of
  equal rows may differ in the last bit.
  """
  deviations = vectors - jnp.mean(vectors, axis=-1, keepdims=True)
  largest, size = (
    jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0)
    for x in (deviations, vectors)
  )
  is_constant = largest <= 8 * jnp.finfo(vectors.dtype).eps * size
  return jnp.where(is_constant, 0, deviations)


def _rescaled(
  vectors: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns vectors over their largest entry, their norms, and that entry."""
  largest = jax.lax.stop_gradient(
    jnp.max(jnp.abs(vectors), axis=-1, keepdims=True, initial=0)
  )
  is_zero = largest < jnp.finfo(vectors.dtype).tiny  # False for NaN.
  scaled = jnp.where(is_zero, 0, vectors) / jnp.where(is_zero, 1, largest)
  squares = jnp.sum(scaled**2, axis=-1, keepdims=True)
  length = jnp.sqrt(jnp.where(is_zero, 1, squares))
  return scaled, length, jnp.where(is_zero, 0, largest)
