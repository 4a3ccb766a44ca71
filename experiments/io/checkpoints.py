"""Training state on disk: complete or absent, and read back bit by bit.

The only file that imports Orbax. Importing it costs 0.25 s on top of JAX.
"""

import functools
import json
import os
from collections.abc import Callable
from collections.abc import Mapping
from concurrent import futures
from typing import Any
from typing import Self
from typing import TypeVar

from absl import logging
from etils import epath
from orbax.checkpoint import v1 as ocp

from experiments.distributed import processes
from experiments.io import json_files
from experiments.io import plain_trees
from experiments.io import seals
from experiments.io import storage

Tree = TypeVar("Tree")
PathLike = str | os.PathLike[str]

_FINGERPRINT = "fingerprint.json"
_STRUCTURE = "structure.json"
# Orbax writes into a folder of this name, and then renames it. In a bucket it
# writes in place: there what has no seal is unfinished.
_UNFINISHED = ".orbax-checkpoint-tmp"
_UNUSABLE = ".unusable"


class Checkpoints:
  """The newest states of one run, in one folder or bucket.

  A state is a tree of arrays: `jax.Array`, typed keys among them, or
  `np.ndarray`. It is written in the background, and counts once it is
  complete; the arrays may be donated as soon as `save` returns.

  With several processes each makes this object and calls its methods at the
  same step, on a file system that all of them see or in a bucket.

    with Checkpoints(workdir / "checkpoints", fingerprint=config) as saved:
      restored = saved.restore(state)
      step, state = restored or (0, state)
      ...
      saved.save(step, state)
  """

  def __init__(
    self,
    directory: PathLike,
    *,
    keep: int = 2,
    fingerprint: Mapping[str, Any],
  ):
    """Looks at what is there; writes nothing yet.

    Args:
      directory: The folder, absolute or relative, or `gs://BUCKET/FOLDER`.
      keep: How many complete checkpoints to keep, the newest.
      fingerprint: What has to be the same for a run to be continued: batch
        size, data, seed, configuration. Plain JSON.
    """
    if keep < 1:
      raise ValueError(f"keep must be at least 1, got {keep}.")
    self._directory = storage.folder(directory)
    self._keep = keep
    # As JSON gives it back: tuples are lists.
    self._fingerprint = json.loads(json.dumps(dict(fingerprint)))
    # One process looks, and all do what it says: here and below.
    self._steps: list[int] = self._on_main(lambda: _steps_in(self._directory))
    self._current: int | None = None
    self._pending: futures.Future[None] | None = None
    self._prepared = False

  def save(self, step: int, state: Any) -> None:
    """Starts to write a state, once the one before is written.

    Args:
      step: Its step, later than all in the folder. The one that was saved or
        restored last is there already: saving it again does nothing.
      state: The state.

    Raises:
      TypeError: If the state holds something that is no array.
      ValueError: If the folder holds later steps, or those of another run.
    """
    self._finish()
    if step == self._current:
      return
    if self._steps and step <= self._steps[-1]:
      raise ValueError(
        f"{self._directory} holds step {self._steps[-1]}, so step {step} "
        "cannot be saved after it: restore from there first, use another "
        "--workdir or --checkpoint_dir, or delete the folder to start over."
      )
    plain = plain_trees.to_plain(state)
    self._prepare()
    path = self._path(step)
    with storage.reached(path):
      response = ocp.save_async(str(path), plain)
    thread = futures.ThreadPoolExecutor(max_workers=1)
    structure = plain_trees.described(plain)
    self._pending = thread.submit(_complete, path, response, structure)
    thread.shutdown(wait=False)
    self._steps.append(step)
    self._current = step

  def restore(self, like: Tree) -> tuple[int, Tree] | None:
    """Reads the newest state that is whole.

    One that is damaged or was not finished is put aside with a logged warning,
    and the one before it is read.

    Args:
      like: The state to expect, of arrays or `jax.ShapeDtypeStruct`. Each array
        comes back with its counterpart's sharding, on this process's first
        device if it has none: devices may be others than before.

    Returns:
      The step and the state, of the same types as `like`; None if there is no
      whole checkpoint.

    Raises:
      ValueError: If the folder belongs to a run with another fingerprint, or
        holds states of another structure.
    """
    self._finish()
    if self._steps:
      self._check_fingerprint()
    while self._steps:
      step = self._steps[-1]
      path = self._path(step)
      damage = self._on_main(functools.partial(seals.damage, path))
      if damage is None:
        state = _load(path, like)
        self._current = step
        return step, state
      self._steps.pop()
      then = "the run starts over"
      if self._steps:
        then = f"step {self._steps[-1]} is read instead"
      self._on_main(functools.partial(_rename_unusable, path, damage, then))
    return None

  def steps(self) -> list[int]:
    """The steps in the folder, in order, the one being written included."""
    return list(self._steps)

  def close(self) -> None:
    """Waits until everything is written; twice does no harm."""
    self._finish()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: object, error: object, traceback: object) -> None:
    """Waits; after an error, without asking the other processes.

    They may not have it, and wait for this one elsewhere.
    """
    if error is None:
      self.close()
    elif self._pending is not None:
      self._pending.exception()

  def _on_main(self, call: Callable[[], Any]) -> Any:
    return _on_main(self._directory, call)

  def _path(self, step: int) -> epath.Path:
    return self._directory / str(step)

  def _finish(self) -> None:
    """Waits for the write in progress, and deletes what it makes too many."""
    if self._pending is None:
      return
    pending, self._pending = self._pending, None
    error = pending.exception()
    if processes.any_process(error is not None):
      failed = self._path(self._steps.pop())
      self._current, self._prepared = None, False
      before = f"step {self._steps[-1]}" if self._steps else "nothing"
      reason = storage.reason(failed, error) if error else "in another process"
      raise OSError(
        f"checkpoint {failed} could not be written ({reason}); {before} is "
        f"kept from before.{storage.advice(failed)}"
      ) from error
    while len(self._steps) > self._keep:
      old = self._path(self._steps.pop(0))
      self._on_main(functools.partial(seals.delete, old))

  def _prepare(self) -> None:
    """Before the first write: writes the fingerprint, clears leftovers."""
    if self._prepared:
      return
    if self._steps:
      self._check_fingerprint()
    self._on_main(self._clear)
    self._prepared = True

  def _clear(self) -> None:
    json_files.write_json(self._directory / _FINGERPRINT, self._fingerprint)
    for name in storage.names(self._directory):
      unknown = name.isdigit() and int(name) not in self._steps
      if unknown or name.endswith(_UNFINISHED):
        seals.delete(self._directory / name)

  def _check_fingerprint(self) -> None:
    """Raises ValueError unless the folder belongs to a run like this one."""
    saved = self._on_main(
      lambda: json_files.read_json(self._directory / _FINGERPRINT)
    )
    differences = plain_trees.differences(
      plain_trees.flat(saved), plain_trees.flat(self._fingerprint)
    )
    if differences:
      raise ValueError(
        f"{self._directory} belongs to another run: "
        + "; ".join(differences)
        + ". Use another --workdir or --checkpoint_dir, or delete the folder "
        "to start over."
      )


def last_step(directory: PathLike) -> int | None:
  """Returns the step that a run would continue from, or None.

  Args:
    directory: The folder of its `Checkpoints`, whose bytes are not looked at.
  """
  path = storage.folder(directory)
  with storage.reached(path):
    steps = [int(name) for name in storage.names(path) if name.isdigit()]
    sealed = [s for s in steps if seals.is_sealed(path / f"{s}")]
  return max(sealed, default=None)


def _steps_in(directory: epath.Path) -> list[int]:
  """Returns the steps whose folders are there and not in the middle of a write.

  In order, damaged ones included.
  """
  steps = sorted(int(n) for n in storage.names(directory) if n.isdigit())
  if not storage.in_bucket(directory):
    return steps
  sealed = [s for s in steps if seals.is_sealed(directory / f"{s}")]
  for path in (directory / f"{s}" for s in steps if s not in sealed):
    logging.warning("checkpoint %s was not finished, and is left out.", path)
  return sealed


def _on_main(path: epath.Path, call: Callable[[], Any]) -> Any:
  """Returns what the main process reads or writes there, in every process."""
  return processes.from_main(storage.reached(path)(call))


def _rename_unusable(path: epath.Path, damage: str, then: str) -> None:
  """Moves a damaged checkpoint aside, with a warning."""
  # In a bucket this copies: what a crash leaves of it stays damaged.
  aside = path.with_suffix(_UNUSABLE)
  text = "checkpoint %s cannot be used: %s. It is moved to %s, and %s."
  logging.warning(text, path, damage, aside.name, then)
  aside.rmtree(missing_ok=True)
  path.replace(aside)


def save_tree(directory: PathLike, tree: Any) -> None:
  """Writes a tree of arrays that other commands read: final parameters.

  Args:
    directory: The folder that is to hold it, or `gs://BUCKET/FOLDER`; another
      tree there is replaced.
    tree: Arrays, as in a state of `Checkpoints`.

  Raises:
    TypeError: If there is something else in it.
  """
  path = storage.folder(directory)
  plain = plain_trees.to_plain(tree)
  processes.from_main(lambda: storage.check(path))
  _on_main(path, lambda: seals.delete(path))
  with storage.reached(path):
    ocp.save_async(str(path), plain).result()
  structure = plain_trees.described(plain)
  _on_main(path, lambda: _seal(path, structure))


def load_tree(directory: PathLike, like: Tree) -> Tree:
  """Reads what `save_tree` wrote.

  Args:
    directory: The folder, as for `save_tree`.
    like: The tree to expect, as in `Checkpoints.restore`.

  Returns:
    The tree, of the same types as `like`.

  Raises:
    FileNotFoundError: If there is no such folder.
    ValueError: If it holds another tree, or is damaged.
  """
  path = storage.folder(directory)
  if not _on_main(path, path.exists):
    raise FileNotFoundError(
      f"there is nothing saved in {path}: run the command that writes it first."
    )
  damage = _on_main(path, lambda: seals.damage(path))
  if damage is not None:
    raise ValueError(
      f"{path} cannot be used: {damage}. Delete it, and run the command that "
      "writes it again."
    )
  return _load(path, like)


def _complete(
  path: epath.Path,
  response: ocp.AsyncResponse[None],
  structure: Mapping[str, str],
) -> None:
  """Waits for a write, and makes it count."""
  response.result()
  if processes.is_main_process():
    _seal(path, structure)


def _seal(path: epath.Path, structure: Mapping[str, str]) -> None:
  json_files.write_json(path / _STRUCTURE, structure)
  seals.write(path)


def _load(path: epath.Path, like: Tree) -> Tree:
  """Reads one whole checkpoint into the types of `like`."""
  # Orbax would cast to the dtypes asked for, and say nothing. Its own account
  # of what it holds takes as long to read as the arrays.
  with storage.reached(path):
    structure = json_files.read_json(path / _STRUCTURE)
  plain_trees.check_structure(path, structure, like)
  with storage.reached(path):
    plain = ocp.load(str(path), plain_trees.to_abstract(like))
  return plain_trees.from_plain(like, plain)
