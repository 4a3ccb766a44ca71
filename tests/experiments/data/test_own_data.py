"""Bring your own: tables, folders of images and arrays."""

import os
import threading
import time
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

from experiments.data.preparation import prepare_own
from experiments.data.preparation import Tokenization
from experiments.data.summary import summary
from experiments.io import locks
from tests.experiments.prepared_inputs import tokens
from tests.experiments.prepared_inputs import Words


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


def test_own_files_that_are_prepared_are_opened_by_all_at_once(
  tmp_path, monkeypatch
):
  path = own(tmp_path, [(0, "a"), (1, "b")])
  paths = {"train": [path]}
  prepare_own(tmp_path / "data", paths, **COLUMNS)
  monkeypatch.delattr(locks, "exclusive_alone")  # Nobody waits for another.
  found = prepare_own(tmp_path / "data", paths, **COLUMNS)
  assert list(found.texts("train")) == ["a", "b"]


def test_own_files_that_another_prepares_are_waited_for(tmp_path, monkeypatch):
  monkeypatch.setattr(locks, "_SECONDS_BETWEEN_LOOKS", 0.01)
  path = own(tmp_path, [(0, "a"), (1, "b")])
  folder, paths = tmp_path / "data", {"train": [path]}
  begun = threading.Event()
  encode = Words.encode

  def slow(self, *args, **options):
    if threading.current_thread() is not threading.main_thread():
      begun.set()
      time.sleep(0.2)
    return encode(self, *args, **options)

  monkeypatch.setattr(Words, "encode", slow)
  with futures.ThreadPoolExecutor() as threads:
    tokenization = Tokenization(Words())
    first = threads.submit(
      prepare_own, folder, paths, tokenization=tokenization, **COLUMNS
    )
    begun.wait()
    second = prepare_own(folder, paths, **COLUMNS)
    assert first.result().manifest == second.manifest
  assert second.manifest["tokenizer"] is not None


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
