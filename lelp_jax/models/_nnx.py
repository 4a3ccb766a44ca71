"""NNX modules as values: split into dicts of arrays, put together, listened to.

`nnx.split` and `nnx.merge` on raw arrays only. A merge makes new variables at
the current trace level, so `jax.grad` and `jax.vmap` may write to them.
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

Flat = dict[tuple[Any, ...], Any]  # Path of attributes and indices: value.


class Parts(NamedTuple):
  """A module taken apart: its static structure and three kinds of values."""

  graphdef: Any
  params: Flat
  rngs: Flat
  state: Flat


def builder(module: Any) -> tuple[Callable[[jax.Array], Any], Any]:
  """Given a module or its constructor: a function of a key, and an example.

  The example of a constructor has values that nobody uses.
  """
  if isinstance(module, nnx.Module):
    return lambda key: module, module

  # Of a class, what its __init__ takes: NNX's metaclass hides it.
  function = module.__init__ if inspect.isclass(module) else module
  parameters = inspect.signature(function).parameters.values()
  by_name = any(
    p.name == "rngs" and p.kind is p.KEYWORD_ONLY for p in parameters
  )

  def build(key):
    rngs = nnx.Rngs(key)
    return module(rngs=rngs) if by_name else module(rngs)

  # Not under eval_shape: arrays that are no variables would be its tracers.
  return build, build(jax.random.key(0))


def split(module: nnx.Module) -> Parts:
  """Takes a module apart."""
  graphdef, *states = nnx.split(module, nnx.Param, nnx.RngState, ...)
  return Parts(graphdef, *map(_to_flat, states))


def merge(graphdef: Any, *values: Flat) -> Any:
  """Puts a module together again, around other values."""
  return nnx.merge(graphdef, *map(nnx.from_flat_state, values))


def to_tree(flat: Flat) -> dict[str, Any]:
  """Nested dicts with string keys: what every pytree tool takes."""
  return traverse_util.unflatten_dict(
    {tuple(map(str, path)): value for path, value in flat.items()}
  )


def from_tree(tree: Mapping[str, Any], like: Flat) -> Flat:
  """The inverse of `to_tree`, given the paths."""
  return {
    path: functools.reduce(lambda node, name: node[str(name)], path, tree)
    for path in like
  }


def seeded(like: Flat, key: jax.Array) -> Flat:
  """Values for all random streams, each with a key of its own, unused."""

  def value(index, leaf):
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return jnp.zeros(leaf.shape, leaf.dtype)  # The draws counted so far.
    stream_key = jax.random.fold_in(key, index)
    if not leaf.shape:
      return stream_key
    return jax.random.split(stream_key, leaf.shape)

  return {
    path: value(index, leaf) for index, (path, leaf) in enumerate(like.items())
  }


def values_at(module: Any, paths: Iterable[tuple[Any, ...]]) -> Flat:
  """The values a module holds now at some paths; others, as of `sow`, go."""
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
  """The attribute or, if its name is a number, the item of a module."""
  return node[int(name)] if name.isdecimal() else getattr(node, name)


class _Calls(nnx.Variable):
  """A variable, so that calls inside `nnx.remat` come out of it."""


class _Recorder(nnx.Module):
  """Stands in for a layer and lists its calls."""

  def __init__(self, layer: Any):
    self.layer = layer
    self.calls = _Calls(())

  def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    outputs = self.layer(inputs, *args, **kwargs)
    call = (inputs, outputs)
    self.calls.set_value((*self.calls.get_value(), call))
    return outputs

  def __getattr__(self, name: str) -> Any:
    if name == "layer" or name.startswith("_"):  # Not ours, not the layer's.
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
