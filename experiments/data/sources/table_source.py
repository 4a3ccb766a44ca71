"""Tables as sources: random access to texts, or to images in a column."""

import itertools
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from experiments.data.sources import files
from experiments.data.sources import images
from experiments.data.sources import tables
from experiments.data.sources.column_source import ArrowColumn
from experiments.data.sources.column_source import Column
from experiments.data.sources.column_source import ColumnSource
from experiments.data.sources.column_source import LabelColumn
from experiments.data.sources.column_source import Malformed

_ROWS_A_CHUNK = 4096
_TYPES = {
  "text": pa.large_string(),
  "image": pa.large_binary(),
  "label": pa.string(),
}


def table_source(
  paths: Sequence[files.Path],
  *,
  text_column: str | int | None = None,
  image_column: str | int | None = None,
  label_column: str | int | None = None,
  id_column: str | int | None = None,
  header: bool = True,
  quoting: bool | None = None,
  encoding: str = "utf-8",
  image_size: int | tuple[int, int] | None = None,
  channels: int | None = None,
) -> ColumnSource:
  """Returns the examples of one or several tables, one behind another.

  What is needed of them is read into memory, texts as UTF-8 and images as
  they are encoded; images are decoded when they are asked for.

  Args:
    paths: Tables, as `tables.rows` reads them.
    text_column: What "text" is taken from; either this or `image_column`.
    image_column: What "image" is taken from, Parquet only: encoded images, as
      bytes or as {"bytes", "path"}, the way Hugging Face writes them.
    label_column: What "label" is taken from: an int where it is written as
      one, else a str. Without it, examples have none.
    id_column: What "id" is taken from, as a str. Without it, an id is the
      number of the row, from 0 and on through the files.
    header: As for `tables.rows`.
    quoting: As for `tables.rows`.
    encoding: As for `tables.rows`.
    image_size: As for `images.DecodedImages`.
    channels: As for `images.DecodedImages`.

  Returns:
    The source. Its `malformed` counts what `tables.rows` calls malformed, and
    rows whose text or image is none, or whose label is blank or none.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: If a table lacks a column or is damaged, or no row is usable.
  """
  names = {
    "text": text_column,
    "image": image_column,
    "label": label_column,
    "id": id_column,
  }
  names = {key: name for key, name in names.items() if name is not None}
  malformed = Malformed()

  def examples() -> Iterator[dict[str, Any]]:
    start = 0
    for path in paths:
      number = -1
      for row in tables.numbered_rows(
        path,
        tuple(names.values()),
        header=header,
        quoting=quoting,
        encoding=encoding,
        malformed=malformed,
      ):
        number = row.number
        try:
          example = {
            key: _CONVERSIONS[key](row.values[name])
            for key, name in names.items()
          }
        except ValueError as error:
          malformed.add(row.where, str(error))
        else:
          yield {"id": start + number} | example
      start += number + 1

  types = _TYPES | {"id": pa.int64() if id_column is None else pa.string()}
  arrays = _arrow(examples(), {key: types[key] for key in ("id", *names)})
  columns: dict[str, Column] = {
    key: (LabelColumn if key == "label" else ArrowColumn)(values)
    for key, values in arrays.items()
  }
  name = str(paths[0]) + (" ..." if len(paths) > 1 else "")
  source = ColumnSource(name, columns, malformed)
  if image_column is not None:
    source.columns["image"] = images.DecodedImages(
      source.columns["image"],
      source.columns["id"],
      name,
      image_size=image_size,
      channels=channels,
    )
  return source


def _arrow(
  examples: Iterator[dict[str, Any]], types: dict[str, pa.DataType]
) -> dict[str, pa.ChunkedArray]:
  """Stores examples in columns, no more than a chunk of them as Python's."""
  chunks: dict[str, list[pa.Array]] = {key: [] for key in types}
  while batch := list(itertools.islice(examples, _ROWS_A_CHUNK)):
    for key, dtype in types.items():
      values = [example[key] for example in batch]
      chunks[key].append(pa.array(values, dtype))
  return {key: pa.chunked_array(chunks[key], types[key]) for key in types}


def _text(value: Any) -> str:
  if not isinstance(value, str):
    raise ValueError(f"text is {type(value).__name__}, not a string")
  return value


def _image(value: Any) -> bytes:
  if isinstance(value, dict):
    value = value.get("bytes")
  if not isinstance(value, bytes):
    raise ValueError(f"image is {type(value).__name__}, not bytes")
  return value


def _label(value: Any) -> str:
  """Returns a label as it is stored."""
  if isinstance(value, bool):
    value = int(value)
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  if not isinstance(value, str | int):
    raise ValueError(f"label {value!r} is neither an integer nor a name")
  value = str(value).strip()
  if not value:
    raise ValueError("blank label")
  return value


_CONVERSIONS = {"text": _text, "image": _image, "label": _label, "id": str}
