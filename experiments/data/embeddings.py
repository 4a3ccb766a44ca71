"""Precomputed embeddings: an array, the ids of its rows, and a manifest.

  <folder>/embeddings.npy   float16, float32 or float64, [N, width]
  <folder>/ids.npy          integers or strings, [N], each once
  <folder>/manifest.json    what computed them, sizes and SHA-256 of the files

`experiments.embed_sentence_t5` makes such a folder. For an array of another
origin put the two files into a folder and call `write_manifest` on it.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data import prepared as prepared_lib
from experiments.io import json_files

FORMAT = 1
ARRAY, IDS, MANIFEST = "embeddings.npy", "ids.npy", "manifest.json"
FILES = (ARRAY, IDS)

_ROWS = 4096  # Read at a time.


@dataclasses.dataclass(frozen=True)
class Embeddings:
  """Embeddings on disk.

  Attributes:
    folder: Where they are.
    manifest: What `manifest.json` says.
    values: Float, ``[N, width]``, memory-mapped.
    ids: The id of each row, ``[N]``.
  """

  folder: pathlib.Path
  manifest: Mapping[str, Any]
  values: np.ndarray
  ids: np.ndarray

  @property
  def digest(self) -> str:
    """SHA-256 that other embeddings, or other ids, do not share."""
    files = self.manifest["files"]
    text = "".join(files[name]["sha256"] for name in FILES)
    return hashlib.sha256(text.encode()).hexdigest()


def open_embeddings(folder: Any, *, verify: bool = False) -> Embeddings:
  """Opens embeddings; nothing is read but the manifest and the ids.

  Args:
    folder: The folder.
    verify: Whether to compare every file's SHA-256 with the manifest's, at
      about 1 GB a second. Sizes are always compared.

  Returns:
    The embeddings.

  Raises:
    FileNotFoundError: If there are none.
    ValueError: If the format is another, or a file is not what was written.
  """
  folder = pathlib.Path(folder).expanduser()
  if not (folder / MANIFEST).is_file():
    raise FileNotFoundError(
      f"there are no embeddings in {folder}: compute them with python -m "
      f"experiments.embed_sentence_t5 --output={folder}, or put {ARRAY} and "
      f"{IDS} of your own there and call embeddings.write_manifest."
    )
  manifest = json_files.read_json(folder / MANIFEST)
  found = manifest.get("format") if isinstance(manifest, dict) else None
  if found != FORMAT or not {*FILES} <= manifest.get("files", {}).keys():
    raise ValueError(
      f"{folder / MANIFEST} is none of embeddings in format {FORMAT} (it has "
      f"format {found}): give another folder, or make this one again."
    )
  for name in FILES:
    _check_file(folder / name, manifest["files"][name], verify)
  return Embeddings(folder, manifest, *_arrays(folder))


def aligned(embeddings: Embeddings, ids: np.ndarray) -> np.ndarray:
  """Returns the rows of some examples.

  Args:
    embeddings: What `open_embeddings` returned.
    ids: Ids of examples, ``[n]``, in any order.

  Returns:
    Their embeddings, ``[n, width]``: still memory-mapped if the rows lie one
    behind the other, else a copy in memory.

  Raises:
    ValueError: If some have no embedding.
  """
  ids = np.asarray(ids)
  order = np.argsort(embeddings.ids, kind="stable")
  places = np.searchsorted(embeddings.ids, ids, sorter=order)
  rows = order[np.minimum(places, len(order) - 1)]
  missing = ids[embeddings.ids[rows] != ids]
  if len(missing):
    raise ValueError(
      f"{embeddings.folder} has no embedding of {len(missing)} of {len(ids)} "
      f"examples, the first with id {missing[0]}: embed the texts of this "
      "dataset."
    )
  if len(rows) and np.array_equal(rows, rows[0] + np.arange(len(rows))):
    return embeddings.values[rows[0] : rows[0] + len(rows)]
  return embeddings.values[rows]


def check_dataset(
  embeddings: Embeddings, prepared: prepared_lib.Prepared
) -> None:
  """Raises ValueError if embeddings are of other texts than a dataset's.

  Ids are positions, so those of another dataset, or of another version of
  this one, would fit without a word. Embeddings whose manifest does not name
  texts, as may be with a user's own, cannot be checked and pass.

  Args:
    embeddings: The embeddings.
    prepared: The dataset.
  """
  texts = (embeddings.manifest.get("texts") or {}).get("splits")
  if texts is not None and texts != dataset_texts(prepared):
    raise ValueError(
      f"{embeddings.folder} holds embeddings of other texts than those in "
      f"{prepared.folder}: embed these, or use the dataset those are of."
    )


def dataset_texts(prepared: prepared_lib.Prepared) -> dict[str, list[str]]:
  """Returns what tells the texts of a prepared dataset from others."""
  files = ("text.npy", "text_offsets.npy")
  return {
    split: [record["files"][name]["sha256"] for name in files]
    for split, record in prepared.manifest["splits"].items()
  }


def write_manifest(
  folder: Any,
  *,
  encoder: Mapping[str, Any],
  texts: Mapping[str, Any] | None = None,
) -> None:
  """Declares the arrays in a folder complete, after looking at all of them.

  Args:
    folder: Holds `embeddings.npy` and `ids.npy`.
    encoder: What computed them, plain data such as ``{"model": "my-model"}``.
    texts: What they were computed from, plain data: see `check_dataset`.

  Raises:
    FileNotFoundError: If a file is missing.
    ValueError: If the arrays are no embeddings and their ids.
  """
  folder = pathlib.Path(folder).expanduser()
  for name in FILES:
    if not (folder / name).is_file():
      raise FileNotFoundError(
        f"there is no {folder / name}: np.save the ids of the rows there, for "
        "a prepared dataset those of its ids.npy."
        if name == IDS
        else f"there is no {folder / name}: np.save the embeddings there."
      )
  values, ids = _arrays(folder)
  for start in range(0, len(values), _ROWS):
    finite = np.isfinite(values[start : start + _ROWS]).all(axis=1)
    if not finite.all():
      row = start + int(np.argmin(finite))
      raise ValueError(
        f"row {row} of {folder / ARRAY}, of id {ids[row]}, holds NaN or "
        "infinity: compute it again, in another precision."
      )
  manifest = {
    "format": FORMAT,
    "encoder": dict(encoder),
    "texts": None if texts is None else dict(texts),
    "num_examples": len(values),
    "width": values.shape[1],
    "dtype": values.dtype.name,
    "files": {
      name: {
        "bytes": (folder / name).stat().st_size,
        "sha256": prepared_lib.file_sha256(folder / name),
      }
      for name in FILES
    },
  }
  json_files.write_json(folder / MANIFEST, manifest)


def _check_file(
  path: pathlib.Path, expected: Mapping[str, Any], verify: bool
) -> None:
  """Raises ValueError if a file is not what the manifest says."""
  if not path.is_file():
    raise ValueError(f"{path} is missing: make the embeddings again.")
  size = path.stat().st_size
  if size != expected["bytes"]:
    raise ValueError(
      f"{path} has {size:,} bytes, {expected['bytes']:,} were written: make "
      "the embeddings again."
    )
  if verify and prepared_lib.file_sha256(path) != expected["sha256"]:
    raise ValueError(
      f"{path} is damaged, its SHA-256 is not the manifest's: make the "
      "embeddings again."
    )


def _arrays(folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Maps the embeddings, and reads their ids."""
  values = _loaded(folder / ARRAY, "r")
  ids = _loaded(folder / IDS, None)
  if values.ndim != 2 or values.dtype.kind != "f" or 0 in values.shape:
    raise ValueError(
      f"{folder / ARRAY} must be floats [N, width], got "
      f"{values.dtype}{[*values.shape]}."
    )
  if ids.shape != values.shape[:1] or ids.dtype.kind not in "iuU":
    raise ValueError(
      f"{folder / IDS} must be one integer or string for each of the "
      f"{len(values)} rows of {ARRAY}, got {ids.dtype}{[*ids.shape]}."
    )
  unique, counts = np.unique(ids, return_counts=True)
  if len(unique) < len(ids):
    twice = unique[np.argmax(counts > 1)]
    raise ValueError(f"{folder / IDS} holds the id {twice} more than once.")
  return values, ids


def _loaded(path: pathlib.Path, mmap_mode: Any) -> np.ndarray:
  try:
    return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
  except (EOFError, ValueError) as error:
    raise ValueError(f"{path} is no .npy file of an array ({error}).") from None
