"""What the losses share: checked pairs of arrays, norms and unit vectors.

The norm of a vector has no gradient where the vector is zero: JAX gives NaN,
public implementations add a constant whose reciprocal then multiplies the
gradient. Here value and gradient are zero, and since vectors are divided by
their largest entry first, nothing overflows or underflows on the way.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks

HIGHEST = jax.lax.Precision.HIGHEST


def check_pair(
  names: tuple[str, str],
  arrays: tuple[Any, Any],
  axes: str,
  rank: int | None = None,
  advice: str = "",
) -> None:
  """Raises unless two arrays are floating point and of one shape `axes`."""
  for name, array in zip(names, arrays, strict=True):
    _checks.check_floating(name, array)
  shapes = tuple(np.shape(array) for array in arrays)
  right_rank = len(shapes[0]) == rank if rank else len(shapes[0]) > 0
  if shapes[0] != shapes[1] or not right_rank:
    raise ValueError(
      f"{names[0]} and {names[1]} must have the same shape {axes}, "
      f"got {shapes[0]} and {shapes[1]}{advice}."
    )


def check_batch(name: str, array: Any) -> None:
  """Raises ValueError for a batch without examples, which has no mean."""
  if not np.shape(array)[0]:
    raise ValueError(
      f"{name} must have at least one example, got shape {np.shape(array)}."
    )


def as_floats(*arrays: Any) -> tuple[jax.Array, ...]:
  """Arrays in float32, or in float64 if one of them is."""
  dtype = jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
  return tuple(jnp.asarray(array, dtype) for array in arrays)


def checked_embeddings(
  student: Any, teacher: Any, first: str = "student_embeddings"
) -> tuple[jax.Array, jax.Array]:
  """Embeddings of one shape `[..., D]`, as floats; the teacher's constant."""
  check_pair(
    (first, "teacher_embeddings"),
    (student, teacher),
    "[..., D]",
    advice=": project the student's to the teacher's width",
  )
  student, teacher = as_floats(student, teacher)
  return student, jax.lax.stop_gradient(teacher)


def contrastive_scores(
  student: Any, teacher: Any, temperature: float | jax.Array
) -> jax.Array:
  """Inner products of students with teachers over a temperature, `[B, B]`."""
  check_pair(
    ("student_projections", "teacher_projections"),
    (student, teacher),
    "[B, P]",
    rank=2,
  )
  _checks.check_positive("temperature", temperature)
  student, teacher = as_floats(student, teacher)
  return jnp.dot(student, teacher.T, precision=HIGHEST) / temperature


def norm(vectors: jax.Array) -> jax.Array:
  """Euclidean norm over the last axis; at zero its gradient is zero."""
  _, length, largest = _rescaled(vectors)
  return (largest * length)[..., 0]


def normalize(vectors: jax.Array) -> jax.Array:
  """Unit vectors along the last axis; of zero, zero with zero gradient."""
  scaled, length, _ = _rescaled(vectors)
  return scaled / length


def centre(vectors: jax.Array) -> jax.Array:
  """Subtracts the mean over the last axis; what is constant becomes zero.

  To rounding: equal rows need not have equal softmaxes to the last bit, and
  the direction of what rounding leaves means nothing.
  """
  deviations = vectors - jnp.mean(vectors, axis=-1, keepdims=True)
  largest, size = (
    jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0)
    for x in (deviations, vectors)
  )
  varies = largest > 8 * jnp.finfo(vectors.dtype).eps * size
  return jnp.where(varies, deviations, 0)


def _rescaled(
  vectors: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Vectors over their largest entry, the norms of these, largest entries."""
  largest = jax.lax.stop_gradient(
    jnp.max(jnp.abs(vectors), axis=-1, keepdims=True, initial=0)
  )
  present = largest >= jnp.finfo(vectors.dtype).tiny
  scaled = jnp.where(present, vectors, 0) / jnp.where(present, largest, 1)
  squares = jnp.sum(scaled**2, axis=-1, keepdims=True)
  length = jnp.sqrt(jnp.where(present, squares, 1))
  return scaled, length, jnp.where(present, largest, 0)
