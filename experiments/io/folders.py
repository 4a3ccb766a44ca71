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
  old = _old(folder)
  restore(folder)
  for leftover in (scratch, old):
    shutil.rmtree(leftover, ignore_errors=True)
  scratch.mkdir()
  try:
    yield scratch
    if replace and folder.exists():
      folder.rename(old)
    scratch.replace(folder)
  finally:
    restore(folder)
    for leftover in (scratch, old):
      shutil.rmtree(leftover, ignore_errors=True)


def restore(folder: pathlib.Path) -> None:
  """Moves a folder back to its place if `new_folder` did not replace it."""
  if _old(folder).exists() and not folder.exists():
    _old(folder).rename(folder)


def _old(folder: pathlib.Path) -> pathlib.Path:
  return folder.with_name(f".{folder.name}.old")
