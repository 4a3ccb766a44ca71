"""Parts of transformer encoders that ALBERT and the BERT family share.

With h_0 the LayerNorm of word + position + token type embeddings, a layer is

    a = LN(h + dense(attention(h))),  h' = LN(a + ffn(a)),

as in Vaswani et al. (2017) with the normalization after the residual.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import ClassVar
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from lelp_jax import _checks
from lelp_jax.models import _norm

ACTIVATIONS = ("gelu", "gelu_new", "relu")
POOLINGS = ("pooled", "cls", "mean")
# Options of an encoder that its weights do not depend on.
FREE_OPTIONS = frozenset(
  {
    "compute_dtype",
    "remat",
    "attention_implementation",
    "hidden_dropout",
    "attention_dropout",
    "classifier_dropout",
    "initializer_range",
  }
)
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

AttentionImplementation = Literal["xla", "cudnn"] | None


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """Hyperparameters of a text encoder with a classifier.

  Attributes:
    hidden_size: Width of the layers, and the embedding's ``D``.
    num_layers: Number of layers.
    num_heads: Number of attention heads, a divisor of ``hidden_size``.
    intermediate_size: Width inside the feed-forward network.
    vocab_size: Number of tokens in the vocabulary.
    max_positions: Largest number of tokens per text.
    type_vocab_size: Number of token types; 0 for a model without them, which
      ignores ``"token_type_ids"``.
    activation: ``"gelu"`` (by the error function), ``"gelu_new"`` (its tanh
      form) or ``"relu"``.
    hidden_dropout: Dropout rate after the token embeddings, after attention
      and after the feed-forward network.
    attention_dropout: Dropout rate of the attention weights.
    classifier_dropout: Dropout rate in front of the head.
    layer_norm_epsilon: Added to each variance.
    initializer_range: Standard deviation of the initial kernels.
    pooling: How a text's embedding is computed from the last hidden states:
      ``"cls"`` is the state of the first token, ``"pooled"`` applies a linear
      layer and an activation to that state, and ``"mean"`` is the mean over all
      tokens that are not padding.

  Raises:
    TypeError: If a size is not an integer.
    ValueError: If a value is out of its range.
  """

  hidden_size: int
  num_layers: int
  num_heads: int
  intermediate_size: int
  vocab_size: int = 30_522
  max_positions: int = 512
  type_vocab_size: int = 2
  activation: str = "gelu"
  hidden_dropout: float = 0.1
  attention_dropout: float = 0.1
  classifier_dropout: float = 0.1
  layer_norm_epsilon: float = 1e-12
  initializer_range: float = 0.02
  pooling: str = "pooled"

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int:
        least = 0 if field.name == "type_vocab_size" else 1
        _checks.check_at_least(field.name, value, least)
      elif field.name.endswith("_dropout") and not 0 <= value < 1:
        raise ValueError(f"{field.name} must lie in [0, 1), got {value}.")
    _checks.positive("layer_norm_epsilon", self.layer_norm_epsilon, jnp.float32)
    _checks.positive("initializer_range", self.initializer_range, jnp.float32)
    _checks.check_option("activation", self.activation, ACTIVATIONS)
    _checks.check_option("pooling", self.pooling, POOLINGS)
    if self.hidden_size % self.num_heads:
      raise ValueError(
        f"hidden_size must be a multiple of num_heads, "
        f"got {self.hidden_size} and {self.num_heads}."
      )


class TransformerLayer(nn.Module):
  """Self-attention and a feed-forward network, each with a residual.

  Attributes:
    config: The hyperparameters.
    train: Whether dropout is on.
    attention_implementation: As in `jax.nn.dot_product_attention`: None for
      JAX's choice, ``"xla"``, or ``"cudnn"``, the fused attention of NVIDIA's
      GPUs (bfloat16, rows of even length). No fused attention has dropout:
      where attention dropout is on, the weights are computed explicitly.
  """

  config: TransformerConfig
  train: bool
  attention_implementation: AttentionImplementation = None

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Computes the next hidden states.

    Args:
      x: Hidden states, float, shape ``[B, L, D]``.
      mask: True for tokens and False for padding, shape ``[B, L]``; None if
        there is no padding.

    Returns:
      The hidden states, in the dtype of ``x``.
    """
    config = self.config
    dropout = nn.Dropout(config.hidden_dropout, deterministic=not self.train)
    width, dtype = config.hidden_size, x.dtype
    y = self._attention(x, mask)
    y = dropout(dense(config, width, dtype, "attention_output")(y))
    x = _norm.layer_norm(x + y, config.layer_norm_epsilon, "attention_norm")
    y = dense(config, config.intermediate_size, dtype, "ffn")(x)
    y = dense(config, width, dtype, "ffn_output")(_activate(config, y))
    return _norm.layer_norm(
      x + dropout(y), config.layer_norm_epsilon, "ffn_norm"
    )

  def _attention(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Computes multi-head self-attention, ``[B, L, D]``."""
    config = self.config
    batch, length, width = x.shape
    heads = (batch, length, config.num_heads, width // config.num_heads)
    query, key, value = (
      dense(config, width, x.dtype, name)(x).reshape(heads)
      for name in ("query", "key", "value")
    )
    if mask is not None:  # cuDNN rejects a query axis of size 1.
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


class Embedding(nn.Embed):
  """A table of embeddings that gives NaN for ids out of range.

  Flax would count negative ids from the end, and would return the only row of a
  table of one row for every id.
  """

  def __call__(self, inputs: jax.Array) -> jax.Array:
    # Narrow integers could not hold the number of rows.
    ids = inputs if inputs.dtype.itemsize >= 4 else inputs.astype(jnp.int32)
    ids = jnp.where(ids < 0, self.num_embeddings, ids)
    return jnp.take(
      self.embedding, ids, axis=0, mode="fill", fill_value=jnp.nan
    )


def dense(
  config: TransformerConfig, width: int, dtype: Any, name: str
) -> nn.Dense:
  """Returns a linear layer with the initializer of an encoder."""
  init = nn.initializers.normal(config.initializer_range)
  return nn.Dense(width, dtype=dtype, kernel_init=init, name=name)


def embed_tokens(
  config: TransformerConfig,
  ids: jax.Array,
  types: jax.Array,
  positions: jax.Array,
  *,
  width: int,
  num_positions: int,
  train: bool,
) -> jax.Array:
  """Returns the normalized sum of a token's three embeddings.

  Args:
    config: The hyperparameters.
    ids: Token ids, int, shape ``[B, L]``.
    types: Token types, int, shape ``[B, L]``.
    positions: Row of each token in the table of positions, int, shape
      ``[B, L]`` or ``[1, L]``.
    width: Width of the tables.
    num_positions: Number of rows of the table of positions.
    train: Whether dropout is on.

  Returns:
    The embeddings, float32, shape ``[B, L, width]``.
  """
  init = nn.initializers.normal(config.initializer_range)

  def table(rows: int, name: str) -> Embedding:
    return Embedding(rows, width, embedding_init=init, name=name)

  # Compute in float32 up to the LayerNorm: it costs little here, and the scale
  # of all hidden states depends on it.
  x = table(config.vocab_size, "word_embeddings")(ids)
  if config.type_vocab_size:
    x += table(config.type_vocab_size, "token_type_embeddings")(types)
  x += table(num_positions, "position_embeddings")(positions)
  x = _norm.layer_norm(x, config.layer_norm_epsilon, "embedding_norm")
  return nn.Dropout(config.hidden_dropout)(x, deterministic=not train)


def mean_over_tokens(hidden: jax.Array, mask: jax.Array | None) -> jax.Array:
  """Returns the mean of each text's hidden states, ``[B, D]``.

  Args:
    hidden: The hidden states, float, shape ``[B, L, D]``.
    mask: As for `TransformerLayer`. The mean of a text without tokens is 0.
  """
  if mask is None:
    mask = jnp.ones(hidden.shape[:2], bool)
  weights = mask.astype(jnp.float32)
  total = jnp.sum(hidden.astype(jnp.float32) * weights[:, :, None], axis=1)
  count = jnp.maximum(jnp.sum(weights, axis=1), 1)
  return (total / count[:, None]).astype(hidden.dtype)


class Classifier(nn.Module):
  """A text classifier: an encoder, pooling, dropout and a linear head.

  Subclasses set ``encoder_class``. The encoder is called with the inputs, and
  returns the last hidden states and a mask of those that belong to tokens.

  Attributes:
    num_outputs: Number of logits ``n``.
    config: The hyperparameters.
    compute_dtype: Dtype of the layers. LayerNorm and the softmax of the
      attention are computed in float32; params and head are float32.
    remat: Whether the backward pass recomputes each layer from its input,
      which saves memory for about a third more computation.
    attention_implementation: As in `TransformerLayer`.
  """

  num_outputs: int
  config: Any
  compute_dtype: Any = jnp.float32
  remat: bool = False
  attention_implementation: AttentionImplementation = None

  encoder_class: ClassVar[Callable[..., nn.Module]]

  def pooler_activation(self, x: jax.Array) -> jax.Array:
    """Applies the activation of ``pooling="pooled"``."""
    return jnp.tanh(x)

  @nn.compact
  def __call__(
    self, inputs: Mapping[str, jax.Array], *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Computes embeddings and logits.

    Args:
      inputs: ``"input_ids"`` and, optionally, ``"attention_mask"`` (positive
        for tokens, 0 for padding; all tokens if absent) and
        ``"token_type_ids"`` (0 if absent), each int, shape ``[B, L]``. Ids
        out of range give NaN under a trace.
      train: Whether dropout is on; it then draws from the stream
        ``"dropout"``.

    Returns:
      The embeddings, ``[B, D]`` in ``compute_dtype``, after the classifier's
      dropout in training, and the logits, ``[B, n]``, float32.

    Raises:
      TypeError: If an input does not hold integers.
      ValueError: If an input is missing, unknown, of another shape, too long
        or out of range.
    """
    config = self.config
    encoder = type(self).encoder_class(
      config,
      self.compute_dtype,
      self.remat,
      self.attention_implementation,
      name="encoder",
    )
    hidden, mask = encoder(inputs, train=train)
    x = hidden[:, 0]
    if config.pooling == "mean":
      x = mean_over_tokens(hidden, mask)
    if config.pooling == "pooled":
      pooler = dense(config, config.hidden_size, self.compute_dtype, "pooler")
      x = self.pooler_activation(pooler(x))
    x = nn.Dropout(config.classifier_dropout)(x, deterministic=not train)
    head = dense(config, self.num_outputs, jnp.float32, "head")
    return x, head(x)


def check_inputs(
  inputs: Mapping[str, jax.Array],
  *,
  vocab_size: int,
  max_positions: int | None = None,
  type_vocab_size: int = 0,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
  """Checks a batch of texts and returns its parts.

  Args:
    inputs: ``"input_ids"`` and, optionally, ``"attention_mask"`` and
      ``"token_type_ids"``, each int, shape ``[B, L]``.
    vocab_size: Number of tokens in the vocabulary.
    max_positions: Largest number of tokens per text, None without a limit.
    type_vocab_size: Number of token types; 0 for a model that ignores them.

  Returns:
    The ids; a mask of those that are tokens, bool, or None without
    ``"attention_mask"``; and the types, 0 if they are not given.

  Raises:
    TypeError: If an input does not hold integers.
    ValueError: If an input is missing, unknown, of another shape, too long
      or out of range.
  """
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
  length = ids.shape[1]
  if max_positions is not None and not 1 <= length <= max_positions:
    raise ValueError(
      f"Rows must hold 1 to {max_positions} tokens (max_positions), "
      f"got {length}: truncate them."
    )
  types = inputs.get("token_type_ids", jnp.zeros_like(ids))
  _checks.check_labels("input_ids", ids, vocab_size)
  if type_vocab_size:
    _checks.check_labels("token_type_ids", types, type_vocab_size)
  mask = inputs.get("attention_mask")
  return ids, None if mask is None else mask > 0, types


def _activate(config: TransformerConfig, x: jax.Array) -> jax.Array:
  if config.activation == "relu":
    return nn.relu(x)
  return nn.gelu(x, approximate=config.activation == "gelu_new")
