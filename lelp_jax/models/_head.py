"""Finding, replacing and checking the head of a model in its params."""

import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from lelp_jax import _checks


def parse_path(name: str) -> tuple[str, ...]:
  """Splits `"a/b"` or `"a.b"` into a path."""
  return tuple(re.split("[./]", name))


def layer(name: str, params: Any) -> Mapping[str, Any]:
  """Returns the params of the head, or raises unless it is linear."""
  found: Any = params
  for part in parse_path(name):
    found = found.get(part) if isinstance(found, Mapping) else None
  if found is None:
    raise ValueError(
      f"head={name!r} is not a layer of this model. {_layers(params)}"
    )
  if not isinstance(found, Mapping) or not (
    {"kernel"} <= found.keys() <= {"kernel", "bias"}
    and jnp.ndim(found["kernel"]) >= 2
  ):
    raise ValueError(
      f"head={name!r} must be a linear layer, with a kernel [D, n], optionally "
      f"a bias [n], and nothing else. {_layers(params)}"
    )
  return found


def with_layer(name: str, params: Any, kernel: Any, bias: Any) -> Any:
  """Returns params with another kernel and bias in the head.

  Stacked params have additional axes in front of `[D, n]` and `[n]`.
  """
  old = layer(name, params)
  *stack, _ = jnp.shape(old["kernel"])
  if [*jnp.shape(kernel)[:-1]] != stack:
    raise ValueError(
      f"The kernel of head={name!r} must have the shape of the model's, "
      f"{jnp.shape(old['kernel'])}, up to the last axis, "
      f"got {jnp.shape(kernel)}."
    )
  if (bias is None) != ("bias" not in old):
    raise ValueError(
      f"head={name!r} has {'a' if 'bias' in old else 'no'} bias in the model, "
      f"and the given head has {'none' if bias is None else 'one'}."
    )
  new = {"kernel": kernel}
  if bias is not None:
    expected = (*stack[:-1], jnp.shape(kernel)[-1])
    if jnp.shape(bias) != expected:
      raise ValueError(
        f"The bias of head={name!r} must have shape {expected}, "
        f"got {jnp.shape(bias)}."
      )
    new["bias"] = bias
  return _replace(params, parse_path(name), new)


def only_call(
  name: str, params: Any, calls: Sequence[Any]
) -> tuple[jax.Array, jax.Array]:
  """Returns input and output of the head, or raises unless called once."""
  layer(name, params)
  if len(calls) != 1:
    raise ValueError(
      f"head={name!r} must be called once by the model, and was called "
      f"{len(calls)} times. {_layers(params)}"
    )
  ((embeddings, logits),) = calls
  if jnp.ndim(embeddings) != 2 or jnp.ndim(logits) != 2:
    raise ValueError(
      f"head={name!r} must map embeddings [B, D] to logits [B, n], got shapes "
      f"{jnp.shape(embeddings)} and {jnp.shape(logits)}. {_layers(params)}"
    )
  return embeddings, logits


def check_linear(
  name: str, params: Any, embeddings: jax.Array, logits: jax.Array
) -> None:
  """Raises ValueError if logits are not `embeddings @ kernel + bias`.

  Only values reveal an activation or a normalized kernel inside the head, so
  this is skipped under a trace.
  """
  head = layer(name, params)
  if not all(map(_checks.is_concrete, (*head.values(), embeddings, logits))):
    return
  expected = embeddings @ head["kernel"]
  if "bias" in head:
    expected += head["bias"][None, :]
  error, scale = (
    float(jnp.max(jnp.abs(array), initial=0.0))
    for array in (expected - logits, logits)
  )
  if error > 0.05 * scale:  # Well above the errors of bfloat16.
    raise ValueError(
      f"head={name!r} must compute embeddings @ kernel + bias, and its output "
      f"differs from that by up to {error:.2g}. {_layers(params)}"
    )


def _layers(params: Any) -> str:
  """Returns a sentence that names the layers that hold params."""
  paths = {path[:-1] for path in traverse_util.flatten_dict(params)}
  return f"Its layers: {', '.join(sorted(map('/'.join, paths)))}."


def _replace(tree: Any, path: Sequence[str], value: Any) -> Any:
  """Returns a copy of nested dicts with the entry at `path` replaced."""
  if not path:
    return value
  first, *rest = path
  return {**tree, first: _replace(tree[first], rest, value)}
