"""One process at a time in a folder."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO

from experiments.runtime import processes

try:
  import fcntl
except ImportError:  # Windows has no such lock, and goes without.
  fcntl = None


_LOCK = ".lock"


class Held(ValueError):
  """Another process holds a folder."""


@contextlib.contextmanager
def exclusive(folder: pathlib.Path, *, wait: bool) -> Iterator[None]:
  """Holds a folder against other processes.

  Those of this machine, and of others as far as the file system passes locks
  on (flock): NFS does on Linux, Lustre if it is mounted so.

  Args:
    folder: The folder; it is made if need be. The lock is on a file in it,
      and goes with the process however that ends.
    wait: Whether to wait for another process that holds it.

  Raises:
    Held: If another process holds it and there is no waiting.
  """
  while True:
    try:
      folder.mkdir(parents=True, exist_ok=True)
      file = (folder / _LOCK).open("w")
    except FileNotFoundError:
      continue  # Whoever held it removed the folder between the two.
    with file:
      _lock(file, folder, wait)
      # Whoever held it may have removed the file that this one waited for.
      if _is_there(file, folder / _LOCK):
        yield
        return


def _lock(file: IO[str], folder: pathlib.Path, wait: bool) -> None:
  """Locks a file, for as long as it is open."""
  if fcntl is None:
    return
  try:
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
  except BlockingIOError:
    raise Held(
      f"another process works in {folder}: wait for it, or use another "
      "--workdir."
    ) from None
  except OSError as error:
    raise ValueError(
      f"the file system of {folder} has no locks ({error.strerror}): give a "
      "--workdir on one that has, and put the data where you like."
    ) from error


def _is_there(file: IO[str], path: pathlib.Path) -> bool:
  try:
    return fcntl is None or os.path.samestat(
      os.fstat(file.fileno()), path.stat()
    )
  except FileNotFoundError:
    return False


@contextlib.contextmanager
def exclusive_run(folder: pathlib.Path) -> Iterator[None]:
  """Holds a folder against other runs, for all processes of this one.

  Waits for another run that holds it.

  Args:
    folder: As for `exclusive`, and called by every process together.
  """
  with contextlib.ExitStack() as stack:
    processes.from_main(
      lambda: stack.enter_context(exclusive(folder, wait=True))
    )
    yield


@contextlib.contextmanager
def claim(folder: pathlib.Path) -> Iterator[bool]:
  """Holds a folder against other runs unless one of them holds it.

  A claim goes with the process that made it, however that ends.

  Args:
    folder: As for `exclusive`, and called by every process together.

  Yields:
    Whether it is held now.
  """
  with contextlib.ExitStack() as stack:

    def enter() -> bool:
      try:
        stack.enter_context(exclusive(folder, wait=False))
      except Held:
        return False
      return True

    yield processes.from_main(enter)


def remove_if_empty(folder: pathlib.Path) -> None:
  """Removes a folder that is held and holds nothing, and an empty parent.

  Args:
    folder: As for `claim`.
  """
  if not processes.is_main_process():
    return
  with contextlib.suppress(OSError):
    if [path.name for path in folder.iterdir()] == [_LOCK]:
      (folder / _LOCK).unlink()
    folder.rmdir()
    folder.parent.rmdir()
