"""One process at a time in a folder."""

import contextlib
import os
import pathlib
import socket
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import IO

from experiments.distributed import processes
from experiments.distributed import signals

try:
  import fcntl
except ImportError:  # Windows has no such lock, and goes without.
  fcntl = None


_LOCK = ".lock"
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_OF_SILENCE = 3.0
_WAITED = "it was waiting for another command"


class Held(ValueError):
  """Another process holds a folder."""

  def __init__(self, folder: pathlib.Path, holder: str):
    """Says who works where.

    Args:
      folder: The folder.
      holder: Who holds it.
    """
    super().__init__(f"{holder} works in {folder}: wait for it.")
    self.holder = holder


@contextlib.contextmanager
def exclusive(folder: pathlib.Path) -> Iterator[None]:
  """Holds a folder against other processes.

  Those of this machine, and of others as far as the file system passes locks
  on (flock): NFS does on Linux, Lustre if it is mounted so.

  Args:
    folder: The folder; it is made if need be. The lock is on a file in it,
      which says whose it is, and goes with the process however that ends.

  Raises:
    Held: If another process holds it. `exclusive_run` and `exclusive_alone`
      wait.
  """
  while True:
    try:
      folder.mkdir(parents=True, exist_ok=True)
      file = (folder / _LOCK).open("a+b", buffering=0)
    except FileNotFoundError:
      continue  # Whoever held it removed the folder between the two.
    with file:
      _lock(file, folder)
      # Whoever held it may have removed the file that this one locked.
      if _is_there(file, folder / _LOCK):
        _sign(file, f"process {os.getpid()} on {socket.gethostname()}")
        try:
          yield
        finally:
          _sign(file, "")
        return


def _lock(file: IO[bytes], folder: pathlib.Path) -> None:
  """Locks a file, for as long as it is open."""
  if fcntl is None:
    return
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.seek(0)
    holder = file.read().decode(errors="replace")
    raise Held(folder, holder or "another process") from None
  except OSError as error:
    raise ValueError(
      f"the file system of {folder} has no locks ({error.strerror}): give a "
      "--workdir on one that has, and put the data where you like."
    ) from error


def _sign(file: IO[bytes], text: str) -> None:
  """Says in a locked file who holds it, if the disk has room for that."""
  with contextlib.suppress(OSError):
    file.truncate(0)
    file.write(text.encode())


def _is_there(file: IO[bytes], path: pathlib.Path) -> bool:
  try:
    return fcntl is None or os.path.samestat(
      os.fstat(file.fileno()), path.stat()
    )
  except FileNotFoundError:
    return False


@contextlib.contextmanager
def exclusive_run(
  folder: pathlib.Path, flag: signals.Interrupts | None = None
) -> Iterator[None]:
  """Holds a folder against other runs, for all processes of this run.

  Waits for another run that holds it, and after a while says so.

  Args:
    folder: As for `exclusive`. All processes call this together.
    flag: Only for callers that have not switched to `signals.requested` yet.

  Raises:
    Interrupted: On SIGINT or SIGTERM to any of the processes.
  """
  with contextlib.ExitStack() as stack:
    _wait(
      folder,
      lambda: processes.from_main(lambda: _enter(stack, folder)),
      lambda: signals.stop_if_asked(flag or _WAITED, _WAITED),
      tells=processes.is_main_process(),
    )
    yield


@contextlib.contextmanager
def exclusive_alone(
  folder: pathlib.Path, flag: signals.Interrupts | None = None
) -> Iterator[None]:
  """Holds a folder for this process only.

  Waits as `exclusive_run` does.

  Args:
    folder: As for `exclusive`.
    flag: As for `exclusive_run`.

  Raises:
    Interrupted: On SIGINT or SIGTERM to this process.
  """
  with contextlib.ExitStack() as stack:
    _wait(
      folder,
      lambda: _enter(stack, folder),
      lambda: signals.stop_if_asked(
        flag or _WAITED, _WAITED, all_processes=False
      ),
      tells=True,
    )
    yield


def _wait(
  folder: pathlib.Path,
  enter: Callable[[], str],
  stop_if_asked: Callable[[], None],
  *,
  tells: bool,
) -> None:
  """Tries until nobody else holds a folder, and after a while says who does."""
  start, told = time.monotonic(), not tells
  while holder := enter():
    if not told and time.monotonic() - start >= _SECONDS_OF_SILENCE:
      text = f"waiting for {holder}, which works in {folder}."
      print(text, file=sys.stderr, flush=True)
      told = True
    stop_if_asked()
    time.sleep(_SECONDS_BETWEEN_LOOKS)


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
    yield not processes.from_main(lambda: _enter(stack, folder))


def _enter(stack: contextlib.ExitStack, folder: pathlib.Path) -> str:
  """Holds a folder until a stack is left, or returns who else does."""
  try:
    stack.enter_context(exclusive(folder))
  except Held as error:
    return error.holder
  return ""


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
