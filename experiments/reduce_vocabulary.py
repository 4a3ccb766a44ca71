r"""Removes the tokens that a data set does not use from a pretrained encoder.

  python -m experiments.reduce_vocabulary --model=MINILM \
    --texts=data/clinc_parity --output=minilm_clinc

Of BERT's 30,522 word pieces a data set of short queries uses a sixth. Without
the others a student that averages token embeddings is a sixth as large, and
trains several times as fast on a CPU, where Adam's updates of unused rows are
most of the work.

The training texts have the same tokens as before, and the encoder gives them
the same outputs. All pieces of one character are kept, so that other texts are
cut into smaller pieces where one of their pieces is missing.

`--texts` is a data set that `experiments.prepare` wrote with the tokenizer of
the model. Prepare it again with `--tokenizer=minilm_clinc` afterwards.
"""

import json
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np
from absl import flags

from experiments import cli
from experiments.data.prepared import open_prepared
from experiments.data.tokenizer import load_tokenizer
from experiments.io import json_files
from experiments.io import safetensors_files

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
  "output", None, "New folder for the reduced encoder.", required=True
)
flags.adopt_module_key_flags(cli)
_TABLE = "embeddings.word_embeddings.weight"


def main(argv: list[str]) -> None:
  """Reduces the encoder that the flags name."""
  cli.no_arguments(argv)
  with cli.reported():
    model, output = pathlib.Path(_MODEL.value), pathlib.Path(_OUTPUT.value)
    before, after = reduce_vocabulary(model, pathlib.Path(_TEXTS.value), output)
    print(f"{output} has {after:,} of the {before:,} tokens of {model}.")


def reduce_vocabulary(
  model: pathlib.Path, texts: pathlib.Path, output: pathlib.Path
) -> tuple[int, int]:
  """Writes a model without the tokens that a data set's training split lacks.

  Args:
    model: Folder of the model.
    texts: Folder of the prepared data set.
    output: New folder.

  Returns:
    The numbers of tokens before and after.

  Raises:
    FileExistsError: If the output exists.
    FileNotFoundError: If the model or the data set does not exist.
    ValueError: If the data were prepared with another tokenizer, or this is not
      one of word pieces.
  """
  if output.exists():
    raise FileExistsError(f"--output={output} exists: name a new folder.")
  tokenizer, data = load_tokenizer(model), open_prepared(texts)
  if data.tokenizer != tokenizer.digest:
    raise ValueError(
      f"--texts={texts} was not prepared with the tokenizer of --model="
      f"{model}: run experiments.prepare with --tokenizer={model}."
    )
  rules = json.loads(tokenizer.pieces.to_str())
  if rules["model"]["type"] != "WordPiece":
    raise ValueError(
      f"--model={model} has a tokenizer of type {rules['model']['type']}, and "
      "only word pieces (BERT, DistilBERT, MiniLM) can be reduced."
    )
  kept = _kept(rules, data.splits["train"]["inputs"].values)
  arrays = safetensors_files.read(model)
  tables = [name for name in arrays if name.endswith(_TABLE)]
  if len(tables) != 1:
    raise ValueError(
      f"--model={model} must have one array {_TABLE!r}, got {tables}."
    )
  arrays[tables[0]] = np.ascontiguousarray(arrays[tables[0]][kept])
  config = json_files.read_json(model / "config.json")
  config["vocab_size"] = len(kept)
  config["pad_token_id"] = int(np.searchsorted(kept, tokenizer.pad_id))
  output.parent.mkdir(parents=True, exist_ok=True)
  scratch = pathlib.Path(tempfile.mkdtemp(dir=output.parent, prefix=".reduced"))
  try:
    safetensors_files.write(scratch, arrays)
    json_files.write_json(scratch / "config.json", config)
    json_files.write_json(scratch / "tokenizer.json", _renumbered(rules, kept))
    scratch.replace(output)
  finally:
    shutil.rmtree(scratch, ignore_errors=True)
  return tokenizer.vocab_size, len(kept)


def _kept(rules: dict[str, Any], used: np.ndarray) -> np.ndarray:
  """Returns the ids to keep, ascending."""
  special = [token["id"] for token in rules["added_tokens"]]
  prefix = rules["model"]["continuing_subword_prefix"]
  characters = [
    number
    for piece, number in rules["model"]["vocab"].items()
    if len(piece.removeprefix(prefix)) == 1
  ]
  return np.unique(np.concatenate([np.unique(used), special, characters]))


def _renumbered(rules: dict[str, Any], kept: np.ndarray) -> dict[str, Any]:
  """Returns the rules of a tokenizer that has only some of its pieces."""
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
    "post_processor": None,  # [CLS] and [SEP] are added by their names.
    "model": {**rules["model"], "vocab": vocabulary},
  }


if __name__ == "__main__":
  cli.run(main)
