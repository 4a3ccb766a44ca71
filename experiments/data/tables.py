"""Examples from files: tables, arrays and folders of images.

Tables are TSV, CSV, JSON lines or Parquet, text files also compressed; arrays
are .npz files. Rows that cannot be used are left out and counted, with the
first reasons. `label_name` is the one place that decides which spellings of
a label are the same class.
"""

import bisect
import bz2
import codecs
import collections
import contextlib
import csv
import dataclasses
import glob
import gzip
import io
import json
import lzma
import pathlib
import re
import string
import sys
import tarfile
import tokenize
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from typing import cast
from typing import IO

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from experiments.data import images
from experiments.data.dataset import LeftOut

Path = str | pathlib.Path
# The columns of examples, the place of a row, and the rows left out so far.
_Columns = tuple[dict[str, Any], Callable[[int], str], LeftOut]

_DELIMITERS = {".tsv": "\t", ".csv": ","}
_USUAL_DELIMITERS = (",", ";", "\t", "|")
TEXT_SUFFIXES = (*_DELIMITERS, ".jsonl", ".ndjson")
_SUFFIXES = (*TEXT_SUFFIXES, ".parquet", ".npz")
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
_MOST_CLASSES = 1000
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)([.][0-9]*)?")
_BOOLEANS = {"true": "1", "false": "0"}
# Spellings of a missing label, those that pandas reads as missing.
_MISSING = ("", *"NA N/A n/a <NA> NaN nan None NULL null".split())
_IMAGE_KEYS = ("images", "x", "data")
_LABEL_KEYS = ("labels", "y")
_CHANNELS = (1, 3)


@dataclasses.dataclass(frozen=True)
class Examples(Sequence[dict[str, Any]]):
  """Examples as dicts, from columns that lie side by side.

  Attributes:
    name: Where the examples come from, for messages.
    columns: By name, a value per example: "id" (int or str, unique), "text"
      (str) or "image" (uint8 ``[H, W, channels]``), and "label" (str, see
      `label_name`) where the examples have labels.
    bad: The rows that could not be used and were left out.
    unlabelled: The rows that were left out since their label is missing.
  """

  name: str
  columns: Mapping[str, Any]
  bad: LeftOut = dataclasses.field(default_factory=LeftOut)
  unlabelled: LeftOut = dataclasses.field(default_factory=LeftOut)

  def __post_init__(self):
    if not len(self):
      reasons = "; ".join(map(str, self.left_out(self.name)))
      raise ValueError(
        f"no row can be used in {reasons}."
        if reasons
        else f"{self.name} holds no examples."
      )

  def __len__(self) -> int:
    return len(self.columns["id"])

  def __getitem__(self, index: Any) -> Any:
    return {key: column[index] for key, column in self.columns.items()}

  def left_out(self, split: str) -> tuple[LeftOut, ...]:
    """Returns the rows that were left out, as those of a split."""
    rows = (self.bad, self.unlabelled)
    return tuple(
      dataclasses.replace(each, split=split) for each in rows if each.count
    )


class MissingColumnError(ValueError):
  """Error: a table lacks a column that is named for it."""

  def __init__(self, path: Path, column: Any, names: Sequence[Any]):
    """Creates the error."""
    super().__init__(
      f"{path} has no column {column!r}; its columns are {list(names)}."
    )


def label_name(value: Any) -> str | None:
  """Returns the name of the class that a label stands for, None if missing.

  A label means the same in every format of files. Text is stripped and
  normalized (NFC). A number in plain decimal notation has one spelling, as a
  number and as text: 1, 1.0, "1", "1.0" and "+1" are one class. A boolean is 1
  or 0, also as text in any case. The missing values are None and NaN, and the
  texts that pandas reads as missing: "", "NA", "NaN", "None", "null" and so on.

  >>> [label_name(value) for value in (" pos", 3.0, "+3", True, "true", "NA")]
  ['pos', '3', '3', '1', '1', None]
  """
  if value is None:
    return None
  if not isinstance(value, str | int | float | Decimal):
    kind = type(value).__name__
    raise ValueError(f"label is {kind}, not a number or a name")
  if isinstance(value, float) and np.isfinite(value):
    # The digits that a float32 has, as arrays and Parquet may hold one.
    value = f"{Decimal(f'{value:.7g}' if value % 1 else int(value)):f}"
  name = unicodedata.normalize("NFC", str(value).strip())
  if name in _MISSING:
    return None
  if _NUMBER.fullmatch(name):
    name = _plain_number(name)
  return sys.intern(_BOOLEANS.get(name.lower(), name))


def _plain_number(text: str) -> str:
  """Returns the one spelling of a number: "1" for "+1.0", "0.5" for "0.50"."""
  whole, _, fraction = text.removeprefix("+").partition(".")
  fraction = fraction.rstrip("0")
  number = f"{whole}.{fraction}" if fraction else whole
  return "0" if number == "-0" else number


def class_names(examples: Examples) -> tuple[str, ...]:
  """Returns the labels that occur: numbers by value, then names by alphabet."""
  _check_has_labels(examples)
  names: set[str] = set(examples.columns["label"])
  if len(names) == 1:
    raise ValueError(
      f"{examples.name} has only the label {min(names)!r}, and classes must "
      "be at least 2: is config.data.label_column the column of the labels?"
    )
  if not 2 <= len(names) <= _MOST_CLASSES:
    raise ValueError(
      f"{examples.name} has {len(names):,} different labels, such as "
      f"{min(names)!r}, and classes must be 2 to {_MOST_CLASSES}: is "
      "config.data.label_column the column of the labels?"
    )
  numbers = {name for name in names if _NUMBER.fullmatch(name)}
  return (*sorted(numbers, key=Decimal), *sorted(names - numbers))


def _check_has_labels(examples: Examples) -> None:
  """Raises ValueError for examples without labels."""
  if "label" not in examples.columns:
    raise ValueError(
      f"{examples.name} has no labels: set config.data.label_column."
    )


def divide_by_label(examples: Examples) -> tuple[Examples, Examples | None]:
  """Returns the examples with a label, and those without, or None of these."""
  labels = examples.columns.get("label", ())
  if None not in labels:
    return examples, None
  with_label, without = (
    [row for row, label in enumerate(labels) if (label is None) is missing]
    for missing in (False, True)
  )
  if not with_label:
    raise ValueError(f"{examples.name}: no row has a label.")
  columns = {k: v for k, v in examples.columns.items() if k != "label"}
  return (
    dataclasses.replace(
      examples, columns=_selected(examples.columns, with_label)
    ),
    Examples(examples.name, _selected(columns, without)),
  )


def _selected(
  columns: Mapping[str, Any], rows: Sequence[int]
) -> dict[str, Any]:
  """Returns some rows of each column."""
  selected: dict[str, Any] = {}
  for key, column in columns.items():
    if isinstance(column, images.DecodedImages):
      selected[key] = column.select(rows)
    elif isinstance(column, np.ndarray):
      selected[key] = column[rows]
    else:
      selected[key] = [column[row] for row in rows]
  return selected


def class_numbers(examples: Examples, classes: Sequence[str]) -> list[int]:
  """Returns the number of the class of each example."""
  _check_has_labels(examples)
  numbers = {name: number for number, name in enumerate(classes)}
  found = examples.columns["label"]
  for id_, label in zip(examples.columns["id"], found, strict=True):
    if label not in numbers:
      known = ", ".join(map(repr, classes[:10]))
      more = ", ..." if len(classes) > 10 else ""
      raise ValueError(
        f"{examples.name}: example {id_!r} has the label {label!r}, which is "
        f"not one of the {len(classes)} classes {known}{more}."
      )
  return [numbers[label] for label in found]


def read(
  *paths: Path,
  text_column: str | int | None = None,
  image_column: str | None = None,
  label_column: str | int | None = None,
  id_column: str | int | None = None,
  image_size: int | None = None,
  channels: int | None = None,
  labels: str = "required",
  **options: Any,
) -> Examples:
  """Reads the examples of one or several files.

  Texts and encoded images are read into memory. Images are decoded to find
  those that cannot be read, and again when they are looked up.

  Args:
    *paths: Tables, one after another; or one .npz file, or one folder with a
      folder of images per class.
    text_column: Column of the texts.
    image_column: Column of encoded images in Parquet, as bytes or as Hugging
      Face writes them; or the array of images in an .npz file, by default
      "images", "x" or "data".
    label_column: Column of the labels; for an .npz file the array of labels,
      by default "labels" or "y".
    id_column: Column of the ids. Without it, an id is the number of the row
      from 0, or the path of the image in the folder.
    image_size: As for `images.DecodedImages`.
    channels: 1 or 3 channels of encoded images; by default 1 if all are grey.
    labels: "required": rows without a label are left out; "optional": the label
      of such a row is None; "ignored": no labels are read, and a folder of
      images needs no folders of classes.
    **options: `TEXT_OPTIONS` of `TableReader`, for text files.
  """
  if labels == "ignored":
    label_column = None
  path = pathlib.Path(paths[0]).expanduser()
  suffix = "" if path.is_dir() else format_suffix(path)
  if suffix and suffix not in _SUFFIXES:
    raise ValueError(
      f"{path} is not a file of examples: expected {', '.join(_SUFFIXES)} "
      "(text files may be compressed to .gz, .bz2 or .xz), or a folder with "
      "one folder of images per class."
    )
  names = {
    "text_column": text_column,
    "image_column": image_column,
    "label_column": label_column,
    "id_column": id_column,
  }
  sizes = {"image_size": image_size, "channels": channels}
  what, allowed = {
    "": ("a folder of images", {*sizes}),
    ".npz": ("an .npz file", {"image_column", "label_column"}),
    ".parquet": ("a Parquet file", {*names, *sizes}),
  }.get(suffix, ("a text file", {*names, *sizes, *options}))
  for name, value in (names | sizes | options).items():
    if value is not None and name not in allowed:
      raise ValueError(f"{path}: config.data.{name} does not apply to {what}.")
  if suffix in ("", ".npz") and len(paths) > 1:
    raise ValueError(
      f"{path} is not a table, and only tables may be several: name one "
      "folder of images or one .npz file."
    )
  given: dict[str, Any] = {
    name.removesuffix("_column"): column
    for name, column in names.items()
    if column is not None
  }
  if not suffix:
    columns, place, bad = _read_folder(path, by_class=labels != "ignored")
  elif suffix == ".npz":
    columns, place, bad = _read_npz(path, labels, **given)
  else:
    columns, place, bad = _read_tables(paths, given, options)
  name = str(path) + (" ..." if len(paths) > 1 else "")
  # Leave out examples without a label, and images that cannot be read.
  unlabelled = LeftOut(kind="without a label")
  rows: Sequence[int] = range(len(columns["id"]))
  if "label" in columns and labels == "required":
    for row, label in enumerate(columns["label"]):
      if label is None:
        unlabelled.add(place(row), "its label is missing")
    rows = [row for row in rows if columns["label"][row] is not None]
  found = None  # The number of channels that encoded images need.
  if isinstance(columns.get("image"), list):
    problems, found = images.find_unreadable(
      [columns["image"][row] for row in rows]
    )
    for row, problem in zip(rows, problems, strict=True):
      if problem:
        bad.add(place(row), f"the image cannot be read: {problem}")
    rows = [r for r, x in zip(rows, problems, strict=True) if not x]
  if len(rows) < len(columns["id"]):
    columns = _selected(columns, rows)
  if found and rows:
    columns["image"] = images.DecodedImages(
      columns["image"], columns["id"], name, channels or found, image_size
    )
  return Examples(name, columns, bad, unlabelled)


def text_options(options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns those of the arguments of `read` that concern text files."""
  return {name: options[name] for name in TEXT_OPTIONS if name in options}


def _read_tables(
  paths: Sequence[Path],
  given: Mapping[str, Any],
  options: Mapping[str, Any],
) -> _Columns:
  """Reads tables, one after another."""
  if ("text" in given) == ("image" in given):
    table = TableReader(paths[0], **options)
    if not table.names:  # JSON has its names in the rows.
      next(iter(table), None)
    raise ValueError(
      f"{table.path} is a table: set either config.data.text_column or "
      f"config.data.image_column; its columns are {table.names}."
    )
  bad = LeftOut()
  numbers: list[int] = []  # Of rows, counted over all tables.
  columns: dict[str, Any] = {part: [] for part in given}
  tables: list[TableReader] = []
  starts = [0]  # The number of the first row of each table.
  for path in paths:
    table = TableReader(
      path,
      tuple(given.values()),
      may_lack=[column for part, column in given.items() if part == "label"],
      bad=bad,
      **options,
    )
    tables.append(table)
    for number, values in table:
      try:
        row = [
          converted(part, value, table.path)
          for part, value in zip(given, values, strict=True)
        ]
      except ValueError as error:
        table.leave_out(number, str(error))
        continue
      numbers.append(starts[-1] + number)
      for column, value in zip(columns.values(), row, strict=True):
        column.append(value)
    starts.append(starts[-1] + table.num_rows)
  ids = columns.setdefault("id", numbers)
  if "id" in given and len(set(ids)) < len(ids):
    twice, _ = collections.Counter(ids).most_common(1)[0]
    raise ValueError(
      f"{paths[0]}: ids must be unique, but {twice!r} occurs more than once: "
      "use another column of ids, or none."
    )

  def place(row: int) -> str:
    number = numbers[row]
    table = bisect.bisect_right(starts, number) - 1
    return tables[table].place(number - starts[table])

  return columns, place, bad


def converted(part: str, value: Any, table: pathlib.Path) -> Any:
  """Returns a value as a part of an example, or raises ValueError.

  Paths of images are relative to the folder of the table.
  """
  if part == "id":
    return str(value)
  if part == "label":
    return label_name(value)
  if part == "image" and isinstance(value, dict):  # As Hugging Face writes it.
    value = value.get("bytes") or value.get("path")
  if part == "image" and isinstance(value, bytes):
    return value
  if not isinstance(value, str):
    expected = "str" if part == "text" else "bytes or a path"
    raise ValueError(f"{part} is {type(value).__name__}, not {expected}")
  if part == "text":
    return value
  path = table.parent / pathlib.Path(value.strip()).expanduser()
  if not path.is_file():
    raise ValueError(f"there is no image {path}")
  return path


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


def _read_folder(folder: pathlib.Path, *, by_class: bool) -> _Columns:
  """Reads images; an id is a path in the folder, a label the class's folder."""
  with reading(folder):
    paths, left_out = images.find_images(folder, by_class=by_class)
  bad = LeftOut()
  for path, problem in left_out:
    bad.add(str(path), problem)
  columns: dict[str, Any] = {
    "id": [path.relative_to(folder).as_posix() for path in paths],
    "image": paths,
  }
  if by_class:
    columns["label"] = [label_name(path.parent.name) for path in paths]
  return columns, lambda row: str(paths[row]), bad


def _read_npz(
  path: pathlib.Path,
  needed: str,
  image: str | None = None,
  label: str | None = None,
) -> _Columns:
  """Reads the images and labels of an .npz file into memory.

  Images are uint8 ``[N, H, W, channels]`` with 1 or 3 channels, ``[N, H, W]``
  or ``[N, channels, H, W]``; labels are numbers or names, ``[N]`` or
  ``[N, 1]``.
  """
  with opened(path) as file:  # NumPy would leave a damaged file open.
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
      raise ValueError("it holds one array: use numpy.savez")
    arrays = dict(archive)
  if image is None:
    image = next((key for key in _IMAGE_KEYS if key in arrays), "images")
    label = label or next((k for k in _LABEL_KEYS if k in arrays), None)
  if needed == "ignored":
    label = None
  for part, name in (("image", image), ("label", label)):
    if name is not None and name not in arrays:
      raise ValueError(
        f"{path} has no array {name!r}: set {part}_column to one of "
        f"{[*arrays]}."
      )
  pixels = arrays[image]
  shape = pixels.shape
  if pixels.ndim == 3:
    pixels = pixels[..., None]
  elif pixels.ndim == 4 and shape[3] not in _CHANNELS:
    pixels = np.moveaxis(pixels, 1, 3)
  if pixels.ndim != 4 or pixels.shape[3] not in _CHANNELS:
    raise ValueError(
      f"{path}: images must have shape [N, H, W, channels] with 1 or 3 "
      f"channels, [N, H, W] or [N, channels, H, W], got {shape}."
    )
  if pixels.dtype != np.uint8:
    raise ValueError(
      f"{path}: images must be uint8, got {pixels.dtype}: scale them to 0 to "
      "255 and round."
    )
  columns: dict[str, Any] = {"id": range(len(pixels)), "image": pixels}
  if label is not None:
    labels = arrays[label]
    if labels.ndim == 2 and labels.shape[1] == 1:
      labels = labels[:, 0]
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "biufU":
      raise ValueError(
        f"{path}: labels must be numbers or strings of shape "
        f"[{len(pixels)}], got {labels.dtype} {list(labels.shape)}."
      )
    columns["label"] = list(map(label_name, labels.tolist()))
  return columns, f"{path} example {{}}".format, LeftOut()


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
    not file.is_dir() and format_suffix(file) in (*TEXT_SUFFIXES, ".parquet")
    for file in files
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
