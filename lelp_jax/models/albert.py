"""ALBERT (Lan et al., 2020): one transformer layer, applied many times.

With h_0 a linear map of LN(word + position + token type), the shared layer is

    a = LN(h + dense(attention(h))),  h' = LN(a + ffn(a)),

and the embedding is tanh(W h[:, 0] + b) of the last h, or h[:, 0] itself.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from lelp_jax import _checks
from lelp_jax.models import _norm
from lelp_jax.models.albert_config import albert_config
from lelp_jax.models.albert_config import ALBERT_SIZES
from lelp_jax.models.albert_config import AlbertConfig
from lelp_jax.models.albert_config import config_from_huggingface
from lelp_jax.models.albert_weights import params_from_huggingface
from lelp_jax.models.architecture import Architecture
from lelp_jax.models.architecture import HuggingFaceFormat
from lelp_jax.models.interface import from_linen
from lelp_jax.models.interface import ModelFns

__all__ = [
  "ALBERT_SIZES",
  "AlbertConfig",
  "albert_config",
  "albert",
  "Albert",
  "AlbertEncoder",
  "config_from_huggingface",
  "params_from_huggingface",
]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def albert(config: AlbertConfig, num_outputs: int, **options: Any) -> ModelFns:
  """An ALBERT classifier as pure functions.

  In training its embeddings are the head's input after the classifier's
  dropout.

  Args:
    config: The architecture.
    num_outputs: Number of logits ``n``.
    **options: Other attributes of `Albert`: ``compute_dtype``, ``remat``,
      ``attention_implementation``.

  Returns:
    The model; its inputs are those of `Albert`.

  Raises:
    TypeError: If there is no such option, or ``num_outputs`` is no integer.
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


class Albert(nn.Module):
  """An ALBERT encoder, its pooling, dropout, a linear head.

  Attributes:
    num_outputs: Number of logits ``n``.
    config: The architecture.
    compute_dtype: Dtype of the layers. LayerNorm and the softmax of the
      attention are computed in float32; params and head are float32.
    remat: Whether the backward pass recomputes each layer from its input,
      which saves memory for about a third more computation.
    attention_implementation: As in `jax.nn.dot_product_attention`: None for
      JAX's choice, ``"xla"``, or ``"cudnn"``, the fused one of NVIDIA's GPUs
      (bfloat16, rows of even length). No fused one has dropout: where
      attention dropout is on, the weights are computed explicitly.
  """

  num_outputs: int
  config: AlbertConfig
  compute_dtype: Any = jnp.float32
  remat: bool = False
  attention_implementation: Literal["xla", "cudnn"] | None = None

  @nn.compact
  def __call__(
    self, inputs: Mapping[str, jax.Array], *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Computes embeddings and logits.

    Args:
      inputs: ``"input_ids"`` and, if wanted, ``"attention_mask"`` (positive
        for tokens, 0 for padding; all tokens if absent) and
        ``"token_type_ids"`` (0 if absent), each int, shape ``[B, L]``. Ids
        out of range give NaN under a trace.
      train: Whether dropout is on; it then draws from the stream
        ``"dropout"``.

    Returns:
      The embeddings, ``[B, D]`` in ``compute_dtype``, in training after the
      classifier's dropout, and the logits, ``[B, n]``, float32.

    Raises:
      TypeError: If an input does not hold integers.
      ValueError: If an input is missing, unknown, of another shape, too long
        or out of range.
    """
    config = self.config
    hidden = AlbertEncoder(
      config,
      self.compute_dtype,
      self.remat,
      self.attention_implementation,
      name="encoder",
    )(inputs, train=train)
    x = hidden[:, 0]
    if config.pooling == "pooled":
      pooler = _dense(config, config.hidden_size, self.compute_dtype, "pooler")
      x = jnp.tanh(pooler(x))
    x = nn.Dropout(config.classifier_dropout)(x, deterministic=not train)
    logits = _dense(config, self.num_outputs, jnp.float32, "head")(x)
    return x, logits


class AlbertEncoder(nn.Module):
  """Token embeddings and the shared layer: `Albert` below its pooling.

  Attributes: as those of `Albert`.
  """

  config: AlbertConfig
  compute_dtype: Any = jnp.float32
  remat: bool = False
  attention_implementation: Literal["xla", "cudnn"] | None = None

  @nn.compact
  def __call__(
    self, inputs: Mapping[str, jax.Array], *, train: bool = False
  ) -> jax.Array:
    """Computes the last hidden states.

    Args:
      inputs: As those of `Albert`.
      train: Whether dropout is on.

    Returns:
      The hidden states, ``[B, L, D]`` in ``compute_dtype``.
    """
    config = self.config
    ids, mask, types = _check_inputs(inputs, config)
    # Float32 up to the LayerNorm: narrow, and the scale of all that follows.
    x = _embed(config, config.vocab_size, "word_embeddings")(ids)
    x += _embed(config, config.type_vocab_size, "token_type_embeddings")(types)
    positions = jnp.arange(ids.shape[1])[None]
    x += _embed(config, config.max_positions, "position_embeddings")(positions)
    x = _norm.layer_norm(x, config.layer_norm_epsilon, "embedding_norm")
    x = nn.Dropout(config.hidden_dropout)(x, deterministic=not train)
    x = _dense(
      config, config.hidden_size, self.compute_dtype, "embedding_projection"
    )(x)
    # A scan: one layer is compiled, whatever their number.
    layer = nn.remat(_Layer, prevent_cse=False) if self.remat else _Layer
    layers = nn.scan(
      layer,
      variable_broadcast="params",
      split_rngs={"params": False, "dropout": True},
      in_axes=nn.broadcast,
      length=config.num_layers,
    )
    x, _ = layers(config, train, self.attention_implementation, name="layer")(
      x, mask
    )
    return x


class _Layer(nn.Module):
  """The shared layer, as the body of a scan. Its dtype is that of `x`."""

  config: AlbertConfig
  train: bool
  attention_implementation: Literal["xla", "cudnn"] | None

  @nn.compact
  def __call__(
    self, x: jax.Array, mask: jax.Array | None
  ) -> tuple[jax.Array, None]:
    config = self.config
    dropout = nn.Dropout(config.hidden_dropout, deterministic=not self.train)
    width, dtype = config.hidden_size, x.dtype
    y = self.attention(x, mask)
    y = dropout(_dense(config, width, dtype, "attention_output")(y))
    x = _norm.layer_norm(x + y, config.layer_norm_epsilon, "attention_norm")
    y = _dense(config, config.intermediate_size, dtype, "ffn")(x)
    y = _dense(config, width, dtype, "ffn_output")(_activate(config, y))
    # As in google-research/albert; transformers drops nothing here.
    return _norm.layer_norm(
      x + dropout(y), config.layer_norm_epsilon, "ffn_norm"
    ), None

  def attention(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Multi-head attention of each row to itself, ``[B, L, D]``."""
    config = self.config
    batch, length, width = x.shape
    heads = (batch, length, config.num_heads, width // config.num_heads)
    query, key, value = (
      _dense(config, width, x.dtype, name)(x).reshape(heads)
      for name in ("query", "key", "value")
    )
    if mask is not None:  # cuDNN takes no axis of size one for the queries.
      mask = jnp.broadcast_to(
        mask[:, None, None, :], (batch, 1, length, length)
      )
    # Both implementations rely on implicit promotion of narrow dtypes.
    with jax.numpy_dtype_promotion("standard"):
      if self.train and config.attention_dropout:
        y = nn.dot_product_attention(
          query,
          key,
          value,
          mask=mask,
          dropout_rng=self.make_rng("dropout"),
          dropout_rate=config.attention_dropout,
          broadcast_dropout=False,
          force_fp32_for_softmax=True,
        )
      else:
        y = jax.nn.dot_product_attention(
          query,
          key,
          value,
          mask=mask,
          implementation=self.attention_implementation,
        )
    return y.reshape(x.shape)


def _dense(config: AlbertConfig, width: int, dtype: Any, name: str) -> nn.Dense:
  init = nn.initializers.normal(config.initializer_range)
  return nn.Dense(width, dtype=dtype, kernel_init=init, name=name)


def _embed(config: AlbertConfig, rows: int, name: str) -> "_Embedding":
  init = nn.initializers.normal(config.initializer_range)
  return _Embedding(rows, config.embedding_size, embedding_init=init, name=name)


class _Embedding(nn.Embed):
  """A table of embeddings that gives NaN for ids out of range.

  Flax counts negative ids from the end, and has one row for every id if there
  is only one.
  """

  def __call__(self, inputs: jax.Array) -> jax.Array:
    # Narrow integers could not hold the number of rows.
    ids = inputs if inputs.dtype.itemsize >= 4 else inputs.astype(jnp.int32)
    ids = jnp.where(ids < 0, self.num_embeddings, ids)
    return jnp.take(
      self.embedding, ids, axis=0, mode="fill", fill_value=jnp.nan
    )


def _activate(config: AlbertConfig, x: jax.Array) -> jax.Array:
  if config.activation == "relu":
    return nn.relu(x)
  return nn.gelu(x, approximate=config.activation == "gelu_new")


def _check_inputs(
  inputs: Mapping[str, jax.Array], config: AlbertConfig
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
  """Ids ``[B, L]``, which of them are tokens (None: all), and their types."""
  if not isinstance(inputs, Mapping) or not (
    {"input_ids"} <= inputs.keys() <= {*_INPUTS}
  ):
    given = [*inputs] if isinstance(inputs, Mapping) else type(inputs).__name__
    raise ValueError(
      f"inputs must be a dict of 'input_ids' and at most {_INPUTS[1:]}, "
      f"got {given}."
    )
  ids = inputs["input_ids"]
  for name, array in inputs.items():
    _checks.check_rank(name, array, 2, "[B, L]")
    _checks.check_integer(name, array)
    if array.shape != ids.shape:
      raise ValueError(
        f"{name} must have the shape of input_ids, {ids.shape}, "
        f"got {array.shape}."
      )
  if not 1 <= ids.shape[1] <= config.max_positions:
    raise ValueError(
      f"Rows must hold 1 to {config.max_positions} tokens (max_positions), "
      f"got {ids.shape[1]}: truncate them."
    )
  types = inputs.get("token_type_ids", jnp.zeros_like(ids))
  _checks.check_labels("input_ids", ids, config.vocab_size)
  _checks.check_labels("token_type_ids", types, config.type_vocab_size)
  mask = inputs.get("attention_mask")
  return ids, None if mask is None else mask > 0, types


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
    free_options=frozenset(
      {
        "compute_dtype",
        "remat",
        "attention_implementation",
        "hidden_dropout",
        "attention_dropout",
        "classifier_dropout",
        "initializer_range",
      }
    ),
    hub_id=f"albert/albert-{size}-v2",
    huggingface=HuggingFaceFormat(
      model_type="albert",
      options=_options_from_huggingface,
      params=_params_from_huggingface,
      # A file has the weights of both kinds of pooling.
      undecided=frozenset({"pooling"}),
    ),
  )
  for size in ALBERT_SIZES
}
