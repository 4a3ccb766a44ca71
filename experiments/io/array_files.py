"""Arrays of one row an example, computed in parts by all processes together.

  <folder>/<name>.npy      [N, ...], memory-mapped by those who read
  <folder>/fixed.npz       small arrays that the others are computed with
  <folder>/manifest.json   what they came from, shapes, SHA-256 of each part
  <folder>/request.json, parts/   only of a computation that is not finished

A part counts when its record is there, which is after its rows are on disk. So
however a process ends, the next one computes what is missing. Each of several
processes computes a contiguous share of it; the folder has to be on a disk that
all of them see. How many wrote a folder does not show in it.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Self

import jax
import numpy as np

from experiments.distributed import processes
from experiments.distributed.signals import Interrupts
from experiments.distributed.signals import stop_if_asked
from experiments.io import json_files
from experiments.io import locks
from experiments.io.progress import Progress

_MANIFEST, _REQUEST, _FIXED, _PARTS = (
  "manifest.json",
  "request.json",
  "fixed.npz",
  "parts",
)
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Content:
  """What a folder is to hold.

  Attributes:
    origin: All that the arrays follow from, plain data nested by name.
    arrays: Shape ``[N, ...]`` and dtype of each array by name.
    bounds: The first row of each part, and N.
  """

  origin: Mapping[str, Any]
  arrays: Mapping[str, jax.ShapeDtypeStruct]
  bounds: tuple[int, ...]

  def described(self) -> dict[str, Any]:
    """Returns it as plain data."""
    arrays = {
      name: {"shape": list(array.shape), "dtype": np.dtype(array.dtype).name}
      for name, array in self.arrays.items()
    }
    return {
      "origin": dict(self.origin),
      "arrays": arrays,
      "num_parts": len(self.bounds) - 1,
    }


def load_or_compute(
  folder: pathlib.Path,
  content: Content,
  compute: Callable[[int, int, Arrays], Arrays],
  *,
  fixed: Callable[[], Arrays] = dict,
  label: str = "rows",
  signals: Interrupts | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns arrays from a folder, computing what of them is not there.

  All processes call it together.

  Args:
    folder: The folder; made if need be.
    content: What it is to hold.
    compute: ``(start, stop, fixed) -> arrays``: those rows of each array.
    fixed: Makes small arrays that belong to the others, once.
    label: What the progress display calls the rows.
    signals: What was asked of the process, looked at after each part.

  Returns:
    The arrays, memory-mapped, and the fixed ones.

  Raises:
    Interrupted: On SIGINT or SIGTERM to any process, after a whole part.
    ValueError: If the folder holds something else, is damaged (every byte is
      checked, at about 1 GB a second), or a row is not finite.
  """
  signals = signals or Interrupts()
  with json_files.named(folder), locks.exclusive_run(folder, signals):
    finished = processes.from_main(lambda: _begin(folder, content, fixed))
    with _together():
      _check_same(folder, content, finished)
    if not finished:
      _compute(folder, content, compute, label, signals)
      processes.from_main(lambda: _finish(folder, content))
    with _together():
      _verify(folder, content)
  arrays = {n: _mapped(folder, n, array) for n, array in content.arrays.items()}
  return arrays, _fixed(folder)


def is_finished(folder: pathlib.Path) -> bool:
  """Whether a folder holds all its rows; their bytes are not looked at."""
  return (folder / _MANIFEST).exists()


@contextlib.contextmanager
def _together() -> Iterator[None]:
  """Fails in every process if it fails in one, so that none waits for it."""
  error: Exception | None = None
  try:
    yield
  except Exception as raised:
    error = raised
  if processes.any_process(error is not None):
    raise error or ValueError("another process failed, and says why.")


def _begin(
  folder: pathlib.Path, content: Content, fixed: Callable[[], Arrays]
) -> bool:
  """Makes a folder ready for its parts; whether it has all of them."""
  if is_finished(folder) or (folder / _REQUEST).exists():
    return is_finished(folder)
  shutil.rmtree(folder / _PARTS, ignore_errors=True)
  made: dict[str, Any] = dict(fixed())
  if made:
    np.savez(folder / _FIXED, **made)
  for name, array in content.arrays.items():
    with (folder / f"{name}.npy").open("wb") as file:
      header = _header(array)
      file.write(header)
      file.truncate(len(header) + array.size * np.dtype(array.dtype).itemsize)
  json_files.write_json(folder / _REQUEST, content.described())
  return False


def _check_same(folder: pathlib.Path, content: Content, finished: bool) -> None:
  """Raises ValueError, naming each field, if a folder is of something else."""
  state, name = "holds a part of", _REQUEST
  if finished:
    state, name = "holds", _MANIFEST
  there, here = json_files.read_json(folder / name), content.described()
  there = {name: there.get(name) for name in here}
  found = json_files.differences(there, here)
  if found:
    raise ValueError(
      f"{folder} {state} what came from something else: {'; '.join(found)}. "
      "Delete that folder to compute it again, or use what it came from."
    )


def _share(parts: Sequence[int], index: int) -> Sequence[int]:
  """What one of the processes does of some parts: a contiguous share."""
  count = jax.process_count()
  return parts[index * len(parts) // count : (index + 1) * len(parts) // count]


def _record(folder: pathlib.Path, part: int) -> pathlib.Path:
  return folder / _PARTS / f"{part:06}.json"


def _compute(
  folder: pathlib.Path,
  content: Content,
  compute: Callable[[int, int, Arrays], Arrays],
  label: str,
  signals: Interrupts,
) -> None:
  """Computes the missing parts, one in each process at a time.

  So that all end after a part in which one failed or was asked to stop.
  """
  parts = range(len(content.bounds) - 1)
  missing = processes.from_main(
    lambda: [part for part in parts if not _record(folder, part).exists()]
  )
  shares = [_share(missing, index) for index in range(jax.process_count())]
  mine, turns = shares[jax.process_index()], max(map(len, shares))
  with contextlib.ExitStack() as stack:
    progress = None
    if missing and processes.is_main_process():
      done = len(parts) - len(missing)
      progress = stack.enter_context(
        Progress(len(parts), label=label, unit="part", initial=done)
      )
    for turn in range(turns):
      with _together():
        if turn < len(mine):
          _compute_part(folder, content, compute, mine[turn])
      if progress is not None:
        progress.update(sum(turn < len(share) for share in shares))
      if turn + 1 < turns:
        stop_if_asked(signals, f"what is computed is kept in {folder}")


def _compute_part(
  folder: pathlib.Path,
  content: Content,
  compute: Callable[[int, int, Arrays], Arrays],
  part: int,
) -> None:
  """Computes a part and writes it, its record last."""
  start, stop = content.bounds[part : part + 2]
  values = compute(start, stop, _fixed(folder))
  digests = {}
  for name, array in content.arrays.items():
    rows = _checked(content, name, values[name], start, stop)
    # Plain writes: on a full disk a memory map ends the process.
    with open(folder / f"{name}.npy", "r+b", opener=_synchronous) as file:
      offset = len(_header(array))
      file.seek(offset + start * (rows.nbytes // len(rows)))
      file.write(rows.tobytes())
      file.flush()
      os.fsync(file.fileno())
    digests[name] = _sha256(rows)
  json_files.write_json(_record(folder, part), digests)


def _synchronous(path: str, flags: int) -> int:
  # Else NFS writes back whole pages, with what it last saw of the rows that
  # another machine writes beside these.
  return os.open(path, flags | getattr(os, "O_DSYNC", 0))


def _checked(
  content: Content, name: str, values: np.ndarray, start: int, stop: int
) -> np.ndarray:
  """Returns rows as they are stored, if they are what was announced."""
  expected = content.arrays[name]
  rows = np.ascontiguousarray(values, expected.dtype)
  if rows.shape != (stop - start, *expected.shape[1:]):
    raise ValueError(
      f"rows {start} to {stop} of {name} must have shape "
      f"{(stop - start, *expected.shape[1:])}, got {rows.shape}."
    )
  finite = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
  if not finite.all():
    row = start + int(np.argmin(finite))
    raise ValueError(f"row {row} of {name} holds NaN or infinity.")
  return rows


def _finish(folder: pathlib.Path, content: Content) -> None:
  """Declares a folder complete."""
  parts = range(len(content.bounds) - 1)
  manifest = content.described()
  manifest["parts"] = [
    json_files.read_json(_record(folder, part)) for part in parts
  ]
  fixed = folder / _FIXED
  manifest["fixed"] = _sha256(fixed.read_bytes()) if fixed.exists() else None
  json_files.write_json(folder / _MANIFEST, manifest)
  (folder / _REQUEST).unlink()
  shutil.rmtree(folder / _PARTS)


def _verify(folder: pathlib.Path, content: Content) -> None:
  """Raises ValueError if a byte is not what was written; each its share."""
  manifest = json_files.read_json(folder / _MANIFEST)
  mine = _share(range(len(content.bounds) - 1), jax.process_index())
  try:
    for name, expected in content.arrays.items():
      mapped = _mapped(folder, name, expected)
      for part in mine:
        start, stop = content.bounds[part : part + 2]
        if _sha256(mapped[start:stop]) != manifest["parts"][part][name]:
          raise _damage(folder, f"rows {start} to {stop} of {name}.npy")
    if manifest["fixed"] is not None and (
      _sha256((folder / _FIXED).read_bytes()) != manifest["fixed"]
    ):
      raise _damage(folder, _FIXED)
  except (KeyError, OSError) as error:
    raise _damage(folder, f"{error}") from None


def _damage(folder: pathlib.Path, what: str) -> ValueError:
  return ValueError(
    f"{folder} is damaged: {what} is missing or not what was written. Delete "
    "that folder to compute it again."
  )


def _sha256(data: Any) -> str:
  return hashlib.sha256(data).hexdigest()


def _fixed(folder: pathlib.Path) -> dict[str, np.ndarray]:
  if not (folder / _FIXED).exists():
    return {}
  with np.load(folder / _FIXED, allow_pickle=False) as file:
    return dict(file)


def _header(array: jax.ShapeDtypeStruct) -> bytes:
  """The start of the .npy file of an array."""
  buffer = io.BytesIO()
  header = {
    "descr": np.lib.format.dtype_to_descr(np.dtype(array.dtype)),
    "fortran_order": False,
    "shape": array.shape,
  }
  np.lib.format.write_array_header_1_0(buffer, header)
  return buffer.getvalue()


def _mapped(
  folder: pathlib.Path, name: str, array: jax.ShapeDtypeStruct
) -> np.ndarray:
  """Maps an array whose file is as long, and begins, as it should."""
  path, header = folder / f"{name}.npy", _header(array)
  size = len(header) + array.size * np.dtype(array.dtype).itemsize
  with path.open("rb") as file:
    if file.read(len(header)) != header or path.stat().st_size != size:
      raise _damage(folder, path.name)
  return np.memmap(path, array.dtype, "r", len(header), array.shape)


class GrowingArray:
  """An .npy file of unknown length: closing it writes the length.

  It is a context manager; `append` works inside.
  """

  def __init__(self, path: pathlib.Path, like: np.ndarray):
    """Writes nothing yet.

    Args:
      path: The file, which must not exist.
      like: An array with the dtype and the shape of a row.
    """
    self._path = path
    self._row = jax.ShapeDtypeStruct(like.shape[1:], like.dtype)
    self._length = 0

  def __enter__(self) -> Self:
    self._file = self._path.open("xb")
    self._file.write(self._header())
    return self

  def __exit__(self, *_: object) -> None:
    with self._file:
      # NumPy's header has room for a longer first dimension.
      self._file.seek(0)
      self._file.write(self._header())
      self._file.flush()
      os.fsync(self._file.fileno())

  def __len__(self) -> int:
    return self._length

  def append(self, rows: np.ndarray) -> None:
    """Appends rows."""
    self._file.write(np.ascontiguousarray(rows, self._row.dtype).tobytes())
    self._length += len(rows)

  def _header(self) -> bytes:
    shape = (self._length, *self._row.shape)
    return _header(jax.ShapeDtypeStruct(shape, self._row.dtype))
