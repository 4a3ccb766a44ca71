"""The records of a workdir in one Parquet file, without weights and metrics.

Each row is a file: its `path` in the workdir and its `content`. That is all
that `experiments.report` reads.
"""

import pathlib

import pyarrow as pa
from pyarrow import parquet

from experiments.io import json_files

SUFFIX = ".parquet"
_PATTERNS = (
  "sweep.json",
  "cells/*/*/*/trial*/config.json",
  "cells/*/*/*/trial*/result.json",
  "teachers/*/config.json",
  "teachers/*/result.json",
)
_SCHEMA = pa.schema({"path": pa.string(), "content": pa.string()})


def pack(workdir: pathlib.Path, path: pathlib.Path) -> int:
  """Writes the records of a workdir to a file; returns their number.

  Raises FileNotFoundError if there are none.
  """
  files = [file for p in _PATTERNS for file in sorted(workdir.glob(p))]
  if not files:
    raise FileNotFoundError(
      f"--workdir={workdir} holds no result: run experiments.sweep with it "
      "first."
    )
  columns = {
    "path": [file.relative_to(workdir).as_posix() for file in files],
    "content": [file.read_text() for file in files],
  }
  sink = pa.BufferOutputStream()
  table = pa.table(columns, schema=_SCHEMA)
  parquet.write_table(table, sink, compression="zstd", compression_level=19)
  path.parent.mkdir(parents=True, exist_ok=True)
  json_files.replace(path, sink.getvalue().to_pybytes())
  return len(files)


def unpack(path: pathlib.Path, workdir: pathlib.Path) -> pathlib.Path:
  """Writes the records in a file to a workdir, and returns the workdir.

  Raises ValueError if the file is damaged or holds something else.
  """
  try:
    table = parquet.read_table(path, schema=_SCHEMA)
  except (OSError, pa.ArrowException) as error:
    raise ValueError(
      f"{path} does not hold the records of a workdir, as experiments.pack "
      f"writes them: {error}"
    ) from None
  for row in table.to_pylist():
    file = (workdir / row["path"]).resolve()
    if not file.is_relative_to(workdir.resolve()):
      raise ValueError(f"{path} has a record outside of it, {row['path']!r}.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(row["content"])
  return workdir
