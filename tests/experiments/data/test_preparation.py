"""Preparing: wrong originals, what is there already, tokens."""

import os
import pathlib
import shutil

import numpy as np
import pytest

from experiments.data import prepared_rows
from experiments.data.datasets import DATASETS
from experiments.data.preparation import prepare
from experiments.data.preparation import Tokenization
from experiments.data.prepared import open_prepared
from experiments.data.summary import summary
from tests.experiments import original_files as files
from tests.experiments.prepared_inputs import cifar10
from tests.experiments.prepared_inputs import PUBLISHED
from tests.experiments.prepared_inputs import sst2
from tests.experiments.prepared_inputs import tokens
from tests.experiments.prepared_inputs import Words

# Wrong inputs: what is done to good originals, and what is said about it.


def _missing_file(folder, rng):
  cifar10(folder, rng)
  (folder / "data_batch_4.bin").unlink()
  return "cifar10", "in lacks data_batch_4.bin of CIFAR-10's binary version"


def _cut_file(folder, rng):
  path = cifar10(folder, rng) / "test_batch.bin"
  path.write_bytes(path.read_bytes()[:-1])
  return "cifar10", "test_batch.bin has 3,072 bytes, no multiple of 3,073"


def _cut_tar(folder, rng):
  del rng
  noise = os.urandom(20_000)
  path = folder / "cifar-10-binary.tar.gz"
  files.tar(path, {"cifar-10-batches-bin/data_batch_1.bin": noise})
  path.write_bytes(path.read_bytes()[:9000])
  return "cifar10", (
    r"binary.tar.gz is damaged or cut short \(.*\); .*tar.gz has 9,000 bytes, "
    "published 170,052,171"
  )


def _cut_zip(folder, rng):
  del rng
  path = files.zipped(folder / "SST-2.zip", {"SST-2/train.tsv": b"sentence"})
  path.write_bytes(path.read_bytes()[:-9])
  return "glue_sst2", "SST-2.zip is damaged or cut short"


def _other_archive(folder, rng):
  del rng
  files.zipped(folder / "CoLA.zip", {"CoLA/train.tsv": b"a\t1\t\tb\n"})
  return "glue_cola", "CoLA.zip/CoLA lacks dev.tsv of CoLA of GLUE"


def _escaping_member(folder, rng):
  del rng
  members = {"aclImdb/train/pos/../../../../../evil.txt": b"x"}
  files.tar(folder / "aclImdb_v1.tar.gz", members)
  return "lmrd", "has a member 'aclImdb/train/pos/.*' outside of it"


def _other_table(folder, rng):
  del rng
  files.folder(folder, {"train.tsv": b"a\t1\t\tb\n", "dev.tsv": b"a\t1\t\tb\n"})
  return "glue_sst2", "train.tsv has no column 'sentence'"


def _text_label(folder, rng):
  del rng
  table = files.tsv([("good", "positive")], ("sentence", "label"))
  files.folder(folder, {"train.tsv": table, "dev.tsv": table})
  return "glue_sst2", "label must be an int, got 'positive'"


def _label_out_of_range(folder, rng):
  cifar10(folder, rng, label=10)
  return "cifar10", (
    r"example 0 of cifar10's train split: label must lie in \[0, 10\), got 10"
  )


def _few_examples(folder, rng):
  del rng
  sst2(folder)
  return "glue_sst2", "train of glue_sst2 has 50 examples and 67,349 are publi"


def _other_polarity(folder, rng):
  del rng
  files.folder(folder, {"sample20k.tsv": b"label\ttext\n0\ta\n2\tb\n"})
  return "sentiment140_bin", r"tweet 1 must be 0 \(negative\) or 4 \(pos.*got 2"


def _not_utf8(folder, rng):
  del rng
  members = {
    f"{split}/{label}/0_1.txt": b"\xff"
    for split in ("train", "test")
    for label in ("neg", "pos")
  }
  files.folder(folder, members)
  return "lmrd", "neg/0_1.txt is not UTF-8"


def _no_pickle(folder, rng):
  del rng
  names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
  files.folder(folder, dict.fromkeys(names, b"\x80\x02}q"))
  return "cifar10", "data_batch_1 is damaged, cut short or no file of this"


def _nothing_known(folder, rng):
  del rng
  (folder / "readme.txt").write_text("hello")
  return "amazon", "in holds no originals. Expected: the eleven categories'"


_WRONG = [
  _missing_file,
  _cut_file,
  _cut_tar,
  _cut_zip,
  _other_archive,
  _escaping_member,
  _other_table,
  _text_label,
  _label_out_of_range,
  _few_examples,
  _other_polarity,
  _not_utf8,
  _no_pickle,
  _nothing_known,
]


@pytest.mark.parametrize("spoil", _WRONG)
def test_wrong_originals_are_one_line_and_leave_nothing(tmp_path, rng, spoil):
  source = tmp_path / "in"
  source.mkdir()
  name, message = spoil(source, rng)
  published = None
  if spoil in (_label_out_of_range, _cut_file, _no_pickle):
    published = {"train": (1,) * 5, "test": (1,)}
  if spoil in (_text_label, _not_utf8):
    published = {"train": (1, 1), "test": (1, 1)}
  if spoil is _text_label:
    published = {"train": (1,), "test": (1,)}
  with pytest.raises(ValueError, match=message) as error:
    prepare(name, data_dir=tmp_path / "new", source=source, published=published)
  assert "\n" not in str(error.value)
  assert str(error.value).endswith(".")
  assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_other_balance_of_labels_is_named(tmp_path):
  source = sst2(tmp_path / "in", train=(31, 19))
  message = r"has \[31, 19\] examples of its classes, and \[30, 20\] are publ"
  with pytest.raises(ValueError, match=message):
    prepare(
      "glue_sst2",
      data_dir=tmp_path / "new",
      source=source,
      published=PUBLISHED,
      partial=True,
    )
  assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_not_there_or_cannot_be_read(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match=r"there is no .*nope\. Expected"):
    prepare("lmrd", data_dir=tmp_path, source=tmp_path / "nope")
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  with pytest.raises(FileNotFoundError, match="glue/cola is not prepared in"):
    prepare("glue_cola", data_dir=tmp_path)

  def denied(self):
    raise PermissionError(13, "Permission denied", str(self))

  (tmp_path / "locked").mkdir()
  monkeypatch.setattr(pathlib.Path, "iterdir", denied)
  with pytest.raises(
    PermissionError, match=r"cannot read .*locked: permission"
  ):
    prepare("lmrd", data_dir=tmp_path / "new", source=tmp_path / "locked")
  assert os.listdir(tmp_path) == ["locked"]


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("cifar", {}, "unknown dataset 'cifar': there are cifar10_bin, .*files of"),
    ("glue_sst2", {"options": {"seed": 1}}, "glue_sst2 has no option 'seed'"),
    (
      "glue_sst2",
      {"tokenization": Tokenization(Words(), 2)},
      "max_length must be at least 3, got 2",
    ),
    (
      "cifar10",
      {"tokenization": Tokenization(Words())},
      "cifar10 holds images: give no --tokenizer",
    ),
  ],
)
def test_arguments_that_will_not_do(tmp_path, rng, name, options, message):
  source = sst2(tmp_path / "in")
  cifar10(source, rng)
  with pytest.raises(ValueError, match=message):
    prepare(
      name,
      data_dir=tmp_path / "new",
      source=source,
      published=PUBLISHED,
      **options,
    )
  assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_small_disk_is_noticed_before_anything_is_written(
  tmp_path, monkeypatch
):
  usage = shutil.disk_usage(tmp_path)._replace(free=1000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  for source in (
    sst2(tmp_path / "in"),
    files.zipped(tmp_path / "in/SST-2.zip", {"a": os.urandom(999)}),
  ):
    with pytest.raises(
      ValueError, match=r"MB free: free some, or give another"
    ):
      prepare(
        "glue_sst2",
        data_dir=tmp_path / "new",
        source=source,
        published=PUBLISHED,
      )
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_prepared_is_kept(tmp_path):
  source = sst2(tmp_path / "in")
  given = {"source": source, "published": PUBLISHED}
  first = prepare("glue_sst2", data_dir=tmp_path, **given)
  path = tmp_path / "glue_sst2/train/text.npy"
  before = path.stat()
  again = prepare("glue_sst2", data_dir=tmp_path, **given)
  without = prepare("glue_sst2", data_dir=tmp_path)  # Needs no originals.
  assert path.stat() == before
  assert first.digest == again.digest == without.digest
  assert sorted(os.listdir(tmp_path)) == ["glue_sst2", "in"]


def test_other_options_or_originals_do_not_replace_what_is_prepared(tmp_path):
  rng = np.random.default_rng(0)
  tweets = [(4 * (i % 2), f"tweet {i}") for i in range(400)]
  table = files.tsv(tweets, ("label", "text"))
  source = files.folder(tmp_path / "in", {"sample20k.tsv": table})
  given = {"data_dir": tmp_path / "data", "source": source, "partial": True}
  prepare("sentiment140_bin", **given)
  kept = files.files_below(tmp_path / "data")
  with pytest.raises(ValueError, match=r"the options seed=0, not seed=1: del"):
    prepare("sentiment140_bin", **given, options={"seed": 1})
  (source / "sample20k.tsv").write_bytes(table + b"0\tone more\n")
  message = r"the sources sample20k.tsv \(4,701 bytes\), not sample20k.tsv"
  with pytest.raises(ValueError, match=message):
    prepare("sentiment140_bin", **given)
  cifar10(tmp_path / "data/cifar10/3.0.2", rng)  # What is there is not ours.
  with pytest.raises(ValueError, match="is there and is no prepared dataset"):
    prepare(
      "cifar10",
      data_dir=tmp_path / "data",
      source=source.parent / "data/cifar10/3.0.2",
    )
  shutil.rmtree(tmp_path / "data/cifar10")
  assert files.files_below(tmp_path / "data") == kept


def test_a_part_is_marked_as_one(tmp_path):
  source = sst2(tmp_path / "in")
  found = prepare("glue_sst2", data_dir=tmp_path, source=source, partial=True)
  assert found.manifest["partial"] is True
  text = summary(found, DATASETS["glue_sst2"].published)
  assert "train        50        30        20  67,349 (29,780, 37,569)" in text
  assert "note: a part of the published examples" in text


def test_tokens_are_added_and_changed_without_the_originals(tmp_path):
  source = sst2(tmp_path / "in")
  given = {"data_dir": tmp_path, "published": PUBLISHED}
  plain = prepare("glue_sst2", source=source, **given)
  assert "inputs" not in plain.splits["train"]
  assert plain.manifest["tokenizer"] is None
  assert "the same command with --tokenizer adds" in summary(plain)
  shutil.rmtree(source)
  words = Words()
  for max_length, length in ((None, 128), (5, 5)):
    tokenization = Tokenization(words, max_length)
    found = prepare("glue_sst2", tokenization=tokenization, **given)
    for split in ("train", "test"):
      texts = list(found.texts(split))
      assert texts == list(plain.texts(split))
      rows = words.encode(texts, max_length=length)
      assert tokens(found, split) == [row.tolist() for row in rows]
      for key in ("labels", "ids"):
        np.testing.assert_array_equal(
          found.splits[split][key], plain.splits[split][key]
        )
    assert found.manifest["tokenizer"] == {
      "name": "words.json",
      "sha256": "0" * 64,
      "vocab_size": 100,
      "pad_id": 0,
      "max_length": length,
    }
    assert found.manifest["sources"] == plain.manifest["sources"]
    assert found.digest != plain.digest
    open_prepared(found.folder, verify=True)
  assert "the longest text has 5 of at most 5" in summary(found)
  # No tokenizer and the same one both keep what is there.
  before = (found.folder / "train/tokens.npy").stat()
  prepare("glue_sst2", **given)
  prepare("glue_sst2", tokenization=tokenization, **given)
  assert (found.folder / "train/tokens.npy").stat() == before
  assert os.listdir(tmp_path) == ["glue_sst2"]


def test_tokens_do_not_depend_on_when_they_are_made(tmp_path):
  source = sst2(tmp_path / "in")
  given = {"source": source, "published": PUBLISHED}
  tokenization = Tokenization(Words(dtype=np.int32))
  at_once = prepare(
    "glue_sst2", data_dir=tmp_path / "a", tokenization=tokenization, **given
  )
  prepare("glue_sst2", data_dir=tmp_path / "b", **given)
  later = prepare(
    "glue_sst2", data_dir=tmp_path / "b", tokenization=tokenization, **given
  )
  assert at_once.splits["train"]["inputs"].values.dtype == np.int32
  assert files.files_below(at_once.folder) == files.files_below(later.folder)


def test_tokens_that_could_not_be_made_leave_what_there_was(
  tmp_path, monkeypatch
):
  given = {"data_dir": tmp_path / "data", "published": PUBLISHED}
  prepare("glue_sst2", source=sst2(tmp_path / "in"), **given)
  before = files.files_below(tmp_path / "data")

  def extend(self, examples, tokens=None):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(prepared_rows.Rows, "extend", extend)
  with pytest.raises(OSError, match="No space left"):
    prepare("glue_sst2", tokenization=Tokenization(Words()), **given)
  assert files.files_below(tmp_path / "data") == before
