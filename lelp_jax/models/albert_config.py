"""ALBERT's hyperparameters: the published sizes, and those of a config.json."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from lelp_jax import _checks
from lelp_jax.models import _transformer

# Hidden size, layers, heads, intermediate size: Lan et al., table 1.
_SIZES = {
  "base": (768, 12, 12, 3072),
  "large": (1024, 24, 16, 4096),
  "xlarge": (2048, 24, 16, 8192),
  "xxlarge": (4096, 12, 64, 16384),
}
ALBERT_SIZES = tuple(_SIZES)


@dataclasses.dataclass(frozen=True)
class AlbertConfig(_transformer.TransformerConfig):
  """Hyperparameters of an ALBERT with one shared layer, as all published.

  Attributes: those of `TransformerConfig`, ``num_layers`` being how often the
  one shared layer is applied (A-32 for ``pooling``), and

    embedding_size: Width of the token embeddings.

  Raises:
    TypeError: If a size is not an integer.
    ValueError: If a value is out of its range.
  """

  vocab_size: int = 30_000
  activation: str = "gelu_new"
  hidden_dropout: float = 0.0
  attention_dropout: float = 0.0
  embedding_size: int = 128


def albert_config(
  size: str, *, version: str = "v2", **changes: Any
) -> AlbertConfig:
  """The config of a published ALBERT, as in the files of its authors' hub.

  Args:
    size: ``"base"``, ``"large"``, ``"xlarge"`` or ``"xxlarge"``.
    version: ``"v2"``, without dropout below the classifier's and with
      ``"gelu_new"``, or ``"v1"``, with dropout 0.1 in all but ``"xxlarge"``
      and ``"gelu"``.
    **changes: Other values for attributes of the config.

  Returns:
    The config.

  Raises:
    ValueError: If there is no such size or version.

  Examples:
    >>> albert_config("xlarge").hidden_size
    2048
    >>> albert_config("base", version="v1", pooling="cls").hidden_dropout
    0.1

  References:
    Lan et al., `ALBERT: A Lite BERT <https://arxiv.org/abs/1909.11942>`_, 2020.
  """
  _checks.check_option("size", size, ALBERT_SIZES)
  _checks.check_option("version", version, ("v1", "v2"))
  dropout = 0.1 if version == "v1" and size != "xxlarge" else 0.0
  config = AlbertConfig(
    *_SIZES[size],
    activation="gelu" if version == "v1" else "gelu_new",
    hidden_dropout=dropout,
    attention_dropout=dropout,
  )
  return dataclasses.replace(config, **changes)


# Ours by theirs. Old files lack some of those that have defaults.
_HUGGINGFACE_NAMES = {
  "hidden_size": "hidden_size",
  "num_hidden_layers": "num_layers",
  "num_attention_heads": "num_heads",
  "intermediate_size": "intermediate_size",
  "vocab_size": "vocab_size",
  "embedding_size": "embedding_size",
  "max_position_embeddings": "max_positions",
  "type_vocab_size": "type_vocab_size",
  "hidden_act": "activation",
  "hidden_dropout_prob": "hidden_dropout",
  "attention_probs_dropout_prob": "attention_dropout",
  "classifier_dropout_prob": "classifier_dropout",
  "layer_norm_eps": "layer_norm_epsilon",
  "initializer_range": "initializer_range",
}
_REQUIRED = tuple(_HUGGINGFACE_NAMES)[:6]
# What the module has only one form of.
_FIXED = {
  "model_type": "albert",
  "num_hidden_groups": 1,
  "inner_group_num": 1,
  "position_embedding_type": "absolute",
}


def config_from_huggingface(mapping: Mapping[str, Any]) -> AlbertConfig:
  """The config that a Hugging Face ``config.json`` describes.

  Args:
    mapping: The parsed file. Names that do not shape an ALBERT are ignored.

  Returns:
    The config, with ``pooling="pooled"``.

  Raises:
    ValueError: If a size is missing, or the file describes what is not built
      here: several groups of layers, relative positions, other activations.

  Examples:
    >>> config = config_from_huggingface({
    ...   "model_type": "albert", "vocab_size": 50, "embedding_size": 4,
    ...   "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    ...   "intermediate_size": 16, "hidden_act": "gelu"})
    >>> config.num_layers, config.activation
    (2, 'gelu')
  """
  for name, value in _FIXED.items():
    if mapping.get(name, value) != value:
      raise ValueError(f"{name} must be {value!r}, got {mapping[name]!r}.")
  missing = [name for name in _REQUIRED if name not in mapping]
  if missing:
    raise ValueError(f"The config.json of an ALBERT must hold {missing}.")
  _checks.check_option(
    "hidden_act",
    mapping.get("hidden_act", "gelu_new"),
    _transformer.ACTIVATIONS,
  )
  return AlbertConfig(
    **{
      ours: mapping[theirs]
      for theirs, ours in _HUGGINGFACE_NAMES.items()
      if theirs in mapping
    }
  )
