"""Saves and restores checkpoints of training states and final parameters.

Only this module imports Orbax, which writes and reads the arrays. This module
adds a file `seal.json` to each checkpoint. The seal is written last and deleted
first, so that a checkpoint with a seal is complete. (Buckets do not support the
usual way, to rename a complete folder.) The seal holds:

* checksums of all files, because Orbax does not detect a flipped bit, and
  prints long tracebacks about other damage,
* the shapes and dtypes of the arrays, because Orbax silently casts arrays to
  the dtypes that are asked for,
* the fingerprint of the run.
"""

import functools
import os
from collections.abc import Callable
from collections.abc import Mapping
from concurrent import futures
from typing import Any
from typing import Self
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath
from flax import traverse_util
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import v1 as ocp

from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes
from experiments.io import json_files
from experiments.io import storage

Tree = TypeVar("Tree")
PathLike = str | os.PathLike[str]

SEAL = "seal.json"
# In a file system, Orbax writes to a folder with this suffix and then renames
# it.
_UNFINISHED = ".orbax-checkpoint-tmp"
_KEPT = 2


class Checkpoints:
  """Saves and restores the newest states of one run, in a folder or bucket.

  A state is a tree of `jax.Array` (including typed keys) and `np.ndarray`. It
  is written in the background, and its arrays may be donated as soon as `save`
  returns. The two newest complete states are kept.

  All processes of a run create this object and call its methods at the same
  steps. They need access to the same folder.

    with Checkpoints(workdir / "checkpoints", fingerprint=config) as saved:
      restored = saved.restore(state)
      step, state = restored or (0, state)
      ...
      saved.save(step, state)
  """

  def __init__(self, directory: PathLike, *, fingerprint: Mapping[str, Any]):
    """Looks for complete checkpoints, and writes nothing yet.

    Args:
      directory: The folder, or `gs://BUCKET/FOLDER`.
      fingerprint: JSON data that identifies the run: everything that must be
        the same for a run to continue from a state.

    Raises:
      ValueError: If the folder holds states with another fingerprint.
    """
    self._directory = storage.folder(directory)
    self._fingerprint = json_files.plain(fingerprint)
    # Here and below, only the main process looks at files, so that all
    # processes agree.
    self._steps: list[int] = _on_main(self._directory, self._find)
    self._cleared = False
    self._thread = futures.ThreadPoolExecutor(max_workers=1)
    self._pending: futures.Future[None] | None = None

  def save(self, step: int, state: Any) -> None:
    """Starts to write a state, after the previous write has finished.

    The step must be later than the one that `restore` returned. Raises OSError
    if the previous write failed.
    """
    self.close()
    if not self._cleared:
      _on_main(self._directory, self._clear)
      self._cleared = True
    self._pending = self._thread.submit(
      _write(self._path(step), state, self._fingerprint)
    )
    self._steps.append(step)

  def restore(self, like: Tree) -> tuple[int, Tree] | None:
    """Reads the newest state that is not damaged.

    A warning is logged for each damaged state.

    Args:
      like: The expected state, with arrays or `jax.ShapeDtypeStruct`. Each
        restored array gets the sharding of its counterpart, or is placed on
        this process's first device if the counterpart has no sharding.

    Returns:
      The step and the state, or None if there is no usable checkpoint.

    Raises:
      ValueError: If the state has other arrays than `like`.
    """
    self.close()
    while self._steps:
      step = self._steps[-1]
      path = self._path(step)
      damage = _on_main(path, functools.partial(_damage, path))
      if damage is None:
        return step, _load(path, like)
      self._steps.pop()
      then = "the run starts over"
      if self._steps:
        then = f"step {self._steps[-1]} is read instead"
      if processes.is_main_process():
        text = "checkpoint %s is damaged (%s): it is skipped, and %s."
        logging.warning(text, path, damage, then)
    return None

  def close(self) -> None:
    """Waits for the write in progress, and deletes states that are too old.

    It may be called several times. Raises OSError if the last write failed.
    """
    if self._pending is None:
      return
    error, self._pending = self._pending.exception(), None
    if processes.any_process(error is not None):
      failed = self._path(self._steps.pop())
      self._cleared = False
      before = f"step {self._steps[-1]}" if self._steps else "no earlier step"
      reason = storage.reason(failed, error) if error else "in another process"
      raise OSError(
        f"the checkpoint {failed} could not be written ({reason}); {before} is "
        f"kept.{storage.advice(failed)}"
      ) from error
    while len(self._steps) > _KEPT:
      old = self._path(self._steps.pop(0))
      _on_main(old, functools.partial(_delete, old))

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: object, error: object, traceback: object) -> None:
    """Closes this object.

    After an error it only waits for this process's write. The other processes
    may not have the error, and would then not take part in an exchange.
    """
    if error is None:
      self.close()
    elif self._pending is not None:
      self._pending.exception()

  def _path(self, step: int) -> epath.Path:
    return self._directory / str(step)

  def _find(self) -> list[int]:
    """Returns the complete steps, and checks the fingerprint of the newest."""
    sealed = _sealed(self._directory)
    for name in storage.names(self._directory):
      if name.isdigit() and int(name) not in sealed:
        path = self._directory / name
        logging.warning("checkpoint %s is incomplete and is skipped.", path)
    if not sealed:
      return []
    try:
      saved = json_files.read_json(self._path(sealed[-1]) / SEAL)["fingerprint"]
    except (KeyError, TypeError, ValueError):
      return sealed  # The seal is damaged, so `restore` skips the state.
    differences = json_files.differences(saved, self._fingerprint)
    if differences:
      raise ValueError(
        f"{self._directory} belongs to another run: {'; '.join(differences)}. "
        "Use another --workdir or --checkpoint_dir, or delete the folder to "
        "start over."
      )
    return sealed

  def _clear(self) -> None:
    """Deletes damaged states and incomplete states of killed runs."""
    for name in storage.names(self._directory):
      unknown = name.isdigit() and int(name) not in self._steps
      if unknown or name.endswith(_UNFINISHED):
        _delete(self._directory / name)


def last_step(directory: PathLike) -> int | None:
  """Returns the newest step in a folder of `Checkpoints`, damaged or not."""
  path = storage.folder(directory)
  with storage.reached(path):
    return max(_sealed(path), default=None)


def _sealed(directory: epath.Path) -> list[int]:
  """Returns the sorted steps of the complete states in a folder."""
  steps = [int(name) for name in storage.names(directory) if name.isdigit()]
  return sorted(s for s in steps if (directory / f"{s}" / SEAL).exists())


def save_tree(directory: PathLike, tree: Any) -> None:
  """Writes a tree of arrays, such as final parameters, for other commands.

  It replaces an existing tree in the folder, which may be in a bucket.
  """
  path = storage.folder(directory)
  processes.from_main(lambda: storage.check_writable(path))
  _on_main(path, lambda: _delete(path))
  with storage.reached(path):
    _write(path, tree, {})()


def load_tree(directory: PathLike, like: Any = None) -> Any:
  """Reads a tree that `save_tree` wrote.

  Args:
    directory: The folder, which may be in a bucket.
    like: The expected tree, see `Checkpoints.restore`. Without it, nested dicts
      of NumPy arrays are returned.

  Raises:
    FileNotFoundError: If there is no such folder.
    ValueError: If the tree is damaged, or has other arrays than `like`.
  """
  path = storage.folder(directory)
  if not _on_main(path, path.exists):
    raise FileNotFoundError(
      f"nothing is saved in {path}: run the command that writes it first."
    )
  damage = _on_main(path, lambda: _damage(path))
  if damage is not None:
    raise ValueError(
      f"{path} is damaged ({damage}): delete it, and run the command that "
      "writes it again."
    )
  if like is None:
    arrays = _on_main(path, lambda: json_files.read_json(path / SEAL)["arrays"])
    like = traverse_util.unflatten_dict(
      {
        tuple(name.split("/")): np.empty(shape, jnp.dtype(dtype))
        for name, (dtype, shape) in arrays.items()
      }
    )
  return _load(path, like)


def _on_main(path: epath.Path, call: Callable[[], Any]) -> Any:
  """Calls a function on the main process; returns its result everywhere."""
  return processes.from_main(storage.reached(path)(call))


def _write(
  path: epath.Path, tree: Any, fingerprint: Mapping[str, Any]
) -> Callable[[], None]:
  """Starts to write a checkpoint.

  Returns a function that waits until the arrays are written, and adds the seal.
  """
  arrays: Any = _on_disk(tree)
  described = _described(arrays)
  with storage.reached(path):
    response = ocp.save_async(str(path), arrays)

  def finish() -> None:
    response.result()
    if processes.is_main_process():
      seal = {
        "fingerprint": fingerprint,
        "arrays": described,
        "checksums": storage.checksums(path),
      }
      json_files.write_json(path / SEAL, seal)

  return finish


def _load(path: epath.Path, like: Tree) -> Tree:
  """Reads a complete checkpoint, with the types and shardings of `like`."""
  like = jax.tree.map(_abstract, like)
  expected: Any = _on_disk(like)
  with storage.reached(path):
    saved = json_files.read_json(path / SEAL)["arrays"]
  found = json_files.differences(saved, _described(expected))
  if found:
    more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
    raise ValueError(
      f"{path} holds other arrays than expected: {'; '.join(found[:4])}{more}. "
      "Use the code and the config that it was written with, or delete it."
    )
  with storage.reached(path):
    arrays: Any = ocp.load(str(path), expected)
  return jax.tree.map_with_path(
    lambda name, leaf: _restored(leaf, arrays.get(_name(name))), like
  )


def _damage(path: epath.Path) -> str | None:
  """Returns how a checkpoint is damaged, or None if it is not."""
  try:
    expected = json_files.read_json(path / SEAL)["checksums"]
  except FileNotFoundError:
    return "it is incomplete"
  except (KeyError, TypeError, ValueError):
    return f"{SEAL} cannot be read"
  found = storage.checksums(path)
  for name, checksum in expected.items():
    if found.get(name) != checksum:
      return f"{name} {'was altered' if name in found else 'is missing'}"
  return None


def _delete(path: epath.Path) -> None:
  """Deletes a folder, and its seal first, so that the rest is incomplete."""
  (path / SEAL).unlink(missing_ok=True)
  path.rmtree(missing_ok=True)


def _on_disk(tree: Any) -> dict[str, Any]:
  """Returns the arrays of a tree that Orbax writes, by path in the tree.

  The flat dict has no empty containers and no arrays without elements. Orbax
  rejects such arrays, and requires the same empty containers for reading.
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {_name(path): leaf for path, leaf in leaves if leaf.size}


def _name(path: tuple[Any, ...]) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct | np.ndarray:
  """Returns the shape, dtype and sharding of a leaf, as Orbax expects them."""
  if isinstance(leaf, np.ndarray):
    return leaf
  sharding = leaf.sharding or SingleDeviceSharding(jax.local_devices()[0])
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _restored(expected: Any, array: Any) -> jax.Array | np.ndarray:
  """Converts an array that Orbax read to the expected type and sharding."""
  if isinstance(expected, np.ndarray):
    return expected if array is None else array
  if array is None:
    array = jnp.zeros(expected.shape, expected.dtype)
  # Orbax describes an equal sharding of keys differently, for which programs
  # would be compiled again.
  if array.sharding != expected.sharding:
    array = mesh_lib.place(array, expected.sharding)
  return array


def _described(arrays: Mapping[str, Any]) -> dict[str, list[Any]]:
  return {
    name: [str(array.dtype), list(array.shape)]
    for name, array in arrays.items()
  }
