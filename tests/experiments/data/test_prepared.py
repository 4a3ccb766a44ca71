"""The prepared form: what is written is read, whole or not at all."""

import collections
import contextlib
import json
import os
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st

from experiments.data import columns
from experiments.data import dataset
from experiments.data import prepared
from experiments.data.prepared import open_prepared
from experiments.data.prepared_writer import Writer
from experiments.distributed.signals import Interrupted

TEXT = dataset.Task("reviews", 3, class_names=("a", "b", "c"))
IMAGES = dataset.Task(
  "squares",
  2,
  fine_to_class=(0, 1, 0, 1),
  image_shape=(4, 5, 3),
  scale=255.0,
)
EXAMPLES = [
  {"text": "one", "label": 0},
  {"text": "", "label": 2},
  {"text": "naïve ☕\nline", "label": 1},
  {"text": "four", "label": 2},
]
TOKENS = [np.arange(n, dtype=np.uint16) for n in (3, 2, 5, 60)]


def image_examples(rng, count):
  fine = rng.integers(4, size=count)
  return [
    {
      "image": rng.integers(256, size=(4, 5, 3), dtype=np.uint8),
      "label": int(f % 2),
      "fine_label": int(f),
    }
    for f in fine
  ]


def write(folder, splits, *, task=TEXT, tokens=None, manifest=None, **options):
  """Writes splits in pieces of two examples."""
  with Writer(folder) as writer:
    manifest = {"tokenizer": None} | (manifest or {})
    writer.begin(task, manifest, **options)
    for name, examples in splits.items():
      if name in writer.finished:
        continue
      with writer.split(name) as rows:
        for i in range(0, len(examples), 2):
          piece = examples[i : i + 2]
          rows.extend(piece, tokens and tokens[i : i + len(piece)])
    writer.finish()
  return open_prepared(folder, verify=True)


def contents(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def test_texts_and_tokens_are_read_as_they_were_written(tmp_path):
  splits = {"train": EXAMPLES, "test": EXAMPLES[:3]}
  found = write(
    tmp_path / "reviews", splits, tokens=TOKENS, token_dtype=np.uint16
  )
  assert found.task == TEXT
  assert list(found.splits) == ["train", "test"]
  for name, start in (("train", 0), ("test", 4)):
    arrays, examples = found.splits[name], splits[name]
    assert arrays.keys() == {"inputs", "labels", "ids"}
    assert arrays["labels"].tolist() == [e["label"] for e in examples]
    ids = np.arange(start, start + len(examples))
    np.testing.assert_array_equal(arrays["ids"], ids)
    for dtype, key in ((np.int32, "labels"), (np.int32, "ids")):
      assert arrays[key].dtype == dtype
    assert list(found.texts(name)) == [e["text"] for e in examples]
    rows = arrays["inputs"]
    assert rows.values.dtype == np.uint16
    for i in range(len(examples)):
      np.testing.assert_array_equal(rows[i], TOKENS[i])
  texts = found.texts("train")
  assert texts[-1] == "four"
  assert texts[1:3] == ["", "naïve ☕\nline"]
  with pytest.raises(IndexError):
    texts[4]


def test_images_are_read_as_they_were_written(tmp_path, rng):
  splits = {"train": image_examples(rng, 7), "test": image_examples(rng, 4)}
  found = write(tmp_path / "squares", splits, task=IMAGES)
  assert found.task == IMAGES
  for name, examples in splits.items():
    arrays = found.splits[name]
    assert arrays.keys() == {"inputs", "labels", "fine_labels", "ids"}
    np.testing.assert_array_equal(
      arrays["inputs"], np.stack([e["image"] for e in examples])
    )
    for key in ("label", "fine_label"):
      expected = [e[key] for e in examples]
      np.testing.assert_array_equal(arrays[f"{key}s"], expected)
  with pytest.raises(ValueError, match=r"squares holds images, no texts\."):
    found.texts("train")


def test_nothing_is_read_into_memory(tmp_path, rng):
  splits = {"train": image_examples(rng, 3)}
  arrays = write(tmp_path / "squares", splits, task=IMAGES).splits["train"]
  assert all(isinstance(array, np.memmap) for array in arrays.values())
  assert not arrays["inputs"].flags.writeable


@settings(
  max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=9))
def test_any_text_is_kept(tmp_path, texts):
  examples = [{"text": text, "label": 0} for text in texts]
  folder = tmp_path / "reviews"
  shutil.rmtree(folder, ignore_errors=True)
  if any(0xD800 <= ord(c) < 0xE000 for c in "".join(texts)):
    with pytest.raises(ValueError, match="text is not Unicode: surrogates"):
      write(folder, {"train": examples})
    assert not folder.exists()
  else:
    found = write(folder, {"train": examples})
    assert list(found.texts("train")) == texts


def test_manifest_counts_and_checksums(tmp_path, rng):
  examples = image_examples(rng, 9)
  manifest = {"dataset": "squares", "options": {"seed": 3}}
  found = write(
    tmp_path / "squares", {"train": examples}, task=IMAGES, manifest=manifest
  )
  saved = json.loads((tmp_path / "squares/manifest.json").read_text())
  assert saved == found.manifest
  assert saved["format"] == 1
  assert saved["options"] == {"seed": 3}
  record = saved["splits"]["train"]
  counts = collections.Counter(e["fine_label"] for e in examples)
  assert record["num_examples"] == 9
  assert record["fine_label_counts"] == [counts[i] for i in range(4)]
  assert record["label_counts"] == [
    counts[0] + counts[2],
    counts[1] + counts[3],
  ]
  folder = tmp_path / "squares/train"
  assert record["files"].keys() == set(os.listdir(folder))
  assert record["files"]["images.npy"]["bytes"] == 128 + 9 * 60


def test_digest_tells_contents_apart(tmp_path):
  first = write(tmp_path / "a/reviews", {"train": EXAMPLES})
  same = write(tmp_path / "b/reviews", {"train": EXAMPLES})
  other = write(tmp_path / "c/reviews", {"train": EXAMPLES[::-1]})
  assert first.digest == same.digest
  assert first.digest != other.digest
  assert len(first.digest) == 64


def test_damage_is_named(tmp_path):
  folder = tmp_path / "reviews"
  write(folder, {"train": EXAMPLES})
  path = folder / "train/text.npy"
  data = path.read_bytes()
  again = re.escape(f"delete {folder} and prepare it again.")
  path.write_bytes(data[:-1] + b"!")
  open_prepared(folder)  # Sizes are the same.
  with pytest.raises(ValueError, match=f"text.npy is damaged, .*: {again}"):
    open_prepared(folder, verify=True)
  path.write_bytes(data[:-1])
  with pytest.raises(
    ValueError, match=f"text.npy has 149 bytes, 150 .*{again}"
  ):
    open_prepared(folder)
  path.unlink()
  with pytest.raises(ValueError, match=f"text.npy is missing: {again}"):
    open_prepared(folder)


def test_what_is_no_prepared_dataset_is_named(tmp_path):
  command = "--dataset=reviews --data_dir="
  with pytest.raises(FileNotFoundError, match=command):
    open_prepared(tmp_path / "reviews")
  folder = tmp_path / "reviews"
  write(folder, {"train": EXAMPLES})
  (folder / "manifest.json").write_text('{"format": 2}')
  with pytest.raises(ValueError, match="has format 2, this version reads"):
    open_prepared(folder)
  (folder / "manifest.json").write_text("[]")
  with pytest.raises(ValueError, match="has format None, this version reads"):
    open_prepared(folder)
  (folder / "manifest.json").write_text('{"format"')
  with pytest.raises(ValueError, match=r"manifest.json is not JSON"):
    open_prepared(folder)


def test_an_unknown_split_is_named(tmp_path):
  found = write(tmp_path / "reviews", {"train": EXAMPLES})
  with pytest.raises(ValueError, match="no split 'tset', it has train"):
    found.texts("tset")


@pytest.mark.parametrize(
  ("task", "wrong", "message"),
  [
    (TEXT, {"text": "x", "label": 3}, r"label must lie in \[0, 3\), got 3"),
    (TEXT, {"text": "x", "label": -1}, r"label must lie in \[0, 3\), got -1"),
    (TEXT, {"text": "x", "label": "1"}, "label must be an int, got '1'"),
    (TEXT, {"text": "x", "label": True}, "label must be an int, got True"),
    (TEXT, {"text": "x"}, "it has no 'label'"),
    (TEXT, {"text": b"x", "label": 0}, "text must be a str, got bytes"),
    (
      TEXT,
      {"id": "t9", "text": "\ud800", "label": 0},
      "text is not Unicode: surrogates not allowed",
    ),
    (
      IMAGES,
      {"image": np.zeros((5, 4, 3), np.uint8), "label": 0, "fine_label": 2},
      r"image must be uint8 \[4, 5, 3\], got uint8 \[5, 4, 3\]",
    ),
    (
      IMAGES,
      {"image": np.zeros((4, 5, 3)), "label": 0, "fine_label": 2},
      r"image must be uint8 \[4, 5, 3\], got float64",
    ),
    (
      IMAGES,
      {"image": np.zeros((4, 5, 3), np.uint8), "label": 0, "fine_label": 4},
      r"fine_label must lie in \[0, 4\), got 4",
    ),
    (
      IMAGES,
      {"image": np.zeros((4, 5, 3), np.uint8), "label": 0, "fine_label": 3},
      "label 0 is not that of fine_label 3",
    ),
  ],
)
def test_examples_that_do_not_fit_leave_nothing(
  tmp_path, rng, task, wrong, message
):
  good = EXAMPLES if task is TEXT else image_examples(rng, 4)
  name = r"4 \(id t9\)" if "id" in wrong else "4"
  expected = f"example {name} of {task.name}'s test split: {message}"
  with pytest.raises(ValueError, match=expected) as error:
    write(
      tmp_path / "data" / task.name,
      {"train": good, "test": [*good, wrong]},
      task=task,
    )
  assert "\n" not in str(error.value)
  assert not list(tmp_path.iterdir())  # The folder that was made as well.


def test_a_folder_that_was_there_stays(tmp_path):
  (tmp_path / "other").mkdir()
  with pytest.raises(ValueError, match="train of reviews has no examples"):
    write(tmp_path / "reviews", {"train": []})
  assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_texts_need_their_tokens(tmp_path):
  with pytest.raises(ValueError, match="every text must come with its tokens"):
    write(tmp_path / "reviews", {"train": EXAMPLES}, token_dtype=np.uint16)


def test_a_full_disk_is_noticed_before(tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  folder = tmp_path / "new" / "reviews"
  with pytest.raises(ValueError, match=r"about 3 MB .* 2 MB free: free some"):
    write(folder, {"train": EXAMPLES}, num_bytes=3_000_000)
  assert not list(tmp_path.iterdir())
  write(folder, {"train": EXAMPLES}, num_bytes=1_000_000)


def test_a_disk_that_gets_full_leaves_nothing(tmp_path, monkeypatch):
  append = columns.Column.append

  def full(self, rows):
    append(self, rows)
    if self._path.parent.name == "test.half" and self._length > 2:
      raise OSError(28, "No space left on device")

  monkeypatch.setattr(columns.Column, "append", full)
  with pytest.raises(OSError, match="No space left"):
    write(tmp_path / "reviews", {"train": EXAMPLES, "test": EXAMPLES})
  assert not list(tmp_path.iterdir())


def interrupted(folder, splits, error, **options):
  """Writes until the second split is half written."""
  with contextlib.suppress(type(error)), Writer(folder) as writer:
    writer.begin(TEXT, {"tokenizer": None}, **options)
    for number, (name, examples) in enumerate(splits.items()):
      with writer.split(name) as rows:
        rows.extend(examples[:1])
        if number == 1:
          raise error
        rows.extend(examples[1:])


@pytest.mark.parametrize(
  "error", [Interrupted("SIGTERM", "it is kept"), KeyboardInterrupt()]
)
def test_an_interrupted_writer_is_continued(tmp_path, error):
  splits = {"train": EXAMPLES, "test": EXAMPLES[1:]}
  whole = write(tmp_path / "whole/reviews", splits)
  folder = tmp_path / "reviews"
  interrupted(folder, splits, error)
  assert not folder.exists()
  aside = tmp_path / ".reviews.partial"
  assert {p.name for p in aside.iterdir()} == {
    "train",
    "manifest.json",
    ".lock",
  }
  kept = (aside / "train/text.npy").stat()
  found = write(folder, splits)
  assert (folder / "train/text.npy").stat().st_ino == kept.st_ino
  assert contents(folder) == contents(whole.folder)
  assert found.digest == whole.digest
  assert not aside.exists()


def test_what_a_killed_writer_left_is_cleared_up(tmp_path):
  splits = {"train": EXAMPLES, "test": EXAMPLES[1:]}
  folder, aside = tmp_path / "reviews", tmp_path / ".reviews.partial"
  interrupted(folder, splits, KeyboardInterrupt())
  (aside / "test.half").mkdir()
  (aside / "test.half/labels.npy").write_bytes(b"half")
  (aside / "scratch").mkdir()
  write(folder, splits)
  assert {p.name for p in folder.iterdir()} == {
    "train",
    "test",
    "manifest.json",
  }


@pytest.mark.parametrize("wrong", ["manifest", "broken"])
def test_what_was_begun_otherwise_is_begun_again(tmp_path, wrong):
  folder, aside = tmp_path / "reviews", tmp_path / ".reviews.partial"
  interrupted(
    folder, {"train": EXAMPLES, "test": EXAMPLES}, KeyboardInterrupt()
  )
  inode = (aside / "train/text.npy").stat().st_ino
  manifest = {}
  if wrong == "manifest":
    manifest = {"options": {"seed": 1}}
  else:
    (aside / "manifest.json").write_text("{")
  os.link(aside / "train/text.npy", tmp_path / "old")  # Keeps its inode taken.
  found = write(folder, {"train": EXAMPLES[:2]}, manifest=manifest)
  assert (folder / "train/text.npy").stat().st_ino != inode
  assert list(found.splits) == ["train"]


def test_a_new_dataset_takes_the_place_of_another(tmp_path):
  folder = tmp_path / "reviews"
  before = write(folder, {"train": EXAMPLES})
  after = write(folder, {"train": EXAMPLES[:2]})
  assert len(after.texts("train")) == 2
  # Who has the old one open keeps it.
  np.testing.assert_array_equal(before.splits["train"]["ids"], np.arange(4))
  assert [path.name for path in tmp_path.iterdir()] == ["reviews"]


def test_what_was_to_be_replaced_comes_back(tmp_path):
  folder = tmp_path / "reviews"
  write(folder, {"train": EXAMPLES})
  # Killed after the old one was moved away, before the new one came.
  folder.rename(tmp_path / ".reviews.replaced")
  with Writer(folder):
    assert open_prepared(folder, verify=True).task == TEXT
  assert [p.name for p in tmp_path.iterdir()] == ["reviews"]


def test_one_writer_at_a_time(tmp_path):
  folder = tmp_path / "reviews"
  with Writer(folder) as writer:
    with pytest.raises(ValueError, match=r"process \d+ on .*"):
      write(folder, {"train": EXAMPLES})
    writer.begin(TEXT, {"tokenizer": None})
    with writer.split("train") as rows:
      rows.extend(EXAMPLES)
    writer.finish()
  assert open_prepared(folder).texts("train")[3] == "four"


def test_space_is_needed_for_what_is_not_yet_written(tmp_path, monkeypatch):
  folder = tmp_path / "reviews"
  splits = {"train": EXAMPLES, "test": EXAMPLES}
  interrupted(folder, splits, KeyboardInterrupt())
  written = tmp_path / ".reviews.partial/train"
  size = sum(path.stat().st_size for path in written.iterdir())
  usage = shutil.disk_usage(tmp_path)._replace(free=1600)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  write(folder, splits, num_bytes=1600 + size)
  interrupted(folder, splits, KeyboardInterrupt())
  with pytest.raises(ValueError, match="MB free"):
    write(folder, splits, num_bytes=1601 + size)


def test_format_is_numpy_s_own(tmp_path):
  write(tmp_path / "reviews", {"train": EXAMPLES})
  folder = tmp_path / "reviews/train"
  np.testing.assert_array_equal(
    np.load(folder / "labels.npy"), [e["label"] for e in EXAMPLES]
  )
  text = np.load(folder / "text.npy").tobytes()
  assert text == "".join(e["text"] for e in EXAMPLES).encode()
  ends = np.cumsum([len(e["text"].encode()) for e in EXAMPLES])
  offsets = np.load(folder / "text_offsets.npy")
  np.testing.assert_array_equal(offsets, [0, *ends])
  assert offsets.dtype == np.int64
  assert prepared.FORMAT == 1
