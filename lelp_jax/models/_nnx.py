"""Conversion of NNX modules to dicts of arrays, and records of layers' calls.

Modules are split into raw arrays and merged from them. Merging makes new
variables at the current trace level, so that the module may update them inside
`jax.grad` and `jax.vmap`.
"""

import functools
import inspect
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from flax import traverse_util

Flat = dict[tuple[Any, ...], Any]  # Values by path of attributes and indices.


class Parts(NamedTuple):
  """The static structure of a module and its values, of three kinds."""

  graphdef: Any
  params: Flat
  rngs: Flat
  state: Flat


def builder(module: Any) -> tuple[Callable[[jax.Array], Any], Any]:
  """Returns a function that builds a module from a key, and an example of it.

  The argument is a module or a constructor. The example of a constructor is
  used for its structure alone.
  """
  if isinstance(module, nnx.Module):
    return lambda key: module, module

  # NNX's metaclass hides the parameters of a class's __init__.
  function = module.__init__ if inspect.isclass(module) else module
  parameters = inspect.signature(function).parameters.values()
  by_name = any(
    p.name == "rngs" and p.kind is p.KEYWORD_ONLY for p in parameters
  )

  def build(key):
    rngs = nnx.Rngs(key)
    return module(rngs=rngs) if by_name else module(rngs)

  # Not under eval_shape, where arrays that are not variables become tracers.
  return build, build(jax.random.key(0))


def split(module: nnx.Module) -> Parts:
  """Splits a module into its structure and its values."""
  graphdef, *states = nnx.split(module, nnx.Param, nnx.RngState, ...)
  return Parts(graphdef, *map(_to_flat, states))


def state_of(module: nnx.Module, paths: Iterable[tuple[Any, ...]]) -> Flat:
  """Returns the values of a new module at the paths of another one's state.

  `split` leaves arrays that are not variables in the structure of a module that
  was made under a trace, since Flax takes tracers for constants.
  """
  state = split(module).state
  return {
    path: state[path]
    if path in state
    else functools.reduce(_child, map(str, path), module)
    for path in paths
  }


def merge(graphdef: Any, *values: Flat) -> Any:
  """Builds a module from its structure and values."""
  return nnx.merge(graphdef, *map(nnx.from_flat_state, values))


def to_tree(flat: Flat) -> dict[str, Any]:
  """Returns nested dicts with string keys, as most tools for pytrees expect."""
  return traverse_util.unflatten_dict(
    {tuple(map(str, path)): value for path, value in flat.items()}
  )


def from_tree(tree: Mapping[str, Any], like: Flat) -> Flat:
  """Returns the inverse of `to_tree` for the paths of `like`."""
  return {
    path: functools.reduce(lambda node, name: node[str(name)], path, tree)
    for path in like
  }


def seeded(like: Flat, key: jax.Array) -> Flat:
  """Returns values for all random streams, each with its own new key."""

  def value(index, leaf):
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return jnp.zeros(leaf.shape, leaf.dtype)  # No draws so far.
    stream_key = jax.random.fold_in(key, index)
    if not leaf.shape:
      return stream_key
    return jax.random.split(stream_key, leaf.shape)

  return {
    path: value(index, leaf) for index, (path, leaf) in enumerate(like.items())
  }


def values_at(module: Any, paths: Iterable[tuple[Any, ...]]) -> Flat:
  """Returns the values at some paths; variables made by `sow` are left out."""
  values = _to_flat(nnx.state(module))
  return {path: values[path] for path in paths}


def recorded_call(
  model: Any, path: Sequence[str], *args: Any, **kwargs: Any
) -> tuple[tuple[Any, Any], ...]:
  """Calls the model; returns `(inputs, outputs)` of each call of a layer."""
  *parents, name = path
  parent = functools.reduce(_child, parents, model)
  layer = _child(parent, name)
  recorder = _Recorder(layer)
  _set_child(parent, name, recorder)
  model(*args, **kwargs)
  _set_child(parent, name, layer)
  return recorder.calls.get_value()


def _child(node: Any, name: str) -> Any:
  """Returns an attribute of a module or, for a number, an item of a list."""
  return node[int(name)] if name.isdecimal() else getattr(node, name)


class _Calls(nnx.Variable):
  """The recorded calls: a variable, since only variables leave `nnx.remat`."""


class _Recorder(nnx.Module):
  """Replaces a layer and records its calls."""

  def __init__(self, layer: Any):
    self.layer = layer
    self.calls = _Calls(())

  def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    outputs = self.layer(inputs, *args, **kwargs)
    call = (inputs, outputs)
    self.calls.set_value((*self.calls.get_value(), call))
    return outputs

  def __getattr__(self, name: str) -> Any:
    if name == "layer" or name.startswith("_"):
      raise AttributeError(name)
    return getattr(self.layer, name)


def _set_child(node: Any, name: str, value: Any) -> None:
  if name.isdecimal():
    node[int(name)] = value
  else:
    setattr(node, name, value)


def _to_flat(state: Any) -> Flat:
  return {
    path: leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
    for path, leaf in nnx.to_flat_state(state)
  }
