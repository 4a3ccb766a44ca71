"""Folders of tiny models of transformers, with weights from the goldens."""

import json
import pathlib

import jax
import numpy as np
from safetensors import numpy as safetensors

from experiments.data.tokenizer import load_tokenizer
from lelp_jax.models import from_huggingface
from tests.experiments import huggingface_files

_WORDS = "film plot cast dull grim poor fine warm wise good bad ok".split()
_SPECIAL = {
  "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
  "roberta": ("<s>", "<pad>", "</s>", "<unk>"),
}


def write_model(folder: pathlib.Path, case: str, **changes) -> pathlib.Path:
  """Writes config.json, model.safetensors and tokenizer.json.

  Args:
    folder: A new folder.
    case: Name of the goldens, such as "bert_classifier".
    **changes: Fields of the config that differ.
  """
  config, weights = huggingface_files.golden(case)
  huggingface_files.write(folder, weights, config | changes)
  names = _SPECIAL["roberta" if "roberta" in case else "bert"]
  unknown = next(name for name in names if "unk" in name.lower())
  huggingface_files.write_tokenizer(
    folder / "tokenizer.json", (*names, *_WORDS), unknown
  )
  return folder


def balance(folder: pathlib.Path, examples: list[str]) -> None:
  """Gives a classifier a head that predicts each class on some texts."""
  embeddings, _ = outputs(folder, examples)
  weights = safetensors.load_file(folder / "model.safetensors")
  name = next(
    x for x in ("classifier", "classifier.out_proj") if f"{x}.bias" in weights
  )
  rng = np.random.default_rng(0)
  kernel = rng.standard_normal(weights[f"{name}.weight"].shape)
  kernel = kernel.astype(np.float32)
  weights[f"{name}.weight"] = kernel
  weights[f"{name}.bias"] = -kernel @ embeddings.mean(axis=0)
  safetensors.save_file(weights, folder / "model.safetensors")


def texts(num_texts: int, seed: int = 0) -> list[str]:
  """Returns different texts of one to five words."""
  rng = np.random.default_rng(seed)
  found: dict[str, None] = {}
  while len(found) < num_texts:
    words = rng.choice(_WORDS, rng.integers(1, 6))
    found[" ".join(words)] = None
  return list(found)


def outputs(
  folder: pathlib.Path, examples: list[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns embeddings and logits of texts, computed one by one."""
  config = json.loads((folder / "config.json").read_text())
  weights = safetensors.load_file(folder / "model.safetensors")
  model, params, state = from_huggingface(config, weights)
  tokenizer = load_tokenizer(folder)
  apply = jax.jit(model.apply)
  found = [
    apply(params, state, {"input_ids": row[None].astype(np.int32)})[0]
    for row in tokenizer.encode(examples, max_length=8)
  ]
  return (
    np.concatenate([x.embeddings for x in found]),
    np.concatenate([x.logits for x in found]),
  )
