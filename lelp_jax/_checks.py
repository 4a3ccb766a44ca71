"""Argument checks whose errors name the argument and say what to pass.

Shapes and dtypes are known under a trace and are always checked. Values are
checked only where they are concrete. Messages describe arrays by type, shape
and dtype, without printing them.
"""

import dataclasses
import numbers
import operator
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import cast
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


def is_concrete(value: Any) -> bool:
  """Returns whether this process can read the values of an argument now.

  A tracer has no values yet, and a global array may lie in part on the devices
  of other processes.
  """
  return not isinstance(value, jax.core.Tracer) and (
    getattr(value, "is_fully_addressable", True)
  )


def describe(value: Any) -> str:
  """Describes a wrong argument in a few words, without its data."""
  if isinstance(value, int) and abs(value) >= 10**40:
    return f"an int of {value.bit_length()} bits"
  if value is None or isinstance(value, numbers.Number):
    return repr(value)
  if isinstance(value, str):
    return repr(value) if len(value) <= 40 else "a long str"
  if isinstance(value, jax.Array | np.ndarray):
    return f"an array of shape {np.shape(value)} and dtype {value.dtype}"
  module = type(value).__module__.split(".")[0]
  package = "" if module in ("builtins", "lelp_jax") else f"{module} "
  return f"a {package}{type(value).__name__}"


# --- Arrays ------------------------------------------------------------------


def as_array(name: str, value: Any) -> Any:
  """Returns an array unchanged; converts tensors of other libraries.

  Args:
    name: The argument's name, for errors.
    value: A JAX or NumPy array, a number, or a tensor that offers
      ``__dlpack__`` or ``__array__``, such as one of PyTorch.

  Returns:
    A JAX or NumPy array of numbers.

  Raises:
    TypeError: If the value is anything else, such as a list or a DataFrame.
  """
  if isinstance(value, jax.Array):
    return value
  if hasattr(value, "__jax_array__"):  # A variable of Flax NNX.
    return as_array(name, value.__jax_array__())
  if isinstance(value, bool | numbers.Real | np.generic):
    return np.asarray(value)
  if not isinstance(value, np.ndarray):
    value = _converted(name, value)
  dtype = value.dtype
  # JAX has no numbers in swapped byte order, nor any of more than 64 bits.
  is_foreign = isinstance(value, np.ndarray) and (
    not dtype.isnative or dtype.itemsize > 8
  )
  if dtype.kind in "OUSMm" or is_foreign:
    raise TypeError(
      f"{name} must hold numbers in a dtype of JAX, got dtype {dtype}; convert "
      f"it with np.asarray({name}, dtype)."
    )
  return value


def _converted(name: str, value: Any) -> Any:
  """Converts a tensor of another library, or raises TypeError."""
  if hasattr(value, "to_numpy"):  # pandas, polars, pyarrow.
    raise TypeError(
      f"{name} must be an array, got {describe(value)}; pass {name}.to_numpy()."
    )
  is_tensor = hasattr(value, "__dlpack__") or hasattr(value, "__array__")
  if isinstance(value, type) or not is_tensor:
    remedy = f"pass jnp.asarray({name})"
    if isinstance(value, dict):
      remedy = "pass one of its arrays"
    elif isinstance(value, str | bytes):
      remedy = "pass numbers"
    raise TypeError(
      f"{name} must be an array, got {describe(value)}; {remedy}."
    )
  # PyTorch does not export tensors that record gradients, and JAX does not
  # import all strides.
  for method in ("detach", "contiguous"):
    value = getattr(value, method, lambda value=value: value)()
  ways: list[Callable[[Any], Any]] = [np.from_dlpack, jnp.from_dlpack]
  if str(getattr(value, "dtype", "")).endswith("int64"):
    del ways[1]  # JAX would narrow int64 to int32, where large values wrap.
  for convert in ways:
    try:
      return convert(value)
    except Exception:  # A tensor on another device, or a dtype NumPy lacks.
      pass
  try:
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)
  except Exception as error:
    raise TypeError(
      f"{name} must be an array, got {describe(value)}, which could not be "
      f"converted ({type(error).__name__})."
    ) from error


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


def floating(name: str, value: Any, axes: str) -> jax.Array:
  """Returns a floating point argument as a JAX array.

  Args:
    name: The argument's name, for errors.
    value: The argument.
    axes: The expected axes, such as ``"[N, D]"``, or ``"[..., C]"`` for any
      number of leading axes.

  Returns:
    The array, in its own dtype.

  Raises:
    TypeError: If the value is not an array of floating point numbers.
    ValueError: If the array has another number of axes.
  """
  array = as_array(name, value)
  check_floating(name, array)
  names = axes.strip("[]").split(", ")
  least = len(names) - (names[0] == "...")
  if np.ndim(array) < least or (names[0] != "..." and np.ndim(array) > least):
    raise ValueError(
      f"{name} must have shape {axes}, got shape {np.shape(array)}."
    )
  return jnp.asarray(array)


def integers(name: str, value: Any) -> Any:
  """Returns an integer argument as an array, or raises TypeError."""
  array = as_array(name, value)
  check_integer(name, array)
  return array


def mask(name: str, value: Any, shape: tuple[int, ...], axes: str) -> Any:
  """Returns a bool argument of a known shape as an array, or raises."""
  array = as_array(name, value)
  if jnp.result_type(array) != jnp.bool_:
    raise TypeError(f"{name} must be bool, got dtype {jnp.result_type(array)}.")
  if np.shape(array) != shape:
    raise ValueError(
      f"{name} must have shape {axes} = {shape}, got shape {np.shape(array)}."
    )
  return jnp.asarray(array)


def as_floats(*arrays: Any) -> tuple[jax.Array, ...]:
  """Converts arrays to float32, or to float64 if one of them is float64."""
  dtype = float_dtype(*arrays)
  return tuple(jnp.asarray(array).astype(dtype) for array in arrays)


def float_dtype(*arrays: Any) -> Any:
  """Returns the dtype to compute in: float32, or float64 if an array has it."""
  is_double = any(jnp.result_type(array) == jnp.float64 for array in arrays)
  return jnp.dtype(jnp.float64 if is_double else jnp.float32)


def container(
  name: str,
  value: Any,
  kind: type[T],
  remedy: str,
  axes: Mapping[str, str],
  *,
  integers: tuple[str, ...] = (),
  sizes: Mapping[str, int] | None = None,
) -> tuple[T, dict[str, int]]:
  """Returns a dataclass argument with its fields as arrays, or raises.

  Args:
    name: The argument's name, for errors.
    value: The argument.
    kind: The required class.
    remedy: How to make such an object, for errors.
    axes: The axes of each field, such as ``"[C, D]"``. Axes of the same name
      must have the same size in all fields.
    integers: Fields that hold integers; the others hold floats.
    sizes: Sizes of axes that other arguments determine.

  Returns:
    The dataclass, and the size of each axis.

  Raises:
    TypeError: If the argument or one of its fields has the wrong type.
    ValueError: If a field has the wrong shape.
  """
  if not isinstance(value, kind):
    raise TypeError(
      f"{name} must be a {kind.__name__}, got {describe(value)}; {remedy}."
    )
  known = dict(sizes or {})
  optional = {
    field.name
    for field in dataclasses.fields(cast(Any, value))
    if field.default is None
  }
  arrays = {}
  for field, names in axes.items():
    array = getattr(value, field)
    if array is None and field in optional:
      continue
    array = as_array(f"{name}.{field}", array)
    check = check_integer if field in integers else check_floating
    check(f"{name}.{field}", array)
    letters = names.strip("[]").split(", ")
    shape = np.shape(array)
    if len(shape) == len(letters):
      for axis, size in zip(letters, shape, strict=True):
        known.setdefault(axis, int(axis) if axis.isdecimal() else size)
    if shape != tuple(known.get(axis) for axis in letters):
      sizes_known = ", ".join(str(known.get(axis, axis)) for axis in letters)
      raise ValueError(
        f"{name}.{field} must have shape {names} = [{sizes_known}], got shape "
        f"{shape}."
      )
    arrays[field] = array
  return dataclasses.replace(cast(Any, value), **arrays), known


# --- Numbers and options -----------------------------------------------------


def check_at_least(name: str, value: Any, least: int) -> int:
  """Returns a size as an int; raises unless it is at least `least`."""
  try:
    size = None if isinstance(value, bool) else operator.index(value)
  except (TypeError, jax.errors.TracerIntegerConversionError):
    size = None
  if size is None:
    raise TypeError(f"{name} must be an int, got {describe(value)}.")
  if size < least:
    raise ValueError(f"{name} must be at least {least}, got {size}.")
  return size


def check_option(name: str, value: str, options: tuple[str, ...]) -> None:
  """Raises ValueError unless `value` is one of `options`."""
  if not isinstance(value, str) or value not in options:
    raise ValueError(f"{name} must be one of {options}, got {describe(value)}.")


def number(name: str, value: Any) -> Any:
  """Returns an argument that is one real number, or raises.

  Args:
    name: The argument's name, for errors.
    value: A Python number, or an array, tensor or variable without axes.

  Returns:
    A Python number unchanged, anything else as an array.

  Raises:
    TypeError: If the value is not a number.
    ValueError: If the value has axes.
  """
  conversions = "__jax_array__", "__array__"
  if any(hasattr(value, conversion) for conversion in conversions):
    value = as_array(name, value)
    kinds = jnp.floating, jnp.integer
    is_number = any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
  else:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
  if not is_number:
    raise TypeError(f"{name} must be a number, got {describe(value)}.")
  if np.ndim(value) != 0:
    raise ValueError(
      f"{name} must be a scalar (use vmap for several), "
      f"got shape {np.shape(value)}."
    )
  return value


def scalar(name: str, value: Any, dtype: Any) -> jax.Array:
  """Returns a number in the dtype of the computation, or raises."""
  value = number(name, value)
  if isinstance(value, jax.Array):
    return value.astype(dtype)
  plain, most = _plain(value), float(jnp.finfo(dtype).max)
  if most < abs(plain) != float("inf"):
    raise ValueError(
      f"{name} must be at most {most:.1e} in {jnp.dtype(dtype)}, got "
      f"{describe(plain)}."
    )
  return cast(jax.Array, np.asarray(value, dtype)[()])


def positive(
  name: str, value: Any, dtype: Any, *, powers: int = 1
) -> jax.Array:
  """Returns a positive number in the dtype of the computation, or raises.

  Args:
    name: The argument's name, for errors.
    value: The argument; a concrete one must be in range.
    dtype: The dtype of the computation.
    powers: The highest power of the number that the caller computes. It must
      neither overflow nor underflow.
  """
  value = number(name, value)
  if is_concrete(value):
    plain = _plain(value)
    if not 0 < plain < float("inf"):
      raise ValueError(
        f"{name} must be positive and finite, got {describe(plain)}."
      )
    limits = jnp.finfo(dtype)
    least, most = (float(x) ** (1 / powers) for x in (limits.tiny, limits.max))
    if not least <= plain <= most:
      raise ValueError(
        f"{name} must lie between {least:.1e} and {most:.1e} in "
        f"{jnp.dtype(dtype)}, got {describe(plain)}."
      )
  return scalar(name, value, dtype)


def temperature(name: str, value: Any, dtype: Any) -> jax.Array:
  """Returns a temperature in the dtype of the computation, or raises."""
  return positive(name, value, dtype, powers=2)


def _plain(value: Any) -> Any:
  """Returns a number, or the entry of an array without axes, as a number."""
  return value.item() if hasattr(value, "dtype") else value


def check_key(name: str, key: Any) -> None:
  """Raises unless an argument is one random key, typed or raw."""
  rank = None
  if isinstance(key, jax.Array | np.ndarray):
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
      rank = 0
    elif key.dtype == np.uint32:  # A raw `jax.random.PRNGKey`.
      rank = 1
  if rank is None:
    raise TypeError(
      f"{name} must be a random key, got {describe(key)}; pass "
      "jax.random.key(0)."
    )
  if np.ndim(key) != rank:
    raise ValueError(
      f"{name} must be one random key (use vmap for several), got shape "
      f"{np.shape(key)}."
    )


# --- Values ------------------------------------------------------------------


def check_labels(
  name: str, labels: Any, num_classes: int, where: Any = None
) -> None:
  """Raises unless all unmasked labels are integers in [0, num_classes)."""
  check_integer(name, labels)
  if not is_concrete(labels) or (where is not None and not is_concrete(where)):
    return
  if isinstance(labels, np.ndarray):  # JAX would narrow 64 bits to 32.
    seen = labels if where is None else labels[np.asarray(where) > 0]
    if not seen.size:
      return
    low, high = seen.min(), seen.max()
  else:
    with jax.ensure_compile_time_eval():
      low, high = jax.device_get(_extent(labels, where))
  if low <= high and (low < 0 or high >= num_classes):
    raise ValueError(
      f"{name} must lie in [0, {num_classes}), got values from {low} to {high}."
    )


@jax.jit
def _extent(labels: jax.Array, where: Any) -> tuple[jax.Array, jax.Array]:
  """Returns the smallest and the largest unmasked label.

  Without unmasked labels, the first is larger than the second.
  """
  counts = where
  if where is not None and where.dtype != bool:
    counts = where > 0
  limits = jnp.iinfo(labels.dtype)
  return (
    jnp.min(labels, initial=limits.max, where=counts),
    jnp.max(labels, initial=limits.min, where=counts),
  )


def in_range(labels: Any, num_classes: int) -> jax.Array:
  """Returns labels as int32, with -1 for each one outside [0, num_classes).

  Labels are compared in their own dtype, so that none wraps into the range.
  """
  if isinstance(labels, np.ndarray):
    valid = (labels >= 0) & (labels < num_classes)
    return jnp.asarray(np.where(valid, labels, -1).astype(np.int32))
  highest = min(num_classes - 1, int(jnp.iinfo(labels.dtype).max))
  valid = (labels >= 0) & (labels <= jnp.asarray(highest, labels.dtype))
  return jnp.where(valid, labels.astype(jnp.int32), -1)


def check_weights(name: str, weights: Any) -> None:
  """Raises if concrete weights are negative or not finite."""
  if weights is None or not is_concrete(weights):
    return
  if jnp.result_type(weights) == jnp.bool_:
    return
  with jax.ensure_compile_time_eval():
    least, finite = jax.device_get(_least(jnp.asarray(weights)))
  if not finite:
    raise ValueError(f"{name} must be finite, got NaN or infinity.")
  if least < 0:
    raise ValueError(f"{name} must not be negative, got {least}.")


@jax.jit
def _least(weights: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the smallest weight, and whether all weights are finite."""
  return jnp.min(weights, initial=0), jnp.all(jnp.isfinite(weights))


def check_finite(name: str, array: Any, advice: str) -> None:
  """Raises ValueError if a concrete array holds NaN or infinity."""
  if is_concrete(array):
    with jax.ensure_compile_time_eval():
      finite = bool(_all_finite(array))
    if not finite:
      raise ValueError(f"{name} must be finite, got NaN or infinity; {advice}.")


@jax.jit
def _all_finite(array: jax.Array) -> jax.Array:
  return jnp.all(jnp.isfinite(array))


def check_logits(name: str, logits: Any) -> None:
  """Raises if logits have a single output or are probabilities.

  Args:
    name: The argument's name, for errors.
    logits: Float, ``[..., C]``. Values are checked if they are concrete and
      have at least two rows, since a single row of logits may happen to sum to
      one.

  Raises:
    ValueError: If there is one output, or the rows are probabilities.
  """
  num_outputs = np.shape(logits)[-1]
  if num_outputs < 2:
    raise ValueError(
      f"{name} must have at least two outputs, got shape {np.shape(logits)}; "
      "lelp_jax.binary_head turns a head with one logit into two outputs."
    )
  if not is_concrete(logits) or np.size(logits) < 2 * num_outputs:
    return
  with jax.ensure_compile_time_eval():
    are_probabilities = bool(_are_probabilities(logits))
  if are_probabilities:
    raise ValueError(
      f"{name} must be logits, got probabilities (every row is nonnegative "
      "and sums to one); pass the outputs before the softmax."
    )


@jax.jit
def _are_probabilities(logits: jax.Array) -> jax.Array:
  """Returns whether all rows are clearly probabilities.

  If all rows are one-hot or all are constant, they may also be logits, and the
  result is False.
  """
  logits = logits.astype(jnp.float32)
  is_bfloat16 = jnp.all(logits == jax.lax.reduce_precision(logits, 8, 7))
  tolerance = jnp.where(is_bfloat16, 1e-2, 1e-3)
  error = jnp.max(jnp.abs(jnp.sum(logits, axis=-1) - 1))
  between = jnp.any((logits > 0) & (logits < 1))
  spread = jnp.max(jnp.max(logits, axis=-1) - jnp.min(logits, axis=-1))
  return (
    (jnp.min(logits) >= 0) & (error < tolerance) & between & (spread > 1e-5)
  )
