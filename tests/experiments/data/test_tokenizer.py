"""Tokenizers: the ids of transformers and of Google's code, and every error."""

import hashlib
import json
import os
import pathlib
import pickle
import sys

import huggingface_hub
import hypothesis
import numpy as np
import pytest
import tokenizers
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from experiments.data import tokenizer as tokenizer_lib
from experiments.data.tokenizer import load_tokenizer

_FOLDER = pathlib.Path(__file__).parents[2] / "goldens"
_GOLDENS = json.loads((_FOLDER / "tokenizer_ids.json").read_text())
_SPECIAL = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
# [CLS] and [SEP] are not where ALBERT has them.
_VOCABULARY = (
  ("<unk>", 0.0, _UNKNOWN),
  ("[SEP]", 0.0, _CONTROL),
  ("<pad>", 0.0, _CONTROL),
  ("[CLS]", 0.0, _CONTROL),
  ("-", 0.0, _USER_DEFINED),
  ("▁", -3.0, _NORMAL),
  ("▁a", -1.0, _NORMAL),
  ("a", -2.0, _NORMAL),
  ("b", -2.0, _NORMAL),
  ('"', -2.0, _NORMAL),
  ("9", -4.0, _NORMAL),
  (",", -4.0, _NORMAL),
  ("9,", -1.0, _NORMAL),
)


def _model(vocabulary=_VOCABULARY, model_type=1) -> bytes:
  """A SentencePiece model file."""
  model = sentencepiece_model_pb2.ModelProto()
  model.trainer_spec.model_type = model_type
  for name, score, kind in vocabulary:
    model.pieces.add(piece=name, score=score, type=kind)
  return model.SerializeToString()


def _without(*names: str) -> bytes:
  return _model([piece for piece in _VOCABULARY if piece[0] not in names])


@pytest.fixture
def model(tmp_path) -> pathlib.Path:
  file = tmp_path / "spiece.model"
  file.write_bytes(_model())
  return file


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tokenizer_lib.Tokenizer:
  file = tmp_path_factory.mktemp("tokenizer") / "spiece.model"
  file.write_bytes(_model())
  return load_tokenizer(file)


def _pieces(tokenizer, text: str, max_length: int = 99) -> list[str]:
  (row,) = tokenizer.encode([text], max_length=max_length)
  names = [tokenizer.pieces.id_to_token(int(i)) for i in row]
  assert (names[0], names[-1]) == ("[CLS]", "[SEP]")
  return names[1:-1]


@pytest.fixture(scope="module")
def albert() -> tokenizer_lib.Tokenizer:
  folder = os.environ.get("LELP_DATA")
  if not folder:
    pytest.skip("LELP_DATA names no folder of real data")
  name = "albert_vocab/albert_30k_clean_rebuilt.model"
  return load_tokenizer(pathlib.Path(folder, name))


@pytest.mark.parametrize("form", ["spiece.model", "tokenizer.json"])
def test_ids_equal_those_of_transformers_and_sentencepiece(
  albert, tmp_path, form
):
  if form == "tokenizer.json":
    albert.pieces.save(str(tmp_path / form))
    albert = load_tokenizer(tmp_path)
  # SentencePiece reads special pieces that a text spells out as text.
  plain = [g for g in _GOLDENS if not any(p in g["text"] for p in _SPECIAL)]
  assert len(plain) == len(_GOLDENS) - 2
  rows = albert.encode([g["text"] for g in _GOLDENS], max_length=512)
  for row, golden in zip(rows, _GOLDENS, strict=True):
    assert row.tolist() == golden["transformers"], golden["text"]
    if golden in plain:
      assert row.tolist() == golden["sentencepiece"], golden["text"]


def test_ids_are_looked_up(small):
  tokenizer = small
  assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id) == (3, 1, 2)
  assert tokenizer.vocab_size == len(_VOCABULARY)
  rows = tokenizer.encode(["ab", ""], max_length=8)
  assert [row.tolist() for row in rows] == [[3, 6, 8, 1], [3, 1]]
  assert {row.dtype for row in rows} == {np.dtype(np.uint16)}


@pytest.mark.parametrize(
  ("text", "pieces"),
  [
    ("A á\t a\n\na", ["▁a"] * 4),
    ("a``b''", ["▁a", '"', "b", '"']),
    # A user-defined piece starts no word.
    ("a-a", ["▁a", "-", "a"]),
    ("a9,9", ["▁a", "9", ",", "9"]),
    ("ax?b", ["▁a", "<unk>", "b"]),
    ("a[SEP]", ["▁a", "[SEP]"]),
  ],
)
def test_pieces_are_those_of_albert(small, text, pieces):
  assert _pieces(small, text) == pieces


@hypothesis.given(st.lists(st.text()), st.integers(3, 12))
def test_rows_are_the_start_of_the_whole_row(small, texts, max_length):
  whole = small.encode(texts, max_length=10**6)
  rows = small.encode(texts, max_length=max_length)
  assert len(rows) == len(texts)
  for row, full in zip(rows, whole, strict=True):
    assert (row[0], row[-1]) == (3, 1)
    assert len(row) == min(len(full), max_length)
    np.testing.assert_array_equal(row[:-1], full[: len(row) - 1])


def test_rows_keep_their_order_over_batches(small, monkeypatch):
  texts = ["a" * n for n in range(7)]
  expected = small.encode(texts, max_length=9)
  monkeypatch.setattr(tokenizer_lib, "_BATCH", 3)
  rows = small.encode(texts, max_length=9)
  for row, other in zip(rows, expected, strict=True):
    np.testing.assert_array_equal(row, other)


@pytest.mark.parametrize(
  ("size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.int32)]
)
def test_ids_fit_their_dtype(tmp_path, size, dtype):
  names = ["<pad>", "[CLS]", "[SEP]", "<unk>"]
  names += [f"w{i}" for i in range(size - len(names) - 1)]
  words = {name: i for i, name in enumerate([*names, "last"])}
  pieces = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "<unk>"))
  pieces.save(str(tmp_path / "tokenizer.json"))
  (row,) = load_tokenizer(tmp_path).encode(["last"], max_length=3)
  assert row.dtype == dtype
  assert row.tolist() == [1, size - 1, 2]


def test_tokenizer_json_is_read_without_its_own_lengths(model, tmp_path):
  pieces = load_tokenizer(model).pieces
  pieces.enable_truncation(2)
  pieces.enable_padding(length=9)
  file = tmp_path / "tokenizer.json"
  pieces.save(str(file))
  tokenizer = load_tokenizer(tmp_path)  # Both files are in it.
  assert tokenizer.digest == hashlib.sha256(file.read_bytes()).hexdigest()
  assert _pieces(tokenizer, "ab-b") == ["▁a", "b", "-", "b"]


def test_tokenizers_travel_to_other_processes(model):
  tokenizer = load_tokenizer(model)
  other = pickle.loads(pickle.dumps(tokenizer))
  assert other == tokenizer
  assert _pieces(other, "aab") == _pieces(tokenizer, "aab")
  assert tokenizer.digest == hashlib.sha256(model.read_bytes()).hexdigest()


@pytest.mark.parametrize(
  ("name", "data", "message"),
  [
    ("spiece.model", _without("[CLS]"), r"no piece \[CLS\]"),
    ("spiece.model", _without("<pad>"), r"no piece <pad> or \[PAD\]"),
    ("spiece.model", _without("<unk>"), "SentencePiece model"),
    ("spiece.model", _model(model_type=2), "unigram"),
    ("spiece.model", _model()[:-7], "SentencePiece model"),
    ("tokenizer.json", b"{", "tokenizer.json"),
    ("tokenizer.json", b"\xff", "tokenizer.json"),
  ],
)
def test_a_file_that_will_not_do_is_named(tmp_path, name, data, message):
  file = tmp_path / name
  file.write_bytes(data)
  with pytest.raises(ValueError, match=message) as raised:
    load_tokenizer(tmp_path)
  assert str(file) in str(raised.value)
  assert "\n" not in str(raised.value)


def test_a_missing_package_is_named(model, monkeypatch):
  for package in ("sentencepiece", "tokenizers"):
    with monkeypatch.context() as patch:
      patch.setitem(sys.modules, package, None)
      with pytest.raises(ValueError, match=rf"{package}: .*\[text\]"):
        load_tokenizer(model)


def test_a_length_without_room_for_a_piece_is_refused(small):
  with pytest.raises(ValueError, match=r"max_length .* got 2"):
    small.encode(["a"], max_length=2)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
  with pytest.raises(
    FileNotFoundError, match=r"tokenizer\.json, spiece\.model"
  ):
    load_tokenizer(tmp_path)


def test_the_hub_is_asked_for_files_of_tokenizers_and_no_more(
  model, monkeypatch
):
  asked = []

  def download(repository, **arguments):
    asked.append((repository, arguments))
    return str(model.parent)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  assert load_tokenizer("an/albert@v2").vocab_size == len(_VOCABULARY)
  names = ["tokenizer.json", "spiece.model", "vocab.txt"]
  files = {"allow_patterns": [*names, "tokenizer_config.json"]}
  assert asked == [("an/albert", {"revision": "v2", **files})]


_WORD_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b", "A", ".")


def _word_pieces(folder: pathlib.Path, **settings) -> pathlib.Path:
  """Writes a BERT's vocab.txt, and the settings of its tokenizer if any."""
  folder.mkdir()
  (folder / "vocab.txt").write_text("\n".join(_WORD_PIECES) + "\n")
  if settings:
    text = json.dumps(settings)
    (folder / "tokenizer_config.json").write_text(text)
  return folder


def test_word_pieces_of_a_bert_are_uncased_unless_they_say_otherwise(tmp_path):
  uncased = load_tokenizer(_word_pieces(tmp_path / "uncased"))
  cased = load_tokenizer(_word_pieces(tmp_path / "cased", do_lower_case=False))
  (lower,) = uncased.encode(["AB. x"], max_length=9)
  (same,) = cased.encode(["Ab. x"], max_length=9)
  assert lower.tolist() == [2, 4, 5, 7, 1, 3]
  assert same.tolist() == [2, 6, 5, 7, 1, 3]
  assert uncased.digest != cased.digest


def test_rows_of_a_roberta_have_its_own_first_and_last_piece(tmp_path):
  vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}
  pieces = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
  )
  pieces.save(str(tmp_path / "tokenizer.json"))
  tokenizer = load_tokenizer(tmp_path)
  (row,) = tokenizer.encode(["a"], max_length=9)
  assert row.tolist() == [0, 4, 2]
  assert tokenizer.pad_id == 1
