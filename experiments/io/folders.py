"""New folders that appear whole or not at all."""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator


@contextlib.contextmanager
def new_folder(
  folder: pathlib.Path, *, replace: bool = False
) -> Iterator[pathlib.Path]:
  """Yields a folder to write to, which is moved to its place at the end.

  After an error nothing is left of it, and `folder` is as it was. Raises
  OSError if `folder` exists, and is not empty, at the end; with `replace`, it
  is removed after the move. Only a process that is killed leaves a hidden
  folder, which the next one removes.
  """
  folder.parent.mkdir(parents=True, exist_ok=True)
  scratch = folder.with_name(f".{folder.name}.tmp")
  old = folder.with_name(f".{folder.name}.old")
  if old.exists() and not folder.exists():  # Killed between the two moves.
    old.rename(folder)
  for leftover in (scratch, old):
    shutil.rmtree(leftover, ignore_errors=True)
  scratch.mkdir()
  try:
    yield scratch
    if replace and folder.exists():
      folder.rename(old)
    scratch.replace(folder)
  except BaseException:
    if old.exists():
      old.rename(folder)
    raise
  finally:
    for leftover in (scratch, old):
      shutil.rmtree(leftover, ignore_errors=True)
