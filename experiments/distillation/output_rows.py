"""Tables of predictions: CSV, TSV, JSON lines or Parquet, written atomically.

A row has the columns of the input, then `label` and `p_<label>` for each class.
A column of the input that has one of these names is renamed `input_<name>`.
"""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import IO

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from experiments.io import json_files

STDOUT = "-"  # The output that prints CSV.
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*_DELIMITERS, ".jsonl", ".parquet")

# Writes rows of the input, with the label and the probabilities of each.
Write = Callable[[Sequence[Sequence[Any]], Sequence[str], np.ndarray], None]


def check_output(output: str, inputs: Sequence[pathlib.Path]) -> None:
  """Raises ValueError if predictions cannot be written to a path.

  Args:
    output: The path, or "-".
    inputs: The files of the input, which must not be overwritten.
  """
  if output == STDOUT:
    return
  path = pathlib.Path(output).expanduser()
  if path.suffix.lower() not in SUFFIXES:
    raise ValueError(
      f"--output={output} must end in {', '.join(SUFFIXES)}, which says the "
      'format, or be "-" for CSV on standard output.'
    )
  if path.is_dir():
    raise ValueError(f"--output={output} is a folder: name a file.")
  if path.exists() and any(path.samefile(each) for each in inputs):
    raise ValueError(
      f"--output={output} is a file of --data, which would be lost: name "
      "another file."
    )


def renamed(columns: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
  """Returns new names for the columns whose names the output needs itself."""
  taken = {"label", *_probability_names(labels)}
  used = taken.union(columns)
  names = {}
  for column in columns:
    if column in taken:
      name = f"input_{column}"
      while name in used:
        name = f"input_{name}"
      used.add(name)
      names[column] = name
  return names


def left_out(output: str, columns: Mapping[str, pa.DataType]) -> list[str]:
  """Returns the columns that a text file cannot hold, since they hold bytes."""
  if output.lower().endswith(".parquet"):
    return []
  return [name for name, kind in columns.items() if _holds_bytes(kind)]


def _holds_bytes(kind: Any) -> bool:
  if pa.types.is_nested(kind):
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    return any(map(_holds_bytes, inner))
  return (
    pa.types.is_binary(kind)
    or pa.types.is_large_binary(kind)
    or pa.types.is_fixed_size_binary(kind)
    or pa.types.is_binary_view(kind)
  )


def _probability_names(labels: Sequence[str]) -> list[str]:
  return [f"p_{label}" for label in labels]


@contextlib.contextmanager
def writing(
  output: str, columns: Mapping[str, pa.DataType], labels: Sequence[str]
) -> Iterator[Write]:
  """Yields a function that writes rows; the file appears at the end.

  After an error, a file that existed before is unchanged.

  Args:
    output: As for `check_output`.
    columns: Names and types of the columns of the input.
    labels: The names of the classes.
  """
  if output == STDOUT:
    with tempfile.TemporaryFile() as file:
      with _writer(file, ".csv", columns, labels) as write:
        yield write
      file.seek(0)
      _print(file)
    return
  path = pathlib.Path(output).expanduser()
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with json_files.named(path), temporary.open("wb") as file:
      with _writer(file, path.suffix.lower(), columns, labels) as write:
        yield write
      file.flush()
      os.fsync(file.fileno())
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def _print(file: IO[bytes]) -> None:
  """Copies a file to standard output, whose reader may stop early."""
  sys.stdout.flush()
  try:
    shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
  except BrokenPipeError:
    # Otherwise Python reports at exit that it cannot flush standard output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _writer(
  file: IO[bytes],
  suffix: str,
  columns: Mapping[str, pa.DataType],
  labels: Sequence[str],
) -> Iterator[Write]:
  """Yields a function that writes rows in the format of a suffix."""
  dropped = left_out(suffix, columns)
  kept = [i for i, name in enumerate(columns) if name not in dropped]
  other = renamed(list(columns), labels)
  inputs = [other.get(name, name) for name in columns if name not in dropped]
  names = [*inputs, "label", *_probability_names(labels)]
  if suffix == ".parquet":
    kinds = [*columns.values(), pa.string(), *[pa.float32()] * len(labels)]
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    with parquet.ParquetWriter(file, schema) as writer:
      yield lambda rows, found, probs: writer.write_batch(
        _record_batch(schema, rows, found, probs)
      )
    return
  text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
  if suffix == ".jsonl":

    def write_line(values: Iterable[Any]) -> None:
      line = dict(zip(names, values, strict=True))
      text.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
  else:
    delimiter = _DELIMITERS[suffix]
    special = re.compile(f'[{delimiter}"\r\n]')

    def write_line(values: Iterable[Any]) -> None:
      # Fields are quoted where necessary; pandas and spreadsheets read this in
      # both formats. The csv module would not quote a carriage return.
      fields = [as_text(value) for value in values]
      quoted = [
        '"' + field.replace('"', '""') + '"' if special.search(field) else field
        for field in fields
      ]
      text.write(delimiter.join(quoted) + "\n")

    write_line(names)

  def write(rows, found, probs):
    for row, label, own in zip(rows, found, probs, strict=True):
      write_line([*(row[i] for i in kept), label, *map(_rounded, own)])

  yield write
  text.flush()
  text.detach()


def _rounded(probability: np.float32) -> float:
  """Rounds a probability to the seven digits of a float32."""
  return float(f"{probability:.7g}")


def as_text(value: Any) -> str:
  """Returns a value of a row as text; lists, dicts and booleans as JSON."""
  if value is None:
    return ""
  if isinstance(value, list | dict | bool):
    return json.dumps(value, ensure_ascii=False, default=str)
  return value if isinstance(value, str) else str(value)


def _record_batch(
  schema: pa.Schema,
  rows: Sequence[Sequence[Any]],
  labels: Sequence[str],
  probabilities: np.ndarray,
) -> pa.RecordBatch:
  """Converts rows to an Arrow record batch."""
  columns: list[Any] = []
  num_inputs = len(schema) - 1 - probabilities.shape[1]
  for place, field in enumerate(list(schema)[:num_inputs]):
    values: list[Any] = [row[place] for row in rows]
    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
      values = [None if value is None else as_text(value) for value in values]
    try:
      columns.append(pa.array(values, field.type))
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
      raise ValueError(
        f"the column {field.name!r} cannot be written to Parquet as "
        f"{field.type} ({error}): name a .csv or .jsonl file in --output."
      ) from error
  columns.append(pa.array(labels, pa.string()))
  columns += [pa.array(values) for values in probabilities.T]
  return pa.record_batch(columns, schema=schema)
