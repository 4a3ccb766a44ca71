"""Conversion of a transformers state dict to params, for every encoder."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from lelp_jax.models._transformer import TransformerConfig

# Maps the name of an array in the file to its path in the params and its shape
# in the file. PyTorch's linear weights are [out, in].
Expected = dict[str, tuple[tuple[str, ...], tuple[int, ...]]]

_FIRST = "embeddings.word_embeddings.weight"
# Heads of other tasks, and buffers that old versions of transformers stored.
_IGNORED = re.compile(
  r"(cls|predictions|sop_classifier|lm_head|vocab_\w+|qa_outputs|dropout)\."
  r"|embeddings\.(position_ids|token_type_ids)$"
)
# Names of LayerNorm's parameters in files converted from TensorFlow.
_OLD_NAMES = {"gamma": "weight", "beta": "bias"}


def embeddings(
  config: TransformerConfig, width: int, num_positions: int
) -> Expected:
  """Returns the expected arrays of `embed_tokens`."""
  tables = {
    "word_embeddings": config.vocab_size,
    "token_type_embeddings": config.type_vocab_size,
    "position_embeddings": num_positions,
  }
  expected: Expected = {
    f"embeddings.{name}.weight": (("encoder", name, "embedding"), (rows, width))
    for name, rows in tables.items()
    if rows
  }
  return expected | norm(
    "embeddings.LayerNorm", "encoder/embedding_norm", width
  )


def linear(theirs: str, ours: str, inputs: int, outputs: int) -> Expected:
  """Returns the expected arrays of a linear layer."""
  path = tuple(ours.split("/"))
  return {
    f"{theirs}.weight": ((*path, "kernel"), (outputs, inputs)),
    f"{theirs}.bias": ((*path, "bias"), (outputs,)),
  }


def norm(theirs: str, ours: str, width: int) -> Expected:
  """Returns the expected arrays of a LayerNorm."""
  path = tuple(ours.split("/"))
  return {
    f"{theirs}.weight": ((*path, "scale"), (width,)),
    f"{theirs}.bias": ((*path, "bias"), (width,)),
  }


def num_outputs(state_dict: Mapping[str, Any], head: str) -> int | None:
  """Returns the number of outputs of the classifier, or None without one.

  Args:
    state_dict: Arrays by name.
    head: Name of the classifier's last layer, such as ``"classifier"``.
  """
  outer = _prefixes(state_dict)[1]
  for part in ("weight", "bias"):
    array = state_dict.get(f"{outer}{head}.{part}")
    if array is not None:
      return (*np.shape(array), 1)[0]
  return None


def convert(
  state_dict: Mapping[str, Any],
  encoder: Expected,
  config: TransformerConfig,
  *,
  pooler: str,
  head: str,
  ignored: tuple[str, ...] = (),
) -> dict[str, Any]:
  """Converts a state dict to params.

  Args:
    state_dict: Arrays by name, of any float dtype. The encoder's names may have
      any prefix, such as ``bert.``.
    encoder: The expected arrays of the encoder, by name without prefix.
    config: The hyperparameters. The pooling layer is required with
      ``pooling="pooled"``, and ignored otherwise.
    pooler: Name of the pooling layer.
    head: Name of the classifier's last layer, which becomes ``"head"``.
    ignored: Arrays are left out if their names, without the encoder's prefix,
      start with one of these.

  Returns:
    Nested dicts of float32 NumPy arrays, without ``"head"`` where the file has
    no classifier.

  Raises:
    ValueError: If the names, shapes or dtypes do not fit, listing every one.
  """
  width, missing = config.hidden_size, dict(encoder)
  if config.pooling == "pooled":
    missing |= linear(pooler, "pooler", width, width)
  else:
    ignored = (*ignored, f"{pooler}.")
  outputs = num_outputs(state_dict, head)
  if outputs is not None:
    missing |= linear(head, "head", width, outputs)
  inner, outer = _prefixes(state_dict)
  params, unexpected, wrong = {}, [], []
  for name, array in state_dict.items():
    short = name.removeprefix(inner if name.startswith(inner) else outer)
    start, _, last = short.rpartition(".")
    if start.endswith("LayerNorm") and last in _OLD_NAMES:
      short = f"{start}.{_OLD_NAMES[last]}"
    if short in missing:
      path, shape = missing.pop(short)
      array = np.asarray(array)
      if array.shape != shape or not jnp.issubdtype(array.dtype, jnp.floating):
        wrong.append(f"{name} {array.dtype}{[*array.shape]}, not {[*shape]}")
      elif not wrong:
        array = array.astype(np.float32)
        params[path] = array.T if path[-1] == "kernel" else array
    elif not (_IGNORED.match(short) or short.startswith(ignored)):
      unexpected.append(name)
  if missing or unexpected or wrong:
    hint = ""
    if any(name.startswith(f"{pooler}.") for name in missing):
      hint = " For weights without a pooler, set pooling to 'mean' or 'cls'."
    raise ValueError(
      f"state_dict does not fit the config: missing {[*missing]}, "
      f"unexpected {unexpected}, of a wrong shape or dtype {wrong}.{hint}"
    )
  return traverse_util.unflatten_dict(params)


def inner_names(state_dict: Mapping[str, Any]) -> list[str]:
  """Returns the names of the encoder's arrays, without their prefix."""
  inner, _ = _prefixes(state_dict)
  return [n.removeprefix(inner) for n in state_dict if n.startswith(inner)]


def _prefixes(state_dict: Mapping[str, Any]) -> tuple[str, str]:
  """Returns the prefixes of the encoder's names, and of the classifier's.

  For example, an encoder under "model.albert." has a classifier under "model.".
  """
  found = [name for name in state_dict if f".{name}".endswith(f".{_FIRST}")]
  if len(found) != 1:
    names = sorted(state_dict)
    raise ValueError(
      f"state_dict must hold one {_FIRST!r}, under any prefix, "
      f"got {len(found)} among {len(names)} names: {found or names[:5]}."
    )
  inner = found[0].removesuffix(_FIRST)
  return inner, inner[: inner[:-1].rfind(".") + 1]
