"""An encoder without the tokens that a data set does not use."""

import json
import re

import numpy as np
import pytest
import tokenizers
from safetensors import numpy as safetensors

from experiments.data.dataset import Task
from experiments.data.prepared import write
from experiments.data.tokenizer import load_tokenizer
from experiments.data.tokenizer import Tokenization
from experiments.reduce_vocabulary import reduce_vocabulary
from tests.experiments import huggingface_files
from tests.experiments import processes
from tests.experiments.distillation import tiny_transformers

# The special pieces are not where BERT has them, and [UNK] is an ordinary one.
_PIECES = (
  *("plot", "[SEP]", "[UNK]", "films", "[PAD]", "[CLS]", "film", "##s", "f"),
  *("##i", "##l", "##m", "p", "##o", "##t", "##ot", "fi", "##lm", "cast", "☕"),
)
_SPECIAL = ("[PAD]", "[CLS]", "[SEP]")
_TEXTS = ("film plot", "plot", "Film café fi", "")
_TABLE = "embeddings.word_embeddings.weight"


def _write_tokenizer(path, model=None):
  model = model or tokenizers.models.WordPiece(
    {piece: number for number, piece in enumerate(_PIECES)}, unk_token="[UNK]"
  )
  pieces = tokenizers.Tokenizer(model)
  pieces.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
  pieces.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  pieces.post_processor = tokenizers.processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    special_tokens=[(x, pieces.token_to_id(x)) for x in ("[CLS]", "[SEP]")],
  )
  pieces.add_special_tokens(list(_SPECIAL))
  pieces.save(str(path))


def _write_encoder(folder, case="bert_encoder"):
  config, weights = huggingface_files.golden(case)
  huggingface_files.write(folder, weights, config)
  _write_tokenizer(folder / "tokenizer.json")
  return folder


def _write_data(folder, model):
  tokenizer = load_tokenizer(model)
  labels = [i % 2 for i in range(len(_TEXTS))]
  write(
    folder,
    Task("own", 2, class_names=("a", "b")),
    {},
    {
      "train": {"text": _TEXTS, "label": labels},
      "test": {"text": ["films cast"], "label": [0]},
    },
    Tokenization(tokenizer, max_length=8),
  )
  return folder


@pytest.fixture(name="model")
def fixture_model(tmp_path):
  return _write_encoder(tmp_path / "model")


@pytest.fixture(name="data")
def fixture_data(tmp_path, model):
  return _write_data(tmp_path / "data", model)


def _pieces(folder, text):
  tokenizer = load_tokenizer(folder)
  (row,) = tokenizer.encode([text], max_length=8)
  return [tokenizer.pieces.id_to_token(int(number)) for number in row]


def _read(folder):
  """Contents of config.json, and the arrays of the weights."""
  config = json.loads((folder / "config.json").read_text())
  return config, safetensors.load_file(folder / "model.safetensors")


@pytest.mark.parametrize("case", ["bert_encoder", "bert_distilbert_encoder"])
def test_training_texts_have_the_same_tokens_and_outputs(tmp_path, case):
  model = _write_encoder(tmp_path / "model", case)
  data = _write_data(tmp_path / "data", model)
  output = tmp_path / "new" / "reduced"
  # "films", "##ot", "##lm" and "cast" are of no training text.
  assert reduce_vocabulary(model, data, output) == (20, 16)
  for text in _TEXTS:
    assert _pieces(output, text) == _pieces(model, text)
  assert _pieces(output, _TEXTS[2]) == ["[CLS]", "film", "[UNK]", "fi", "[SEP]"]
  before, after = (
    tiny_transformers.outputs(folder, [*_TEXTS])[0]
    for folder in (model, output)
  )
  np.testing.assert_array_equal(after, before)


def test_other_texts_are_cut_into_smaller_pieces(tmp_path, model, data):
  reduce_vocabulary(model, data, tmp_path / "reduced")
  for text, before, after in (
    ("films", ["films"], ["film", "##s"]),
    ("fot", ["f", "##ot"], ["f", "##o", "##t"]),
    ("cast ☕", ["cast", "☕"], ["[UNK]", "☕"]),
  ):
    assert _pieces(model, text)[1:-1] == before
    assert _pieces(tmp_path / "reduced", text)[1:-1] == after


def test_special_tokens_and_the_config_have_the_new_ids(tmp_path, model, data):
  output = tmp_path / "reduced"
  reduce_vocabulary(model, data, output)
  tokenizer = load_tokenizer(output)
  kept = [x for x in _PIECES if x not in ("films", "##ot", "##lm", "cast")]
  ids = tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id
  assert ids == tuple(map(kept.index, _SPECIAL))
  assert tokenizer.vocab_size == 16
  (before, arrays), (after, reduced) = _read(model), _read(output)
  new = {"vocab_size": 16, "pad_token_id": kept.index("[PAD]")}
  assert after == before | new
  rows = [_PIECES.index(piece) for piece in kept]
  np.testing.assert_array_equal(reduced[_TABLE], arrays[_TABLE][rows])
  # The files are as readable as others.
  (tmp_path / "file").touch()
  modes = {
    path.stat().st_mode for path in (*output.iterdir(), tmp_path / "file")
  }
  assert len(modes) == 1
  assert output.stat().st_mode == model.stat().st_mode


def test_heads_that_predict_words_are_left_out(tmp_path):
  model = _write_encoder(tmp_path / "model", "bert_pretraining")
  data = _write_data(tmp_path / "data", model)
  reduce_vocabulary(model, data, tmp_path / "reduced")
  (_, before), (_, after) = _read(model), _read(tmp_path / "reduced")
  assert "cls.predictions.bias" in before
  assert {n for n in before if not n.startswith("cls.")} == after.keys()


def _refused(model, data, output, error, message):
  before = sorted(output.parent.rglob("*"))
  with pytest.raises(error, match=message) as caught:
    reduce_vocabulary(model, data, output)
  assert "\n" not in str(caught.value)
  assert sorted(output.parent.rglob("*")) == before


def test_wrong_arguments_are_named_and_nothing_is_written(
  tmp_path, model, data
):
  output = tmp_path / "reduced"
  _refused(model, data, data, FileExistsError, f"--output={data} exists")
  _refused(
    tmp_path / "x", data, output, FileNotFoundError, "--model=.*x is not"
  )
  _refused(model, tmp_path / "x", output, FileNotFoundError, "no prepared data")
  # The data have the tokens of another tokenizer.
  other = _write_encoder(tmp_path / "other")
  words = dict.fromkeys(_PIECES)
  model_of_words = tokenizers.models.WordLevel(
    {piece: number for number, piece in enumerate(words)}, unk_token="[UNK]"
  )
  _write_tokenizer(other / "tokenizer.json", model_of_words)
  message = f"--texts={data} was not .*--tokenizer={other}"
  _refused(other, data, output, ValueError, message)
  # These have its own, and it is not one of word pieces.
  data = _write_data(tmp_path / "other data", other)
  message = f"--model={other} has a tokenizer of type WordLevel"
  _refused(other, data, output, ValueError, message)


def test_arrays_that_do_not_fit_are_named(tmp_path, model, data):
  output, path = tmp_path / "reduced", model / "model.safetensors"
  weights = safetensors.load_file(path)
  short = weights | {_TABLE: weights[_TABLE][:17]}
  safetensors.save_file(short, path)
  message = f"--model={model} has embeddings of 17 tokens.* the token 19"
  _refused(model, data, output, ValueError, message)
  del weights[_TABLE]
  safetensors.save_file(weights, path)
  message = f"--model={model} must have one array .*{re.escape('got []')}"
  _refused(model, data, output, ValueError, message)


def test_the_command_says_how_many_tokens_are_left(tmp_path, model, data):
  flags = (
    f"--model={model}",
    f"--texts={data}",
    f"--output={tmp_path / 'reduced'}",
  )
  done = processes.command("reduce_vocabulary", *flags)
  assert "has 16 of the 20 tokens" in done.stdout
  error = processes.refused("reduce_vocabulary", *flags)
  assert error.startswith(f"--output={tmp_path / 'reduced'} exists")
