"""Rows of tables: TSV, CSV, JSON lines and Parquet.

Text files may be compressed. Rows that cannot be used are left out and counted,
with the first reasons. `reading` turns the errors of a damaged file of any form
into one line.
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
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import cast
from typing import IO

import pyarrow as pa
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
# Byte order marks; UTF-32's starts with that of UTF-16.
_MARKS = (
  (codecs.BOM_UTF8, "utf-8-sig"),
  (codecs.BOM_UTF32_LE, "utf-32"),
  (codecs.BOM_UTF32_BE, "utf-32"),
  (codecs.BOM_UTF16_LE, "utf-16"),
  (codecs.BOM_UTF16_BE, "utf-16"),
)
_MOST_CHARACTERS = 2**22  # Of a field: a quote that is not closed ends there.
csv.field_size_limit(_MOST_CHARACTERS)
_UNDECODED = "surrogateescape"


class MissingColumnError(ValueError):
  """Error: a table lacks a column that is named for it."""

  def __init__(self, path: Path, column: Any, names: Sequence[Any]):
    """Creates the error."""
    super().__init__(
      f"{path} has no column {column!r}; its columns are {list(names)}."
    )


def text_options(options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns those of the arguments of `TableReader` that concern text files."""
  return {name: options[name] for name in TEXT_OPTIONS if name in options}


def check_encoding(encoding: str) -> None:
  """Raises ValueError for an encoding that does not exist; "" is automatic."""
  try:
    "".encode(encoding or "utf-8")  # An encoding of text, unlike base64.
  except LookupError:
    raise ValueError(
      "config.data.encoding must be an encoding that Python knows, such as "
      f"'utf-8', 'cp1252' or 'utf-16', got {encoding!r}."
    ) from None


def check_delimiter(delimiter: str) -> None:
  """Raises ValueError for a wrong delimiter of fields; "" is automatic."""
  if delimiter and (
    len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n'
  ):
    raise ValueError(
      "config.data.delimiter must be one ASCII character, not a quote or a "
      f"line end, got {delimiter!r}."
    )


class TableReader:
  """Rows of a table, read from start to end with constant memory.

  Blank lines are not rows. A row is left out if it has another number of
  fields than the first, is not in the encoding, is not a JSON object, or lacks
  a value that is wanted.

  Attributes:
    path: The file.
    names: Names of its columns; of JSON, those of the first row that was read,
      or with `others` those of all rows that were read.
    columns: Names of the values of a row.
    num_rows: Number of rows read so far, with those left out.
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
      columns: Names of the wanted columns, or positions from 0 if there is no
        header; by default all.
      may_lack: Those of them that need no value in a row, which is then None.
      others: Whether the values of all other columns follow, which may be None;
        of JSON, those of the rows that were read so far.
      bad: Counts the rows that are left out.
      header: Whether a TSV or CSV file starts with the names of its columns.
      encoding: Encoding of a text file, by default UTF-8 or that of its byte
        order mark.
      delimiter: Character between the fields of a TSV or CSV file. By default
        a tab or a comma, or another usual one if the wanted columns exist only
        with that.
      quoting: "double": fields may stand in double quotes, with delimiters,
        line ends and doubled quotes in them; "none": a quote is a character
        like any other; "auto": "double" for CSV, "none" for TSV.
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
    """Yields the number of each usable row, from 0, and the wanted values."""
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
    """Returns where a row is, for messages: the path and the row from 1."""
    return f"{self.path} row {number + 1 + self._header}"

  def leave_out(self, number: int, problem: str) -> None:
    """Counts a row that cannot be used."""
    self._bad.add(self.place(number), problem)

  def _names(
    self, header: bool, wanted: Sequence[str | int] | None
  ) -> list[Any]:
    """Returns the names of columns, and finds the delimiter that they need."""
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
      # Raises an error about a byte that cannot be decoded.
      "".join(first).encode(text.encoding, _UNDECODED).decode(text.encoding)
      return first

  def _parsed(self, text: io.TextIOWrapper) -> Any:
    """Returns an iterator over the rows of a TSV or CSV file."""
    quoting = csv.QUOTE_MINIMAL if self._quotes else csv.QUOTE_NONE
    return csv.reader(text, delimiter=self._delimiter, quoting=quoting)

  @contextlib.contextmanager
  def _text(self, newline: str = "") -> Iterator[io.TextIOWrapper]:
    """Opens a text file, without its byte order mark.

    A byte that cannot be decoded becomes half of a surrogate pair, which cannot
    be encoded: it is a fault of its row, and not of the whole file.
    """
    with opened(self.path) as file:
      start = cast("io.BufferedReader", file).peek(4)[:4]
      marked = (name for mark, name in _MARKS if start.startswith(mark))
      encoding = next(marked, self._encoding or "utf-8")
      yield io.TextIOWrapper(file, encoding, _UNDECODED, newline)

  # The three below yield the values of each row, None for a row left out.

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
          line.encode()  # Fails for a byte that could not be decoded.
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
              value.encode()  # Fails for half of a surrogate pair.
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
  """Returns the position of a column, which the text of a flag may be."""
  return int(column) if str(column).isdigit() else column


def find_files(text: Path) -> list[pathlib.Path]:
  """Returns the files or the folder that the value of a field names.

  Args:
    text: The path of a file or a folder of images; a folder of tables, which
      are read in the order of their names; a pattern such as "part-*.csv"; or
      several of these, separated by commas.
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
  """Returns the tables of a folder, [] for a folder of anything else."""
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
      f"{folder} holds tables, and {other.name}, which is not one: name the "
      f"tables by a pattern, such as {folder}/*{table.suffix}."
    )
  return files


def format_suffix(path: Path) -> str:
  """Returns the suffix that tells the format: ".tsv" for "a.tsv.gz"."""
  path = pathlib.Path(path)
  if path.suffix.lower() in _OPENERS:
    path = path.with_suffix("")
  return path.suffix.lower()


def _shown(text: io.TextIOWrapper) -> str:
  """Returns the encoding of a file as messages name it."""
  return text.encoding.removesuffix("-sig")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
  """Opens a file for reading; a compressed one is decompressed."""
  opener = _OPENERS.get(pathlib.Path(path).suffix.lower(), open)
  with reading(path), opener(path, "rb") as file:
    yield file


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
  """Turns the errors of reading a file into one line that names it."""
  try:
    yield
  except FileNotFoundError:
    raise FileNotFoundError(f"there is no {path}.") from None
  except UnicodeDecodeError as error:
    raise ValueError(
      f"{path} is not {error.encoding}: set config.data.encoding to the "
      "encoding that it has."
    ) from error
  except (
    EOFError,
    OSError,
    OverflowError,  # A date of a damaged Parquet file.
    RuntimeError,  # An encrypted archive, or one of another compression.
    SyntaxError,  # The header of a damaged array, as the TokenError.
    ValueError,
    csv.Error,
    lzma.LZMAError,
    pa.ArrowException,
    tarfile.TarError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    if isinstance(error, OSError) and error.errno is not None:
      reason = (error.strerror or str(error)).lower()
      raise type(error)(f"cannot read {path}: {reason}.") from error
    if isinstance(error, ValueError) and str(path) in str(error):
      raise  # The message already says what is wrong.
    if isinstance(error, csv.Error):
      raise ValueError(
        f"{path} has a field of more than {csv.field_size_limit():,} "
        "characters: is a quote not closed? Set config.data.quoting=none if "
        "quotes have no meaning."
      ) from error
    reason = (str(error) or "it ends early").splitlines()[0].rstrip(".")
    raise ValueError(
      f"{path} is damaged, or not a {format_suffix(path)} file ({reason})."
    ) from error
