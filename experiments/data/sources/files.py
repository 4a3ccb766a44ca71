"""Opens files, compressed or not, and tells in one line why one cannot be."""

import bz2
import contextlib
import gzip
import lzma
import pathlib
import zlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import IO

Path = str | pathlib.Path

_OPENERS: dict[str, Callable[..., Any]] = {
  ".gz": gzip.open,
  ".bz2": bz2.open,
  ".xz": lzma.open,
}


def is_compressed(path: Path) -> bool:
  """Whether a file's name says that it is compressed."""
  return pathlib.Path(path).suffix.lower() in _OPENERS


def format_suffix(path: Path) -> str:
  """Returns the suffix that tells the format: ".tsv" for "a.tsv.gz"."""
  path = pathlib.Path(path)
  if is_compressed(path):
    path = path.with_suffix("")
  return path.suffix.lower()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
  """Turns what can go wrong in reading a file into one line that names it.

  Args:
    path: The file or folder read in the body.

  Raises:
    FileNotFoundError: If there is none.
    ValueError: If a compressed file is cut short or damaged.
    OSError: If it cannot be read for another reason.
  """
  path = pathlib.Path(path)
  try:
    yield
  except FileNotFoundError:
    raise FileNotFoundError(f"there is no {path}.") from None
  except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
    # What bz2 and gzip find wrong in a file is an OSError without a number.
    if isinstance(error, OSError) and error.errno is not None:
      reason = (error.strerror or str(error)).lower()
      raise type(error)(f"cannot read {path}: {reason}.") from error
    raise ValueError(
      f"{path} is damaged or cut short, or no {path.suffix} file "
      f"({str(error).rstrip('.')}): get it again."
    ) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
  """Opens a file for reading, decompressed as its suffix says.

  Args:
    path: A file; ".gz", ".bz2" and ".xz" are decompressed as they are read.

  Yields:
    The open file. What goes wrong with it is raised as `reading` says.
  """
  opener = _OPENERS.get(pathlib.Path(path).suffix.lower(), open)
  with reading(path), opener(path, "rb") as file:
    yield file
