"""Embeddings: computed, continued, opened, aligned, and what is refused."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from experiments.data import embeddings as embeddings_lib
from experiments.data.dataset import Task
from experiments.data.embeddings import aligned
from experiments.data.embeddings import check_dataset
from experiments.data.embeddings import compute_embeddings
from experiments.data.embeddings import Corpus
from experiments.data.embeddings import open_embeddings
from experiments.data.embeddings import write_manifest
from experiments.data.prepared import Prepared
from tests.experiments import hash_embeddings as hashed
from tests.experiments.original_files import files_below


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """A finished folder."""
  compute_embeddings(tmp_path / "whole", hashed.corpus(), hashed.encoder())
  return tmp_path / "whole"


def _refuse(texts):
  raise AssertionError("nothing is to be computed")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_written_is_what_is_read(tmp_path, dtype):
  compute_embeddings(tmp_path, hashed.corpus(), hashed.encoder(), dtype=dtype)
  found = open_embeddings(tmp_path)
  parts = [
    hashed.vectors(hashed.TEXTS[start : start + hashed.PART])
    for start in range(0, len(hashed.TEXTS), hashed.PART)
  ]
  expected = np.concatenate(parts).astype(dtype)
  np.testing.assert_array_equal(found.values, expected)
  np.testing.assert_array_equal(found.ids, np.arange(len(hashed.TEXTS)))
  assert found.values.dtype == dtype
  assert isinstance(found.values, np.memmap)
  assert found.manifest["origin"]["encoder"] == {
    "model": "hash",
    "batch_size": 2,
  }
  # As any program reads it.
  np.testing.assert_array_equal(np.load(tmp_path / "embeddings.npy"), expected)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"encoder": hashed.encoder(_refuse, model="other")}, "encoder.model"),
    ({"encoder": hashed.encoder(_refuse, revision="b")}, "encoder.revision"),
    ({"corpus": hashed.corpus(["Other", *hashed.TEXTS[1:]])}, "texts.sha256"),
    (
      {"corpus": Corpus(hashed.TEXTS, np.arange(len(hashed.TEXTS)) + 1)},
      "texts.sha256",
    ),
    ({"dtype": "float16"}, "'float32'.*'float16'"),
  ],
)
def test_other_embeddings_are_not_continued(folder, change, message):
  before = files_below(folder)
  arguments = {"corpus": hashed.corpus(), "encoder": hashed.encoder(_refuse)}
  compute_embeddings(folder, **arguments)  # It is verified and kept.
  with pytest.raises(ValueError, match=message):
    compute_embeddings(folder, **arguments | change)
  assert files_below(folder) == before


def test_no_texts_and_arrays_of_another_program_are_refused(tmp_path):
  with pytest.raises(ValueError, match="no texts"):
    compute_embeddings(tmp_path / "b", hashed.corpus([]), hashed.encoder())
  assert not (tmp_path / "b").exists()
  np.save(tmp_path / "embeddings.npy", np.ones(3))
  with pytest.raises(ValueError, match="--output"):
    compute_embeddings(tmp_path, hashed.corpus(), hashed.encoder())
  kept = np.load(tmp_path / "embeddings.npy")
  np.testing.assert_array_equal(kept, np.ones(3))


def test_overflow_of_float16_is_noticed(tmp_path):
  def overflowing(texts):
    return np.where(
      np.array(texts)[:, None] == "text 3", 1e6, hashed.vectors(texts)
    )

  encoder = hashed.encoder(overflowing)
  with pytest.raises(ValueError, match=r"row 3 .*float16"):
    compute_embeddings(tmp_path, hashed.corpus(), encoder, dtype="float16")


def save(folder, values, ids):
  np.save(folder / "embeddings.npy", values)
  np.save(folder / "ids.npy", ids)
  write_manifest(folder, encoder={"model": "mine"})
  return open_embeddings(folder)


def test_rows_are_found_by_id(tmp_path, rng):
  ids = rng.permutation(50)[:20]
  values = rng.standard_normal((20, 3))
  found = save(tmp_path, values, ids)
  order = rng.permutation(20)
  np.testing.assert_array_equal(aligned(found, ids[order]), values[order])
  # In the order of the file nothing is copied.
  rows = aligned(found, ids[4:9])
  np.testing.assert_array_equal(rows, values[4:9])
  assert np.shares_memory(rows, found.values)
  assert aligned(found, ids[:0]).shape == (0, 3)
  found = save(tmp_path, np.float16([[1], [2], [3]]), np.array(["c", "a", "b"]))
  rows = aligned(found, np.array(["a", "c"]))  # Ids may be strings.
  np.testing.assert_array_equal(rows, np.float16([[2], [1]]))


@pytest.mark.parametrize("missing", [[-1], [1000], [3, 77, 1000]])
def test_missing_ids_are_named(tmp_path, missing):
  found = save(tmp_path, np.ones([4, 2]), np.array([5, 3, 900, 7]))
  absent = [i for i in missing if i != 3]
  message = f" {len(absent)} of .* id {absent[0]}:"
  with pytest.raises(ValueError, match=message):
    aligned(found, np.array([*missing, 5]))


@pytest.mark.parametrize(
  ("values", "ids", "message"),
  [
    (np.ones([3, 2]), np.arange(2), r"ids\.npy .* 3 embeddings"),
    (np.ones([3, 2]), np.ones(3), r"ids\.npy .* float64\[3\]"),
    (np.ones([3, 2]), np.array([1, 4, 4]), "id 4 more than once"),
    (np.ones(3), np.arange(3), r"embeddings\.npy .*\[3\]"),
    (np.ones([0, 2]), np.arange(0), r"embeddings\.npy .*\[0, 2\]"),
    (np.ones([2, 3]).T, np.arange(3), r"embeddings\.npy"),
    (np.float32([[1], [np.nan]]), np.array([8, 9]), "row 1 .* id 9"),
    (None, np.arange(3), r"no .*embeddings\.npy: .*numpy\.save"),
    (b"no array", np.arange(3), r"embeddings\.npy is damaged"),
  ],
)
def test_arrays_that_are_not_embeddings_are_refused(
  tmp_path, monkeypatch, values, ids, message
):
  monkeypatch.setattr(embeddings_lib, "_ROWS_AT_ONCE", 1)
  for name, array in (("embeddings.npy", values), ("ids.npy", ids)):
    if isinstance(array, bytes):
      (tmp_path / name).write_bytes(array)
    elif array is not None:
      np.save(tmp_path / name, array)
  with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
    write_manifest(tmp_path, encoder={"model": "mine"})
  assert str(tmp_path) in str(error.value)
  assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
  "manifest", [{}, [], {"format": 1}, {"origin": {}, "arrays": {}, "fixed": {}}]
)
def test_other_manifests_are_refused(folder, manifest):
  path = folder / "manifest.json"
  path.write_text(json.dumps(manifest))
  with pytest.raises(ValueError, match=str(folder)):
    open_embeddings(folder)
  path.unlink()
  with pytest.raises(FileNotFoundError, match=f"--output={folder}"):
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
  splits = embeddings_lib.dataset_contents(_prepared("a"))
  corpus = Corpus(["a"], np.arange(1), splits)
  compute_embeddings(tmp_path / "one", corpus, hashed.encoder())
  found = open_embeddings(tmp_path / "one")
  check_dataset(found, _prepared("a"))
  with pytest.raises(ValueError, match="other texts than those in data/x"):
    check_dataset(found, _prepared("b"))
  # Those of a table or of a user's own array cannot be checked.
  check_dataset(open_embeddings(folder), _prepared("b"))
  write_manifest(folder, encoder={})
  check_dataset(open_embeddings(folder), _prepared("b"))


def test_folders_can_be_moved(folder, tmp_path):
  before = open_embeddings(folder)
  moved = open_embeddings(shutil.move(folder, tmp_path / "elsewhere"))
  assert moved.digest == before.digest
  assert len(moved.values) == len(hashed.TEXTS)
