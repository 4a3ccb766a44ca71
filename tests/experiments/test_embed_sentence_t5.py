"""The command that embeds texts, with a stand-in for sentence-transformers."""

import pathlib
import sys
import types

import numpy as np
import pytest

from experiments.data import embeddings as embeddings_lib
from experiments.data.dataset import Task
from experiments.data.embeddings import aligned
from experiments.data.embeddings import check_dataset
from experiments.data.embeddings import compute_embeddings
from experiments.data.embeddings import open_embeddings
from experiments.data.prepared import open_prepared
from experiments.data.prepared import write
from tests.experiments import processes

_WIDTH = 3


class _Tensor(np.ndarray):
  """An array that knows how torch widens one."""

  def float(self):
    return self.astype(np.float32)


class _Module:
  """A module of sentence-transformers, as far as the command touches it."""

  def __init__(self, dtype):
    self.dtype = dtype
    self.hooks = []

  def float(self):
    self.dtype = "float32"
    return self

  def register_forward_hook(self, hook):
    self.hooks.append(hook)


class SentenceTransformer(list):
  """A network of two modules that counts letters."""

  max_seq_length = 256
  loaded = ()

  def __init__(self, model, **arguments):
    if model == "no/model":
      raise OSError("no network\nand a page about it")
    dtype = arguments["model_kwargs"]["torch_dtype"]
    super().__init__([_Module(dtype), _Module(dtype)])
    type(self).loaded = (model, arguments)

  def encode(self, texts, *, batch_size, show_progress_bar):
    del batch_size, show_progress_bar
    texts = [text[: self.max_seq_length] for text in texts]
    counts = [[text.count(letter) for letter in "abc"] for text in texts]
    tokens = np.array(counts, np.float16).view(_Tensor)
    outputs = {"token_embeddings": tokens, "attention_mask": None}
    for hook in self[0].hooks:
      outputs = hook(self[0], (), outputs)
    assert outputs.keys() == {"token_embeddings", "attention_mask"}
    return np.asarray(outputs["token_embeddings"])


@pytest.fixture
def library(monkeypatch):
  """The stand-in, in place of the library."""
  module = types.ModuleType("sentence_transformers")
  monkeypatch.setattr(
    module, "SentenceTransformer", SentenceTransformer, raising=False
  )
  monkeypatch.setitem(sys.modules, "sentence_transformers", module)
  return SentenceTransformer


@pytest.fixture
def prepared(tmp_path) -> pathlib.Path:
  folder = tmp_path / "data" / "reviews"
  splits = {"train": ["aab", "", "c" * 300], "test": ["bébé 🙂", "a"]}
  write(
    folder,
    Task("reviews", 2),
    {},
    {
      split: {"text": texts, "label": [0] * len(texts)}
      for split, texts in splits.items()
    },
  )
  return folder


def test_every_split_of_a_prepared_dataset_is_embedded(
  library, prepared, tmp_path
):
  corpus = embeddings_lib.read_corpus(prepared, None, None)
  assert list(corpus.texts) == ["aab", "", "c" * 300, "bébé 🙂", "a"]
  encoder = embeddings_lib.sentence_transformer("st/t5", batch_size=2)
  compute_embeddings(tmp_path / "out", corpus, encoder)
  found = open_embeddings(tmp_path / "out")
  dataset = open_prepared(prepared)
  check_dataset(found, dataset)
  rows = aligned(found, dataset.splits["test"]["ids"])
  np.testing.assert_array_equal(rows, [[0, 2, 0], [1, 0, 0]])
  # Cut to 256, and counted in half precision before that is widened.
  np.testing.assert_array_equal(found.values[2], [0, 0, 256])
  assert found.values.dtype == np.float32
  assert found.manifest["origin"]["encoder"] == {
    "model": "st/t5",
    "revision": None,
    "dtype": "bfloat16",
    "max_length": 256,
    "batch_size": 2,
  }


def test_the_encoder_is_narrow_and_all_behind_it_wide(library):
  encoder = embeddings_lib.sentence_transformer(
    "st/t5", revision="v1", device="cpu", max_length=2
  )
  assert library.loaded == (
    "st/t5",
    {
      "revision": "v1",
      "device": "cpu",
      "model_kwargs": {"torch_dtype": "bfloat16"},
    },
  )
  values = encoder.encode(["aaa"])
  assert values.dtype == np.float32
  np.testing.assert_array_equal(values, [[2, 0, 0]])
  assert encoder.width == _WIDTH
  assert encoder.description["revision"] == "v1"
  assert encoder.description["max_length"] == 2


def test_texts_of_a_table_have_its_ids(tmp_path):
  file = tmp_path / "texts.csv"
  file.write_text('name,text\nx,"a, b"\ny,c\n')
  corpus = embeddings_lib.read_corpus(file, "text", None)
  assert list(corpus.texts) == ["a, b", "c"]
  assert corpus.ids.tolist() == [0, 1]
  assert corpus.splits is None
  corpus = embeddings_lib.read_corpus(file, "text", "name")
  assert corpus.ids.tolist() == ["x", "y"]


def test_what_holds_no_texts_is_refused(tmp_path, prepared):
  with pytest.raises(ValueError, match="--text_column"):
    embeddings_lib.read_corpus(prepared, "text", None)
  np.savez(tmp_path / "a.npz", images=np.zeros([2, 4, 4], np.uint8))
  with pytest.raises(ValueError, match=r"a\.npz"):
    embeddings_lib.read_corpus(tmp_path / "a.npz", None, None)
  with pytest.raises(FileNotFoundError):
    embeddings_lib.read_corpus(tmp_path / "none.csv", "text", None)


def test_weights_in_a_folder_are_named_by_their_digest(library, tmp_path):
  def revision():
    encoder = embeddings_lib.sentence_transformer(str(tmp_path))
    return encoder.description["revision"]

  (tmp_path / "2_Dense").mkdir()
  for name in ("model.safetensors", "2_Dense/model.safetensors"):
    (tmp_path / name).write_bytes(name.encode())
  first = revision()
  assert first.startswith("sha256:")
  (tmp_path / "README.md").write_text("another")
  assert revision() == first
  (tmp_path / "2_Dense" / "model.safetensors").write_bytes(b"other")
  assert revision() != first


def test_the_commit_of_a_hub_model_is_recorded(library, monkeypatch):
  import huggingface_hub

  monkeypatch.setattr(
    huggingface_hub,
    "try_to_load_from_cache",
    lambda model, file, revision: f"/hub/{model}/{revision}/abc/{file}",
  )
  encoder = embeddings_lib.sentence_transformer("st/t5", revision="main")
  assert encoder.description["revision"] == "abc"


def test_a_model_that_cannot_be_loaded_is_named(library):
  with pytest.raises(ValueError, match=r"'no/model' .no network") as error:
    embeddings_lib.sentence_transformer("no/model")
  assert "\n" not in str(error.value)


def test_the_missing_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "sentence_transformers", None)
  with pytest.raises(ValueError, match=r"pip install -e '\.\[t5\]'"):
    embeddings_lib.sentence_transformer("st/t5")


_COMMAND = """
import runpy, sys
from tests.experiments import test_embed_sentence_t5 as stand_in
sys.modules["sentence_transformers"] = stand_in
runpy.run_module("experiments.embed_sentence_t5", run_name="__main__")
"""


def test_the_command_writes_embeddings(tmp_path):
  file = tmp_path / "texts.tsv"
  file.write_text("text\nabc\ncc\n")
  output = tmp_path / "out"
  done = processes.start(
    *(f"--texts={file}", "--text_column=text", f"--output={output}"),
    "--stored_dtype=float16",
    code=_COMMAND,
  ).finish()
  assert done.returncode == 0, done.stderr
  assert f"2 embeddings of width 3 are in {output}." in done.stdout
  values = open_embeddings(output).values
  np.testing.assert_array_equal(values, np.float16([[1, 1, 1], [0, 0, 2]]))
