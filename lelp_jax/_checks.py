"""Checks of arguments: one clear line naming what was given and expected.

Shapes and dtypes are known under a trace and always checked. Values are
checked where they are concrete and left alone under a trace.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_concrete(value: Any) -> bool:
  """Whether the value of an argument can be looked at now."""
  return not isinstance(value, jax.core.Tracer) and (
    getattr(value, "is_fully_addressable", True)
  )


def check_floating(name: str, array: Any) -> None:
  """Raises TypeError unless an array holds floating point numbers."""
  dtype = jnp.result_type(array)
  if not jnp.issubdtype(dtype, jnp.floating):
    raise TypeError(f"{name} must be floating point, got dtype {dtype}.")


def check_integer(name: str, array: Any) -> None:
  """Raises TypeError unless an array holds integers."""
  dtype = jnp.result_type(array)
  if not jnp.issubdtype(dtype, jnp.integer):
    raise TypeError(f"{name} must hold integers, got dtype {dtype}.")


def check_rank(name: str, array: Any, rank: int, axes: str) -> None:
  """Raises ValueError unless an array has `rank` axes, described by `axes`."""
  if np.ndim(array) != rank:
    raise ValueError(
      f"{name} must have shape {axes}, got shape {np.shape(array)}."
    )


def check_at_least(name: str, value: int, least: int) -> None:
  """Raises unless a size is an integer of at least `least`."""
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    raise TypeError(f"{name} must be an int, got {value!r}.")
  if value < least:
    raise ValueError(f"{name} must be at least {least}, got {value}.")


def check_option(name: str, value: str, options: tuple[str, ...]) -> None:
  """Raises ValueError unless `value` is one of `options`."""
  if value not in options:
    raise ValueError(f"{name} must be one of {options}, got {value!r}.")


def check_scalar(name: str, value: Any) -> None:
  """Raises ValueError for an array with axes."""
  if np.ndim(value) != 0:
    raise ValueError(
      f"{name} must be a scalar (vmap over several), "
      f"got shape {np.shape(value)}."
    )


def check_positive(name: str, value: Any) -> None:
  """Raises unless a scalar is positive; under a trace only its rank counts."""
  check_scalar(name, value)
  if is_concrete(value) and not float(value) > 0:
    raise ValueError(f"{name} must be positive, got {value}.")


def check_labels(
  name: str, labels: Any, num_classes: int, where: Any = None
) -> None:
  """Raises unless labels are integers in [0, num_classes) where they count."""
  check_integer(name, labels)
  if not is_concrete(labels) or (where is not None and not is_concrete(where)):
    return
  seen = np.asarray(labels)
  if where is not None:
    seen = seen[np.asarray(where) > 0]
  if seen.size and (seen.min() < 0 or seen.max() >= num_classes):
    raise ValueError(
      f"{name} must lie in [0, {num_classes}), "
      f"got values from {seen.min()} to {seen.max()}."
    )


def check_weights(name: str, weights: Any) -> None:
  """Raises unless weights are nonnegative, where they are concrete."""
  if weights is None or not is_concrete(weights):
    return
  least = np.min(np.asarray(weights), initial=0)
  if least < 0:
    raise ValueError(f"{name} must not be negative, got {least}.")
