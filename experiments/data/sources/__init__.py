"""Raw examples, wherever they are: tables, images, arrays and TFDS.

Whatever the form, a source is a `types.Source`: a length, and examples as
dicts, looked up in any order. Nothing here imports TensorFlow.
"""

import os
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments.data.sources import arrays
from experiments.data.sources import files
from experiments.data.sources import images
from experiments.data.sources import table_source
from experiments.data.sources import tables
from experiments.data.sources.arrays import array_source
from experiments.data.sources.classes import class_indices
from experiments.data.sources.classes import WithClasses
from experiments.data.sources.column_source import ColumnSource
from experiments.data.sources.column_source import Malformed
from experiments.data.sources.tfds_source import TfdsSource

__all__ = [
  "ColumnSource",
  "Malformed",
  "TfdsSource",
  "WithClasses",
  "array_source",
  "class_indices",
  "open_source",
]

_KINDS = (
  f"a table ({', '.join(tables.SUFFIXES)}; with .gz, .bz2 or .xz behind if "
  f"compressed), .npz or .npy arrays, or a folder with one folder of images "
  f"for each class"
)


def open_source(
  paths: files.Path | Sequence[files.Path],
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
  """Opens examples that lie in files, as the suffix or a folder tells.

  Args:
    paths: A table, or several that follow one another; an .npz or .npy file;
      or a folder with one folder of images for each class.
    text_column: The column of texts, by name or, without header, by position.
    image_column: The column of encoded images (Parquet), or the array of
      images in an .npz file.
    label_column: The column or array of labels; for .npy the file of labels.
      Without it examples have none, but in a folder they always have.
    id_column: The column or array of ids; for .npy the file of ids. Without
      it an id is the number of the row, in a folder the path of the image.
    header: Whether TSV and CSV files start with the names of their columns.
    quoting: Whether fields may stand in quotes: see `tables.rows`.
    encoding: Of text files.
    image_size: What encoded images are resized to: see `images.DecodedImages`.
    channels: What encoded images are converted to, likewise.

  Returns:
    The source.

  Raises:
    FileNotFoundError: If there is no such file.
    OSError: If it cannot be read.
    ValueError: If it is damaged or not of the form expected, or an option is
      given that does not apply.
  """
  paths = _existing(paths)
  path, suffix = paths[0], files.format_suffix(paths[0])
  options: dict[str, Any] = {
    "text_column": text_column,
    "image_column": image_column,
    "label_column": label_column,
    "id_column": id_column,
    "image_size": image_size,
    "channels": channels,
  }
  options = {key: value for key, value in options.items() if value is not None}
  if len(paths) == 1 and path.is_dir():
    _check_options(path, options, "image_size", "channels")
    return images.folder_source(path, **options)
  if len(paths) == 1 and suffix == ".npz":
    _check_options(path, options, "image_column", "label_column", "id_column")
    return arrays.npz_source(path, **options)
  if len(paths) == 1 and suffix == ".npy":
    _check_options(path, options, "label_column", "id_column")
    return arrays.npy_source(path, **options)
  for path in paths:
    suffix = files.format_suffix(path)
    if suffix not in tables.SUFFIXES:
      raise ValueError(f"{path} cannot be opened: expected {_KINDS}.")
    if image_column is not None and suffix != ".parquet":
      raise ValueError(
        f"{path}: a column of images is read from .parquet files only."
      )
  text: dict[str, Any] = {
    "header": header,
    "quoting": quoting,
    "encoding": encoding,
  }
  if (text_column is None) == (image_column is None):
    first = next(tables.rows(paths[0], malformed=Malformed(), **text), {})
    raise ValueError(
      f"{paths[0]}: give either text_column or image_column; its columns are "
      f"{list(first)}."
    )
  if text_column is not None:
    columns = ("text_column", "label_column", "id_column")
    _check_options(paths[0], options, *columns)
  return table_source.table_source(paths, **options, **text)


def _existing(
  paths: files.Path | Sequence[files.Path],
) -> list[pathlib.Path]:
  """Returns what was given as paths of files and folders that exist."""
  given = [paths] if isinstance(paths, str | os.PathLike) else paths
  if not given:
    raise ValueError(f"no file was given: expected {_KINDS}.")
  existing = [pathlib.Path(path).expanduser() for path in given]
  for path in existing:
    with files.reading(path):
      path.stat()
  return existing


def _check_options(
  path: pathlib.Path, options: Mapping[str, Any], *applicable: str
) -> None:
  """Raises ValueError if an option is given that does not apply."""
  for option in options:
    if option not in applicable:
      raise ValueError(
        f"{path}: {option} does not apply to it; what does is "
        f"{', '.join(applicable)}."
      )
