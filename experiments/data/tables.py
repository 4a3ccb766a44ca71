"""Reads the rows of TSV, CSV, JSON-lines and Parquet files.

Text files may be compressed. Rows that cannot be used are left out and counted,
with the first reasons. `reading` turns any error of reading a damaged file into
a message of one line.
"""

import bz2
import codecs
import contextlib
import csv
import glob
import gzip
import io
import json
import lzma
import pathlib
import string
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import cast
from typing import IO

from pyarrow import parquet

from experiments.data.dataset import LeftOut

Path = str | pathlib.Path
_DELIMITERS = {".tsv": "\t", ".csv": ","}
_USUAL_DELIMITERS = (",", ";", "\t", "|")
TEXT_SUFFIXES = (*_DELIMITERS, ".jsonl", ".ndjson")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
TEXT_OPTIONS = ("header", "encoding", "delimiter", "quoting")
_OPENERS: dict[str, Callable[..., Any]] = {
  ".gz": gzip.open,
  ".bz2": bz2.open,
  ".xz": lzma.open,
}
# Byte order marks. The mark of UTF-32 starts with that of UTF-16.
_MARKS = (
  (codecs.BOM_UTF8, "utf-8-sig"),
  (codecs.BOM_UTF32_LE, "utf-32"),
  (codecs.BOM_UTF32_BE, "utf-32"),
  (codecs.BOM_UTF16_LE, "utf-16"),
  (codecs.BOM_UTF16_BE, "utf-16"),
)
# Limits the length of a field, so that an unclosed quote is an error.
_MOST_CHARACTERS = 2**22
csv.field_size_limit(_MOST_CHARACTERS)
# Bytes that cannot be decoded become lone surrogates, so that only their row is
# left out.
_UNDECODED = "surrogateescape"


class MissingColumnError(ValueError):
  """Error: a table lacks a column that the user named."""

  def __init__(self, path: Path, column: Any, names: Sequence[Any]):
    """Creates the error."""
    super().__init__(
      f"{path} has no column {column!r}; its columns are {list(names)}."
    )


def text_options(options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the options that `TableReader` takes for text files."""
  return {name: options[name] for name in TEXT_OPTIONS if name in options}


def check_encoding(encoding: str) -> None:
  """Raises ValueError for an unknown encoding; "" stands for the default."""
  try:
    "".encode(encoding or "utf-8")  # Rejects codecs of bytes, such as base64.
  except LookupError:
    raise ValueError(
      "config.data.encoding must be an encoding that Python knows, such as "
      f"'utf-8', 'cp1252' or 'utf-16', got {encoding!r}."
    ) from None


def check_delimiter(delimiter: str) -> None:
  """Raises ValueError for an invalid delimiter; "" stands for the default."""
  if delimiter and (
    len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'
  ):
    raise ValueError(
      "config.data.delimiter must be one ASCII character, not a quote or a "
      f"line end, got {delimiter!r}."
    )


class TableReader:
  """Iterates over the rows of a table, with constant memory.

  Blank lines are ignored. A row is left out if its number of fields differs
  from that of the first row, if it cannot be decoded, if it is not a JSON
  object, or if it has no value for a wanted column.

  Attributes:
    path: The file.
    names: Names of the columns. A JSON file has none until a row is read: then
      they are the names in the first row, or with `others` in all rows so far.
    columns: Names of the values that a row is yielded with.
    num_rows: Number of rows read so far, including rows left out.
  """

  def __init__(
    self,
    path: Path,
    columns: Sequence[str | int] | None = None,
    *,
    may_lack: Collection[str | int] = (),
    others: bool = False,
    bad: LeftOut | None = None,
    header: bool = True,
    encoding: str = "",
    delimiter: str = "",
    quoting: str = "auto",
  ):
    """Opens a table.

    Args:
      path: A .tsv, .csv, .jsonl or .parquet file; a text file may be
        compressed.
      columns: Names of the wanted columns, or their positions from 0 if there
        is no header. By default all columns are wanted.
      may_lack: Wanted columns that may have no value in a row. The value is
        then None.
      others: Whether to append the values of all other columns, or None where a
        row has no value. For JSON, these are the columns seen so far.
      bad: Counter to which the rows left out are added.
      header: Whether a TSV or CSV file starts with the names of its columns.
      encoding: Encoding of a text file. By default it is UTF-8, unless a byte
        order mark says otherwise.
      delimiter: Character between the fields of a TSV or CSV file. By default
        it is a tab or a comma, or if the wanted columns are not found with it,
        another usual delimiter with which they are.
      quoting: With "double", a field in double quotes may contain delimiters,
        line ends and doubled quotes. With "none", quotes have no meaning.
        "auto" is "double" for CSV files and "none" for TSV files.
    """
    self.path = pathlib.Path(path).expanduser()
    self.num_rows = 0
    self._bad = LeftOut() if bad is None else bad
    self._may_lack = may_lack
    self._suffix = format_suffix(path)
    self._header = header and self._suffix in _DELIMITERS
    self._encoding = encoding
    self._quotes = quoting == "double" or (
      quoting == "auto" and self._suffix == ".csv"
    )
    self._delimiter = delimiter
    self.names: list[Any] = []
    if not header:
      columns = columns and [_position(column) for column in columns]
      self._may_lack = [_position(column) for column in may_lack]
    with reading(self.path):
      if self._suffix in _DELIMITERS:
        self.names = self._names(header, columns)
      elif self._suffix == ".parquet":
        self.names = parquet.ParquetFile(self.path).schema_arrow.names
    if len(set(self.names)) < len(self.names):
      raise ValueError(
        f"{self.path}: the names of the columns in its first line must differ, "
        f"got {self.names}."
      )
    self.columns = list(self.names if columns is None else columns)
    for column in self.columns:
      if self.names and column not in self.names:
        raise MissingColumnError(self.path, column, self.names)
    self._others = others
    self._wanted = len(self.columns)
    if others:
      self.columns += [x for x in self.names if x not in self.columns]

  def __iter__(self) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yields the number (from 0) and the wanted values of each usable row."""
    if self._suffix == ".parquet":
      rows = self._parquet_rows()
    elif self._suffix in _DELIMITERS:
      rows = self._csv_rows()
    else:
      rows = self._json_rows()
    with reading(self.path):
      for values in rows:
        if values is not None:
          wanted = zip(self.columns[: self._wanted], values, strict=False)
          missing = [
            column
            for column, value in wanted
            if value is None and column not in self._may_lack
          ]
          if missing:
            self.leave_out(self.num_rows, f"no {missing[0]!r}")
          else:
            yield self.num_rows, values
        self.num_rows += 1

  def place(self, number: int) -> str:
    """Returns the place of a row for messages: the path and the row from 1."""
    return f"{self.path} row {number + 1 + self._header}"

  def leave_out(self, number: int, problem: str) -> None:
    """Counts a row that cannot be used."""
    self._bad.add(self.place(number), problem)

  def _names(
    self, header: bool, wanted: Sequence[str | int] | None
  ) -> list[Any]:
    """Finds the delimiter of a TSV or CSV file; returns the column names."""
    usual = self._delimiter or _DELIMITERS[self._suffix]
    others = () if self._delimiter else _USUAL_DELIMITERS
    names: list[Any] = []
    for self._delimiter in (usual, *others, usual):
      first = self._first_row()
      names = first if header else list(range(len(first)))
      if set(wanted or names) <= set(names) and (wanted or len(names) > 1):
        break
    return names

  def _first_row(self) -> list[str]:
    """Returns the first row of a TSV or CSV file."""
    with self._text() as text:
      first = next(filter(None, self._parsed(text)), None)
      if first is None:
        raise ValueError("it is empty")
      # Raises UnicodeDecodeError if a byte of this row could not be decoded.
      "".join(first).encode(text.encoding, _UNDECODED).decode(text.encoding)
      return first

  def _parsed(self, text: io.TextIOWrapper) -> Any:
    """Returns an iterator over the rows of a TSV or CSV file."""
    quoting = csv.QUOTE_MINIMAL if self._quotes else csv.QUOTE_NONE
    return csv.reader(text, delimiter=self._delimiter, quoting=quoting)

  @contextlib.contextmanager
  def _text(self, newline: str = "") -> Iterator[io.TextIOWrapper]:
    """Opens a text file and skips its byte order mark."""
    with opened(self.path) as file:
      start = cast("io.BufferedReader", file).peek(4)[:4]
      marked = (name for mark, name in _MARKS if start.startswith(mark))
      encoding = next(marked, self._encoding or "utf-8")
      yield io.TextIOWrapper(file, encoding, _UNDECODED, newline)

  # Each of the next three methods yields the values of a row, or None for a row
  # that is left out.

  def _csv_rows(self) -> Iterator[Sequence[Any] | None]:
    places = [self.names.index(column) for column in self.columns]
    with self._text() as text:
      rows = self._parsed(text)
      if self._header:
        next(filter(None, rows))
      end = rows.line_num
      for row in rows:
        num_lines, end = rows.line_num - end, rows.line_num
        if not row:
          continue  # A blank line.
        if len(row) != len(self.names):
          problem = f"{len(row)} fields, expected {len(self.names)}"
          self._bad.add(self.place(self.num_rows), problem, num_lines)
          yield None
          continue
        values = [row[place] for place in places]
        try:
          "".join(values).encode()
        except UnicodeEncodeError:
          self.leave_out(self.num_rows, f"not {_shown(text)}")
          yield None
        else:
          yield values

  def _json_rows(self) -> Iterator[Sequence[Any] | None]:
    with self._text("\n") as text:
      for line in text:
        if not line.strip(string.whitespace):
          continue
        try:
          line.encode()  # Raises an error if a byte could not be decoded.
          row = json.loads(line)
          if not isinstance(row, dict):
            raise ValueError
          if self._others:
            json.dumps(row, ensure_ascii=False).encode()
            new = [name for name in row if name not in self.names]
            self.names += new
            self.columns += [x for x in new if x not in self.columns]
          values = [row.get(column) for column in self.columns]
          for value in values:
            if isinstance(value, str):
              value.encode()  # Raises an error for a lone surrogate.
        except (ValueError, RecursionError) as error:
          is_text = isinstance(error, UnicodeError)
          problem = f"not {_shown(text)}" if is_text else "not a JSON object"
          self.leave_out(self.num_rows, problem)
          yield None
        else:
          self.names = self.names or list(row)
          yield values

  def _parquet_rows(self) -> Iterator[Sequence[Any]]:
    file = parquet.ParquetFile(self.path)
    for batch in file.iter_batches(1024, columns=self.columns):
      columns = [batch.column(name).to_pylist() for name in self.columns]
      yield from zip(*columns, strict=True)


def _position(column: str | int) -> str | int:
  """Returns the position of a column, given as a number or as its digits."""
  return int(column) if str(column).isdecimal() else column


def column_names(path: Path, **options: Any) -> list[Any]:
  """Returns the names of a table's columns; `options` are `TEXT_OPTIONS`."""
  table = TableReader(path, **options)
  if not table.names:
    next(iter(table), None)  # JSON files have the names in their rows.
  return table.names


def find_files(text: Path) -> list[pathlib.Path]:
  """Returns the files, or the folder of images, that a config field names.

  Args:
    text: The path of a file, of a folder of images or of a folder of tables
      (which are sorted by name), a pattern such as "part-*.csv", or several of
      these separated by commas.
  """
  path = pathlib.Path(text).expanduser()
  if path.is_dir():
    return _tables_of_folder(path) or [path]
  if path.exists():
    return [path]
  parts = str(text).split(",")
  if len(parts) > 1:
    return [file for part in parts for file in find_files(part.strip())]
  found = sorted(glob.glob(str(path)))
  if not found:
    raise FileNotFoundError(f"there is no {path}.")
  return [pathlib.Path(name) for name in found]


def _tables_of_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the tables in a folder, or [] if the folder holds no tables."""
  with reading(folder):
    found = sorted(folder.iterdir())
  files = [file for file in found if not file.name.startswith((".", "_"))]
  is_table = [
    not file.is_dir() and format_suffix(file) in SUFFIXES for file in files
  ]
  if not any(is_table) or any(file.is_dir() for file in files):
    return []
  if not all(is_table):
    table, other = (files[is_table.index(kind)] for kind in (True, False))
    raise ValueError(
      f"{folder} holds tables and {other.name}, which is not a table: name the "
      f"tables by a pattern, such as {folder}/*{table.suffix}."
    )
  return files


def format_suffix(path: Path) -> str:
  """Returns the suffix of a file's format, such as ".tsv" for "a.tsv.gz"."""
  path = pathlib.Path(path)
  if path.suffix.lower() in _OPENERS:
    path = path.with_suffix("")
  return path.suffix.lower()


def _shown(text: io.TextIOWrapper) -> str:
  """Returns the name of a file's encoding for messages."""
  return text.encoding.removesuffix("-sig")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
  """Opens a file for reading, and decompresses it if necessary."""
  opener = _OPENERS.get(pathlib.Path(path).suffix.lower(), open)
  with reading(path), opener(path, "rb") as file:
    yield file


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
  """Turns errors of reading a file into one line that names the file."""
  try:
    yield
  except FileNotFoundError:
    raise FileNotFoundError(f"there is no {path}.") from None
  except UnicodeDecodeError as error:
    raise ValueError(
      f"{path} is not {error.encoding}: set config.data.encoding to the "
      "encoding that it has."
    ) from error
  except Exception as error:  # Damaged files raise errors of many types.
    if isinstance(error, OSError) and error.errno is not None:
      reason = (error.strerror or str(error)).lower()
      raise type(error)(f"cannot read {path}: {reason}.") from error
    if isinstance(error, ValueError) and str(path) in str(error):
      raise  # The message already says what is wrong.
    if isinstance(error, csv.Error):
      raise ValueError(
        f"{path} has a field of more than {csv.field_size_limit():,} "
        "characters: close a quote that is not closed, or set "
        "config.data.quoting=none if quotes have no meaning."
      ) from error
    reason = (str(error) or "it ends early").splitlines()[0].rstrip(".")
    suffix = format_suffix(path)
    kind = f"a {suffix} file" if suffix else "of the expected kind"
    raise ValueError(f"{path} is damaged, or not {kind} ({reason}).") from error
