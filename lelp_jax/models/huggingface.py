"""Models from a config.json and arrays that Hugging Face transformers saved."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lelp_jax.models.architecture import Architecture
from lelp_jax.models.interface import ModelFns
from lelp_jax.models.registry import MODELS


def from_huggingface(
  config: Mapping[str, Any],
  state_dict: Mapping[str, Any],
  *,
  num_outputs: int | None = None,
  **options: Any,
) -> tuple[ModelFns, dict[str, Any], dict[str, Any]]:
  """Makes a model from a pretrained sequence classifier or encoder.

  Its embeddings are the inputs of the classifier's last linear layer, and its
  logits are those of transformers. A classifier with one logit (a sigmoid)
  keeps one output.

  An encoder without a classifier, such as one of sentence-transformers, gets
  ``pooling="mean"`` and a head of zeros, and has to be fine-tuned before it is
  a teacher. Its embeddings are the means of the last hidden states, and its
  logits are zero until the head is trained.

  Args:
    config: The parsed ``config.json`` of an ALBERT, BERT (also MiniLM and
      TinyBERT), DistilBERT, RoBERTa or XLM-R.
    state_dict: Arrays by name, as in ``model.safetensors``.
    num_outputs: Number of logits ``n``. By default, that of the classifier or,
      without a classifier, the number of labels in ``config``. A classifier
      with another number of outputs is replaced by a head of zeros.
    **options: Options of the architecture that differ from the file's, such as
      ``compute_dtype``, ``pooling`` or, to use the first layers of any model
      but an ALBERT, ``num_layers``.

  Returns:
    The model, its params and its (empty) state.

  Raises:
    TypeError: If there is no such option.
    ValueError: If the model type is not supported, or the config or the arrays
      do not fit it.

  Examples:
    >>> from_huggingface({"model_type": "t5"}, {})
    Traceback (most recent call last):
    ValueError: config["model_type"] must be one of ['albert', 'bert',
      'distilbert', 'roberta', 'xlm-roberta'], got 't5'.
  """
  architecture = _architecture(config)
  form = architecture.huggingface
  assert form is not None
  saved = form.num_outputs(state_dict)
  if saved is None:
    options = {"pooling": "mean", **options}
  options = {**form.options(config), **options}
  params = form.params(state_dict, architecture.attributes(**options))
  if num_outputs is None:
    num_outputs = _num_labels(config) if saved is None else saved
  model = architecture(num_outputs, **options)
  if saved != num_outputs:
    inputs = architecture.input_shapes(1, (1,))
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0), inputs)
    head = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes["head"])
    params = {**params, "head": head}
  return model, jax.tree.map(jnp.asarray, params), {}


def _architecture(config: Mapping[str, Any]) -> Architecture:
  """Returns an architecture of the config's model type, of any size."""
  readable = {
    architecture.huggingface.model_type: architecture
    for architecture in MODELS.values()
    if architecture.huggingface is not None
  }
  model_type = config.get("model_type")
  if model_type not in readable:
    raise ValueError(
      f'config["model_type"] must be one of {sorted(readable)}, '
      f"got {model_type!r}."
    )
  return readable[model_type]


def _num_labels(config: Mapping[str, Any]) -> int:
  """Returns the number of labels that a config declares: 2 by default."""
  return len(config.get("id2label") or ()) or config.get("num_labels", 2)
