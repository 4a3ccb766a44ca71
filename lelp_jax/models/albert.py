"""ALBERT (Lan et al., 2020): one transformer layer, applied many times.

With h_0 a linear map of LN(word + position + token type), the shared layer is

    a = LN(h + dense(attention(h))),  h' = LN(a + ffn(a)),

and the embedding is tanh(W h[:, 0] + b) of the last h, or h[:, 0] itself.
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
  attention_implementation: _transformer.AttentionImplementation = None

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
    hidden, mask = AlbertEncoder(
      config,
      self.compute_dtype,
      self.remat,
      self.attention_implementation,
      name="encoder",
    )(inputs, train=train)
    x = hidden[:, 0]
    if config.pooling == "mean":
      x = _transformer.mean_over_tokens(hidden, mask)
    if config.pooling == "pooled":
      pooler = _transformer.dense(
        config, config.hidden_size, self.compute_dtype, "pooler"
      )
      x = jnp.tanh(pooler(x))
    x = nn.Dropout(config.classifier_dropout)(x, deterministic=not train)
    head = _transformer.dense(config, self.num_outputs, jnp.float32, "head")
    return x, head(x)


class AlbertEncoder(nn.Module):
  """Token embeddings and the shared layer: `Albert` below its pooling.

  Attributes: as those of `Albert`.
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
      The hidden states, ``[B, L, D]`` in ``compute_dtype``, and which of them
      belong to tokens, bool, ``[B, L]``, or None if all do.
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
    # A scan: one layer is compiled, whatever their number.
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
      # A file has the weights of every kind of pooling.
      undecided=frozenset({"pooling"}),
    ),
  )
  for size in ALBERT_SIZES
}
