"""Calibration of a classifier by one temperature (temperature scaling)."""

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax import _checks
from lelp_jax.distill import class_log_probs

# The bounds of the temperature, and the number of steps of the bisection.
_SMALLEST, _LARGEST = 1 / 64, 64.0
_NUM_HALVINGS = 40


def calibration_temperature(
  log_probs: jax.Array, labels: jax.Array
) -> jax.Array:
  r"""Fits the temperature that calibrates a classifier on held-out examples.

  It minimizes the mean cross entropy of :math:`q = \mathrm{softmax}(\log p /
  T)` (Guo et al., 2017, "On Calibration of Modern Neural Networks"), which is
  convex in :math:`1 / T`, by bisection of its derivative. As in Platt scaling,
  labels are smoothed, here by :math:`C / (N + C)`, so that a classifier without
  mistakes gets a finite temperature.

  Args:
    log_probs: The classifier's log probabilities, or its logits, finite,
      float, shape ``[N, C]``.
    labels: The true classes, int, shape ``[N]``.

  Returns:
    :math:`T`, float32 (float64 for float64 inputs), a scalar between 1/64
    and 64. It is 1 without examples, and NaN if a logit is not finite or,
    under a trace, a label is out of range.

  Raises:
    TypeError: If ``log_probs`` is not floating point or the labels are not
      integers.
    ValueError: If a shape is wrong or a label is out of range.

  Examples:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lelp_jax.calibration import calibration_temperature
    >>> logits = jnp.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.0, 4.0]])
    >>> labels = jnp.array([0, 1, 0, 0])  # Right in 3 of 4: overconfident.
    >>> print(f"{jax.jit(calibration_temperature)(logits, labels):.1f}")
    5.8
  """
  log_probs = _checks.floating("log_probs", log_probs, "[N, C]")
  labels = _checks.integers("labels", labels)
  size, num_classes = log_probs.shape
  if np.shape(labels) != (size,):
    raise ValueError(
      f"labels must have shape [{size}] to fit log_probs {log_probs.shape}, "
      f"got shape {np.shape(labels)}."
    )
  _checks.check_labels("labels", labels, num_classes)
  (log_probs,) = _checks.as_floats(log_probs)
  if not size:
    return jnp.ones((), log_probs.dtype)
  certainty = size / (size + num_classes)
  labels = _checks.in_range(labels, num_classes)
  targets = jax.nn.one_hot(labels, num_classes, dtype=log_probs.dtype)
  targets = certainty * targets + (1 - certainty) / num_classes
  targets = jnp.where((labels < 0)[:, None], jnp.nan, targets)

  def slope(inverse: jax.Array) -> jax.Array:
    """Returns the derivative of the mean cross entropy in 1 / T."""
    probs = jax.nn.softmax(log_probs * inverse)
    return jnp.mean(jnp.sum((probs - targets) * log_probs, axis=-1))

  def halve(_, bounds: jax.Array) -> jax.Array:
    """Keeps the half of [low, high], bounds of -log T, with the minimum."""
    low, high = bounds
    middle = (low + high) / 2
    falls = slope(jnp.exp(middle)) < 0
    return jnp.where(falls, jnp.stack([middle, high]), jnp.stack([low, middle]))

  bounds = jnp.log(jnp.array([1 / _LARGEST, 1 / _SMALLEST], log_probs.dtype))
  # Propagate NaN, and let the bounds vary like the examples under `shard_map`.
  bounds += 0 * slope(jnp.ones((), log_probs.dtype))
  low, high = jax.lax.fori_loop(0, _NUM_HALVINGS, halve, bounds)
  return jnp.exp(-(low + high) / 2)


def calibrated_class_probs(
  logits: jax.Array,
  *,
  num_classes: int,
  temperature: float | jax.Array,
  calibration_temperature: float | jax.Array,
) -> jax.Array:
  r"""Computes a student's calibrated class probabilities.

  The class probabilities :math:`p` are sums over subclasses at the training
  temperature (`lelp_jax.class_log_probs`). The result is
  :math:`\mathrm{softmax}(\log p / T)`, which predicts the same class.

  Args:
    logits: Outputs of the student's head, float, ``[..., C * S]``, with the
      outputs of each class contiguous.
    num_classes: Number of classes :math:`C`.
    temperature: The temperature that the student was trained with, a positive
      scalar.
    calibration_temperature: :math:`T`, as `calibration_temperature` fits it, a
      positive scalar.

  Returns:
    Probabilities, float32 (float64 for float64 logits), ``[..., C]``.

  Raises:
    TypeError: See `lelp_jax.class_log_probs`, for both temperatures.
    ValueError: See `lelp_jax.class_log_probs`, for both temperatures.

  Examples:
    >>> import jax.numpy as jnp
    >>> from lelp_jax.calibration import calibrated_class_probs
    >>> logits = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.4]))
    >>> probs = calibrated_class_probs(
    ...   logits, num_classes=2, temperature=1.0, calibration_temperature=2.0)
    >>> print([f"{p:.4f}" for p in probs])
    ['0.3956', '0.6044']
  """
  log_probs = class_log_probs(
    logits, num_classes=num_classes, temperature=temperature
  )
  temperature = _checks.positive(
    "calibration_temperature", calibration_temperature, log_probs.dtype
  )
  return jax.nn.softmax(log_probs / temperature)
