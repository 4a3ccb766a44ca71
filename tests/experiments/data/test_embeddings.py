"""Embeddings on disk: what is read, and what is refused."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from experiments.data import embeddings as embeddings_lib
from experiments.data.dataset import Task
from experiments.data.embeddings import aligned
from experiments.data.embeddings import open_embeddings
from experiments.data.embeddings import write_manifest
from experiments.data.embeddings_writer import Corpus
from experiments.data.embeddings_writer import write_embeddings
from experiments.data.prepared import Prepared
from tests.experiments import hash_embeddings as hashed


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """A finished folder."""
  write_embeddings(tmp_path / "whole", hashed.corpus(), hashed.encoder())
  return tmp_path / "whole"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_what_is_read(tmp_path, dtype):
  write_embeddings(tmp_path, hashed.corpus(), hashed.encoder(), dtype=dtype)
  found = open_embeddings(tmp_path, verify=True)
  starts = range(0, len(hashed.TEXTS), hashed.CHUNK)
  chunks = [
    hashed.vectors(hashed.TEXTS[start : start + hashed.CHUNK])
    for start in starts
  ]
  expected = np.concatenate(chunks).astype(dtype)
  np.testing.assert_array_equal(found.values, expected)
  np.testing.assert_array_equal(found.ids, np.arange(len(hashed.TEXTS)))
  assert found.values.dtype == dtype
  assert isinstance(found.values, np.memmap)
  assert found.manifest["encoder"] == {"model": "hash", "batch_size": 2}
  assert (found.manifest["num_examples"], found.manifest["width"]) == (
    len(hashed.TEXTS),
    hashed.WIDTH,
  )
  assert found.digest != found.manifest["files"]["ids.npy"]["sha256"]


def test_rows_are_found_by_id(tmp_path, rng):
  ids = rng.permutation(50)[:20]
  values = rng.standard_normal((20, 3))
  np.save(tmp_path / "embeddings.npy", values)
  np.save(tmp_path / "ids.npy", ids)
  write_manifest(tmp_path, encoder={"model": "mine"})
  found = open_embeddings(tmp_path)
  order = rng.permutation(20)
  np.testing.assert_array_equal(aligned(found, ids[order]), values[order])
  # In the order of the file nothing is copied.
  rows = aligned(found, ids[4:9])
  np.testing.assert_array_equal(rows, values[4:9])
  assert np.shares_memory(rows, found.values)
  assert aligned(found, ids[:0]).shape == (0, 3)


def test_ids_may_be_strings(tmp_path):
  np.save(tmp_path / "embeddings.npy", np.float16([[1], [2], [3]]))
  np.save(tmp_path / "ids.npy", np.array(["c", "a", "b"]))
  write_manifest(tmp_path, encoder={"model": "mine"})
  rows = aligned(open_embeddings(tmp_path), np.array(["a", "c"]))
  np.testing.assert_array_equal(rows, np.float16([[2], [1]]))


@pytest.mark.parametrize("missing", [[-1], [1000], [3, 77, 1000]])
def test_missing_ids_are_named(tmp_path, missing):
  np.save(tmp_path / "embeddings.npy", np.ones([4, 2]))
  np.save(tmp_path / "ids.npy", np.array([5, 3, 900, 7]))
  write_manifest(tmp_path, encoder={})
  absent = [i for i in missing if i != 3]
  message = f"no embedding of {len(absent)} of .* with id {absent[0]}:"
  with pytest.raises(ValueError, match=message):
    aligned(open_embeddings(tmp_path), np.array([*missing, 5]))


@pytest.mark.parametrize(
  ("values", "ids", "message"),
  [
    (np.ones([3, 2]), np.arange(2), r"one integer or string .* 3 rows"),
    (np.ones([3, 2]), np.ones(3), r"got float64\[3\]"),
    (np.ones([3, 2]), np.array([1, 4, 4]), "holds the id 4 more than once"),
    (np.ones(3), np.arange(3), r"must be floats \[N, width\], got .*\[3\]"),
    (np.ones([0, 2]), np.arange(0), r"must be floats"),
    (np.ones([3, 2], int), np.arange(3), r"got int64\[3, 2\]"),
    (np.float32([[1], [np.nan]]), np.array([8, 9]), "row 1 .* of id 9"),
    (None, np.arange(3), r"no .*embeddings\.npy: np\.save the embeddings"),
    (np.ones([3, 2]), None, r"no .*ids\.npy: np\.save the ids"),
    (b"no array", np.arange(3), r"embeddings\.npy is no \.npy file"),
    (b"", np.arange(3), r"embeddings\.npy is no \.npy file"),
  ],
)
def test_arrays_that_are_no_embeddings_are_refused(
  tmp_path, monkeypatch, values, ids, message
):
  monkeypatch.setattr(embeddings_lib, "_ROWS", 1)
  for name, array in (("embeddings.npy", values), ("ids.npy", ids)):
    if isinstance(array, bytes):
      (tmp_path / name).write_bytes(array)
    elif array is not None:
      np.save(tmp_path / name, array)
  with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
    write_manifest(tmp_path, encoder={"model": "mine"})
  assert str(tmp_path) in str(error.value)
  assert not (tmp_path / "manifest.json").exists()


def test_a_folder_without_a_manifest_is_not_read(folder):
  (folder / "manifest.json").unlink()
  with pytest.raises(FileNotFoundError, match=r"write_manifest") as error:
    open_embeddings(folder)
  assert f"--output={folder}" in str(error.value)


@pytest.mark.parametrize("name", ["embeddings.npy", "ids.npy"])
def test_damaged_files_are_named(folder, name):
  file = folder / name
  data = file.read_bytes()
  file.write_bytes(data[:-3])
  with pytest.raises(ValueError, match=rf"{name} has .* bytes"):
    open_embeddings(folder)
  file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
  open_embeddings(folder)
  with pytest.raises(ValueError, match=rf"{name} is damaged"):
    open_embeddings(folder, verify=True)
  file.unlink()
  with pytest.raises(ValueError, match=rf"{name} is missing"):
    open_embeddings(folder)


@pytest.mark.parametrize("manifest", [{}, [], {"format": 1}, {"format": 2}])
def test_other_manifests_are_refused(folder, manifest):
  (folder / "manifest.json").write_text(json.dumps(manifest))
  with pytest.raises(ValueError, match="none of embeddings in format 1"):
    open_embeddings(folder)


def _prepared(digest: str) -> Prepared:
  files = {
    name: {"sha256": digest + name, "bytes": 1}
    for name in ("text.npy", "text_offsets.npy", "labels.npy")
  }
  manifest = {"splits": {"train": {"files": files}}}
  task = Task("x", 2)
  return Prepared(pathlib.Path("data/x"), task, {}, manifest=manifest)


def test_embeddings_of_other_texts_are_refused(tmp_path, folder):
  splits = embeddings_lib.dataset_texts(_prepared("a"))
  corpus = Corpus(["a"], np.arange(1), splits)
  write_embeddings(tmp_path / "one", corpus, hashed.encoder())
  found = open_embeddings(tmp_path / "one")
  embeddings_lib.check_dataset(found, _prepared("a"))
  with pytest.raises(ValueError, match="of other texts than those in data/x"):
    embeddings_lib.check_dataset(found, _prepared("b"))
  # Of a table nobody knows, of a user's own array neither.
  embeddings_lib.check_dataset(open_embeddings(folder), _prepared("b"))
  write_manifest(folder, encoder={})
  embeddings_lib.check_dataset(open_embeddings(folder), _prepared("b"))


def test_folders_can_be_moved(folder, tmp_path):
  moved = shutil.move(folder, tmp_path / "elsewhere")
  assert len(open_embeddings(moved, verify=True).values) == len(hashed.TEXTS)
