"""Folders of arrays that are computed in parts and resumed.

  <folder>/<name>.npy      arrays [N, ...], memory-mapped; fixed arrays
  <folder>/manifest.json   origin, shapes, SHA-256 of each part and fixed array
  <folder>/request.json, parts/   only while the computation is unfinished

`load_or_compute` computes the arrays of a folder in parts. A part is recorded
after its rows are on disk, so that after any interruption the next run computes
only the missing parts. Each of several processes computes a contiguous share of
the parts; they need a shared file system, and the result does not depend on
their number. `write` writes a single array.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
import shutil
import sys
import types
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.distributed import processes
from experiments.distributed import signals
from experiments.io import digests
from experiments.io import json_files
from experiments.io import locks
from experiments.io.progress import Progress

_MANIFEST, _REQUEST, _PARTS = "manifest.json", "request.json", "parts"
NamedArrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Content:
  """The expected contents of a folder.

  Attributes:
    origin: Everything that determines the arrays, as nested JSON data.
    arrays: Shape ``[N, ...]`` and dtype of each array, by name.
    bounds: The first row of each part, and N.
    replaceable: Dotted names in `origin`, such as "encoder.code". Arrays whose
      origin differs only in these are computed again. Any other difference is
      an error.
  """

  origin: Mapping[str, Any]
  arrays: Mapping[str, jax.ShapeDtypeStruct]
  bounds: tuple[int, ...]
  replaceable: tuple[str, ...] = ()

  @property
  def parts(self) -> range:
    """Numbers of the parts."""
    return range(len(self.bounds) - 1)

  def described(self) -> dict[str, Any]:
    """Returns the contents as entries of the manifest."""
    arrays = {
      name: {"shape": list(array.shape), "dtype": np.dtype(array.dtype).name}
      for name, array in self.arrays.items()
    }
    return {
      "origin": dict(self.origin),
      "arrays": arrays,
      "num_parts": len(self.parts),
    }


def load_or_compute(
  folder: pathlib.Path,
  content: Content,
  compute: Callable[[int, int, NamedArrays], NamedArrays],
  *,
  fixed: NamedArrays = types.MappingProxyType({}),
  label: str = "rows",
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns the arrays of a folder after computing the missing parts.

  All processes call this together. The files are verified by their checksums,
  which takes about 1 second per GB.

  Args:
    folder: The folder.
    content: The expected contents.
    compute: Returns rows of each array: ``compute(start, stop, fixed)``.
    fixed: Small arrays that are stored when the computation begins.
    label: Name of the work in the progress.

  Returns:
    The arrays, memory-mapped, and the fixed arrays, both by name.

  Raises:
    ValueError: If the folder is damaged or has other contents, or a computed
      row is not finite.
  """
  with json_files.named(folder), locks.exclusive_when_free(folder):
    finished = processes.from_main(lambda: _begin(folder, content, fixed))
    with _together():
      _check_same(folder, content, finished)
    if not finished:
      _compute(folder, content, compute, label)
      processes.from_main(lambda: _finish(folder, content))
    with _together():
      _verify(folder, content)
  return _mapped(folder, content), _fixed(folder, _MANIFEST)


def load(folder: pathlib.Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
  """Opens a finished folder, and reads and verifies only its fixed arrays.

  Returns the manifest, the memory-mapped arrays and the fixed arrays.
  """
  manifest = json_files.read_json(folder / _MANIFEST)
  if not isinstance(manifest, dict) or not {"arrays", "fixed"} <= {*manifest}:
    raise ValueError(
      f"{folder / _MANIFEST} is not a manifest of arrays of this version: use "
      "another folder, or delete this one and write it again."
    )
  arrays = {
    name: jax.ShapeDtypeStruct(tuple(array["shape"]), array["dtype"])
    for name, array in manifest["arrays"].items()
  }
  content = Content(manifest["origin"], arrays, ())
  return manifest, _mapped(folder, content), _fixed(folder, _MANIFEST)


def declare(
  folder: pathlib.Path, content: Content, fixed: Iterable[str] = ()
) -> None:
  """Writes the manifest for arrays that another program saved.

  The folder holds an .npy file for each array. `fixed` names the fixed arrays.
  """
  mapped = _mapped(folder, content)
  bounds = zip(content.bounds[:-1], content.bounds[1:], strict=True)
  parts = [
    {name: _sha256(array[a:b]) for name, array in mapped.items()}
    for a, b in bounds
  ]
  manifest = content.described() | {"parts": parts}
  manifest["fixed"] = {
    name: digests.of_file(folder / f"{name}.npy") for name in fixed
  }
  json_files.write_json(folder / _MANIFEST, manifest)


def is_finished(folder: pathlib.Path) -> bool:
  """Returns whether a folder has a manifest, as complete folders do."""
  return (folder / _MANIFEST).exists()


def is_begun(folder: pathlib.Path) -> bool:
  """Returns whether a computation in a folder has begun or is finished."""
  return is_finished(folder) or (folder / _REQUEST).exists()


@contextlib.contextmanager
def _together() -> Iterator[None]:
  """Raises an error in all processes if one process raises an error."""
  error: Exception | None = None
  try:
    yield
  except Exception as raised:
    error = raised
  if processes.any_process(error is not None):
    raise error or ValueError("another process failed; see its output.")


def _begin(folder: pathlib.Path, content: Content, fixed: NamedArrays) -> bool:
  """Prepares a folder for the computation; returns whether it is finished."""
  if is_begun(folder):
    if not _is_outdated(folder, content):
      return is_finished(folder)
    print(
      f"The code that computes {folder} changed: computing its arrays again.",
      file=sys.stderr,
      flush=True,
    )
    # Without these two files the folder counts as empty.
    for name in (_MANIFEST, _REQUEST):
      (folder / name).unlink(missing_ok=True)
  shutil.rmtree(folder / _PARTS, ignore_errors=True)
  found = {}
  for name, array in fixed.items():
    np.save(folder / f"{name}.npy", array)
    found[name] = digests.of_file(folder / f"{name}.npy")
  for name, array in content.arrays.items():
    with (folder / f"{name}.npy").open("wb") as file:
      header = _header(array)
      file.write(header)
      file.truncate(len(header) + array.size * np.dtype(array.dtype).itemsize)
  request = content.described() | {"fixed": found}
  json_files.write_json(folder / _REQUEST, request)
  return False


def _check_same(folder: pathlib.Path, content: Content, finished: bool) -> None:
  """Raises ValueError, with the differences, if a folder has other contents."""
  state = "holds" if finished else "holds a part of"
  if found := _differences(folder, content):
    raise ValueError(
      f"{folder} {state} arrays of another origin: {'; '.join(found)}. Delete "
      "that folder to compute them again, or use what they were computed from."
    )


def _differences(folder: pathlib.Path, content: Content) -> list[str]:
  """Returns the differences between a folder and the expected contents."""
  name = _MANIFEST if is_finished(folder) else _REQUEST
  there, here = json_files.read_json(folder / name), content.described()
  return json_files.differences({name: there.get(name) for name in here}, here)


def _is_outdated(folder: pathlib.Path, content: Content) -> bool:
  """Returns whether a folder differs only in `Content.replaceable`."""
  found = _differences(folder, content)
  prefixes = tuple(f"origin.{name}" for name in content.replaceable)
  return bool(found) and all(text.startswith(prefixes) for text in found)


def _share(parts: Sequence[int], index: int) -> Sequence[int]:
  """Returns the contiguous share of the parts for the process `index`."""
  count = jax.process_count()
  return parts[index * len(parts) // count : (index + 1) * len(parts) // count]


def _record(folder: pathlib.Path, part: int) -> pathlib.Path:
  return folder / _PARTS / f"{part:06}.json"


def _compute(
  folder: pathlib.Path,
  content: Content,
  compute: Callable[[int, int, NamedArrays], NamedArrays],
  label: str,
) -> None:
  """Computes the missing parts, one per process at a time.

  If a process fails or receives a signal, all processes stop after their
  current part.
  """
  parts = content.parts
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
        signals.stop_if_asked(f"the computed rows are kept in {folder}")


def _compute_part(
  folder: pathlib.Path,
  content: Content,
  compute: Callable[[int, int, NamedArrays], NamedArrays],
  part: int,
) -> None:
  """Computes a part, writes its rows and then its record."""
  start, stop = content.bounds[part : part + 2]
  values = compute(start, stop, _fixed(folder, _REQUEST))
  found = {}
  for name, array in content.arrays.items():
    rows = _checked(content, name, values[name], start, stop)
    # Not written through a memory map: on a full disk it kills the process.
    with open(folder / f"{name}.npy", "r+b", opener=_synchronous) as file:
      offset = len(_header(array))
      file.seek(offset + start * (rows.nbytes // len(rows)))
      file.write(rows.tobytes())
      file.flush()
      os.fsync(file.fileno())
    found[name] = _sha256(rows)
  json_files.write_json(_record(folder, part), found)


def _synchronous(path: str, flags: int) -> int:
  # Without O_DSYNC, NFS writes whole pages, and could overwrite rows that
  # another machine has written in the same page.
  return os.open(path, flags | getattr(os, "O_DSYNC", 0))


def _checked(
  content: Content, name: str, values: np.ndarray, start: int, stop: int
) -> np.ndarray:
  """Converts rows to their dtype, and checks their shape and values."""
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
    raise ValueError(
      f"row {row} of {name} holds NaN or infinity in {rows.dtype}."
    )
  return rows


def _finish(folder: pathlib.Path, content: Content) -> None:
  """Writes the manifest, which makes a folder complete."""
  manifest = content.described()
  manifest["parts"] = [
    json_files.read_json(_record(folder, part)) for part in content.parts
  ]
  manifest["fixed"] = json_files.read_json(folder / _REQUEST)["fixed"]
  json_files.write_json(folder / _MANIFEST, manifest)
  (folder / _REQUEST).unlink()
  shutil.rmtree(folder / _PARTS)


def _verify(folder: pathlib.Path, content: Content) -> None:
  """Raises ValueError if a file changed. Each process checks its share."""
  manifest = json_files.read_json(folder / _MANIFEST)
  mapped = _mapped(folder, content)
  try:
    for part in _share(content.parts, jax.process_index()):
      start, stop = content.bounds[part : part + 2]
      for name, array in mapped.items():
        if _sha256(array[start:stop]) != manifest["parts"][part][name]:
          raise _damage(folder, f"rows {start} to {stop} of {name}.npy")
    _fixed(folder, _MANIFEST)
  except KeyError as error:
    raise _damage(folder, f"{error}") from None


def _damage(folder: pathlib.Path, what: str) -> ValueError:
  return ValueError(
    f"{folder} is damaged: {what} is missing or not as it was written. Delete "
    "that folder to write it again."
  )


def _sha256(data: Any) -> str:
  return hashlib.sha256(data).hexdigest()


def _fixed(folder: pathlib.Path, manifest: str) -> dict[str, np.ndarray]:
  """Reads the fixed arrays that a manifest or request names."""
  arrays = {}
  for name, digest in json_files.read_json(folder / manifest)["fixed"].items():
    path = folder / f"{name}.npy"
    if not path.is_file() or digests.of_file(path) != digest:
      raise _damage(folder, path.name)
    arrays[name] = np.load(path, allow_pickle=False)
  return arrays


def _header(array: jax.ShapeDtypeStruct) -> bytes:
  """Returns the header of the .npy file of an array."""
  buffer = io.BytesIO()
  header = {
    "descr": np.lib.format.dtype_to_descr(np.dtype(array.dtype)),
    "fortran_order": False,
    "shape": array.shape,
  }
  np.lib.format.write_array_header_1_0(buffer, header)
  return buffer.getvalue()


def _mapped(folder: pathlib.Path, content: Content) -> dict[str, np.ndarray]:
  """Memory-maps arrays, after checking the headers and sizes of their files."""
  mapped: dict[str, np.ndarray] = {}
  for name, array in content.arrays.items():
    path, header = folder / f"{name}.npy", _header(array)
    size = len(header) + array.size * np.dtype(array.dtype).itemsize
    try:
      with path.open("rb") as file:
        found = file.read(len(header))
      if found != header or path.stat().st_size != size:
        raise _damage(folder, path.name)
    except OSError:
      raise _damage(folder, path.name) from None
    mapped[name] = np.memmap(path, array.dtype, "r", len(header), array.shape)
  return mapped


def write(
  path: pathlib.Path,
  shape: tuple[int, ...],
  dtype: Any,
  parts: Iterable[np.ndarray],
) -> None:
  """Writes an .npy file, given consecutive parts of its rows."""
  with json_files.named(path), path.open("xb") as file:
    file.write(_header(jax.ShapeDtypeStruct(shape, dtype)))
    for rows in parts:
      file.write(np.ascontiguousarray(rows, dtype).tobytes())
    file.flush()
    os.fsync(file.fileno())
