"""Golden values of the BERT family: tiny random models of transformers.

Writes `bert_*.npz` beside itself, each with a checkpoint as transformers saves
it (names, dtype, and `config.json`), inputs, and the outputs of the model in
evaluation mode, computed in float64. Needs the extra `reference`:

    python -m tests.goldens.transformers_bert
"""

import json
import pathlib

import numpy as np

from tests.goldens.transformers_albert import checkpoint
from tests.goldens.transformers_albert import inputs_of
from tests.goldens.transformers_albert import randomize

BERT = {
  "vocab_size": 20,
  "hidden_size": 12,
  "num_hidden_layers": 3,
  "num_attention_heads": 2,
  "intermediate_size": 16,
  "max_position_embeddings": 12,
}
DISTILBERT = {
  "vocab_size": 20,
  "dim": 12,
  "n_layers": 2,
  "n_heads": 3,
  "hidden_dim": 16,
  "max_position_embeddings": 8,
}
# Class of transformers, and its config. Dropout must play no part.
CASES = {
  "classifier": (
    "BertForSequenceClassification",
    {**BERT, "num_labels": 3, "type_vocab_size": 3, "layer_norm_eps": 1e-3},
  ),
  "one_logit": (
    "BertForSequenceClassification",
    {**BERT, "num_labels": 1, "num_hidden_layers": 1, "hidden_act": "relu"},
  ),
  "encoder": ("BertModel", {**BERT, "hidden_act": "gelu_new"}),
  "pretraining": ("BertForPreTraining", {**BERT, "num_hidden_layers": 1}),
  "distilbert_classifier": (
    "DistilBertForSequenceClassification",
    {**DISTILBERT, "num_labels": 4},
  ),
  "distilbert_encoder": ("DistilBertModel", {**DISTILBERT, "n_layers": 1}),
  "roberta_classifier": (
    "RobertaForSequenceClassification",
    {**BERT, "num_labels": 3, "type_vocab_size": 1, "pad_token_id": 1},
  ),
  "xlm_roberta_masked": (
    "XLMRobertaForMaskedLM",
    {**BERT, "num_hidden_layers": 1, "type_vocab_size": 1, "pad_token_id": 2},
  ),
}


def last_layer(model):
  """The classifier's last linear layer, None without a classifier."""
  import torch

  classifier = getattr(model, "classifier", None)
  found = [m for m in (classifier or model).modules()]
  linear = [m for m in found if isinstance(m, torch.nn.Linear)]
  return linear[-1] if classifier else None


def golden(class_name, sizes, seed):
  """All arrays of one case."""
  import torch
  import transformers

  rng = np.random.default_rng(seed)
  model_class = getattr(transformers, class_name)
  config = model_class.config_class(**sizes)
  config._attn_implementation = "eager"
  model = model_class(config).eval()
  randomize(model, rng)
  mapping, weights = checkpoint(model)
  arrays = {f"weights/{name}": array for name, array in weights.items()}
  arrays["config"] = np.array(json.dumps(mapping))
  # DistilBERT's config counts no token types, and its class takes none.
  typed = hasattr(config, "type_vocab_size")
  if not typed:
    config.type_vocab_size = 1
  inputs = inputs_of(config, rng)
  if not typed:
    del inputs["token_type_ids"]
  arrays |= {f"inputs/{name}": array for name, array in inputs.items()}

  model = model.double()
  inputs = {name: torch.tensor(array) for name, array in inputs.items()}
  ids = {"input_ids": inputs["input_ids"]}
  body = model.base_model
  arrays["hidden"] = body(**inputs).last_hidden_state
  mask = inputs["attention_mask"][:, :, None].double()
  arrays["mean"] = (arrays["hidden"] * mask).sum(1) / mask.sum(1)
  head = last_layer(model)
  if head is not None:
    embeddings = []
    head.register_forward_pre_hook(lambda _, args: embeddings.append(args[0]))
    arrays["logits"] = model(**inputs).logits
    arrays["logits_of_ids"] = model(**ids).logits
    arrays["embeddings"] = embeddings[0]
  if class_name == "BertForSequenceClassification" and config.num_labels == 3:
    # Cross entropy with labels 0, 2, 1, 2, averaged.
    torch.nn.functional.cross_entropy(
      arrays["logits"], torch.tensor([0, 2, 1, 2])
    ).backward()
    for name, parameter in model.named_parameters():
      arrays[f"gradients/{name}"] = parameter.grad
  return {
    name: array.detach().float().numpy() if torch.is_tensor(array) else array
    for name, array in arrays.items()
  }


def main():
  for seed, (case, (class_name, sizes)) in enumerate(CASES.items()):
    arrays = golden(class_name, sizes, seed)
    path = pathlib.Path(__file__).with_name(f"bert_{case}.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
  main()
