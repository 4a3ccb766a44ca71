"""Folders of models as transformers saves them, from the goldens."""

import json
import pathlib

import numpy as np
import tokenizers
from safetensors import numpy as safetensors

_GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"


def golden(name):
  """Config and weights, by name, of a tiny model of transformers."""
  with np.load(_GOLDENS / f"{name}.npz") as file:
    arrays = dict(file)
  weights = {
    name.removeprefix("weights/"): array
    for name, array in arrays.items()
    if name.startswith("weights/")
  }
  return json.loads(str(arrays["config"])), weights


def write(folder, weights, config):
  folder.mkdir(exist_ok=True)
  safetensors.save_file(weights, folder / "model.safetensors")
  (folder / "config.json").write_text(json.dumps(config))
  return folder


def write_tokenizer(path, pieces, unknown="[UNK]"):
  """Writes a tokenizer of whole words."""
  vocabulary = {piece: number for number, piece in enumerate(pieces)}
  made = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocabulary, unk_token=unknown)
  )
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.save(str(path))
  return path
