"""Rows to predict: every row of the input, in order, with all of its columns.

The input is read twice. The first pass counts the rows and finds those that
cannot be read, so that their error is raised before any prediction.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from experiments.data import examples as examples_lib
from experiments.data import images
from experiments.data import tables
from experiments.data.dataset import LeftOut
from experiments.distillation.description import Student

# A row: the values of its columns, and the text, image or embedding to predict.
Row = tuple[Sequence[Any], Any]

_TYPES: Mapping[type, pa.DataType] = {
  bool: pa.bool_(),
  int: pa.int64(),
  float: pa.float64(),
}


@dataclasses.dataclass(frozen=True)
class InputRows:
  """Rows that can all be read, in the order of the input.

  Attributes:
    columns: The Parquet type of each column, by name.
    num_rows: Number of rows.
    rows: Function that returns an iterator over the rows.
    notes: Sentences about files that are skipped.
  """

  columns: Mapping[str, pa.DataType]
  num_rows: int
  rows: Callable[[], Iterator[Row]]
  notes: Sequence[str] = ()


def find(
  data: str,
  student: Student,
  *,
  text_column: str = "",
  image_column: str = "",
  **options: Any,
) -> InputRows:
  """Finds the rows of files that a student can predict.

  Args:
    data: The files, as `tables.find_files` takes them.
    student: The student, which says what to read.
    text_column: Column of the texts.
    image_column: Column of the images.
    **options: How text files are read, by the names of `tables.TEXT_OPTIONS`.

  Raises:
    OSError: If a file cannot be read.
    ValueError: If the files are of a wrong kind, or a row cannot be read.
  """
  tables.check_encoding(options.get("encoding", ""))
  tables.check_delimiter(options.get("delimiter", ""))
  files = tables.find_files(data)
  if student.reads == "embeddings":
    return _embeddings(files, student)
  if student.reads == "image" and any(file.is_dir() for file in files):
    return _image_folders(files)
  part, column = ("text", text_column)
  if student.reads == "image":
    part, column = ("image", image_column)
  for file in files:
    suffix = "" if file.is_dir() else tables.format_suffix(file)
    if suffix not in tables.SUFFIXES:
      expected = ", ".join(tables.SUFFIXES)
      folder = " or a folder of images" if part == "image" else ""
      raise ValueError(
        f"--data={file} is not a table: expected {expected}{folder}."
      )
  if not column:
    raise ValueError(
      f"--{part}_column is not set, and the student does not know it: name the "
      f"column of the {part}s."
    )
  try:
    return _tables(files, part, column, options)
  except tables.MissingColumnError as error:
    raise ValueError(f"{error} Set --{part}_column to one of them.") from None


def _embeddings(files: Sequence[pathlib.Path], student: Student) -> InputRows:
  """Returns the rows of arrays of embeddings, numbered from 0 in each file."""
  arrays = []
  for file in files:
    if file.suffix != ".npy":
      raise ValueError(
        f"--data={file} is not an array: the student reads embeddings, as "
        "numpy.save stores them (.npy)."
      )
    with tables.reading(file):
      array = np.load(file, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):  # An .npz file by another name.
      array.close()
      raise ValueError(f"--data={file} holds several arrays: name one (.npy).")
    if array.ndim != 2 or array.shape[1:] != student.shape:
      raise ValueError(
        f"--data={file} must have shape [N, {student.shape[0]}], got "
        f"{list(array.shape)}."
      )
    if array.dtype.kind != "f":
      raise ValueError(f"--data={file} must be floats, got {array.dtype}.")
    arrays.append(array)

  def rows() -> Iterator[Row]:
    for array in arrays:
      for number, embedding in enumerate(array):
        yield (number,), np.asarray(embedding, np.float32)

  return InputRows({"row": pa.int64()}, sum(map(len, arrays)), rows)


def _image_folders(folders: Sequence[pathlib.Path]) -> InputRows:
  """Returns the images of folders and sub-folders, in the order of paths."""
  found, others = [], []
  for folder in folders:
    if not folder.is_dir():
      raise ValueError(f"--data={folder} is not a folder, and others are.")
    with tables.reading(folder):
      paths, left_out = images.find_images(folder, by_class=False)
    found += paths
    others += left_out
  notes = []
  if others:
    notes.append(
      f"{len(others):,} files of the folders are not images, such as "
      f"{others[0][0]}."
    )

  def rows() -> Iterator[Row]:
    for path in found:
      yield (str(path),), path

  return InputRows({"path": pa.string()}, len(found), rows, notes)


def _tables(
  files: Sequence[pathlib.Path],
  part: str,
  column: str,
  options: Mapping[str, Any],
) -> InputRows:
  """Returns the rows of tables, with all columns that any of them has."""
  bad, num_rows = LeftOut("--data"), 0
  found: list[_Table] = []
  for file in files:
    is_text = tables.format_suffix(file) in tables.TEXT_SUFFIXES
    text_options = dict(options) if is_text else {}
    table = tables.TableReader(
      file, [column], may_lack=[column], others=True, bad=bad, **text_options
    )
    kinds: dict[Any, set[type]] = collections.defaultdict(set)
    is_json = is_text and not table.names
    for number, values in table:
      if is_json:
        for name, value in zip(table.columns, values, strict=True):
          kinds[name].add(_kind(value))
      try:
        _converted(part, values[0], file)
      except ValueError as error:
        table.leave_out(number, str(error))
    if table.columns[0] not in table.names:
      raise tables.MissingColumnError(file, column, table.names)
    num_rows += table.num_rows
    types = {name: _json_type(kinds[name]) for name in table.names}
    if not is_text:
      schema = parquet.read_schema(file)
      types = {name: _stored(schema.field(name).type) for name in table.names}
    elif not is_json:
      types = dict.fromkeys(table.names, pa.string())
    found.append(
      _Table(file, table.names, table.columns[0], types, text_options)
    )
  if bad.count:
    raise ValueError(
      f"{bad.count:,} of {num_rows:,} rows cannot be read, so nothing is "
      f"predicted: correct or remove them ({bad})."
    )
  columns: dict[str, pa.DataType] = {}
  for each in found:
    for name, kind in each.types.items():
      known = columns.setdefault(str(name), kind)
      columns[str(name)] = known if known == kind else pa.string()

  def rows() -> Iterator[Row]:
    for each in found:
      yield from each.rows(part, list(columns))

  return InputRows(columns, num_rows, rows)


@dataclasses.dataclass(frozen=True)
class _Table:
  """A table whose rows can all be read.

  Attributes:
    file: File of the table.
    names: Names of its columns.
    column: Name of the column that is predicted.
    types: The Parquet type of each column.
    options: Options of the reader of the file.
  """

  file: pathlib.Path
  names: list[Any]
  column: Any
  types: Mapping[Any, pa.DataType]
  options: Mapping[str, Any]

  def rows(self, part: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yields the rows, with None for columns that only other tables have."""
    bad = LeftOut()
    table = tables.TableReader(
      self.file, self.names, may_lack=self.names, bad=bad, **self.options
    )
    own = [str(name) for name in self.names]
    places = [own.index(name) if name in own else None for name in columns]
    place = self.names.index(self.column)
    for _, values in table:
      value = _converted(part, values[place], self.file)
      if own != columns:
        values = [None if i is None else values[i] for i in places]
      yield values, value
    if bad.count:
      raise ValueError(f"{self.file} was changed while it was read.")


def _converted(part: str, value: Any, file: pathlib.Path) -> Any:
  """Converts a value to a text or an image; a missing text becomes empty."""
  if part == "text" and value is None:
    return ""
  return examples_lib.converted(part, value, file)


def _kind(value: Any) -> type:
  """Returns the type of a JSON value; `object` for integers above 64 bits."""
  if isinstance(value, int) and not -(2**63) <= value < 2**63:
    return object
  return type(value)


def _json_type(kinds: Set[type]) -> pa.DataType:
  """Returns the Parquet type of a JSON column; text if its types are mixed."""
  kinds = kinds - {type(None)}
  if kinds == {int, float}:
    return pa.float64()
  (kind,) = kinds if len(kinds) == 1 else (object,)
  return _TYPES.get(kind, pa.string())


def _stored(kind: Any) -> pa.DataType:
  """Returns the type in which the values of a Parquet column are written."""
  if isinstance(kind, pa.BaseExtensionType):
    return _stored(kind.storage_type)
  return kind.value_type if pa.types.is_dictionary(kind) else kind
