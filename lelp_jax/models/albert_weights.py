"""ALBERT's params from the arrays of a Hugging Face checkpoint."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from lelp_jax.models.albert_config import AlbertConfig

_FIRST = "embeddings.word_embeddings.weight"
_LAYER = "albert_layer_groups.0.albert_layers.0"
# Heads of other tasks, and buffers that old versions stored.
_IGNORED = re.compile(
  r"(predictions|sop_classifier|qa_outputs|dropout)\."
  r"|embeddings\.(position_ids|token_type_ids)$"
)


def params_from_huggingface(
  state_dict: Mapping[str, Any], config: AlbertConfig
) -> dict[str, Any]:
  """Params of an ALBERT from the weights of transformers' ``Albert*`` classes.

  The body may stand under any prefix, such as ``albert.``; heads of other
  tasks (masked words, sentence order, spans) are ignored. A sequence
  classifier's ``classifier`` becomes ``"head"``. PyTorch's linear weights are
  ``[out, in]`` and get transposed.

  Args:
    state_dict: Arrays by name, of any float dtype, as in
      ``model.safetensors``. Left as it is.
    config: The architecture, such as `config_from_huggingface` reads; with
      ``pooling="cls"`` the file's pooler is not needed and ignored.

  Returns:
    Nested dicts of float32 NumPy arrays: the params of `albert`, without
    ``"head"`` where the file has no classifier (see `graft_pretrained`).

  Raises:
    ValueError: Listing every missing or unexpected name, and every array of
      another shape or dtype.

  Examples:
    >>> config = AlbertConfig(8, 1, 2, 16, vocab_size=9, pooling="cls")
    >>> params_from_huggingface({}, config)
    Traceback (most recent call last):
    ValueError: state_dict must hold one 'embeddings.word_embeddings.weight',
      under any prefix, got 0 among 0 names: [].
  """
  prefix = _prefix(state_dict)
  # What the body and the head stand in: "model." of "model.albert.".
  outer = prefix[: prefix[:-1].rfind(".") + 1]
  expected = {**_body(config), **_head(state_dict, outer, config)}
  params, unexpected, wrong = {}, [], []
  for name, array in state_dict.items():
    inner = name.startswith(prefix)
    short = name.removeprefix(prefix if inner else outer)
    if short in expected:
      path, shape = expected.pop(short)
      array = np.asarray(array)
      if array.shape != shape or not jnp.issubdtype(array.dtype, jnp.floating):
        wrong.append(f"{name} {array.dtype}{[*array.shape]}, not {[*shape]}")
      elif not wrong:
        array = array.astype(np.float32)
        params[path] = array.T if path[-1] == "kernel" else array
    elif not _IGNORED.match(short) and not (
      config.pooling == "cls" and short.startswith("pooler.")
    ):
      unexpected.append(name)
  if expected or unexpected or wrong:
    hint = ""
    if any(name.startswith("pooler.") for name in expected):
      hint = " Without a pooler in the file, set pooling='cls' in the config."
    raise ValueError(
      f"state_dict does not fit the config: missing {[*expected]}, "
      f"unexpected {unexpected}, of a wrong shape or dtype {wrong}.{hint}"
    )
  return traverse_util.unflatten_dict(params)


def _prefix(state_dict: Mapping[str, Any]) -> str:
  """What stands before the names of the body."""
  found = [name for name in state_dict if f".{name}".endswith(f".{_FIRST}")]
  if len(found) != 1:
    names = sorted(state_dict)
    raise ValueError(
      f"state_dict must hold one {_FIRST!r}, under any prefix, "
      f"got {len(found)} among {len(names)} names: {found or names[:5]}."
    )
  return found[0].removesuffix(_FIRST)


def _head(
  state_dict: Mapping[str, Any], outer: str, config: AlbertConfig
) -> dict[str, Any]:
  """As `_body`, for the classifier of a file that has one."""
  for part in ("weight", "bias"):
    name = f"{outer}classifier.{part}"
    if name in state_dict:
      num_outputs = (*np.shape(state_dict[name]), 1)[0]
      return _linear("classifier", "head", config.hidden_size, num_outputs)
  return {}


def _body(config: AlbertConfig) -> dict[str, Any]:
  """Each name of the body: its path in the params, its shape in the file."""
  token, width = config.embedding_size, config.hidden_size
  inner = config.intermediate_size
  body = {}
  for name, rows in {
    "word_embeddings": config.vocab_size,
    "position_embeddings": config.max_positions,
    "token_type_embeddings": config.type_vocab_size,
  }.items():
    path = ("encoder", name, "embedding")
    body[f"embeddings.{name}.weight"] = (path, (rows, token))
  body |= _norm("embeddings.LayerNorm", "encoder/embedding_norm", token)
  for theirs, ours, inputs, outputs in [
    ("embedding_hidden_mapping_in", "embedding_projection", token, width),
    (f"{_LAYER}.attention.query", "layer/query", width, width),
    (f"{_LAYER}.attention.key", "layer/key", width, width),
    (f"{_LAYER}.attention.value", "layer/value", width, width),
    (f"{_LAYER}.attention.dense", "layer/attention_output", width, width),
    (f"{_LAYER}.ffn", "layer/ffn", width, inner),
    (f"{_LAYER}.ffn_output", "layer/ffn_output", inner, width),
  ]:
    body |= _linear(f"encoder.{theirs}", f"encoder/{ours}", inputs, outputs)
  for theirs, ours in [
    ("attention.LayerNorm", "attention_norm"),
    ("full_layer_layer_norm", "ffn_norm"),
  ]:
    body |= _norm(f"encoder.{_LAYER}.{theirs}", f"encoder/layer/{ours}", width)
  if config.pooling == "pooled":
    body |= _linear("pooler", "pooler", width, width)
  return body


def _linear(
  theirs: str, ours: str, inputs: int, outputs: int
) -> dict[str, Any]:
  path = tuple(ours.split("/"))
  return {
    f"{theirs}.weight": ((*path, "kernel"), (outputs, inputs)),
    f"{theirs}.bias": ((*path, "bias"), (outputs,)),
  }


def _norm(theirs: str, ours: str, width: int) -> dict[str, Any]:
  path = tuple(ours.split("/"))
  return {
    f"{theirs}.weight": ((*path, "scale"), (width,)),
    f"{theirs}.bias": ((*path, "bias"), (width,)),
  }
