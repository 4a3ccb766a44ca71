"""Golden values of ALBERT: tiny random models of transformers.

Writes `albert_*.npz` beside itself, each with a checkpoint as transformers
saves it (names, dtype, and `config.json`), inputs, and what the model makes of
them in evaluation mode, computed in float64. Needs the extra `reference`:

    python -m tests.goldens.transformers_albert
"""

import json
import pathlib
import tempfile

import numpy as np

SIZES = {
  "vocab_size": 20,
  "embedding_size": 6,
  "hidden_size": 16,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "intermediate_size": 20,
  "max_position_embeddings": 8,
}
# Class, and what differs from SIZES. Dropout must play no part.
CASES = {
  "model": ("AlbertModel", {"hidden_dropout_prob": 0.1}),
  "classifier": (
    "AlbertForSequenceClassification",
    {
      "hidden_size": 12,
      "embedding_size": 16,
      "num_attention_heads": 2,
      "num_hidden_layers": 3,
      "hidden_act": "gelu",
      "type_vocab_size": 3,
      "layer_norm_eps": 1e-3,
      "num_labels": 3,
      "attention_probs_dropout_prob": 0.1,
    },
  ),
  "pretraining": (
    "AlbertForPreTraining",
    {"num_attention_heads": 1, "hidden_act": "relu", "intermediate_size": 8},
  ),
  "masked": ("AlbertForMaskedLM", {"hidden_size": 8, "num_hidden_layers": 5}),
}


def inputs_of(config, rng):
  """Rows of lengths 7, 4, 1, one with a hole, with token types."""
  shape = (4, 7)
  mask = np.arange(7)[None] < np.array([7, 4, 1, 6])[:, None]
  mask[3, 2] = False
  return {
    "input_ids": rng.integers(0, config.vocab_size, shape),
    "attention_mask": mask.astype(np.int64),
    "token_type_ids": rng.integers(0, config.type_vocab_size, shape),
  }


def randomize(model, rng):
  """Large weights: the initial ones hide much. Round ones: they compress."""
  import torch

  for name, parameter in sorted(model.named_parameters()):
    values = np.round(rng.normal(size=parameter.shape) * 26) / 64
    if name.endswith("LayerNorm.weight") or "layer_norm.weight" in name:
      values += 1
    parameter.data = torch.tensor(values, dtype=torch.float32)
  model.tie_weights()


def checkpoint(model):
  """The contents of `save_pretrained`: arrays by name, and the config."""
  from safetensors.numpy import load_file

  with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    weights = load_file(pathlib.Path(folder, "model.safetensors"))
    config = json.loads(pathlib.Path(folder, "config.json").read_text())
  return config, weights


def golden(class_name, sizes, seed):
  """All arrays of one case."""
  import torch
  import transformers

  rng = np.random.default_rng(seed)
  config = transformers.AlbertConfig(**{**SIZES, **sizes})
  config._attn_implementation = "eager"
  model = getattr(transformers, class_name)(config).eval()
  randomize(model, rng)
  mapping, weights = checkpoint(model)
  arrays = {f"weights/{name}": array for name, array in weights.items()}
  arrays["config"] = np.array(json.dumps(mapping))
  inputs = inputs_of(config, rng)
  arrays |= {f"inputs/{name}": array for name, array in inputs.items()}
  model = model.double()
  inputs = {name: torch.tensor(array) for name, array in inputs.items()}
  body = getattr(model, "albert", model)
  outputs = body(**inputs)
  arrays["hidden"] = outputs.last_hidden_state
  if outputs.pooler_output is not None:
    arrays["pooled"] = outputs.pooler_output
    arrays["pooled_of_ids"] = body(inputs["input_ids"]).pooler_output
  if class_name == "AlbertForSequenceClassification":
    arrays["logits"] = model(**inputs).logits
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
    path = pathlib.Path(__file__).with_name(f"albert_{case}.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
  main()
