"""One process at a time in a folder."""

import contextlib
import pathlib
from collections.abc import Iterator

from experiments.runtime import mesh as mesh_lib

try:
  import fcntl
except ImportError:  # Windows has no such lock, and goes without.
  fcntl = None


@contextlib.contextmanager
def exclusive(folder: pathlib.Path, *, wait: bool) -> Iterator[None]:
  """Holds a folder against the other processes of this machine.

  Args:
    folder: The folder; it is made if need be. The lock is on a file in it,
      and goes with the process however that ends.
    wait: Whether to wait for another process that holds it.

  Raises:
    ValueError: If another process holds it and there is no waiting.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / ".lock").open("w") as file:
    if fcntl is not None:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
      except BlockingIOError:
        raise ValueError(
          f"another process works in {folder}: wait for it, or use another "
          "--workdir."
        ) from None
    yield


@contextlib.contextmanager
def exclusive_run(folder: pathlib.Path, *, wait: bool) -> Iterator[None]:
  """Holds a folder against other runs, for all processes of this one.

  Args:
    folder: As for `exclusive`, and called by every process together.
    wait: Likewise.

  Raises:
    ValueError: As for `exclusive`; OtherProcessError in the other processes.
  """
  with contextlib.ExitStack() as stack:
    mesh_lib.from_main(
      lambda: stack.enter_context(exclusive(folder, wait=wait))
    )
    yield
