"""A user's own files: tables, folders of images and arrays."""

import functools
import os
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

from experiments.data.prepare import prepare_own
from experiments.data.prepared import summary
from experiments.data.tokenizer import Tokenization
from experiments.io import locks
from tests.experiments.prepared_inputs import tokens
from tests.experiments.prepared_inputs import Words

COLUMNS = {"text_column": "review", "label_column": "stars"}


def own(tmp_path, rows):
  lines = "".join(f'{label},"{text}"\n' for label, text in rows)
  path = tmp_path / f"{len(os.listdir(tmp_path))}.csv"
  path.write_text("stars,review\n" + lines)
  return path


def photos(tmp_path, images, names, mode="RGB"):
  """Saves images under their names."""
  for pixels, name in zip(images, names, strict=True):
    path = tmp_path / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
  return {split: tmp_path / split for split in ("train", "test")}


def test_texts_with_named_labels(tmp_path):
  rows = [("good", "a, b"), ("bad", "c\nd"), ("fair", ""), ("bad", "é")]
  paths = {"train": own(tmp_path, rows), "test": own(tmp_path, rows[:1])}
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


def test_the_class_of_each_label_is_printed_with_its_counts(tmp_path):
  rows = [("1.0", "a"), ("True", "b"), ("0", "c"), ("nan", "d")]
  paths = {"train": own(tmp_path, rows), "test": own(tmp_path, rows[:3])}
  found = prepare_own(tmp_path / "data", paths, unlabelled="drop", **COLUMNS)
  lines = [line.split() for line in summary(found).splitlines()]
  assert lines[:5] == [
    ["texts", "of", "2", "classes"],
    ["train", "test"],
    ["examples", "3", "3"],
    ["class", "0:", "0", "1", "1"],
    ["class", "1:", "1", "2", "2"],
  ]
  assert "1 without a label" in summary(found)


def test_prepared_files_are_opened_by_all_at_once(tmp_path, monkeypatch):
  paths = {"train": own(tmp_path, [(0, "a"), (1, "b")])}
  prepare_own(tmp_path / "data", paths, **COLUMNS)
  monkeypatch.delattr(locks, "exclusive_when_free")  # Nobody waits for another.
  found = prepare_own(tmp_path / "data", paths, **COLUMNS)
  assert list(found.texts("train")) == ["a", "b"]


def test_files_that_another_process_prepares_are_waited_for(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(locks, "_SECONDS_BETWEEN_ATTEMPTS", 0.01)
  paths = {"train": own(tmp_path, [(0, "a"), (1, "b")])}
  with futures.ThreadPoolExecutor() as threads:
    with locks.claim(tmp_path / ".data.partial"):
      found = threads.submit(prepare_own, tmp_path / "data", paths, **COLUMNS)
      with pytest.raises(TimeoutError):
        found.result(timeout=0.2)
      prepare_own(
        tmp_path / "other/data",
        paths,
        tokenization=Tokenization(Words()),
        **COLUMNS,
      )
      (tmp_path / "other/data").rename(tmp_path / "data")
    assert found.result().manifest["tokenizer"] is not None


def test_more_malformed_rows_than_allowed_stop_before_anything_is_written(
  tmp_path,
):
  lines = ["stars,review", *["0,a", "1,b"] * 20, "1,two,three", "0,d\xe9"]
  path = tmp_path / "a.csv"
  path.write_bytes("\n".join(lines).encode("latin-1"))
  call = functools.partial(
    prepare_own, tmp_path / "data", {"train": path}, **COLUMNS
  )
  with pytest.raises(ValueError, match=r"2 of 42 rows .*max_bad_rows=0\.01 "):
    call()
  assert os.listdir(tmp_path) == ["a.csv"]
  found = call(max_bad_rows=0.05)
  (rows,) = found.left_out
  assert (rows.split, rows.kind, rows.count) == ("train", "malformed", 2)
  assert rows.first == (
    f"{path} row 42: 3 fields, expected 2",
    f"{path} row 43: not utf-8",
  )
  assert f"left out of {rows}" in summary(found)
  # The limit also applies to data that are already prepared.
  with pytest.raises(ValueError, match=r"2 of 42 rows"):
    call()
  assert call(max_bad_rows=0.05).left_out == (rows,)


def test_examples_that_are_tested_and_trained_on_are_named(tmp_path):
  train = own(tmp_path, [(0, "a"), (1, "b"), (1, "b"), (0, "c")])
  test = own(tmp_path, [(0, "a"), (1, "d"), (1, "c")])
  once = own(tmp_path, [(0, "a"), (1, "b"), (0, "c")])
  more = own(tmp_path, [("", "a"), ("", "c"), ("", "e")])
  unlabelled = {"train": once, "unlabelled_files": more}
  for name, paths, text in (
    ("x", {"train": train, "test": test}, "2 of 3 test examples are also"),
    ("y", {"train": train}, "1 of 4 training examples repeat"),
    ("v", unlabelled, "2 of 3 training examples also occur without a label"),
  ):
    found = prepare_own(tmp_path / name, paths, **COLUMNS)
    (line,) = [x for x in summary(found).splitlines() if "warning" in x]
    assert text in line
  np.savez(tmp_path / "a.npz", x=np.eye(4, dtype=np.uint8)[None], y=["a"])
  np.savez(
    tmp_path / "b.npz",
    x=[np.eye(4, dtype=np.uint8), np.ones((4, 4), np.uint8)],
    y=["a", "b"],
  )
  paths = {"train": tmp_path / "b.npz", "test": tmp_path / "a.npz"}
  found = prepare_own(tmp_path / "z", paths)
  assert found.manifest["notes"] == [
    "1 of 1 test examples are also training examples"
  ]


def test_rows_without_a_label_are_an_explicit_choice(tmp_path):
  path = own(tmp_path, [(0, "a"), ("", "b"), (1, "c"), ("NA", "d")])
  call = functools.partial(
    prepare_own, tmp_path / "data", {"train": path}, **COLUMNS
  )
  with pytest.raises(ValueError, match=r"2 of 4 rows .*unlabelled=drop"):
    call()
  assert os.listdir(tmp_path) == ["0.csv"]
  found = call(unlabelled="drop", max_bad_rows=0.0)
  assert list(found.texts("train")) == ["a", "c"]
  assert [(r.kind, r.count) for r in found.left_out] == [("without a label", 2)]


def test_rows_without_a_label_may_be_for_students(tmp_path):
  path = own(tmp_path, [(0, "a"), ("", "b"), (1, "c"), ("NA", "d")])
  test = own(tmp_path, [(0, "b"), (1, "e"), ("", "f")])
  more = own(tmp_path, [("what", "g"), (0, "h")])
  call = functools.partial(
    prepare_own,
    tmp_path / "data",
    {"train": path, "test": test, "unlabelled_files": more},
    tokenization=Tokenization(Words()),
    **COLUMNS,
  )
  found = call(unlabelled="transfer")
  texts = {split: list(found.texts(split)) for split in found.splits}
  assert texts == {
    "train": ["a", "c"],
    "test": ["b", "e"],
    "unlabelled_files": ["g", "h"],
    "unlabelled": ["b", "d"],
  }
  for split in ("unlabelled_files", "unlabelled"):
    assert found.splits[split]["labels"].tolist() == [-1, -1]
  ids = np.concatenate([arrays["ids"] for arrays in found.splits.values()])
  assert ids.tolist() == list(range(8))
  # A test example needs its label, and students must not train on its text.
  (rows,) = found.left_out
  assert (rows.split, rows.kind, rows.count) == ("test", "without a label", 1)
  (line,) = [x for x in summary(found).splitlines() if "warning" in x]
  assert "1 of 2 test examples are also" in line
  with pytest.raises(ValueError, match="unlabelled was 'transfer'"):
    call(unlabelled="drop")


def test_images_without_a_label_need_no_folders(tmp_path, rng):
  images = rng.integers(256, size=(5, 6, 7, 3), dtype=np.uint8)
  names = ("train/cat/a", "train/dog/b", "more/c", "more/x/d", "train/NA/e")
  photos(tmp_path, images, names)
  (tmp_path / "more/notes.txt").write_text("")
  call = functools.partial(
    prepare_own,
    tmp_path / "data",
    {"train": tmp_path / "train", "unlabelled_files": tmp_path / "more"},
    unlabelled="transfer",
  )
  with pytest.raises(ValueError, match=r"unlabelled_files: 1 .*notes\.txt"):
    call()
  found = call(max_bad_rows=0.5)
  for split, rows in (
    ("train", [0, 1]),
    ("unlabelled_files", [2, 3]),
    ("unlabelled", [4]),
  ):
    np.testing.assert_array_equal(found.splits[split]["inputs"], images[rows])
  assert found.task.class_names == ("cat", "dog")
  assert call(max_bad_rows=0.5).digest == found.digest
  Image.fromarray(images[0]).save(tmp_path / "more/c.png")
  with pytest.raises(ValueError, match="unlabelled_files was more"):
    call(max_bad_rows=0.5)


def test_grey_and_coloured_images_may_be_in_different_splits(tmp_path, rng):
  images = rng.integers(256, size=(4, 6, 7, 3), dtype=np.uint8)
  photos(tmp_path, images[:2], ("train/cat/a", "train/dog/a"), "L")
  paths = photos(tmp_path, images[2:], ("test/cat/a", "test/dog/a"))
  found = prepare_own(tmp_path / "data", paths)
  assert (found.task.image_shape, found.task.scale) == ((6, 7, 3), 255.0)
  assert found.splits["test"]["labels"].tolist() == [0, 1]
  np.testing.assert_array_equal(found.splits["test"]["inputs"], images[2:])
  grey = np.asarray(Image.fromarray(images[0]).convert("L"))
  first = found.splits["train"]["inputs"][0]
  np.testing.assert_array_equal(first, np.repeat(grey[..., None], 3, -1))
  grey = prepare_own(tmp_path / "grey", paths, channels=1)
  assert grey.task.image_shape == (6, 7, 1)
  small = prepare_own(tmp_path / "small", paths, image_size=4)
  assert small.task.image_shape == (4, 4, 3)
  photos(tmp_path, images[2:, :3], ("test/cat/a", "test/dog/a"))
  with pytest.raises(ValueError, match=r"config\.data\.image_size"):
    prepare_own(tmp_path / "new", paths)


def test_files_that_cannot_be_used_leave_nothing(tmp_path):
  two, one, third, none = (
    own(tmp_path, [(label, "x") for label in labels])
    for labels in ("ab", "aa", "c", ("", "NA"))
  )
  real, labelled, unlabelled = (tmp_path / f"{name}.npz" for name in "rlu")
  np.savez(real, images=np.zeros((2, 4, 4, 3)), labels=[0, 1])
  np.savez(labelled, x=np.zeros((2, 4, 4), np.uint8), y=["a", "b"])
  np.savez(unlabelled, x=np.zeros((2, 4, 4), np.uint8))
  before = sorted(os.listdir(tmp_path))
  for paths, columns, message in (
    ({"train": one}, COLUMNS, r"1\.csv is 1 \(such as 'a'\)"),
    ({"train": two, "test": third}, COLUMNS, "label 'c'"),
    ({"train": none}, COLUMNS, r"3\.csv: no row has a label"),
    ({"train": labelled, "test": unlabelled}, {}, r"u\.npz has no labels"),
    ({"train": real}, {}, "images .* float64"),
    ({"train": tmp_path / "nope.csv"}, {}, r"nope\.csv"),
    ({"test": labelled}, {}, r"config\.data\.train"),
  ):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
      prepare_own(
        tmp_path / "new/data", paths, unlabelled="transfer", **columns
      )
    assert sorted(os.listdir(tmp_path)) == before
