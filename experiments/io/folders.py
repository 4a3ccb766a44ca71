"""New folders that appear whole or not at all."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator


@contextlib.contextmanager
def new_folder(
  folder: pathlib.Path, *, replace: bool = False
) -> Iterator[pathlib.Path]:
  """Yields a folder to write to, which is moved to its place at the end.

  After an error nothing is left of it. Raises OSError if `folder` exists, and
  is not empty, at the end; with `replace`, it is removed after the move.
  """
  folder.parent.mkdir(parents=True, exist_ok=True)
  scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
  old = scratch.with_suffix(".old")
  scratch.mkdir()
  try:
    yield scratch
    if replace and folder.exists():
      folder.rename(old)
    scratch.replace(folder)
  finally:
    shutil.rmtree(scratch, ignore_errors=True)
    if folder.exists():
      shutil.rmtree(old, ignore_errors=True)
