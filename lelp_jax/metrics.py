"""Means over a data set: sums and counts that merge, never means of means."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lelp_jax import _checks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean that is still being gathered.

  Attributes:
    total: Sum of the values that count, float32, shape ``[]``.
    count: How many they are, int32, shape ``[]``.
  """

  total: jax.Array
  count: jax.Array

  @classmethod
  def of(cls, values: jax.Array, where: jax.Array | None = None) -> "Mean":
    """Gathers values, such as one metric of each example of a batch.

    Args:
      values: Float or bool, any shape, say ``[B]``.
      where: Values that count, bool, same shape; all if None. The others may
        be NaN.

    Returns:
      Their sum and count.

    Raises:
      ValueError: If the two shapes differ.

    Examples:
      >>> mean = Mean.of(jnp.array([1.0, jnp.nan]), jnp.array([True, False]))
      >>> float(mean.total), int(mean.count)
      (1.0, 1)
    """
    if where is None:
      where = jnp.ones(jnp.shape(values), bool)
    if jnp.shape(where) != jnp.shape(values):
      raise ValueError(
        f"where must have the shape of values, {jnp.shape(values)}, "
        f"got {jnp.shape(where)}."
      )
    # A product with the mask would let NaN through.
    counted = jnp.where(where, values, 0)
    return cls(
      total=jnp.sum(counted, dtype=jnp.float32),
      count=jnp.sum(where, dtype=jnp.int32),
    )


def merge(a: Mapping[str, Mean], b: Mapping[str, Mean]) -> dict[str, Mean]:
  """Adds up the metrics of two batches, replicas or hosts.

  Associative and commutative; ``{}`` is neutral.

  Args:
    a: Means by name.
    b: Means by name. A name in one argument alone is kept as it is.

  Returns:
    Means by name.

  Examples:
    >>> first = {"accuracy": Mean.of(jnp.array([1.0, 0.0, 0.0]))}
    >>> second = {"accuracy": Mean.of(jnp.array([1.0]))}
    >>> float(compute(merge(first, second))["accuracy"])
    0.5
  """
  both = {
    name: jax.tree.map(jnp.add, a[name], b[name]) for name in a if name in b
  }
  return {**a, **b, **both}


def compute(means: Mapping[str, Mean]) -> dict[str, jax.Array]:
  """Divides sums by counts.

  Args:
    means: Means by name.

  Returns:
    Float32 scalars by name; NaN where nothing was counted.

  Examples:
    >>> float(compute({"loss": Mean.of(jnp.array([1.0, 3.0]))})["loss"])
    2.0
  """
  return {name: mean.total / mean.count for name, mean in means.items()}


def accuracy(class_log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Tells for each example whether the most probable class is its label.

  Args:
    class_log_probs: Log probabilities or logits, float, shape ``[B, C]``.
    labels: Classes, int, shape ``[B]``.

  Returns:
    1 or 0 for each example, float32, shape ``[B]``. Of equal classes the
    first is the prediction.

  Raises:
    ValueError: If the shapes do not fit.
    TypeError: If the labels are not integers or the others not floating.

  Examples:
    >>> logits = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    >>> accuracy(logits, jnp.array([1, 0])).tolist()
    [1.0, 0.0]
  """
  _checks.check_floating("class_log_probs", class_log_probs)
  _checks.check_rank("class_log_probs", class_log_probs, 2, "[B, C]")
  _checks.check_integer("labels", labels)
  if jnp.shape(labels) != class_log_probs.shape[:1]:
    raise ValueError(
      f"labels must have shape {class_log_probs.shape[:1]}, "
      f"got {jnp.shape(labels)}."
    )
  predictions = jnp.argmax(class_log_probs, axis=-1)
  return (predictions == labels).astype(jnp.float32)


def agreement(
  student_class_log_probs: jax.Array, teacher_logits: jax.Array
) -> jax.Array:
  """Tells for each example whether student and teacher predict one class.

  Args:
    student_class_log_probs: Log probabilities or logits, float, shape
      ``[B, C]``.
    teacher_logits: Float, shape ``[B, C]``.

  Returns:
    1 or 0 for each example, float32, shape ``[B]``.

  Raises:
    ValueError: If the shapes differ or are not ``[B, C]``.
    TypeError: If an argument is not floating.

  Examples:
    >>> student = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    >>> agreement(student, jnp.array([[3.0, 5.0], [2.0, 1.0]])).tolist()
    [1.0, 0.0]
  """
  _checks.check_floating("teacher_logits", teacher_logits)
  if jnp.shape(teacher_logits) != jnp.shape(student_class_log_probs):
    raise ValueError(
      "teacher_logits must have the shape of student_class_log_probs, "
      f"{jnp.shape(student_class_log_probs)}, got {jnp.shape(teacher_logits)}."
    )
  return accuracy(student_class_log_probs, jnp.argmax(teacher_logits, axis=-1))
