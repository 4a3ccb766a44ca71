"""Tables, row by row: TSV, CSV, JSON lines and Parquet, compressed or not."""

import contextlib
import itertools
import json
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import pyarrow as pa
from pyarrow import parquet as pq

from experiments.data.sources import files
from experiments.data.sources import lines
from experiments.data.sources.column_source import Malformed

_DELIMITERS = {".tsv": "\t", ".csv": ","}
_JSON = (".jsonl", ".ndjson")
_PARQUET = (".parquet",)
SUFFIXES = (*_DELIMITERS, *_JSON, *_PARQUET)

_ROWS_AT_ONCE = 1024  # Of Parquet, which comes in batches.


class Row(NamedTuple):
  """A row of a table.

  Attributes:
    number: Its place among the file's rows, malformed ones too, from 0.
    where: The file and the line, for messages.
    values: What stands in each column.
    problem: What is wrong with it, "" where nothing is.
    num_lines: How many lines it takes.
  """

  number: int
  where: str
  values: dict[str | int, Any]
  problem: str = ""
  num_lines: int = 1


def rows(
  path: files.Path,
  columns: Sequence[str | int] | None = None,
  *,
  header: bool = True,
  quoting: bool | None = None,
  encoding: str = "utf-8",
  malformed: Malformed | None = None,
) -> Iterator[dict[str | int, Any]]:
  """Yields the rows of a table, reading it once from start to end.

  Memory does not grow with the file. Blank lines are no rows. A malformed
  line (another number of fields than the first, an unusable quote, not JSON,
  not in the encoding, nothing where a column that was asked for should be) is
  never yielded.

  Args:
    path: A .tsv, .csv, .jsonl or .parquet file; a .gz, .bz2 or .xz behind
      that is decompressed.
    columns: Names of the columns wanted, or positions from 0 where there is no
      header; all of them by default.
    header: Whether a TSV or CSV file starts with the names of its columns.
    quoting: Whether TSV or CSV fields may stand in double quotes, with
      delimiters, line ends and doubled quotes inside; they then have at most
      131,072 characters. By default they may in CSV, while in TSV a quote is
      a character as any other.
    encoding: Of a text file; a byte order mark is dropped.
    malformed: Counts malformed lines, which are then skipped. Without it the
      first of them raises.

  Yields:
    The values by column: str from TSV and CSV, else as stored.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: If it has another suffix, lacks a wanted column or is damaged,
      or at a malformed line without `malformed`.
  """
  for row in numbered_rows(
    path,
    columns,
    header=header,
    quoting=quoting,
    encoding=encoding,
    malformed=malformed,
  ):
    yield row.values


def numbered_rows(
  path: files.Path,
  columns: Sequence[str | int] | None,
  *,
  header: bool,
  quoting: bool | None,
  encoding: str,
  malformed: Malformed | None,
) -> Iterator[Row]:
  """Yields what `rows` does, and where it stands in the file."""
  for row in _all_rows(path, columns, header, quoting, encoding):
    problem = row.problem or _problem(row.values, columns, encoding)
    if not problem:
      yield row
    elif malformed is None:
      raise ValueError(f"{row.where}: {problem}.")
    else:
      malformed.add(row.where, problem, row.num_lines)


def _problem(
  values: dict[str | int, Any],
  columns: Sequence[str | int] | None,
  encoding: str,
) -> str:
  """Returns what is wrong with the values of a row, "" where nothing is."""
  for name, value in values.items():
    if value is None and columns is not None:
      return f"no {name!r}"
    # What could not be decoded stands in the text as lone surrogates.
    if isinstance(value, str) and not value.isascii():
      try:
        value.encode()
      except UnicodeEncodeError:
        return f"{name!r} is not {encoding}"
  return ""


def _all_rows(
  path: files.Path,
  columns: Sequence[str | int] | None,
  header: bool,
  quoting: bool | None,
  encoding: str,
) -> Iterator[Row]:
  """Yields the rows of a file, usable or not, whatever its format."""
  suffix = files.format_suffix(path)
  if suffix in _PARQUET:
    return _parquet_rows(path, columns)
  if suffix in _JSON:
    return _json_rows(path, columns, lines.text_lines(path, encoding))
  if suffix not in _DELIMITERS:
    raise ValueError(
      f"{path} must end in one of {', '.join(SUFFIXES)}, and .gz, .bz2 or "
      f".xz behind that if compressed."
    )
  return _delimited_rows(path, columns, header, quoting, encoding)


def _delimited_rows(
  path: files.Path,
  columns: Sequence[str | int] | None,
  header: bool,
  quoting: bool | None,
  encoding: str,
) -> Iterator[Row]:
  delimiter = _DELIMITERS[files.format_suffix(path)]
  if quoting is None:
    quoting = delimiter == ","
  split = lines.quoted_lines if quoting else lines.plain_lines
  split_lines = split(lines.text_lines(path, encoding), delimiter)
  first = next(split_lines, None)
  if first is None:
    what = "a line with the names of the columns" if header else "some rows"
    raise ValueError(f"{path} is empty: expected {what}.")
  if first.problem:
    raise ValueError(f"{path} line {first.first}: {first.problem}.")
  if header and _problem(dict(enumerate(first.fields)), columns, encoding):
    raise ValueError(
      f"{path} is not {encoding}: give its encoding, such as 'latin-1'."
    )
  width = len(first.fields)
  if not header:
    split_lines = itertools.chain([first], split_lines)
  names = first.fields if header else list(range(width))
  places = _places(path, names, columns, header)
  for number, line in enumerate(split_lines):
    fields, problem = line.fields, line.problem
    if not problem and len(fields) != width:
      problem = f"{len(fields)} fields, expected {width}"
    values = {} if problem else {name: fields[i] for name, i in places.items()}
    num_lines = line.last - line.first + 1
    where = f"{path} line {line.first}"
    yield Row(number, where, values, problem, num_lines)


def _places(
  path: files.Path,
  names: list,
  columns: Sequence[str | int] | None,
  header: bool,
) -> dict[str | int, int]:
  """Returns where in a row each wanted column stands."""
  if len(set(names)) != len(names):
    raise ValueError(
      f"{path}: the names of its columns must differ, got {names}; is the "
      f"first line values? Then give header=False and columns by position."
    )
  places = {name: i for i, name in enumerate(names)}
  if columns is None:
    return places
  found = {}
  for column in columns:
    # From a command line a position comes as a str.
    place = column if header or not str(column).isdigit() else int(column)
    if place not in places:
      have = f"it has {names}" if header else f"it has {len(names)} columns"
      hint = (
        "; if those are values, give header=False and columns by position"
        if header
        else ", counted from 0, as the header is said to be missing"
      )
      raise ValueError(f"{path} has no column {column!r}: {have}{hint}.")
    found[column] = places[place]
  return found


def _json_rows(
  path: files.Path,
  columns: Sequence[str | int] | None,
  text: Iterator[str],
) -> Iterator[Row]:
  filled = ((i, line) for i, line in enumerate(text, 1) if line.strip())
  for number, (line_number, line) in enumerate(filled):
    where = f"{path} line {line_number}"
    try:
      value = json.loads(line.rstrip("\r\n"))
    except json.JSONDecodeError as error:
      yield Row(number, where, {}, f"not JSON at column {error.colno}")
      continue
    except (ValueError, RecursionError):
      yield Row(number, where, {}, "too long a number, or nested too deeply")
      continue
    if not isinstance(value, dict):
      yield Row(number, where, {}, "not a JSON object")
      continue
    problem = ""
    if columns is not None:
      missing = [column for column in columns if column not in value]
      if missing:
        problem = f"no {missing[0]!r} in {list(value)}"
      value = {column: value.get(column) for column in columns}
    yield Row(number, where, value, problem)


def parquet_file(path: files.Path) -> pq.ParquetFile:
  """Opens a Parquet file; a compressed one is read whole.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: If it is no Parquet file, or damaged.
  """
  with parquet_reading(path):
    if not files.is_compressed(path):
      return pq.ParquetFile(path, memory_map=True)
    with files.opened(path) as file:
      return pq.ParquetFile(pa.BufferReader(file.read()))


@contextlib.contextmanager
def parquet_reading(path: files.Path) -> Iterator[None]:
  """Turns what can go wrong in reading Parquet into one line."""
  with files.reading(path):
    try:
      yield
    except pa.ArrowInvalid as error:
      reason = str(error).splitlines()[0].rstrip(".")
      raise ValueError(
        f"{path} is no whole Parquet file ({reason}): get it again."
      ) from error


def check_columns(
  path: files.Path, names: Sequence[str], columns: Sequence[str | int]
) -> None:
  """Raises ValueError unless a Parquet file has the wanted columns."""
  for column in columns:
    if column not in names:
      raise ValueError(f"{path} has no column {column!r}: it has {names}.")


def _parquet_rows(
  path: files.Path, columns: Sequence[str | int] | None
) -> Iterator[Row]:
  file = parquet_file(path)
  names = file.schema_arrow.names
  check_columns(path, names, columns or ())
  wanted = names if columns is None else list(columns)
  with parquet_reading(path):
    number = itertools.count()
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=wanted):
      for values in batch.to_pylist():
        i = next(number)
        yield Row(i, f"{path} row {i}", values)
