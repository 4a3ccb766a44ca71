"""Means over a data set: sums and counts that merge, never means of means."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.moments import _two_sum


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean that is still being accumulated.

  Attributes:
    total: Sum of the values that count, float32 (float64 for float64 values),
      shape ``[]``.
    count: Their number, int32, shape ``[]``.
    remainder: The rounding error of ``total``, of its dtype, shape ``[]``. It
      keeps sums over millions of batches exact.
  """

  total: jax.Array
  count: jax.Array
  remainder: jax.Array

  @classmethod
  def of(cls, values: jax.Array, where: jax.Array | None = None) -> "Mean":
    """Starts a mean from values, such as one metric of each example.

    Args:
      values: Float, int or bool, any shape, say ``[B]``.
      where: Values that count, bool, same shape; all if None. The others may
        be NaN.

    Returns:
      Their sum and count.

    Raises:
      TypeError: If ``where`` is not bool: weights are not supported.
      ValueError: If the two shapes differ.

    Examples:
      >>> import jax.numpy as jnp
      >>> from lelp_jax.metrics import Mean
      >>> mean = Mean.of(jnp.array([1.0, jnp.nan]), jnp.array([True, False]))
      >>> print(mean.total, mean.count)
      1.0 1
    """
    values = jnp.asarray(_checks.as_array("values", values))
    shape = values.shape
    if where is None:
      where = jnp.ones(shape, bool)
    where = _checks.mask("where", where, shape, "of values")
    # A product with the mask would let NaN through.
    counted = jnp.where(where, values.astype(_checks.float_dtype(values)), 0)
    total = jnp.sum(counted)
    count = jnp.sum(where, dtype=jnp.int32)
    return cls(total=total, count=count, remainder=jnp.zeros_like(total))


def merge(a: Mapping[str, Mean], b: Mapping[str, Mean]) -> dict[str, Mean]:
  """Adds up the metrics of two batches, replicas or hosts.

  The operation is associative and commutative up to rounding; ``{}`` is the
  neutral element.

  Args:
    a: Means by name.
    b: Means by name. A name in one argument alone is kept as it is.

  Returns:
    Means by name.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import compute, Mean, merge
    >>> first = {"accuracy": Mean.of(jnp.array([1.0, 0.0, 0.0]))}
    >>> second = {"accuracy": Mean.of(jnp.array([1.0]))}
    >>> print(compute(merge(first, second))["accuracy"])
    0.5
  """
  return {**a, **b, **{name: _sum(a[name], b[name]) for name in a if name in b}}


def _sum(a: Mean, b: Mean) -> Mean:
  """The mean of both sets of values."""
  total, error = _two_sum(a.total, b.total)
  # Infinite totals have no rounding error; inf - inf would be NaN.
  error = jnp.where(jnp.isinf(total), 0, error)
  total, remainder = _two_sum(total, error + (a.remainder + b.remainder))
  remainder = jnp.where(jnp.isinf(total), 0, remainder)
  return Mean(total, a.count + b.count, remainder)


def compute(means: Mapping[str, Mean]) -> dict[str, jax.Array]:
  """Divides sums by counts.

  Args:
    means: Means by name.

  Returns:
    Scalars by name, of the dtype of the sums; NaN where nothing was counted.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import compute, Mean
    >>> print(compute({"loss": Mean.of(jnp.array([1.0, 3.0]))})["loss"])
    2.0
  """
  return {
    name: mean.total / mean.count.astype(mean.total.dtype)
    for name, mean in means.items()
  }


def accuracy(class_log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns 1 for each correctly classified example, else 0.

  Args:
    class_log_probs: Log probabilities or logits, float, shape ``[B, C]``.
    labels: Classes, int, shape ``[B]``. A label outside ``[0, C)``, such as
      that of padding, counts as not predicted.

  Returns:
    1 or 0 for each example, float32, shape ``[B]``; NaN for one with NaN
    among its log probabilities. Of equal classes the first is the prediction.

  Raises:
    ValueError: If the shapes do not fit.
    TypeError: If the labels are not integers or the others not floating.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import accuracy
    >>> logits = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    >>> print(accuracy(logits, jnp.array([1, 0])))
    [1. 0.]
  """
  scores = _checks.floating("class_log_probs", class_log_probs, "[B, C]")
  labels = _checks.integers("labels", labels)
  if np.shape(labels) != scores.shape[:1]:
    raise ValueError(
      f"labels must have shape {scores.shape[:1]} to fit class_log_probs "
      f"{scores.shape}, got shape {np.shape(labels)}."
    )
  labels = _checks.in_range(labels, scores.shape[1])
  correct = jnp.argmax(scores, axis=-1).astype(jnp.int32) == labels
  return _or_nan(correct, scores)


def agreement(
  student_class_log_probs: jax.Array, teacher_logits: jax.Array
) -> jax.Array:
  """Returns 1 for each example that both networks classify alike, else 0.

  Args:
    student_class_log_probs: Log probabilities or logits, float, shape
      ``[B, C]``.
    teacher_logits: Float, shape ``[B, C]``.

  Returns:
    1 or 0 for each example, float32, shape ``[B]``; NaN for one with NaN in
    either argument.

  Raises:
    ValueError: If the shapes differ or are not ``[B, C]``.
    TypeError: If an argument is not floating.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import agreement
    >>> student = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    >>> print(agreement(student, jnp.array([[3.0, 5.0], [2.0, 1.0]])))
    [1. 0.]
  """
  student = _checks.floating(
    "student_class_log_probs", student_class_log_probs, "[B, C]"
  )
  teacher = _checks.floating("teacher_logits", teacher_logits, "[B, C]")
  if student.shape != teacher.shape:
    raise ValueError(
      "teacher_logits must have the shape of student_class_log_probs, "
      f"{student.shape}, got {teacher.shape}."
    )
  same = jnp.argmax(student, axis=-1) == jnp.argmax(teacher, axis=-1)
  return _or_nan(same, student, teacher)


def _or_nan(values: jax.Array, *scores: jax.Array) -> jax.Array:
  """Values as float32, NaN where scores of the example are NaN."""
  spoiled = jnp.zeros(values.shape, bool)
  for each in scores:
    spoiled |= jnp.any(jnp.isnan(each), axis=-1)
  return jnp.where(spoiled, jnp.nan, values.astype(jnp.float32))
