"""ALBERT's params from the arrays of a Hugging Face checkpoint."""

from collections.abc import Mapping
from typing import Any

from lelp_jax.models import _huggingface
from lelp_jax.models.albert_config import AlbertConfig

_LAYER = "albert_layer_groups.0.albert_layers.0"


def params_from_huggingface(
  state_dict: Mapping[str, Any], config: AlbertConfig
) -> dict[str, Any]:
  """Converts the weights of transformers' ``Albert*`` classes to params.

  The encoder may stand under any prefix, such as ``albert.``; heads of other
  tasks (masked words, sentence order, spans) are ignored. A sequence
  classifier's ``classifier`` becomes ``"head"``. PyTorch's linear weights are
  ``[out, in]`` and get transposed.

  Args:
    state_dict: Arrays by name, of any float dtype, as in
      ``model.safetensors``. It is not changed.
    config: The hyperparameters, such as `config_from_huggingface` reads. The
      file's pooler is needed if ``pooling="pooled"``, and ignored otherwise.

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
