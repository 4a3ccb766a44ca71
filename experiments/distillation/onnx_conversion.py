"""Conversion of a traced function to ONNX, by jax2onnx."""

import contextlib
import importlib
import io
import itertools
import logging
import pkgutil
import warnings
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as jax_core

_LOGGERS = ("jax2onnx", "onnx_ir")


def converted(
  traced: Any,
  inputs: Sequence[jax.ShapeDtypeStruct],
  input_names: Sequence[str],
  output_name: str,
) -> bytes:
  """Converts a traced function with one output to an ONNX model.

  Inputs of int32 become inputs of int64, which tokenizers give.

  Args:
    traced: The function, from `jax.make_jaxpr`, without 64-bit types.
    inputs: Shapes and dtypes of its arguments; dimensions may be symbolic.
    input_names: Their names.
    output_name: The name of the output.

  Returns:
    The serialized model.

  Raises:
    ValueError: If a package is missing, or the function cannot be converted.
  """
  try:
    import jax2onnx
    import onnx
  except ImportError:
    raise ValueError(
      "the conversion needs the packages jax2onnx, onnx and onnxruntime: "
      "pip install -e '.[deploy]'"
    ) from None
  is_integer = [each.dtype == jnp.int32 for each in inputs]
  inner_names = [
    f"{name}_int32" if cast else name
    for name, cast in zip(input_names, is_integer, strict=True)
  ]
  try:
    with _quiet():
      _load_lowerings()
      model = jax2onnx.to_onnx(
        lambda *args: _evaluated(traced, *args),
        inputs=list(inputs),
        input_names=inner_names,
        output_names=[output_name],
        model_name="student",
      )
  except Exception as error:  # Of any type, such as a missing lowering.
    lines = str(error).splitlines() or [type(error).__name__]
    raise ValueError(f"jax2onnx cannot convert it: {lines[0]}") from error
  for name, inner, cast in zip(
    input_names, inner_names, is_integer, strict=True
  ):
    if cast:
      _widen(model.graph, inner, name)
  onnx.checker.check_model(model)
  return model.SerializeToString()


def _widen(graph: Any, inner: str, name: str) -> None:
  """Puts an input of int64 and a cast in front of an input of int32."""
  import onnx

  (value,) = [each for each in graph.input if each.name == inner]
  value.name = name
  value.type.tensor_type.elem_type = onnx.TensorProto.INT64
  cast = onnx.helper.make_node(
    "Cast", [name], [inner], name=f"cast_{name}", to=onnx.TensorProto.INT32
  )
  graph.node.insert(0, cast)


def _load_lowerings() -> None:
  """Loads the lowerings of JAX's primitives, and nothing else.

  By default jax2onnx imports all of its plugins, which takes 8 seconds and
  replaces functions of JAX and Flax. A traced function has primitives only.
  """
  from jax2onnx.plugins import plugin_system
  from jax2onnx.plugins.jax import core
  from jax2onnx.plugins.jax import lax

  for package in (core, lax):
    prefix = f"{package.__name__}."
    for _, name, _ in pkgutil.walk_packages(package.__path__, prefix):
      importlib.import_module(name)
  system: Any = plugin_system
  system._already_imported_plugins = True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Drops what jax2onnx prints, logs and warns of."""
  levels = {name: logging.getLogger(name).level for name in _LOGGERS}
  for name in _LOGGERS:
    logging.getLogger(name).setLevel(logging.CRITICAL)
  try:
    with (
      warnings.catch_warnings(),
      contextlib.redirect_stdout(io.StringIO()),
    ):
      warnings.simplefilter("ignore")
      yield
  finally:
    for name, level in levels.items():
      logging.getLogger(name).setLevel(level)


def _evaluated(traced: Any, *args: Any) -> list[Any]:
  """Evaluates a traced function, with pooling spelled out.

  ONNX Runtime has no maximum over windows of more than three dimensions, which
  is what jax2onnx makes of `lax.reduce_window`.
  """
  jaxpr, values = traced.jaxpr, {}
  values.update(zip(jaxpr.constvars, traced.consts, strict=True))
  values.update(zip(jaxpr.invars, args, strict=True))

  def read(variable: Any) -> Any:
    is_literal = isinstance(variable, jax_core.Literal)
    return variable.val if is_literal else values[variable]

  for equation in jaxpr.eqns:
    primitive, params = equation.primitive, equation.params
    given = [read(variable) for variable in equation.invars]
    if primitive.name == "reduce_window_max":
      results = [_max_pool(*given, **params)]
    elif primitive.name in ("jit", "pjit"):
      results = _evaluated(params["jaxpr"], *given)
    else:
      bound = primitive.get_bind_params(params)
      # A pair in earlier versions of JAX.
      functions, params = bound if isinstance(bound, tuple) else ((), bound)
      results = primitive.bind(*functions, *given, **params)
      results = results if primitive.multiple_results else [results]
    values.update(zip(equation.outvars, results, strict=True))
  return [read(variable) for variable in jaxpr.outvars]


def _max_pool(
  x: jax.Array,
  *,
  window_dimensions: Sequence[int],
  window_strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  base_dilation: Sequence[int],
  window_dilation: Sequence[int],
) -> jax.Array:
  """The maximum over windows, as that of one strided slice per position."""
  lowest = jnp.array(-jnp.inf, x.dtype)
  config = [
    (low, high, dilation - 1)
    for (low, high), dilation in zip(padding, base_dilation, strict=True)
  ]
  x = jax.lax.pad(x, lowest, config)
  largest = None
  for position in itertools.product(*map(range, window_dimensions)):
    starts, stops = [], []
    for axis, offset in enumerate(position):
      dilation = window_dilation[axis]
      start = offset * dilation
      # The last window starts where its end still fits.
      rest = (window_dimensions[axis] - 1) * dilation - start
      starts.append(start)
      stops.append(x.shape[axis] - rest)
    part = jax.lax.slice(x, starts, stops, window_strides)
    largest = part if largest is None else jnp.maximum(largest, part)
  assert largest is not None
  return largest
