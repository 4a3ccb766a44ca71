"""Locks on folders, so that only one command at a time works in a folder."""

import contextlib
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator
from typing import IO

from experiments.distributed import processes
from experiments.distributed import signals

try:
  import fcntl
except ImportError:  # Windows does not have fcntl. Runs take no locks there.
  fcntl = None


_LOCK = ".lock"
_SECONDS_BETWEEN_ATTEMPTS = 0.5
_SECONDS_OF_SILENCE = 3.0
# Number of attempts to create a folder that other processes may be removing.
_MOST_FAILURES = 100
_WAITED = "it was waiting for another command"


@contextlib.contextmanager
def exclusive_when_free(
  folder: pathlib.Path, *, all_processes: bool = True
) -> Iterator[None]:
  """Waits until a folder is not locked, and locks it.

  After a few seconds of waiting, a message names the holder of the lock.

  Args:
    folder: The folder, which is created.
    all_processes: Whether all processes of the run call this together and share
      the lock. Otherwise this process takes the lock alone.

  Raises:
    Interrupted: If the run received a signal while it waited.
  """
  with contextlib.ExitStack() as stack:

    def enter() -> str:
      return _enter(stack, folder)

    start = time.monotonic()
    silent = all_processes and not processes.is_main_process()
    while holder := processes.from_main(enter) if all_processes else enter():
      if not silent and time.monotonic() - start >= _SECONDS_OF_SILENCE:
        text = f"waiting for {holder}, which works in {folder}."
        print(text, file=sys.stderr, flush=True)
        silent = True
      signals.stop_if_asked(_WAITED, all_processes=all_processes)
      time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
    yield


@contextlib.contextmanager
def claim(folder: pathlib.Path) -> Iterator[bool]:
  """Tries to lock a folder for all processes, and yields whether it could."""
  with contextlib.ExitStack() as stack:
    yield not processes.from_main(lambda: _enter(stack, folder))


def remove_if_empty(folder: pathlib.Path) -> None:
  """Removes a locked folder, and then its parent, if they hold nothing else."""
  if not processes.is_main_process():
    return
  with contextlib.suppress(OSError):
    if [path.name for path in folder.iterdir()] == [_LOCK]:
      (folder / _LOCK).unlink()
    folder.rmdir()
    folder.parent.rmdir()


def _enter(stack: contextlib.ExitStack, folder: pathlib.Path) -> str:
  """Creates a folder and locks it until `stack` is closed.

  The lock is an `flock` on a file that names the holder. The system releases it
  when the process ends, for whatever reason. Whether it also excludes other
  machines depends on the file system: NFS on Linux does so, and Lustre with the
  mount option `flock`.

  Returns:
    The name of another holder if the folder is locked already, otherwise "".
  """
  path = folder / _LOCK
  num_failures = 0
  while True:
    try:
      folder.mkdir(parents=True, exist_ok=True)
      file = path.open("a+b", buffering=0)
    except OSError as error:
      num_failures += 1
      removed = isinstance(error, FileNotFoundError)
      if removed and num_failures < _MOST_FAILURES:
        continue  # The last holder removed the folder after `mkdir`.
      reason = error.strerror or str(error)
      raise type(error)(f"cannot create {folder}: {reason}.") from error
    with contextlib.ExitStack() as attempt:
      attempt.enter_context(file)
      if holder := _lock(file, folder):
        return holder
      if _is_removed(file, path):
        continue  # The last holder removed the file before it was locked.
      _write_holder(file, f"process {os.getpid()} on {socket.gethostname()}")
      attempt.callback(_write_holder, file, "")
      stack.push(attempt.pop_all())
      return ""


def _lock(file: IO[bytes], folder: pathlib.Path) -> str:
  """Locks a file for as long as it is open, or returns the holder's name."""
  if fcntl is None:
    return ""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.seek(0)
    return file.read().decode(errors="replace") or "another process"
  except OSError as error:
    raise ValueError(
      f"the file system of {folder} has no locks ({error.strerror}): use a "
      "folder on another file system. Reading prepared data needs no locks."
    ) from error
  return ""


def _is_removed(file: IO[bytes], path: pathlib.Path) -> bool:
  """Returns whether the file was removed from its path after it was opened."""
  if fcntl is None:
    return False
  try:
    return not os.path.samestat(os.fstat(file.fileno()), path.stat())
  except FileNotFoundError:
    return True


def _write_holder(file: IO[bytes], text: str) -> None:
  """Writes the holder into a locked file, unless the disk is full."""
  with contextlib.suppress(OSError):
    file.truncate(0)
    file.write(text.encode())
