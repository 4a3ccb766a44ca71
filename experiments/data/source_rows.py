"""Map from the examples of a prepared data set to rows of the user's files.

Arrays that another program computed from the user's files, such as the outputs
of a teacher, are matched to examples by row number or by id. The ids of
examples cannot serve as row numbers, since rows that were left out have none.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments.data import examples as examples_lib
from experiments.data import images
from experiments.data import load
from experiments.data import tables
from experiments.data.dataset import UNLABELLED
from experiments.data.prepare import find_files
from experiments.data.prepared import Prepared
from experiments.specs import DataSpec

# The flag or field that names each kind of files. Rows are counted in this
# order.
_FILES = {
  "train": "--data",
  "unlabelled_files": "--unlabelled",
  "validation": "config.data.validation",
  "test": "--test",
}


@dataclasses.dataclass(frozen=True)
class SourceRows:
  """The rows that examples have in a user's own files.

  Rows are counted from 0 over the training files, the files without labels, the
  validation files and the test files, in this order.

  Attributes:
    rows: The row of the example with each id, int64 ``[N]``.
    sizes: Number of rows of each kind of files, including rows left out.
    names: The value of the id column in each row, or the path of each image
      relative to its folder. None if the files have neither.
  """

  rows: np.ndarray
  sizes: dict[str, int]
  names: Sequence[str | None] | None

  @functools.cached_property
  def num_rows(self) -> int:
    """Number of rows in all files."""
    return sum(self.sizes.values())

  def describe(self) -> str:
    """Returns the number of rows of each kind of files, as a phrase."""
    return ", then ".join(
      f"{size:,} of {_FILES[split]}" for split, size in self.sizes.items()
    )

  def place(self, row: int) -> str:
    """Returns the place of a row in words, such as "row 1 of --test"."""
    for split, size in self.sizes.items():
      if row < size:
        return f"row {row + 1:,} of {_FILES[split]}"
      row -= size
    raise ValueError(f"there is no row {row}.")


def source_rows(
  spec: DataSpec, found: Prepared, id_column: str = ""
) -> SourceRows:
  """Finds the row of each example in the files from which it was prepared."""
  files = find_files(load.paths_of(spec))
  splits = [split for split in _FILES if split in files]
  parts = {
    split: _names(split, files[split], spec, id_column) for split in splits
  }
  sizes = {split: len(names) for split, names in parts.items()}
  places: dict[str, dict[str, int]] = {}
  first = 0
  for split, names in parts.items():
    # As in `Prepared.source_ids`.
    is_folder = files[split][0].is_dir()
    keys = names if is_folder else map(str, range(len(names)))
    places[split] = {str(key): first + row for row, key in enumerate(keys)}
    first += len(names)
  rows = [
    # The split "unlabelled" holds rows of the training files.
    places["train" if split == "unlabelled" else split][name]
    for split in found.splits
    for name in found.source_ids(split)
  ]
  names = [name for part in parts.values() for name in part]
  has_names = bool(id_column) or files["train"][0].is_dir()
  return SourceRows(
    np.array(rows, np.int64), sizes, names if has_names else None
  )


def _names(
  split: str, files: Sequence[pathlib.Path], spec: DataSpec, id_column: str
) -> list[str | None]:
  """Returns the id or the path of each row, None for a row without one."""
  path, options = files[0], load.options_of(spec)
  is_table = tables.format_suffix(path) in tables.SUFFIXES
  if path.is_dir() or not is_table:
    if id_column:
      raise ValueError(
        f"--id_column is for tables, and {path} is not a table: the id of an "
        "image is its path in that folder."
      )
    if not path.is_dir():
      image_column = spec.image_column or None
      found = examples_lib.read(
        path, image_column=image_column, labels="ignored"
      )
      return [None] * len(found)
    found, _ = images.find_images(path, by_class=split not in UNLABELLED)
    return [file.relative_to(path).as_posix() for file in found]
  column = id_column or spec.text_column or spec.image_column
  names: list[str | None] = []
  for file in files:
    table = tables.TableReader(
      file, [column], may_lack=[column], **tables.text_options(options)
    )
    own = {row: id_name(value) for row, (value,) in table if id_column}
    names += [own.get(row) for row in range(table.num_rows)]
  return names


def id_name(value: object) -> str | None:
  """Returns an id as text, so that 3, 3.0 and "3" are the same id."""
  if value is None:
    return None
  if isinstance(value, float | np.floating) and value == int(value):
    value = int(value)
  return str(value)
