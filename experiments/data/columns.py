"""Arrays that grow on disk, never in memory."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any
from typing import Self

import numpy as np


class Column:
  """An .npy file that grows; its header gets the length at the end."""

  def __init__(self, path: pathlib.Path, dtype: np.dtype, shape: tuple):
    self._path = path
    self._dtype = dtype
    self._shape = shape
    self._length = 0

  def __enter__(self) -> Self:
    self._file = self._path.open("xb")
    self._write_header()
    return self

  def __exit__(self, *_: object) -> None:
    with self._file:
      # NumPy leaves room in the header for a longer first dimension.
      self._file.seek(0)
      self._write_header()
      self._file.flush()
      os.fsync(self._file.fileno())

  def append(self, rows: Any) -> None:
    """Appends an array of rows."""
    rows = np.asarray(rows, self._dtype)
    self._file.write(rows.tobytes())
    self._length += len(rows)

  def _write_header(self) -> None:
    header = {
      "descr": np.lib.format.dtype_to_descr(self._dtype),
      "fortran_order": False,
      "shape": (self._length, *self._shape),
    }
    np.lib.format.write_array_header_1_0(self._file, header)


class RaggedColumn:
  """Rows of different lengths, as a column of values and one of offsets."""

  def __init__(self, values: Column, offsets: Column):
    self._values = values
    self._offsets = offsets
    self._end = 0
    offsets.append([0])

  def extend(self, rows: Sequence[np.ndarray]) -> None:
    """Appends rows."""
    if rows:
      self._values.append(np.concatenate(rows))
      ends = self._end + np.cumsum([len(row) for row in rows])
      self._offsets.append(ends)
      self._end = int(ends[-1])
