"""The prepared form of a dataset: a folder of arrays and a manifest.

  <data_dir>/<dataset>/manifest.json   what is in it, how it was made, checksums
  <data_dir>/<dataset>/<split>/
    labels.npy int32 [N], ids.npy int32 [N], fine_labels.npy int32 [N]
    images.npy uint8 [N, H, W, channels]                     images
    text.npy uint8 [bytes], text_offsets.npy int64 [N + 1]   texts, as UTF-8
    tokens.npy [tokens], token_offsets.npy int64 [N + 1]     texts, tokenized

Ids are unique in the dataset: each split's continue where the last one's end.
This file reads the form, `prepared_writer.py` writes it; nothing else knows it.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import overload

import numpy as np

from experiments.data import dataset
from experiments.io import json_files

FORMAT = 1
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Texts(Sequence[str]):
  """The texts of a split, read from disk one by one.

  Attributes:
    rows: Their UTF-8 bytes, uint8.
  """

  rows: dataset.Ragged

  def __len__(self) -> int:
    return len(self.rows)

  @overload
  def __getitem__(self, index: int) -> str: ...
  @overload
  def __getitem__(self, index: slice) -> list[str]: ...

  def __getitem__(self, index: int | slice) -> str | list[str]:
    """Returns one text, or a list of them for a slice."""
    positions = range(len(self))[index]
    if isinstance(positions, range):
      return [self[i] for i in positions]
    return self.rows[positions].tobytes().decode()


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A prepared dataset, memory-mapped.

  Attributes:
    folder: Where it is.
    manifest: What `manifest.json` says.
    task: What there is to learn.
    splits: By name, arrays as `dataset.Splits` has them; "inputs" is missing
      where texts were not tokenized.
  """

  folder: pathlib.Path
  manifest: Mapping[str, Any]
  task: dataset.Task
  splits: Mapping[str, dataset.Arrays]

  def texts(self, split: str) -> Texts:
    """Returns the raw texts of a split.

    Raises:
      ValueError: If there is no such split, or it holds images.
    """
    if self.task.image_shape is not None:
      raise ValueError(f"{self.folder} holds images, no texts.")
    if split not in self.splits:
      raise ValueError(
        f"{self.folder} has no split {split!r}, it has "
        f"{', '.join(self.splits)}."
      )
    return Texts(_ragged(self.folder / split, "text"))

  def text_of(self, example: int) -> str:
    """Returns the raw text of an example by its id.

    Raises:
      ValueError: If there is no such example, or it is an image.
    """
    for split, arrays in self.splits.items():
      ids = arrays["ids"]  # On end, and on from the last split's.
      if len(ids) and ids[0] <= example <= ids[-1]:
        return self.texts(split)[int(example - ids[0])]
    raise ValueError(f"{self.folder} has no example of id {example}.")

  @property
  def digest(self) -> str:
    """SHA-256 of the contents: other examples or tokens, another digest."""
    keys = ("task", "tokenizer", "splits")
    contents = json.dumps({key: self.manifest[key] for key in keys})
    return hashlib.sha256(contents.encode()).hexdigest()


def open_prepared(folder: Any, *, verify: bool = False) -> Prepared:
  """Opens a prepared dataset; nothing is read but the manifest.

  Args:
    folder: The folder, `<data_dir>/<dataset>`.
    verify: Whether to compare every file's SHA-256 with the manifest's, at
      about 1 GB a second. Sizes are always compared.

  Raises:
    FileNotFoundError: If there is no prepared dataset.
    ValueError: If its format is another, or a file is not what was written.
  """
  folder = pathlib.Path(folder)
  manifest = read_manifest(folder)
  for split, record in manifest["splits"].items():
    for name, expected in record["files"].items():
      _check_file(folder / split / name, expected, verify)
  fields: dict[str, Any] = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in manifest["task"].items()
  }
  splits = {
    split: _arrays(folder / split, record["files"])
    for split, record in manifest["splits"].items()
  }
  return Prepared(folder, manifest, dataset.Task(**fields), splits)


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  """Returns what a prepared folder says about itself.

  Raises:
    FileNotFoundError: If there is no prepared dataset.
    ValueError: If it is no manifest of this format.
  """
  path = folder / MANIFEST
  if not path.is_file():
    raise FileNotFoundError(
      f"there is no prepared dataset in {folder}: run python -m "
      f"experiments.prepare --dataset={folder.name} --data_dir={folder.parent}."
    )
  manifest = json_files.read_json(path)
  found = manifest.get("format") if isinstance(manifest, dict) else None
  if found != FORMAT:
    raise ValueError(
      f"{path} has format {found}, this version reads format {FORMAT}: "
      f"delete {folder} and prepare it again."
    )
  return manifest


def _check_file(
  path: pathlib.Path, expected: Mapping[str, Any], verify: bool
) -> None:
  """Raises ValueError if a file is not what was written."""
  again = f"delete {path.parents[1]} and prepare it again."
  if not path.is_file():
    raise ValueError(f"{path} is missing: {again}")
  size = path.stat().st_size
  if size != expected["bytes"]:
    raise ValueError(
      f"{path} has {size:,} bytes, {expected['bytes']:,} were written: {again}"
    )
  if verify and file_sha256(path) != expected["sha256"]:
    raise ValueError(
      f"{path} is damaged, its SHA-256 is not the manifest's: {again}"
    )


def file_sha256(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _arrays(folder: pathlib.Path, files: Mapping[str, Any]) -> dataset.Arrays:
  """Maps the arrays of a split that training uses."""
  arrays: dataset.Arrays = {}
  if "images.npy" in files:
    arrays["inputs"] = _mapped(folder / "images.npy")
  elif "tokens.npy" in files:
    arrays["inputs"] = _ragged(folder, "token")
  for name in ("labels", "fine_labels", "ids"):
    if f"{name}.npy" in files:
      arrays[name] = _mapped(folder / f"{name}.npy")
  return arrays


def _ragged(folder: pathlib.Path, kind: str) -> dataset.Ragged:
  """Maps rows of different lengths: "token" or "text"."""
  values = "tokens.npy" if kind == "token" else "text.npy"
  return dataset.Ragged(
    _mapped(folder / values), _mapped(folder / f"{kind}_offsets.npy")
  )


def _mapped(path: pathlib.Path) -> np.ndarray:
  return np.load(path, mmap_mode="r", allow_pickle=False)
