r"""Removes the tokens that a data set does not use from a pretrained encoder.

  python -m experiments.reduce_vocabulary --model=MINILM \
    --texts=data/clinc_parity --output=minilm_clinc

A data set of short queries uses few of BERT's 30,522 word pieces: CLINC150 uses
a quarter of them, and Banking77 a seventh. With the reduced vocabulary, a
student that averages token embeddings shrinks by about the same factor. It also
trains several times as fast on a CPU, where most of the work is Adam's updates
of unused rows.

Training texts are split into the same word pieces as before, and the encoder
has the same outputs on them. All pieces of one character are kept, so a word of
another text whose piece is missing is split into smaller pieces.

`--texts` is a data set that `experiments.prepare` wrote with the tokenizer of
the model. Prepare it again with `--tokenizer=minilm_clinc` afterwards.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags

from experiments import cli
from experiments.data.prepared import open_prepared
from experiments.data.tokenizer import load_tokenizer
from experiments.data.tokenizer import Tokenizer
from experiments.io import json_files
from experiments.io import safetensors_files
from experiments.io.folders import new_folder

_MODEL = flags.DEFINE_string(
  "model",
  None,
  "Folder of an encoder of transformers: config.json, model.safetensors and a "
  "tokenizer.json of word pieces.",
  required=True,
)
_TEXTS = flags.DEFINE_string(
  "texts", None, "Folder of a prepared data set.", required=True
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "New folder for the reduced encoder.",
  required=True,
  allow_override=True,  # A process may import two commands, as tests do.
)
flags.adopt_module_key_flags(cli)
_TABLE = "embeddings.word_embeddings.weight"
_HEADS = ("cls.", "vocab_")  # Of BERT and DistilBERT, which predict words.


def main() -> None:
  """Reduces the encoder that the flags name."""
  with cli.reported():
    model, output = pathlib.Path(_MODEL.value), pathlib.Path(_OUTPUT.value)
    before, after = reduce_vocabulary(model, pathlib.Path(_TEXTS.value), output)
    print(f"{output} has {after:,} of the {before:,} tokens of {model}.")


def reduce_vocabulary(
  model: pathlib.Path, texts: pathlib.Path, output: pathlib.Path
) -> tuple[int, int]:
  """Writes a model without the tokens that a training split does not use.

  Args:
    model: Folder of the model.
    texts: Folder of the prepared data set.
    output: New folder.

  Returns:
    The numbers of tokens before and after.

  Raises:
    FileExistsError: If the output exists.
    FileNotFoundError: If the model or the data set does not exist.
    ValueError: If the data were prepared with another tokenizer, if the
      tokenizer does not use word pieces, or if the arrays do not fit it.
  """
  if output.exists():
    raise FileExistsError(f"--output={output} exists: name a new folder.")
  if not model.is_dir():
    raise FileNotFoundError(f"--model={model} is not a folder.")
  tokenizer, data = load_tokenizer(model), open_prepared(texts)
  if data.tokenizer != tokenizer.digest:
    raise ValueError(
      f"--texts={texts} was not prepared with the tokenizer of --model="
      f"{model}: run experiments.prepare with --tokenizer={model}."
    )
  rules = json.loads(tokenizer.pieces.to_str())
  if rules["model"]["type"] != "WordPiece":
    raise ValueError(
      f"--model={model} has a tokenizer of type {rules['model']['type']}, but "
      "only word pieces (BERT, DistilBERT, MiniLM) can be reduced."
    )
  kept = _kept(tokenizer, rules, data.splits["train"]["inputs"].values)
  arrays = _with_rows(safetensors_files.read(model), kept, model)
  config = json_files.read_json(model / "config.json")
  config["vocab_size"] = len(kept)
  config["pad_token_id"] = int(np.searchsorted(kept, tokenizer.pad_id))
  with new_folder(output) as scratch:
    safetensors_files.write(scratch, arrays)
    json_files.write_json(scratch / "config.json", config)
    json_files.write_json(scratch / "tokenizer.json", _renumbered(rules, kept))
  return tokenizer.vocab_size, len(kept)


def _kept(
  tokenizer: Tokenizer, rules: dict[str, Any], used: np.ndarray
) -> np.ndarray:
  """Returns the token ids to keep, in ascending order."""
  vocabulary = rules["model"]["vocab"]
  prefix = rules["model"]["continuing_subword_prefix"]
  special = [tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id]
  special += [token["id"] for token in rules["added_tokens"]]
  special.append(vocabulary[rules["model"]["unk_token"]])
  characters = [
    number
    for piece, number in vocabulary.items()
    if len(piece.removeprefix(prefix)) == 1
  ]
  return np.unique(np.concatenate([np.unique(used), special, characters]))


def _with_rows(
  arrays: Mapping[str, np.ndarray], kept: np.ndarray, model: pathlib.Path
) -> dict[str, np.ndarray]:
  """Returns a model's arrays with only the `kept` rows of token embeddings.

  Heads that predict words are left out.
  """
  tables = [name for name in arrays if name.endswith(_TABLE)]
  if len(tables) != 1:
    raise ValueError(
      f"--model={model} must have one array {_TABLE!r}, got {tables}."
    )
  table = arrays[tables[0]]
  if len(table) <= kept[-1]:
    raise ValueError(
      f"--model={model} has embeddings of {len(table):,} tokens, but its "
      f"tokenizer has the token {kept[-1]:,}."
    )
  body = {k: v for k, v in arrays.items() if not k.startswith(_HEADS)}
  return body | {tables[0]: np.ascontiguousarray(table[kept])}


def _renumbered(rules: dict[str, Any], kept: np.ndarray) -> dict[str, Any]:
  """Returns the contents of tokenizer.json with only the `kept` pieces."""
  new = {int(old): number for number, old in enumerate(kept)}
  vocabulary = {
    piece: new[number]
    for piece, number in rules["model"]["vocab"].items()
    if number in new
  }
  added = [token | {"id": new[token["id"]]} for token in rules["added_tokens"]]
  return {
    **rules,
    "added_tokens": added,
    # The post-processor has the old ids, and `load_tokenizer` does not need it:
    # it finds [CLS] and [SEP] by their names.
    "post_processor": None,
    "model": {**rules["model"], "vocab": vocabulary},
  }


if __name__ == "__main__":
  cli.run(main)
