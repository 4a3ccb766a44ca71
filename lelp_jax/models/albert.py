"""ALBERT (Lan et al., 2020): one transformer layer, applied many times.

The first hidden state is a linear map of LN(word + position + token type). The
same `TransformerLayer` is then applied ``num_layers`` times, and the embedding
is tanh(W h[:, 0] + b) of the last hidden state h, or another pooling of h.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lelp_jax import _checks
from lelp_jax.models import _huggingface
from lelp_jax.models import _transformer
from lelp_jax.models.architecture import Architecture
from lelp_jax.models.architecture import HuggingFaceFormat
from lelp_jax.models.interface import from_linen
from lelp_jax.models.interface import ModelFns

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
  """Hyperparameters of an ALBERT, whose layers share their weights.

  Attributes: those of `TransformerConfig` (the shared layer is applied
  ``num_layers`` times; A-32 for ``pooling``), and

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
  """Returns the config of a published ALBERT, as its authors' files have it.

  Args:
    size: ``"base"``, ``"large"``, ``"xlarge"`` or ``"xxlarge"``.
    version: ``"v2"``, without dropout below the classifier's and with
      ``"gelu_new"``, or ``"v1"``, with dropout 0.1 in all but ``"xxlarge"``
      and with ``"gelu"``.
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


def albert(config: AlbertConfig, num_outputs: int, **options: Any) -> ModelFns:
  """Makes an ALBERT classifier, as pure functions.

  In training, its embeddings are the head's inputs, after dropout.

  Args:
    config: The hyperparameters.
    num_outputs: Number of logits ``n``.
    **options: Other attributes of `Albert`: ``compute_dtype``, ``remat``,
      ``attention_implementation``.

  Returns:
    The model; its inputs are those of `Albert`.

  Raises:
    TypeError: If there is no such option, or ``num_outputs`` is not an
      integer.
    ValueError: If ``num_outputs`` is less than one.

  Examples:
    >>> model = albert(AlbertConfig(8, 2, 2, 16, vocab_size=9), 3)
    >>> inputs = {"input_ids": jnp.array([[2, 7, 3], [2, 3, 0]]),
    ...           "attention_mask": jnp.array([[1, 1, 1], [1, 1, 0]])}
    >>> params, state = jax.jit(model.init)(jax.random.key(0), inputs)
    >>> outputs, state = jax.jit(model.apply)(params, state, inputs)
    >>> outputs.embeddings.shape, outputs.logits.shape
    ((2, 8), (2, 3))

    A published size, by name:

    >>> from lelp_jax.models import MODELS
    >>> model = MODELS["albert_xxlarge"](2, compute_dtype=jnp.bfloat16)
    >>> params, _ = jax.eval_shape(model.init, jax.random.key(0), inputs)
    >>> f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,}"
    '222,603,778'
  """
  _checks.check_at_least("num_outputs", num_outputs, 1)
  return from_linen(Albert(num_outputs, config, **options), head="head")


class AlbertEncoder(nn.Module):
  """Token embeddings and the shared layer: `Albert` below its pooling.

  Attributes: those of `Albert` without ``num_outputs``.
  """

  config: AlbertConfig
  compute_dtype: Any = jnp.float32
  remat: bool = False
  attention_implementation: _transformer.AttentionImplementation = None

  @nn.compact
  def __call__(
    self, inputs: Mapping[str, jax.Array], *, train: bool = False
  ) -> tuple[jax.Array, jax.Array | None]:
    """Computes the last hidden states.

    Args:
      inputs: As those of `Albert`.
      train: Whether dropout is on.

    Returns:
      The hidden states, ``[B, L, D]`` in ``compute_dtype``, and a mask of those
      that belong to tokens, bool, ``[B, L]``, or None if all do.
    """
    config = self.config
    ids, mask, types = _transformer.check_inputs(
      inputs,
      vocab_size=config.vocab_size,
      max_positions=config.max_positions,
      type_vocab_size=config.type_vocab_size,
    )
    x = _transformer.embed_tokens(
      config,
      ids,
      types,
      jnp.arange(ids.shape[1])[None],
      width=config.embedding_size,
      num_positions=config.max_positions,
      train=train,
    )
    x = _transformer.dense(
      config, config.hidden_size, self.compute_dtype, "embedding_projection"
    )(x)
    layer = _transformer.TransformerLayer
    layer = nn.remat(layer, prevent_cse=False) if self.remat else layer
    # A scan compiles one layer, whatever the number of layers.
    layers = nn.scan(
      lambda layer, x, mask: (layer(x, mask), None),
      variable_broadcast="params",
      split_rngs={"params": False, "dropout": True},
      in_axes=nn.broadcast,
      length=config.num_layers,
    )
    x, _ = layers(
      layer(config, train, self.attention_implementation, name="layer"), x, mask
    )
    return x, mask


class Albert(_transformer.Classifier):
  """An ALBERT encoder with pooling, dropout and a linear head.

  Attributes: those of `Classifier`.
  """

  encoder_class = AlbertEncoder


# --- Weights of Hugging Face --------------------------------------------------

_LAYER = "albert_layer_groups.0.albert_layers.0"
# Our names of attributes by their names in a config.json. Old files may lack
# those that have defaults.
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
# The only values that `Albert` implements.
_FIXED = {
  "model_type": "albert",
  "num_hidden_groups": 1,
  "inner_group_num": 1,
  "position_embedding_type": "absolute",
}


def config_from_huggingface(mapping: Mapping[str, Any]) -> AlbertConfig:
  """Returns the config that a Hugging Face ``config.json`` describes.

  Args:
    mapping: The parsed file. Names that do not describe the architecture of an
      ALBERT are ignored.

  Returns:
    The config, with ``pooling="pooled"``.

  Raises:
    ValueError: If a size is missing, or the file describes something that
      `Albert` does not implement: several groups of layers, relative
      positions, other activations.

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


def params_from_huggingface(
  state_dict: Mapping[str, Any], config: AlbertConfig
) -> dict[str, Any]:
  """Converts the weights of transformers' ``Albert*`` classes to params.

  The encoder's names may have any prefix, such as ``albert.``. Heads of other
  tasks (masked words, sentence order, spans) are ignored. A sequence
  classifier's ``classifier`` becomes ``"head"``. PyTorch's linear weights are
  ``[out, in]`` and are transposed.

  Args:
    state_dict: Arrays by name, of any float dtype, as in
      ``model.safetensors``. It is not changed.
    config: The hyperparameters, such as `config_from_huggingface` reads. The
      file's pooler is required with ``pooling="pooled"``, and ignored
      otherwise.

  Returns:
    Nested dicts of float32 NumPy arrays: the params of `albert`, without
    ``"head"`` where the file has no classifier (see `graft_pretrained`).

  Raises:
    ValueError: If the names, shapes or dtypes do not fit, listing every one.

  Examples:
    >>> config = AlbertConfig(8, 1, 2, 16, vocab_size=9, pooling="cls")
    >>> params_from_huggingface({}, config)
    Traceback (most recent call last):
    ValueError: state_dict must hold one 'embeddings.word_embeddings.weight',
      under any prefix, got 0 among 0 names: [].
  """
  token, width = config.embedding_size, config.hidden_size
  inner = config.intermediate_size
  encoder = _huggingface.embeddings(config, token, config.max_positions)
  for theirs, ours, inputs, outputs in [
    ("embedding_hidden_mapping_in", "embedding_projection", token, width),
    (f"{_LAYER}.attention.query", "layer/query", width, width),
    (f"{_LAYER}.attention.key", "layer/key", width, width),
    (f"{_LAYER}.attention.value", "layer/value", width, width),
    (f"{_LAYER}.attention.dense", "layer/attention_output", width, width),
    (f"{_LAYER}.ffn", "layer/ffn", width, inner),
    (f"{_LAYER}.ffn_output", "layer/ffn_output", inner, width),
  ]:
    encoder |= _huggingface.linear(
      f"encoder.{theirs}", f"encoder/{ours}", inputs, outputs
    )
  for theirs, ours in [
    ("attention.LayerNorm", "attention_norm"),
    ("full_layer_layer_norm", "ffn_norm"),
  ]:
    encoder |= _huggingface.norm(
      f"encoder.{_LAYER}.{theirs}", f"encoder/layer/{ours}", width
    )
  return _huggingface.convert(
    state_dict, encoder, config, pooler="pooler", head="classifier"
  )


def _options_from_huggingface(mapping: Mapping[str, Any]) -> dict[str, Any]:
  return dataclasses.asdict(config_from_huggingface(mapping))


def _params_from_huggingface(
  state_dict: Mapping[str, Any], attributes: Mapping[str, Any]
) -> dict[str, Any]:
  names = [field.name for field in dataclasses.fields(AlbertConfig)]
  config = AlbertConfig(**{name: attributes[name] for name in names})
  return params_from_huggingface(state_dict, config)


MODELS = {
  f"albert_{size}": Architecture(
    Albert,
    reads="tokens",
    config=functools.partial(albert_config, size),
    free_options=_transformer.FREE_OPTIONS,
    hub_id=f"albert/albert-{size}-v2",
    huggingface=HuggingFaceFormat(
      model_type="albert",
      options=_options_from_huggingface,
      params=_params_from_huggingface,
      num_outputs=functools.partial(
        _huggingface.num_outputs, head="classifier"
      ),
      # The weights in a file fit every kind of pooling.
      undecided=frozenset({"pooling"}),
    ),
  )
  for size in ALBERT_SIZES
}
