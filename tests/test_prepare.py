"""Preparing: wrong inputs, interruptions, tokens, and the command itself."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from experiments.data import prepared_rows
from experiments.data.datasets import DATASETS
from experiments.data.preparation import prepare
from experiments.data.preparation import prepare_own
from experiments.data.preparation import Tokenization
from experiments.data.prepared import open_prepared
from experiments.data.summary import summary
from tests import original_files as files

_ROOT = pathlib.Path(__file__).parents[1]
PUBLISHED = {"train": (30, 20), "test": (6, 4)}


def sst2(folder, *, train=PUBLISHED["train"], test=PUBLISHED["test"]):
  """SST-2 in small, with so many negative and positive examples."""
  for name, counts in (("train", train), ("dev", test)):
    rows = [
      (f"{name} sentence {i} of class {label}", label)
      for label, count in enumerate(counts)
      for i in range(count)
    ]
    table = files.tsv(rows, ("sentence", "label"))
    files.folder(folder, {f"{name}.tsv": table})
  return folder


def cifar10(folder, rng, label=3):
  """CIFAR-10's binary files, an image each."""
  for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
    images, _ = files.cifar_images(rng, 1, 10)
    batch = files.binary_batch(images, [label])
    files.folder(folder, {f"{name}.bin": batch})
  return folder


@dataclasses.dataclass(frozen=True)
class Words:
  """A tokenizer: words are numbered by their length."""

  digest: str = "0" * 64
  name: str = "folder/words.json"
  vocab_size: int = 100
  pad_id: int = 0
  dtype: type = np.uint16

  def encode(self, texts, *, max_length):
    if max_length < 3:
      raise ValueError(f"max_length must be at least 3, got {max_length}.")
    return [
      np.array(
        [2, *[4 + len(w) for w in text.split()][: max_length - 2], 3],
        self.dtype,
      )
      for text in texts
    ]


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


def tokens(found, split):
  rows = found.splits[split]["inputs"]
  return [rows[i].tolist() for i in range(len(rows))]


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


# Bring your own.


def own(tmp_path, rows, suffix=".csv"):
  lines = "".join(f'{label},"{text}"\n' for label, text in rows)
  path = tmp_path / f"{len(os.listdir(tmp_path))}{suffix}"
  path.write_text("stars,review\n" + lines)
  return path


COLUMNS = {"text_column": "review", "label_column": "stars"}


def test_own_texts_with_named_labels(tmp_path):
  rows = [("good", "a, b"), ("bad", "c\nd"), ("fair", ""), ("bad", "é")]
  paths = {
    "train": [own(tmp_path, rows[:2]), own(tmp_path, rows[2:])],
    "test": [own(tmp_path, rows[:1])],
  }
  found = prepare_own(tmp_path / "work/data", paths, **COLUMNS, image_size=None)
  assert found.task.class_names == ("bad", "fair", "good")
  assert (found.task.name, found.task.num_classes) == ("data", 3)
  assert found.splits["train"]["labels"].tolist() == [2, 0, 1, 0]
  assert list(found.texts("train")) == [text for _, text in rows]
  assert found.splits["test"]["ids"].tolist() == [4]
  tokenization = Tokenization(Words())
  with_tokens = prepare_own(
    tmp_path / "work/data", paths, tokenization=tokenization, **COLUMNS
  )
  assert tokens(with_tokens, "train")[0] == [2, 6, 5, 3]
  assert with_tokens.manifest["tokenizer"]["max_length"] == 128


def test_own_labels_that_are_numbers_keep_their_order(tmp_path):
  rows = [(10, "a"), (2, "b"), (-1, "c"), (10, "d")]
  found = prepare_own(
    tmp_path / "data", {"train": [own(tmp_path, rows)]}, **COLUMNS
  )
  assert found.task.class_names == ("-1", "2", "10")
  assert found.splits["train"]["labels"].tolist() == [2, 1, 0, 2]


def test_own_files_that_changed_are_noticed(tmp_path):
  path = own(tmp_path, [(0, "a"), (1, "b")])
  prepare_own(tmp_path / "data", {"train": [path]}, **COLUMNS)
  prepare_own(tmp_path / "data", {"train": [path]}, **COLUMNS)
  path.write_text('stars,review\n1,"a"\n0,"b"\n')  # Of the same size.
  with pytest.raises(ValueError, match="data was prepared with the sources"):
    prepare_own(tmp_path / "data", {"train": [path]}, **COLUMNS)


def test_own_malformed_lines_are_counted(tmp_path):
  path = own(tmp_path, [(0, "a"), (1, "b"), (0, "c")])
  path.write_text(path.read_text() + "1,two,three\n")
  found = prepare_own(tmp_path / "data", {"train": [path]}, **COLUMNS)
  assert found.manifest["malformed"] == {"train": 1}
  assert "line 5: 3 fields, expected 2" in summary(found)


def test_own_images(tmp_path, rng):
  images = rng.integers(256, size=(4, 6, 7, 3), dtype=np.uint8)
  for i, (split, name) in enumerate(
    [("train", "cat"), ("train", "dog"), ("train", "dog"), ("test", "dog")]
  ):
    folder = tmp_path / split / name
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(images[i]).save(folder / f"{i}.png")
  (tmp_path / "test/cat").mkdir()
  Image.fromarray(images[0]).save(tmp_path / "test/cat/x.png")
  paths = {split: [tmp_path / split] for split in ("train", "test")}
  found = prepare_own(tmp_path / "data", paths)
  assert found.task.image_shape == (6, 7, 3)
  assert found.task.scale == 255.0
  assert found.task.class_names == ("cat", "dog")
  np.testing.assert_array_equal(found.splits["train"]["inputs"], images[:3])
  assert found.splits["test"]["labels"].tolist() == [0, 1]
  small = prepare_own(tmp_path / "small", paths, image_size=4)
  assert small.task.image_shape == (4, 4, 3)
  with pytest.raises(
    ValueError, match="options image_size=4, not none: delete"
  ):
    prepare_own(tmp_path / "small", paths)


@pytest.mark.parametrize(
  ("train", "test", "message"),
  [
    (
      [("a", "x"), ("a", "y")],
      [],
      "one label, 'a': there must be at least two",
    ),
    (
      [("a", "x"), ("b", "y")],
      [("c", "z")],
      "label 'c', none of the 2 classes",
    ),
  ],
)
def test_own_labels_that_will_not_do(tmp_path, train, test, message):
  paths = {"train": [own(tmp_path, train)]}
  if test:
    paths["test"] = [own(tmp_path, test)]
  with pytest.raises(ValueError, match=message):
    prepare_own(tmp_path / "new/data", paths, **COLUMNS)
  assert not (tmp_path / "new").exists()


def test_own_files_that_are_not_there(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"there is no .*nope\.csv"):
    prepare_own(
      tmp_path / "data", {"train": [tmp_path / "nope.csv"]}, **COLUMNS
    )
  with pytest.raises(ValueError, match="there must be files to train on"):
    prepare_own(tmp_path / "data", {"train": []}, **COLUMNS)
  assert not os.listdir(tmp_path)


def test_own_arrays_of_another_dtype_are_named(tmp_path):
  np.savez(tmp_path / "x.npz", images=np.zeros((2, 4, 4, 3)), labels=[0, 1])
  with pytest.raises(ValueError, match="images must be uint8, got float64"):
    prepare_own(tmp_path / "data", {"train": [tmp_path / "x.npz"]})
  assert os.listdir(tmp_path) == ["x.npz"]


# The command, in processes of its own.


def command(*arguments, code=None, **options):
  run = ["-m", "experiments.prepare"] if code is None else ["-c", code]
  return subprocess.run(
    [sys.executable, *run, *map(str, arguments)],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    check=False,
    timeout=120,
    **options,
  )


def test_the_command_prints_counts_and_what_to_do(tmp_path):
  source = sst2(tmp_path / "in")
  data_dir = tmp_path / "data"
  done = command(
    "--dataset=glue_sst2",
    f"--source={source}",
    f"--data_dir={data_dir}",
    "--partial",
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == [
    "glue_sst2: texts of 2 classes",
    "         examples  negative  positive                published",
    "  train        50        30        20  67,349 (29,780, 37,569)",
    "  test         10         6         4           872 (428, 444)",
    "",
    "from SST-2 of GLUE",
    "note: the test split is GLUE's validation split, as its test split has no "
    "labels (A-27)",
    "note: a part of the published examples",
    "not tokenized: the same command with --tokenizer adds tokens",
    f"in {data_dir}/glue_sst2",
    "to train on it: --config.data.dataset=glue_sst2 "
    f"--config.data.data_dir={data_dir}",
  ]
  assert "train: 50/50 examples (100%)" in done.stderr


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (("--dataset=glue_sst2",), "train of glue_sst2 has 50 examples and 67,349"),
    (("--dataset=glue_sst2", "--max_length=9"), "--max_length needs a --token"),
    (("--dataset=glue_sst2", "sst2"), "unexpected argument 'sst2'"),
  ],
)
def test_the_command_says_errors_in_one_line(tmp_path, flags, message):
  source = sst2(tmp_path / "in")
  done = command(*flags, f"--source={source}", f"--data_dir={tmp_path / 'new'}")
  assert done.returncode == 1
  assert done.stderr.startswith("error: ")
  assert message in done.stderr
  assert done.stderr.count("\n") == 1
  assert os.listdir(tmp_path) == ["in"]


_NO_TENSORFLOW = """
import sys
from absl import app
from experiments import commands, prepare
from experiments.data.prepared import open_prepared
def main(argv):
  prepare.main(argv)
  found = open_prepared(sys.argv[3].partition("=")[2] + "/glue_sst2")
  assert found.texts("test")[0] and found.splits["train"]["labels"].sum()
  assert "tensorflow" not in sys.modules
  assert "jax" not in sys.modules
  print("neither")
commands.run(main)
"""


def test_neither_tensorflow_nor_jax_is_imported(tmp_path):
  source = sst2(tmp_path / "in")
  done = command(
    "--dataset=glue_sst2",
    f"--source={source}",
    f"--data_dir={tmp_path}",
    "--partial",
    code=_NO_TENSORFLOW,
  )
  assert "neither" in done.stdout, done.stderr


# The command, but each thousand examples of the test split take a while.
_SLOW = """
import sys, time
from experiments import commands, prepare
from experiments.data import prepared_rows
extend = prepared_rows.Rows.extend
def slow(self, examples, tokens=None):
  extend(self, examples, tokens)
  if self._split == "test":
    print("writing", flush=True)
    time.sleep(0.5)
prepared_rows.Rows.extend = slow
commands.run(prepare.main)
"""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  """Originals, and what they become if nothing happens."""
  folder = tmp_path_factory.mktemp("uninterrupted")
  source = sst2(folder / "in", train=(700, 800), test=(2000, 2500))
  prepare("glue_sst2", data_dir=folder, source=source, partial=True)
  return source, files.files_below(folder / "glue_sst2")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_a_stopped_command_is_continued(tmp_path, name, uninterrupted):
  source, expected = uninterrupted
  flags = (
    "--dataset=glue_sst2",
    f"--source={source}",
    f"--data_dir={tmp_path}",
    "--partial",
  )
  process = subprocess.Popen(
    [sys.executable, "-c", _SLOW, *flags],
    cwd=_ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "writing\n"
  process.send_signal(getattr(signal, name))
  _, error = process.communicate(timeout=60)
  if name == "SIGKILL":
    assert process.returncode == -signal.SIGKILL
  else:
    assert process.returncode == 75
    assert error.splitlines()[-1] == (
      f"stopped by {name}; the splits that are finished are kept: run the same "
      "command again to continue from there."
    )
  # Nothing looks like a dataset, and what is finished is kept.
  assert os.listdir(tmp_path) == [".glue_sst2.partial"]
  aside = tmp_path / ".glue_sst2.partial"
  assert (aside / "test.half").exists() is (name == "SIGKILL")
  kept = (aside / "train/text.npy").stat()
  done = command(*flags)
  assert done.returncode == 0, done.stderr
  assert "train: " not in done.stderr
  assert os.listdir(tmp_path) == ["glue_sst2"]
  folder = tmp_path / "glue_sst2"
  assert (folder / "train/text.npy").stat().st_ino == kept.st_ino
  assert files.files_below(folder) == expected
