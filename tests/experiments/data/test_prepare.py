"""Preparing published data sets: wrong originals, what is there, tokens."""

import dataclasses
import os
import shutil

import numpy as np
import pytest

from experiments.data import load
from experiments.data.datasets import DATASETS
from experiments.data.prepare import prepare
from experiments.data.prepared import describe
from experiments.data.prepared import open_prepared
from experiments.data.tokenizer import Tokenization
from experiments.io import array_files
from experiments.specs import DataSpec
from tests.experiments import original_files as files
from tests.experiments.original_datasets import make
from tests.experiments.prepared_inputs import publish
from tests.experiments.prepared_inputs import PUBLISHED
from tests.experiments.prepared_inputs import sst2
from tests.experiments.prepared_inputs import tokens
from tests.experiments.prepared_inputs import Words


@pytest.fixture
def small(monkeypatch):
  publish(monkeypatch, "glue_sst2", PUBLISHED)


_TWEETS = "training.1600000.processed.noemoticon.csv"
_COLA = b"a\t1\t\tb\n"
_MEMBERS = [
  f"{x}/{y}/0_1.txt" for x in ("train", "test") for y in ("neg", "pos")
]
_PICKLES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def _cut(path, num_bytes):
  path.write_bytes(path.read_bytes()[:num_bytes])


def _cut_tar(folder):
  path = folder / "cifar-10-binary.tar.gz"
  noise = os.urandom(20_000)
  files.tar(path, {"cifar-10-batches-bin/data_batch_1.bin": noise})
  _cut(path, 9000)


# A data set, how its originals are wrong, a part of the message, and counts
# that are published instead of the real ones.
_WRONG = {
  "a short file": (
    "cifar10",
    lambda f: _cut(
      make(f, "cifar10", "binary").source
      / "cifar-10-batches-bin/test_batch.bin",
      3072,
    ),
    "test_batch.bin has 3,072 bytes, .* 3,073",
  ),
  "a short tar": (
    "cifar10",
    _cut_tar,
    r"tar\.gz is damaged.* 9,000 bytes, .* 170,052,171",
  ),
  "another archive": (
    "glue_cola",
    lambda f: files.zipped(f / "CoLA.zip", {"CoLA/train.tsv": _COLA}),
    r"CoLA\.zip/CoLA lacks dev\.tsv",
  ),
  "a member outside": (
    "lmrd",
    lambda f: files.tar(
      f / "aclImdb_v1.tar.gz", {"aclImdb/train/../../../../evil.txt": b"x"}
    ),
    "'aclImdb/train/.*evil.txt'",
  ),
  "another polarity": (
    "sentiment140_bin",
    lambda f: files.folder(
      f, {_TWEETS: files.sentiment140_csv([(0, "a"), (2, "b")])}
    ),
    "example 1 .* label '2'",
  ),
  "another encoding": (
    "lmrd",
    lambda f: files.folder(f, dict.fromkeys(_MEMBERS, b"\xff")),
    r"neg/0_1\.txt is not utf-8",
    {"train": (1, 1), "test": (1, 1)},
  ),
  "no pickle": (
    "cifar10",
    lambda f: files.folder(f, dict.fromkeys(_PICKLES, b"\x80\x02}q")),
    "data_batch_1 is damaged",
  ),
  "nothing": (
    "amazon",
    lambda f: files.folder(f, {"readme.txt": b"hello"}),
    "holds no originals. Expected: .*Amazon withdrew",
  ),
}


@pytest.mark.parametrize("case", _WRONG)
def test_wrong_originals_are_one_line_and_leave_nothing(
  tmp_path, monkeypatch, case
):
  name, spoil, message, *published = _WRONG[case]
  source = tmp_path / "in"
  source.mkdir()
  spoil(source)
  for counts in published:
    publish(monkeypatch, name, counts)
  with pytest.raises(ValueError, match=message) as error:
    prepare(name, data_dir=tmp_path / "new", source=source)
  assert "\n" not in str(error.value)
  assert str(error.value).endswith(".")
  assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_other_balance_of_labels_is_named(tmp_path, small):
  source = sst2(tmp_path / "in", train=(31, 19))
  with pytest.raises(ValueError, match=r"\[31, 19\] .* \[30, 20\]"):
    prepare("glue_sst2", data_dir=tmp_path / "new", source=source, partial=True)
  assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_not_there_or_cannot_be_read(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match=r"there is no .*nope\. Expected"):
    prepare("lmrd", data_dir=tmp_path, source=tmp_path / "nope")
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  with pytest.raises(FileNotFoundError, match="glue/cola is not prepared in"):
    prepare("glue_cola", data_dir=tmp_path)
  assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("cifar", {}, r"'cifar'.*cifar10_bin.*source=files"),
    ("glue_sst2", {"options": {"seed": 1}}, "glue_sst2 .* 'seed'"),
    (
      "glue_sst2",
      {"tokenization": Tokenization(Words(), 2)},
      "max_length .* got 2",
    ),
    (
      "cifar10",
      {"tokenization": Tokenization(Words()), "partial": True},
      "cifar10 .* images",
    ),
  ],
)
def test_arguments_that_are_out_of_range(
  tmp_path, small, name, options, message
):
  source = sst2(tmp_path / "in")
  make(source, "cifar10", "binary")
  with pytest.raises(ValueError, match=message):
    prepare(name, data_dir=tmp_path / "new", source=source, **options)
  assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_small_disk_is_noticed(tmp_path, monkeypatch, small):
  usage = shutil.disk_usage(tmp_path)._replace(free=1000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  source = files.zipped(tmp_path / "SST-2.zip", {"a": os.urandom(999)})
  with pytest.raises(ValueError, match="MB free"):
    prepare("glue_sst2", data_dir=tmp_path / "new", source=source)
  assert os.listdir(tmp_path) == ["SST-2.zip"]


def test_what_is_prepared_is_kept_and_verified(tmp_path, small):
  source = sst2(tmp_path / "in")
  first = prepare("glue_sst2", data_dir=tmp_path, source=source)
  path = tmp_path / "glue_sst2/train/text.npy"
  before = path.stat()
  again = prepare("glue_sst2", data_dir=tmp_path, source=source)
  without = prepare("glue_sst2", data_dir=tmp_path)  # Needs no originals.
  assert path.stat() == before
  assert first.digest == again.digest == without.digest
  assert sorted(os.listdir(tmp_path)) == ["glue_sst2", "in"]
  path.write_bytes(path.read_bytes()[:-1] + b"!")
  with pytest.raises(ValueError, match=r"text\.npy is damaged"):
    prepare("glue_sst2", data_dir=tmp_path)


def test_other_options_or_originals_do_not_replace_what_is_prepared(tmp_path):
  tweets = [(4 * (i % 2), f"tweet {i}") for i in range(400)]
  table = files.sentiment140_csv(tweets)
  source = files.folder(tmp_path / "in", {_TWEETS: table})
  given = {"data_dir": tmp_path / "data", "source": source, "partial": True}
  prepare("sentiment140_bin", **given)
  kept = files.files_below(tmp_path / "data")
  with pytest.raises(ValueError, match=r"option seed was 0, and is 1"):
    prepare("sentiment140_bin", **given, options={"seed": 1})
  (source / _TWEETS).write_bytes(table + table[:70])
  with pytest.raises(ValueError, match=f"source was {_TWEETS} .* bytes"):
    prepare("sentiment140_bin", **given)
  # A folder that is not ours.
  other = make(tmp_path / "data/cifar10/3.0.2", "cifar10", "binary").source
  with pytest.raises(ValueError, match="cifar10 exists but is not a prepared"):
    prepare("cifar10", data_dir=tmp_path / "data", source=other)
  shutil.rmtree(tmp_path / "data/cifar10")
  assert files.files_below(tmp_path / "data") == kept


def test_tokens_are_added_and_changed_without_the_originals(tmp_path, small):
  source = sst2(tmp_path / "in")
  plain = prepare("glue_sst2", data_dir=tmp_path, source=source)
  assert "inputs" not in plain.splits["train"]
  assert plain.manifest["tokenizer"] is None
  shutil.rmtree(source)
  words = Words(dtype=np.int32)
  for max_length, length in ((None, 128), (5, 5)):
    tokenization = Tokenization(words, max_length)
    found = prepare("glue_sst2", data_dir=tmp_path, tokenization=tokenization)
    for split in ("train", "test"):
      texts = list(found.texts(split))
      assert texts == list(plain.texts(split))
      rows = words.encode(texts, max_length=length)
      assert tokens(found, split) == [row.tolist() for row in rows]
      for key in ("labels", "ids"):
        expected = plain.splits[split][key].tolist()
        assert found.splits[split][key].tolist() == expected
    assert found.manifest["tokenizer"] == {
      "name": "words.json",
      "sha256": "0" * 64,
      "vocab_size": 100,
      "pad_id": 0,
      "max_length": length,
    }
    assert found.tokenizer == "0" * 64
    assert found.manifest["sources"] == plain.manifest["sources"]
    assert found.digest != plain.digest
    open_prepared(found.folder, verify=True)
  assert "the longest text has 5 of at most 5" in describe(found)
  assert found.splits["train"]["inputs"].values.dtype == np.int32
  # They do not depend on when they are made.
  source = sst2(tmp_path / "in")
  at_once = prepare(
    "glue_sst2",
    data_dir=tmp_path / "b",
    source=source,
    tokenization=tokenization,
  )
  assert files.files_below(found.folder) == files.files_below(at_once.folder)
  # No tokenizer and the same one both keep what is there.
  before = (found.folder / "train/tokens.npy").stat()
  prepare("glue_sst2", data_dir=tmp_path)
  prepare("glue_sst2", data_dir=tmp_path, tokenization=tokenization)
  assert (found.folder / "train/tokens.npy").stat() == before
  assert sorted(os.listdir(tmp_path)) == ["b", "glue_sst2", "in"]


def _spec(data_dir):
  """The section of a config that names SST-2 in a folder."""
  return DataSpec("glue_sst2", data_dir=str(data_dir))


def test_held_out_phrases_are_of_other_sentences(tmp_path, monkeypatch):
  rows = [
    (text, i % 2)
    for i in range(40)
    for text in (f"film{i} is fine", f"film{i} is", f"film{i}")
  ]
  train, test = files.tsv(rows, ("sentence", "label")), rows[:2]
  test = files.tsv(test, ("sentence", "label"))
  source = files.folder(tmp_path / "in", {"train.tsv": train, "dev.tsv": test})
  publish(monkeypatch, "glue_sst2", {"train": (60, 60), "test": (2, 0)})
  given = {"data_dir": tmp_path, "source": source}
  prepare("glue_sst2", **given)
  # Tokens that are added later leave the groups as they were.
  found = prepare("glue_sst2", **given, tokenization=Tokenization(Words()))
  groups = found.splits["train"]["groups"]
  assert groups.tolist() == [i for i in range(40) for _ in range(3)]
  assert "groups" not in found.splits["test"]
  spec = _spec(tmp_path)
  splits = load.load(spec, "heldout", None)
  held_out, kept = (
    set(groups[part["ids"]]) for part in (splits.validation, splits.train)
  )
  assert (len(held_out), len(kept)) == (4, 36)
  assert not held_out & kept
  assert "groups" not in splits.train.keys() | splits.validation.keys()


def test_what_was_prepared_without_groups_is_refused(
  tmp_path, monkeypatch, small
):
  source = sst2(tmp_path / "in")
  dataset = DATASETS["glue_sst2"]
  with monkeypatch.context() as patched:
    before = dataclasses.replace(dataset, groups=None)
    patched.setitem(DATASETS, "glue_sst2", before)
    prepare("glue_sst2", data_dir=tmp_path, source=source)
  with pytest.raises(ValueError, match=r"glue_sst2 lacks train/groups\.npy"):
    prepare("glue_sst2", data_dir=tmp_path, source=source)
  with pytest.raises(ValueError, match=r"glue_sst2 lacks train/groups\.npy"):
    load.open_data(_spec(tmp_path), None)


def test_tokens_that_could_not_be_made_leave_what_there_was(
  tmp_path, monkeypatch, small
):
  data_dir = tmp_path / "data"
  prepare("glue_sst2", data_dir=data_dir, source=sst2(tmp_path / "in"))
  before = files.files_below(data_dir)

  def full(*arguments):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(array_files, "write", full)
  with pytest.raises(OSError, match="No space left"):
    prepare("glue_sst2", data_dir=data_dir, tokenization=Tokenization(Words()))
  assert files.files_below(data_dir) == before
