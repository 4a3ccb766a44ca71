"""Conversion of a traced function to ONNX with jax2onnx."""

import contextlib
import functools
import importlib
import io
import logging
import pkgutil
import warnings
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as jax_core


def converted(
  traced: Any,
  inputs: Sequence[jax.ShapeDtypeStruct],
  input_names: Sequence[str],
  output_name: str,
) -> bytes:
  """Converts a traced function with one output to an ONNX model.

  Inputs of type int32 become int64, the type that tokenizers return.

  Args:
    traced: The function, from `jax.make_jaxpr`, without 64-bit types.
    inputs: Shapes and dtypes of its arguments; dimensions may be symbolic.
    input_names: Names of the inputs.
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
        functools.partial(_on_any_platform, traced),
        inputs=list(inputs),
        input_names=inner_names,
        output_names=[output_name],
        model_name="student",
      )
  except Exception as error:  # It has any type.
    lines = str(error).splitlines() or [type(error).__name__]
    raise ValueError(f"jax2onnx cannot convert it: {lines[0]}") from error
  _pool_images(model.graph)
  _remove_unused_constants(model.graph)
  for name, inner, cast in zip(
    input_names, inner_names, is_integer, strict=True
  ):
    if cast:
      _widen(model.graph, inner, name)
  onnx.checker.check_model(model)
  return model.SerializeToString()


def _on_any_platform(traced: Any, *arguments: Any) -> list[Any]:
  """Evaluates a jaxpr with the default of each `jax.lax.platform_dependent`.

  ONNX cannot choose by platform, and it supports the default operations.
  """
  jaxpr = traced.jaxpr
  variables = (*jaxpr.constvars, *jaxpr.invars)
  values = dict(zip(variables, (*traced.consts, *arguments), strict=True))

  def read(atom: Any) -> Any:
    return atom.val if isinstance(atom, jax_core.Literal) else values[atom]

  for equation in jaxpr.eqns:
    if equation.primitive.name == "platform_index":
      continue  # Only the choice of a branch uses it.
    inputs = equation.invars
    if equation.params.get("branches_platforms"):
      inputs = inputs[1:]
      one = equation.params["branches"][-1]
    else:
      inputs = [x for x in inputs if not isinstance(x, jax_core.Literal)]
      inputs = [*dict.fromkeys(inputs)]  # Without repetitions.
      parts = (), inputs, equation.outvars, [equation], equation.effects
      one = jax_core.ClosedJaxpr(jax_core.Jaxpr(*parts), ())
    outputs = jax_core.jaxpr_as_fun(one)(*map(read, inputs))
    values.update(zip(equation.outvars, outputs, strict=True))
  return [*map(read, jaxpr.outvars)]


def _widen(graph: Any, inner: str, name: str) -> None:
  """Replaces an int32 input by an int64 input and a cast."""
  import onnx

  (value,) = [each for each in graph.input if each.name == inner]
  value.name = name
  value.type.tensor_type.elem_type = onnx.TensorProto.INT64
  cast = onnx.helper.make_node(
    "Cast", [name], [inner], name=f"cast_{name}", to=onnx.TensorProto.INT32
  )
  graph.node.insert(0, cast)


def _load_lowerings() -> None:
  """Loads only the lowerings of JAX's primitives.

  By default jax2onnx imports all of its plugins, which takes 8 seconds and
  replaces functions of JAX and Flax. A traced function only has primitives.
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
  """Suppresses the output, the logs and the warnings of jax2onnx."""
  disabled = logging.root.manager.disable
  logging.disable()
  try:
    with (
      warnings.catch_warnings(),
      contextlib.redirect_stdout(io.StringIO()),
    ):
      warnings.simplefilter("ignore")
      yield
  finally:
    logging.disable(disabled)


def _pool_images(graph: Any) -> None:
  """Rewrites max pooling of images in the form that ONNX Runtime supports.

  jax2onnx pools over all four axes of a batch of images, `[B, H, W, channels]`,
  and ONNX Runtime supports at most three. The rewritten operation pools over
  the last two axes of `[B, channels, H, W]`.
  """
  import onnx

  producers = {name: node for node in graph.node for name in node.output}
  for place, pool in reversed(list(enumerate(graph.node))):
    if pool.op_type != "MaxPool":
      continue
    values = {each.name: list(each.ints) for each in pool.attribute}
    if len(values["kernel_shape"]) != 4:
      continue
    pads = values.pop("pads", [0] * 8)
    outer = [(ints[0], ints[3]) for ints in values.values()]
    if set(outer) != {(1, 1)} or any(pads[i] for i in (0, 3, 4, 7)):
      raise ValueError("it has pooling over images or over channels")
    source, last = pool.input[0], pool.output[0]
    while source in producers and producers[source].op_type == "Unsqueeze":
      source = producers[source].input[0]
    (squeeze,) = [node for node in graph.node if last in node.input]
    inner: dict[str, Any] = {name: ints[1:3] for name, ints in values.items()}
    inner["pads"] = [pads[i] for i in (1, 2, 5, 6)]
    first, then = f"{last}_channels_first", f"{last}_pooled"
    make = onnx.helper.make_node
    nodes = [
      make("Transpose", [source], [first], perm=[0, 3, 1, 2]),
      make("MaxPool", [first], [then], **inner),
      make("Transpose", [then], list(squeeze.output), perm=[0, 2, 3, 1]),
    ]
    graph.node.remove(squeeze)
    graph.node.remove(pool)
    for node in reversed(nodes):
      graph.node.insert(place, node)
  _remove_unused(graph)


def _remove_unused(graph: Any) -> None:
  """Removes nodes whose outputs are unused, and all recorded shapes."""
  del graph.value_info[:]
  outputs = {value.name for value in graph.output}
  while True:
    read = _names_read(graph) | outputs
    unused = [node for node in graph.node if not read & {*node.output}]
    if not unused:
      return
    for node in unused:
      graph.node.remove(node)


def _remove_unused_constants(graph: Any) -> None:
  """Removes unused constants, about which ONNX Runtime would warn."""
  read = _names_read(graph) | {value.name for value in graph.output}
  kept = [each for each in graph.initializer if each.name in read]
  del graph.initializer[:]
  graph.initializer.extend(kept)
  for node in graph.node:
    for attribute in node.attribute:
      if attribute.HasField("g"):
        _remove_unused_constants(attribute.g)


def _names_read(graph: Any) -> set[str]:
  """Returns the names that the nodes of a graph and its subgraphs read."""
  names = set()
  for node in graph.node:
    names.update(node.input)
    for attribute in node.attribute:
      if attribute.HasField("g"):
        names |= _names_read(attribute.g)
        names.update(value.name for value in attribute.g.output)
  return names
