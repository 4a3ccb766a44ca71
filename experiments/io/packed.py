"""Packs the results of a workdir into one Parquet file, and unpacks them.

The file holds the records that `experiments.report` reads, but no weights and
metrics. A record is a file of the workdir. Each row has its `path` relative to
the workdir and its `content`.
"""

import fnmatch
import pathlib
from collections.abc import Collection

import pyarrow as pa
from pyarrow import parquet

from experiments.io import json_files

SUFFIX = ".parquet"
RESULT = "cells/*/*/*/trial*/result.json"
_PATTERNS = (
  "sweep.json",
  "cells/*/*/*/trial*/config.json",
  RESULT,
  "teachers/*/config.json",
  "teachers/*/result.json",
)
_SCHEMA = pa.schema({"path": pa.string(), "content": pa.string()})


def pack(
  workdir: pathlib.Path,
  path: pathlib.Path,
  digests: Collection[str],
  teachers: pathlib.Path | None = None,
) -> tuple[int, list[str]]:
  """Writes the records of a workdir to a file.

  Args:
    workdir: The workdir.
    path: The file.
    digests: Digests of the cells' teachers.
    teachers: Another folder of teachers, from which the teachers of the cells
      are packed, too.

  Returns:
    The number of records, and the digests of the cells' teachers that were not
    found.

  Raises:
    FileNotFoundError: If no cell is finished.
    ValueError: If the file lacks the suffix by which `experiments.report`
      recognizes it.
  """
  if path.suffix != SUFFIX:
    raise ValueError(f"--file must end in {SUFFIX}, got {path}.")
  records = _records(workdir)
  if not fnmatch.filter(records, RESULT):
    raise FileNotFoundError(
      f"--workdir={workdir} holds no finished cell: run experiments.sweep with "
      "it first."
    )
  if teachers is not None:
    for digest in digests:
      for file in teachers.glob(f"{digest}/*.json"):
        name = f"teachers/{digest}/{file.name}"
        if _is_record(name):
          records.setdefault(name, json_files.read_text(file))
  # Records of one kind compress better next to each other.
  names = sorted(records, key=lambda name: (name.rpartition("/")[2], name))
  columns = {"path": names, "content": [records[name] for name in names]}
  sink = pa.BufferOutputStream()
  table = pa.table(columns, schema=_SCHEMA)
  parquet.write_table(table, sink, compression="zstd", compression_level=19)
  json_files.replace(path, sink.getvalue().to_pybytes())
  missing = [x for x in digests if f"teachers/{x}/result.json" not in records]
  return len(records), sorted(missing)


def unpack(path: pathlib.Path, workdir: pathlib.Path) -> pathlib.Path:
  """Writes the records in a file to a workdir, and returns the workdir.

  The workdir may already hold some of the records, with the same contents.
  Raises FileNotFoundError if there is no such file, and ValueError if the file
  is damaged or the workdir holds other records.
  """
  records, there = _read(path), _records(workdir)
  for name, content in there.items():
    if records.get(name) != content:
      raise ValueError(
        f"{workdir} holds other results than {path}, such as {name}: delete "
        "that folder, or name a new one."
      )
  for name in records.keys() - there.keys():
    json_files.replace(workdir / name, records[name])
  return workdir


def _records(workdir: pathlib.Path) -> dict[str, str]:
  """Returns the contents of the records of a workdir, by path."""
  return {
    file.relative_to(workdir).as_posix(): json_files.read_text(file)
    for pattern in _PATTERNS
    for file in sorted(workdir.glob(pattern))
  }


def _read(path: pathlib.Path) -> dict[str, str]:
  """Returns the contents of the records in a file, by path."""
  if not path.is_file():
    raise FileNotFoundError(
      f"there is no file {path}: write it with experiments.pack."
    )
  problem = f"{path} is not a file of experiments.pack, or it is damaged"
  try:
    with parquet.ParquetFile(path) as file:
      table = file.read()
      rows = table.to_pylist()
  except (OSError, ValueError, pa.ArrowException) as error:
    raise ValueError(f"{problem}: {error}") from None
  if not table.schema.equals(_SCHEMA) or any(c.null_count for c in table):
    raise ValueError(f"{problem}: its columns are {table.schema.names}.")
  records = {row["path"]: row["content"] for row in rows}
  if strange := [name for name in records if not _is_record(name)]:
    raise ValueError(f"{problem}: it holds {strange[0]!r}.")
  return records


def _is_record(name: str) -> bool:
  """Returns whether a path is that of a record inside the workdir."""
  return ".." not in name.split("/") and any(
    fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
    for pattern in _PATTERNS
  )
