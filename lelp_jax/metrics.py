"""Metrics of predictions, accumulated over batches as sums and counts.

Accuracy, agreement and log loss are one number per example, and a `Mean`
accumulates them over batches. Macro F1 and Matthews' correlation are computed
from a `confusion_matrix`, and the expected calibration error from
`calibration_bins`. Both are sums over examples: add them up over batches. Never
average the scores of batches.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax import _sharding
from lelp_jax.moments import _two_sum


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean that is accumulated over batches.

  Attributes:
    total: Sum of the values that count, float32 (float64 for float64 values),
      shape ``[]``.
    count: Their number, int32, shape ``[]``.
    remainder: The rounding error of ``total``, of its dtype, shape ``[]``. It
      keeps sums over millions of batches accurate.
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
    b: Means by name.

  Returns:
    Means by name. A name that only one argument has keeps its mean.

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
  """Merges two means."""
  total, error = _two_sum(a.total, b.total)
  # Infinite totals have no rounding error; inf - inf would be NaN.
  error = jnp.where(jnp.isinf(total), 0, error)
  total, remainder = _two_sum(total, error + (a.remainder + b.remainder))
  remainder = jnp.where(jnp.isinf(total), 0, remainder)
  return Mean(total, a.count + b.count, remainder)


def compute(means: Mapping[str, Mean]) -> dict[str, jax.Array]:
  """Computes the accumulated means: sums divided by counts.

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
      that of padding, counts as misclassified.

  Returns:
    1 or 0 for each example, float32, shape ``[B]``; NaN for one with NaN among
    its log probabilities. Of equally probable classes, the first is the
    prediction.

  Raises:
    ValueError: If the shapes do not fit or there is no class.
    TypeError: If the labels are not integers or the scores not floating point.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import accuracy
    >>> logits = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    >>> print(accuracy(logits, jnp.array([1, 0])))
    [1. 0.]
  """
  scores, labels = _predictions(class_log_probs, labels)
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
    ValueError: If the shapes differ, are not ``[B, C]`` or there is no class.
    TypeError: If an argument is not floating point.

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
  _check_classes("student_class_log_probs", student)
  same = jnp.argmax(student, axis=-1) == jnp.argmax(teacher, axis=-1)
  return _or_nan(same, student, teacher)


def log_loss(class_log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns the negative log probability of each example's class.

  Args:
    class_log_probs: Normalized log probabilities, float, shape ``[B, C]``.
    labels: Classes, int, shape ``[B]``.

  Returns:
    The loss of each example in nats, float32 (float64 for float64 log
    probabilities), shape ``[B]``; NaN for a label outside ``[0, C)`` or NaN
    among the log probabilities.

  Raises:
    ValueError: If the shapes do not fit.
    TypeError: If the labels are not integers or the scores not floating point.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import log_loss
    >>> log_probs = jnp.log(jnp.array([[0.5, 0.5]]))
    >>> print(jax.jit(log_loss)(log_probs, jnp.array([1])))
    [0.6931472]
  """
  scores, labels = _predictions(class_log_probs, labels)
  (scores,) = _checks.as_floats(scores)
  picked = jnp.take_along_axis(scores, labels[:, None], axis=-1)[:, 0]
  return jnp.where(_counted(scores, labels), -picked, jnp.nan)


def confusion_matrix(
  class_log_probs: jax.Array, labels: jax.Array
) -> jax.Array:
  """Counts examples by their class and the predicted class.

  Args:
    class_log_probs: Log probabilities or logits, float, shape ``[B, C]``.
    labels: Classes, int, shape ``[B]``. An example with a label outside
      ``[0, C)``, such as padding, or with NaN is not counted.

  Returns:
    Counts by class and prediction, int32, shape ``[C, C]``. The counts of
    batches add up to those of all examples.

  Raises:
    ValueError: If the shapes do not fit.
    TypeError: If the labels are not integers or the scores not floating point.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import confusion_matrix
    >>> logits = jnp.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    >>> print(jax.jit(confusion_matrix)(logits, jnp.array([1, 0, 0])))
    [[1 1]
     [0 1]]
  """
  scores, labels = _predictions(class_log_probs, labels)
  num_classes = scores.shape[1]
  predicted = jnp.argmax(scores, axis=-1).astype(jnp.int32)
  counted = _counted(scores, labels)

  def count(labels, predicted, counted):
    # An index beyond the last cell is dropped.
    cells = jnp.where(counted, labels * num_classes + predicted, num_classes**2)
    counts = jnp.bincount(cells, length=num_classes**2)
    return counts.astype(jnp.int32).reshape(num_classes, num_classes)

  return _sharding.on_auto_axes(count, labels, predicted, counted)


def macro_f1(confusion: jax.Array) -> jax.Array:
  """Returns the mean F1 score of the classes, each with the same weight.

  The F1 score of a class is the harmonic mean of its precision and recall,
  ``2 TP / (2 TP + FP + FN)``. Where classes are of unequal sizes, it shows what
  accuracy hides: a rare class that is never predicted.

  Args:
    confusion: Counts by class and prediction, as `confusion_matrix` returns
      them, shape ``[C, C]``.

  Returns:
    The mean over the classes that have examples or predictions, float32, shape
    ``[]``; NaN without any such class.

  Raises:
    TypeError: If the argument is not an array of numbers.
    ValueError: If it is not square.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import macro_f1
    >>> print(macro_f1(jnp.array([[3, 0], [2, 0]])))
    0.375
  """
  counts = _square(confusion)
  total = counts.sum(axis=0) + counts.sum(axis=1)
  exists = total != 0  # NaN in, NaN out.
  scores = 2 * jnp.diagonal(counts) / jnp.where(exists, total, 1)
  return jnp.where(exists, scores, 0).sum() / exists.sum().astype(jnp.float32)


def matthews_correlation(confusion: jax.Array) -> jax.Array:
  """Returns Matthews' correlation of classes and predictions.

  It is 1 for perfect predictions and about 0 for predictions that do not depend
  on the example, also if classes have different sizes. With more than two
  classes it is the R_K statistic of Gorodkin (2004).

  Args:
    confusion: Counts by class and prediction, as `confusion_matrix` returns
      them, shape ``[C, C]``.

  Returns:
    A number from -1 to 1, float32, shape ``[]``; 0 where all examples or all
    predictions are of one class, NaN without examples.

  Raises:
    TypeError: If the argument is not an array of numbers.
    ValueError: If it is not square.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import matthews_correlation
    >>> print(matthews_correlation(jnp.array([[3, 1], [1, 3]])))
    0.5
  """
  counts = _square(confusion)
  shares = counts / counts.sum()
  actual, predicted = shares.sum(axis=1), shares.sum(axis=0)
  covariance = jnp.trace(shares) - (actual * predicted).sum()
  spread = (1 - (actual**2).sum()) * (1 - (predicted**2).sum())
  varies = ((actual > 0).sum() > 1) & ((predicted > 0).sum() > 1)
  found = covariance / jnp.sqrt(jnp.where(varies, spread, 1))
  return jnp.where(varies | jnp.isnan(covariance), found, 0)


def calibration_bins(
  class_log_probs: jax.Array, labels: jax.Array, *, num_bins: int = 15
) -> jax.Array:
  """Sums examples, confidences and correct predictions by confidence.

  The confidence of a prediction is the probability of the predicted class. Bins
  divide ``[0, 1]`` into equal parts; a confidence on a border belongs to the
  lower bin.

  Args:
    class_log_probs: Normalized log probabilities, float, shape ``[B, C]``.
    labels: Classes, int, shape ``[B]``. An example with a label outside
      ``[0, C)``, such as padding, or with NaN is not counted.
    num_bins: Number of bins.

  Returns:
    For each bin, the number of its examples, the sum of their confidences, and
    the number of examples that are classified correctly, float32, shape
    ``[num_bins, 3]``. The bins of batches add up.

  Raises:
    ValueError: If the shapes do not fit, or there is no bin.
    TypeError: If the labels are not integers or the scores not floating point.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import calibration_bins
    >>> log_probs = jnp.log(jnp.array([[0.75, 0.25], [0.25, 0.75]]))
    >>> print(calibration_bins(log_probs, jnp.array([0, 0]), num_bins=2))
    [[0.  0.  0. ]
     [2.  1.5 1. ]]
  """
  num_bins = _checks.check_at_least("num_bins", num_bins, 1)
  scores, labels = _predictions(class_log_probs, labels)
  scores = scores.astype(jnp.float32)
  confidence = jnp.exp(scores.max(axis=-1))
  hits = (jnp.argmax(scores, axis=-1).astype(jnp.int32) == labels).astype(
    jnp.float32
  )
  bins = jnp.ceil(confidence * num_bins).astype(jnp.int32) - 1
  bins = jnp.clip(bins, 0, num_bins - 1)
  counted = _counted(scores, labels)
  values = jnp.stack([jnp.ones_like(hits), confidence, hits], axis=-1)
  values = jnp.where(counted[:, None], values, 0)
  return _sharding.on_auto_axes(
    functools.partial(jax.ops.segment_sum, num_segments=num_bins), values, bins
  )


def expected_calibration_error(bins: jax.Array) -> jax.Array:
  """Returns the mean absolute difference between confidence and accuracy.

  This is the expected calibration error of Guo et al. (2017), eq. (3). It is
  zero if predictions with a confidence of 80 % are right in 80 % of the cases,
  and likewise for all other confidences.

  Args:
    bins: Sums by bin, as `calibration_bins` returns them, shape
      ``[num_bins, 3]``.

  Returns:
    A fraction, float32, shape ``[]``, with bins weighted by their numbers of
    examples; NaN without examples.

  Raises:
    TypeError: If the bins are not floating point.
    ValueError: If they have another shape.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.metrics import expected_calibration_error
    >>> print(expected_calibration_error(jnp.array([[0, 0, 0], [2, 1.5, 1]])))
    0.25
  """
  bins = _checks.floating("bins", bins, "[num_bins, 3]").astype(jnp.float32)
  if bins.shape[1] != 3:
    raise ValueError(
      f"bins must have shape [num_bins, 3], got shape {bins.shape}."
    )
  return jnp.abs(bins[:, 1] - bins[:, 2]).sum() / bins[:, 0].sum()


def _predictions(
  class_log_probs: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns checked scores, and labels as int32, -1 where out of range."""
  scores = _checks.floating("class_log_probs", class_log_probs, "[B, C]")
  _check_classes("class_log_probs", scores)
  labels = _checks.integers("labels", labels)
  if np.shape(labels) != scores.shape[:1]:
    raise ValueError(
      f"labels must have shape {scores.shape[:1]} to fit class_log_probs "
      f"{scores.shape}, got shape {np.shape(labels)}."
    )
  return scores, _checks.in_range(labels, scores.shape[1])


def _counted(scores: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns which examples have a valid label and no NaN, bool ``[B]``."""
  return (labels >= 0) & ~jnp.any(jnp.isnan(scores), axis=-1)


def _square(confusion: jax.Array) -> jax.Array:
  """Returns a checked confusion matrix as float32."""
  confusion = _checks.as_array("confusion", confusion)
  if np.ndim(confusion) != 2 or len(set(np.shape(confusion))) != 1:
    raise ValueError(
      f"confusion must have shape [C, C], got shape {np.shape(confusion)}."
    )
  return jnp.asarray(confusion, jnp.float32)


def _check_classes(name: str, scores: jax.Array) -> None:
  """Raises ValueError unless scores have at least one class."""
  if not scores.shape[1]:
    raise ValueError(
      f"{name} must have at least one class, got shape {scores.shape}."
    )


def _or_nan(values: jax.Array, *scores: jax.Array) -> jax.Array:
  """Returns values as float32, NaN for examples with NaN in their scores."""
  spoiled = jnp.zeros(values.shape, bool)
  for each in scores:
    spoiled |= jnp.any(jnp.isnan(each), axis=-1)
  return jnp.where(spoiled, jnp.nan, values.astype(jnp.float32))
