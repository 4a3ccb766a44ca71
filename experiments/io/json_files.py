"""Reads JSON files, replaces files atomically, and compares JSON objects."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from experiments.io import storage

PathLike = str | os.PathLike[str]


@contextlib.contextmanager
def named(path: PathLike) -> Iterator[None]:
  """Adds the name of a file to an OSError that has none.

  Errors of writing to an open file, such as those of a full disk, have none.
  """
  try:
    yield
  except OSError as error:
    if error.errno is not None and error.filename is None:
      error.filename = os.fspath(path)
    raise


def write_json(path: PathLike, obj: Any) -> None:
  """Writes a JSON file atomically, in a file system or a bucket.

  The folder is created. The object may consist of dicts (whose order is kept),
  dataclasses, lists, tuples, strings, numbers, None, paths, and arrays and
  scalars of NumPy and JAX. NaN and infinity become null, as JSON has neither.
  """
  text = json.dumps(plain(obj), indent=2, allow_nan=False)
  replace(_path(path), text + "\n")


def read_json(path: PathLike) -> Any:
  """Reads a JSON file, in a file system or a bucket."""
  text = read_text(_path(path))
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(
      f"{path} is not JSON ({error}): delete it, and run the command that "
      "writes it again."
    ) from None


def _path(path: PathLike) -> pathlib.Path | epath.Path:
  return epath.Path(path) if storage.in_bucket(path) else pathlib.Path(path)


def read_text(path: pathlib.Path | epath.Path) -> str:
  """Returns the text of a file."""
  try:
    return path.read_text(encoding="utf-8")
  except FileNotFoundError:
    raise FileNotFoundError(
      f"there is no file {path}: run the command that writes it first."
    ) from None


def replace(path: pathlib.Path | epath.Path, contents: str | bytes) -> None:
  """Atomically replaces a file, and creates its folder."""
  data = contents.encode() if isinstance(contents, str) else contents
  if isinstance(path, epath.Path):
    path.write_bytes(data)  # Writes to a bucket are atomic.
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with named(path), temporary.open("wb") as file:
      file.write(data)
      file.flush()
      # Without fsync, a crash of the machine can leave an empty file.
      os.fsync(file.fileno())
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def plain(obj: Any) -> Any:
  """Converts an object to the types of JSON, as `write_json` does."""
  if dataclasses.is_dataclass(obj):
    names = [field.name for field in dataclasses.fields(obj)]
    return {name: plain(getattr(obj, name)) for name in names}
  if isinstance(obj, Mapping):
    return {str(name): plain(value) for name, value in obj.items()}
  if isinstance(obj, list | tuple):
    return [plain(value) for value in obj]
  if isinstance(obj, float):
    return float(obj) if math.isfinite(obj) else None
  if isinstance(obj, str | int | None):
    return obj
  if isinstance(obj, os.PathLike):
    return os.fspath(obj)
  if hasattr(obj, "__array__"):
    return plain(np.asarray(obj).tolist())
  raise TypeError(
    f"JSON cannot hold {obj!r}, a {type(obj).__name__}: give numbers, strings, "
    "lists, dicts or arrays."
  )


def differences(saved: Any, current: Any) -> list[str]:
  """Describes each difference between two nested dicts.

  For example: "student.batch_size: saved 64, now 128".
  """
  there, here = _flat(plain(saved)), _flat(plain(current))
  return [
    f"{name}: saved {there.get(name, 'nothing')}, "
    f"now {here.get(name, 'nothing')}"
    for name in sorted(there.keys() | here.keys())
    if there.get(name) != here.get(name)
  ]


def _flat(obj: Any, prefix: str = "") -> dict[str, str]:
  """Returns the values of nested dicts as text, by dotted name."""
  if not isinstance(obj, dict) or not obj:
    return {prefix: repr(obj)}
  flat = {}
  for name, value in obj.items():
    flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
  return flat
