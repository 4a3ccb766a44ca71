"""Atomic creation of folders."""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator


@contextlib.contextmanager
def new_folder(
  folder: pathlib.Path, *, replace: bool = False
) -> Iterator[pathlib.Path]:
  """Creates a folder with all of its files, or not at all.

  Yields a hidden folder to write to, which is renamed to `folder` at the end.
  After an error the hidden folder is deleted, and `folder` is unchanged. If the
  process is killed, the next call for the same `folder` deletes the hidden
  folder.

  Args:
    folder: The folder to create.
    replace: Whether to replace an existing folder.

  Raises:
    OSError: If `folder` exists and is not empty, and `replace` is False.
  """
  folder.parent.mkdir(parents=True, exist_ok=True)
  scratch = folder.with_name(f".{folder.name}.tmp")
  old = folder.with_name(f".{folder.name}.old")
  # A process was killed after it had moved the old folder away.
  if old.exists() and not folder.exists():
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
