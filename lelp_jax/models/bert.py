"""BERT and its relatives: DistilBERT, RoBERTa and XLM-R.

Devlin et al. (2019); Sanh et al. (2019); Liu et al. (2019); Conneau et al.
(2020). MiniLM and TinyBERT are BERTs of other sizes. All apply a stack of
`TransformerLayer`, each with its own parameters, to normalized token
embeddings. The members of the family differ in a few attributes of
`BertConfig`:

* BERT has two token types. The position of a token is its column, and the
  activation of the pooler is tanh.
* DistilBERT has no token types, and the activation of its pooler is ReLU.
* RoBERTa and XLM-R have one token type. Positions count tokens, not padding.

Note:
  In training, the transformers library also applies dropout in front of
  RoBERTa's pooling layer, and none after DistilBERT's attention. Here all
  models have BERT's dropout.
"""

import dataclasses
import functools
import re
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


@dataclasses.dataclass(frozen=True)
class BertConfig(_transformer.TransformerConfig):
  """Hyperparameters of a BERT, a DistilBERT or a RoBERTa.

  Attributes: those of `TransformerConfig` and

    pooler_activation: ``"tanh"`` or ``"relu"``, after the linear layer of
      ``pooling="pooled"``.
    padding_id: Id of the padding token in a RoBERTa, in which positions count
      tokens but not padding, from ``padding_id + 1``. None if a token's
      position is its column.

  Raises:
    TypeError: If a size is not an integer.
    ValueError: If a value is out of its range.
  """

  pooler_activation: str = "tanh"
  padding_id: int | None = None

  def __post_init__(self) -> None:
    super().__post_init__()
    _checks.check_option(
      "pooler_activation", self.pooler_activation, ("tanh", "relu")
    )
    if self.padding_id is not None:
      _checks.check_at_least("padding_id", self.padding_id, 0)


def bert(config: BertConfig, num_outputs: int, **options: Any) -> ModelFns:
  """Makes a classifier of the BERT family, as pure functions.

  In training, its embeddings are the head's inputs, after dropout.

  Args:
    config: The hyperparameters.
    num_outputs: Number of logits ``n``.
    **options: Other attributes of `Bert`: ``compute_dtype``, ``remat``,
      ``attention_implementation``.

  Returns:
    The model; its inputs are those of `Bert`.

  Raises:
    TypeError: If there is no such option, or ``num_outputs`` is not an
      integer.
    ValueError: If ``num_outputs`` is less than one.

  Examples:
    >>> model = bert(BertConfig(8, 1, 2, 16, vocab_size=9), 3)
    >>> inputs = {"input_ids": jnp.array([[2, 7, 3], [2, 3, 0]]),
    ...           "attention_mask": jnp.array([[1, 1, 1], [1, 1, 0]])}
    >>> params, state = jax.jit(model.init)(jax.random.key(0), inputs)
    >>> outputs, state = jax.jit(model.apply)(params, state, inputs)
    >>> outputs.embeddings.shape, outputs.logits.shape
    ((2, 8), (2, 3))

    A member of the family by name, with two layers only:

    >>> from lelp_jax.models import MODELS
    >>> model = MODELS["roberta"](2, num_layers=2, compute_dtype=jnp.bfloat16)
    >>> params, _ = jax.eval_shape(model.init, jax.random.key(0), inputs)
    >>> [name for name in params["encoder"] if name.startswith("layer")]
    ['layer_0', 'layer_1']
  """
  _checks.check_at_least("num_outputs", num_outputs, 1)
  return from_linen(Bert(num_outputs, config, **options), head="head")


class BertEncoder(nn.Module):
  """Token embeddings and the layers: `Bert` below its pooling.

  Attributes: those of `Bert` without ``num_outputs``.
  """

  config: BertConfig
  compute_dtype: Any = jnp.float32
  remat: bool = False
  attention_implementation: _transformer.AttentionImplementation = None

  @nn.compact
  def __call__(
    self, inputs: Mapping[str, jax.Array], *, train: bool = False
  ) -> tuple[jax.Array, jax.Array | None]:
    """Computes the last hidden states.

    Args:
      inputs: As those of `Bert`.
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
    if config.padding_id is None:
      positions = jnp.arange(ids.shape[1])[None]
    else:
      counts = (ids != config.padding_id).astype(jnp.int32)
      positions = jnp.cumsum(counts, axis=1) * counts + config.padding_id
    x = _transformer.embed_tokens(
      config,
      ids,
      types,
      positions,
      width=config.hidden_size,
      num_positions=config.max_positions + _first_position(config),
      train=train,
    ).astype(self.compute_dtype)
    layer = _transformer.TransformerLayer
    layer = nn.remat(layer) if self.remat else layer
    for i in range(config.num_layers):
      x = layer(
        config, train, self.attention_implementation, name=f"layer_{i}"
      )(x, mask)
    return x, mask


class Bert(_transformer.Classifier):
  """An encoder of the BERT family with pooling, dropout and a linear head.

  Attributes: those of `Classifier`.
  """

  encoder_class = BertEncoder

  def pooler_activation(self, x: jax.Array) -> jax.Array:
    """Applies the activation of ``pooling="pooled"``."""
    is_relu = self.config.pooler_activation == "relu"
    return nn.relu(x) if is_relu else jnp.tanh(x)


def _first_position(config: BertConfig) -> int:
  """Returns the first token's row in the table of positions."""
  return 0 if config.padding_id is None else config.padding_id + 1


# --- The families -------------------------------------------------------------

# Our names of linear layers and LayerNorms by their names in a file's layer.
_BERT_LAYER = {
  "attention.self.query": "query",
  "attention.self.key": "key",
  "attention.self.value": "value",
  "attention.output.dense": "attention_output",
  "attention.output.LayerNorm": "attention_norm",
  "intermediate.dense": "ffn",
  "output.dense": "ffn_output",
  "output.LayerNorm": "ffn_norm",
}
_DISTILBERT_LAYER = {
  "attention.q_lin": "query",
  "attention.k_lin": "key",
  "attention.v_lin": "value",
  "attention.out_lin": "attention_output",
  "sa_layer_norm": "attention_norm",
  "ffn.lin1": "ffn",
  "ffn.lin2": "ffn_output",
  "output_layer_norm": "ffn_norm",
}
# Our names of attributes by their names in a config.json, which may lack those
# that have defaults.
_BERT_OPTIONS = {
  "hidden_size": "hidden_size",
  "num_hidden_layers": "num_layers",
  "num_attention_heads": "num_heads",
  "intermediate_size": "intermediate_size",
  "vocab_size": "vocab_size",
  "max_position_embeddings": "max_positions",
  "type_vocab_size": "type_vocab_size",
  "hidden_act": "activation",
  "hidden_dropout_prob": "hidden_dropout",
  "attention_probs_dropout_prob": "attention_dropout",
  "classifier_dropout": "classifier_dropout",
  "layer_norm_eps": "layer_norm_epsilon",
  "initializer_range": "initializer_range",
}
_DISTILBERT_OPTIONS = {
  "dim": "hidden_size",
  "n_layers": "num_layers",
  "n_heads": "num_heads",
  "hidden_dim": "intermediate_size",
  "vocab_size": "vocab_size",
  "max_position_embeddings": "max_positions",
  "activation": "activation",
  "dropout": "hidden_dropout",
  "attention_dropout": "attention_dropout",
  "seq_classif_dropout": "classifier_dropout",
  "initializer_range": "initializer_range",
}
_REQUIRED = 5  # The first options of both families, which are the sizes.
# The only values that `Bert` implements.
_FIXED = {
  "position_embedding_type": "absolute",
  "is_decoder": False,
  "add_cross_attention": False,
}


@dataclasses.dataclass(frozen=True)
class _Family:
  """A member of the family: its base size and its names in transformers' files.

  Attributes:
    base: Config of its published base size.
    hub_id: Id of the published weights on the Hugging Face hub.
    options: Our names of attributes by their names in a config.json.
    layers: Name of the list of layers.
    layer: Our names by the names inside a layer.
    pooler: Name of the linear layer of ``pooling="pooled"``.
    head: Name of the last linear layer.
    ignored: Arrays with names that start with these are left out.
  """

  base: BertConfig
  hub_id: str
  options: Mapping[str, str]
  layers: str
  layer: Mapping[str, str]
  pooler: str
  head: str
  ignored: tuple[str, ...] = ()


_BERT = _Family(
  base=BertConfig(768, 12, 12, 3072),
  hub_id="google-bert/bert-base-uncased",
  options=_BERT_OPTIONS,
  layers="encoder.layer",
  layer=_BERT_LAYER,
  pooler="pooler.dense",
  head="classifier",
)
_ROBERTA = dataclasses.replace(
  _BERT,
  base=BertConfig(
    768,
    12,
    12,
    3072,
    vocab_size=50_265,
    type_vocab_size=1,
    layer_norm_epsilon=1e-5,
    padding_id=1,
  ),
  hub_id="FacebookAI/roberta-base",
  pooler="classifier.dense",
  head="classifier.out_proj",
  ignored=("pooler.",),
)
_FAMILIES = {
  "bert": _BERT,
  "distilbert": _Family(
    base=BertConfig(
      768,
      6,
      12,
      3072,
      type_vocab_size=0,
      classifier_dropout=0.2,
      pooler_activation="relu",
    ),
    hub_id="distilbert/distilbert-base-uncased",
    options=_DISTILBERT_OPTIONS,
    layers="transformer.layer",
    layer=_DISTILBERT_LAYER,
    pooler="pre_classifier",
    head="classifier",
  ),
  "roberta": _ROBERTA,
  "xlm-roberta": dataclasses.replace(
    _ROBERTA,
    base=dataclasses.replace(_ROBERTA.base, vocab_size=250_002),
    hub_id="FacebookAI/xlm-roberta-base",
  ),
}


def config_from_huggingface(mapping: Mapping[str, Any]) -> BertConfig:
  """Reads the hyperparameters in a Hugging Face ``config.json``.

  Args:
    mapping: The parsed file. Names that do not shape the model are ignored.

  Returns:
    The config, with ``pooling="pooled"``.

  Raises:
    ValueError: If ``"model_type"`` is not of the family, a size is missing, or
      the file describes a decoder, relative positions or another activation.

  Examples:
    >>> config = config_from_huggingface({
    ...   "model_type": "distilbert", "vocab_size": 50, "dim": 8, "n_layers": 2,
    ...   "n_heads": 2, "hidden_dim": 16})
    >>> config.num_layers, config.pooler_activation, config.type_vocab_size
    (2, 'relu', 0)
  """
  model_type = str(mapping.get("model_type"))
  _checks.check_option("model_type", model_type, tuple(_FAMILIES))
  family = _FAMILIES[model_type]
  for name, value in _FIXED.items():
    if mapping.get(name, value) != value:
      raise ValueError(f"{name} must be {value!r}, got {mapping[name]!r}.")
  missing = [n for n in [*family.options][:_REQUIRED] if n not in mapping]
  if missing:
    raise ValueError(
      f"A config.json with model_type {model_type!r} must hold {missing}."
    )
  # Fields that the file does not set have the defaults of transformers, which
  # are those of BertConfig and not the values of the published model.
  values = {
    ours: mapping[theirs]
    for theirs, ours in family.options.items()
    if mapping.get(theirs) is not None
  }
  if model_type == "distilbert":
    values.setdefault("classifier_dropout", 0.2)
    values |= {"type_vocab_size": 0, "pooler_activation": "relu"}
  elif "hidden_dropout" in values:
    values.setdefault("classifier_dropout", values["hidden_dropout"])
  if family.base.padding_id is not None:
    padding_id = mapping.get("pad_token_id", family.base.padding_id)
    rows = values.get("max_positions", BertConfig.max_positions)
    values |= {
      "padding_id": padding_id,
      "max_positions": rows - padding_id - 1,
    }
  return BertConfig(**values)


def params_from_huggingface(
  state_dict: Mapping[str, Any], config: BertConfig, *, model_type: str
) -> dict[str, Any]:
  """Converts the weights of transformers' BERT and related classes to params.

  The encoder's names may have any prefix, such as ``bert.``. Heads of other
  tasks (masked words, spans) are ignored. The last layer of a sequence
  classifier becomes ``"head"``. Layers beyond ``config.num_layers`` are left
  out, so that a student can start from the first layers of a larger model.

  Args:
    state_dict: Arrays by name, of any float dtype, as in
      ``model.safetensors``. It is not changed.
    config: The hyperparameters, such as `config_from_huggingface` reads. The
      file's pooling layer is required with ``pooling="pooled"``, and ignored
      otherwise.
    model_type: ``"bert"``, ``"distilbert"``, ``"roberta"`` or
      ``"xlm-roberta"``.

  Returns:
    Nested dicts of float32 NumPy arrays: the params of `bert`, without
    ``"head"`` where the file has no classifier (see `graft_pretrained`).

  Raises:
    ValueError: If the file has too few layers, or if the names, shapes or
      dtypes do not fit, listing every one.

  Examples:
    >>> config = BertConfig(8, 1, 2, 16, vocab_size=9)
    >>> params_from_huggingface({}, config, model_type="bert")
    Traceback (most recent call last):
    ValueError: state_dict must hold one 'embeddings.word_embeddings.weight',
      under any prefix, got 0 among 0 names: [].
  """
  _checks.check_option("model_type", model_type, tuple(_FAMILIES))
  family = _FAMILIES[model_type]
  layers = _num_layers(family, state_dict)
  if config.num_layers > layers:
    raise ValueError(
      f"num_layers is {config.num_layers}, and the weights have {layers} "
      f"layers: set num_layers to at most {layers}."
    )
  width, inner = config.hidden_size, config.intermediate_size
  widths = {"ffn": (width, inner), "ffn_output": (inner, width)}
  encoder = _huggingface.embeddings(
    config, width, config.max_positions + _first_position(config)
  )
  for i in range(config.num_layers):
    for theirs, ours in family.layer.items():
      names = f"{family.layers}.{i}.{theirs}", f"encoder/layer_{i}/{ours}"
      if ours.endswith("_norm"):
        encoder |= _huggingface.norm(*names, width)
      else:
        encoder |= _huggingface.linear(
          *names, *widths.get(ours, (width, width))
        )
  further = range(config.num_layers, layers)
  return _huggingface.convert(
    state_dict,
    encoder,
    config,
    pooler=family.pooler,
    head=family.head,
    ignored=(*family.ignored, *(f"{family.layers}.{i}." for i in further)),
  )


def _num_layers(family: _Family, state_dict: Mapping[str, Any]) -> int:
  """Returns the number of layers in a file."""
  pattern = re.compile(rf"{re.escape(family.layers)}\.(\d+)\.")
  found = map(pattern.match, _huggingface.inner_names(state_dict))
  return max((int(match[1]) + 1 for match in found if match), default=0)


def _format(model_type: str) -> HuggingFaceFormat:
  """Returns the `HuggingFaceFormat` of a member of the family."""

  def options(mapping: Mapping[str, Any]) -> dict[str, Any]:
    given = mapping.get("model_type", model_type)
    _checks.check_option("model_type", given, (model_type,))
    config = config_from_huggingface({**mapping, "model_type": model_type})
    return dataclasses.asdict(config)

  def params(
    state_dict: Mapping[str, Any], attributes: Mapping[str, Any]
  ) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(BertConfig)]
    config = BertConfig(**{name: attributes[name] for name in names})
    return params_from_huggingface(state_dict, config, model_type=model_type)

  return HuggingFaceFormat(
    model_type=model_type,
    options=options,
    params=params,
    num_outputs=functools.partial(
      _huggingface.num_outputs, head=_FAMILIES[model_type].head
    ),
    # The weights in a file fit every kind of pooling and fewer layers.
    undecided=frozenset({"pooling", "num_layers"}),
  )


MODELS = {
  model_type.replace("-", "_"): Architecture(
    Bert,
    reads="tokens",
    config=functools.partial(dataclasses.replace, family.base),
    free_options=_transformer.FREE_OPTIONS,
    hub_id=family.hub_id,
    huggingface=_format(model_type),
  )
  for model_type, family in _FAMILIES.items()
}
