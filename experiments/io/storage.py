"""Where checkpoints lie: folders of a file system, or of a bucket.

A bucket (`gs://BUCKET/FOLDER`) has objects and no folders: what is called one
is what the names of objects begin with. An object is there whole or not at
all; several of them cannot be renamed or deleted in one go.
"""

import contextlib
import errno
import hashlib
import importlib.util
import logging
import os
import pathlib
import re
import shutil
from collections.abc import Iterator

import fsspec
from absl import logging as absl_logging
from etils import epath

PathLike = str | os.PathLike[str]

_SCHEME = "gs://"
_PROBE = "probe"
# Wherever TensorFlow is installed epath would import it, for every bucket.
os.environ.setdefault("EPATH_USE_TF", "false")


def folder(directory: PathLike) -> epath.Path:
  """Returns the absolute path of a folder, of a file system or a bucket.

  Args:
    directory: The folder, absolute or relative, or `gs://BUCKET/FOLDER`.

  Raises:
    ValueError: If it is a URL of another kind, or what buckets need is not
      installed.
  """
  text = os.fspath(directory)
  if "://" not in text:
    return epath.Path(os.path.abspath(text))
  if not text.startswith(_SCHEME) or not text.removeprefix(_SCHEME).strip("/"):
    raise ValueError(
      f"{text} must be a folder of a file system or gs://BUCKET/FOLDER."
    )
  if importlib.util.find_spec("gcsfs") is None:
    raise ValueError(
      f"{text} needs the package gcsfs: pip install -e '.[gcs]'."
    )
  _prepare()
  return epath.Path(text)


def in_bucket(path: PathLike) -> bool:
  """Whether a path is one of a bucket."""
  return os.fspath(path).startswith(_SCHEME)


def names(directory: epath.Path) -> list[str]:
  """Returns the names in a folder, in order; none if there is no folder."""
  try:
    return sorted(path.name for path in directory.iterdir())
  except FileNotFoundError:
    return []


def checksums(directory: epath.Path) -> dict[str, str]:
  """Returns a checksum of each file in a folder, by its relative name.

  They are SHA-256, computed at about 1 GB per second. In a bucket they are the
  MD5 or CRC-32C that the bucket computed when it received the objects, so that
  nothing is read back.

  Args:
    directory: The folder.
  """
  if in_bucket(directory):
    files, path = fsspec.url_to_fs(os.fspath(directory))
    return {
      # Objects that were composed of parts have no MD5.
      name.removeprefix(f"{path}/"): about.get("md5Hash") or about["crc32c"]
      for name, about in sorted(files.find(path, detail=True).items())
      if about["type"] == "file"  # Some buckets have folders.
    }
  digests = {}
  for path in sorted(pathlib.Path(directory).rglob("*")):
    if path.is_file():
      with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
      digests[path.relative_to(directory).as_posix()] = digest
  return digests


def delete(directory: PathLike) -> None:
  """Deletes a folder that nobody needs any more, as far as that goes.

  Args:
    directory: The folder, if there is one.
  """
  if not in_bucket(directory):
    shutil.rmtree(directory, ignore_errors=True)
    return
  directory = folder(directory)
  try:
    directory.rmtree(missing_ok=True)
  except Exception as error:
    # It costs money for as long as it is there.
    absl_logging.warning(
      "%s could not be deleted: %s. It is not needed any more: delete it "
      "yourself.",
      directory,
      reason(directory, error),
    )


def check(directory: epath.Path) -> None:
  """Raises if a folder cannot be written, listed or deleted from.

  Args:
    directory: The folder; one of a file system is made.

  Raises:
    OSError: If it cannot be used, with what the system or the bucket said.
  """
  if in_bucket(directory):
    with reached(directory):
      (directory / _PROBE).write_text("")
      checksums(directory)
      (directory / _PROBE).unlink(missing_ok=True)
    return
  try:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _PROBE).write_text("")
    (directory / _PROBE).unlink()
  except OSError as error:
    text = error.strerror or str(error)
    raise OSError(f"{directory} cannot be written: {text}.") from error


@contextlib.contextmanager
def reached(path: epath.Path) -> Iterator[None]:
  """Makes one line of whatever goes wrong with a bucket.

  Args:
    path: What is read or written. In a file system errors stay what they are.

  Raises:
    OSError: What went wrong, and what to look at.
  """
  try:
    yield
  except Exception as error:
    if not in_bucket(path):
      raise
    raise OSError(
      f"{path} cannot be used: {reason(path, error)}.{advice(path)}"
    ) from error


def reason(path: epath.Path, error: BaseException) -> str:
  """What went wrong at a path, in one line without a stop at its end."""
  if in_bucket(path) and isinstance(error, FileNotFoundError):
    return "there is no such bucket or object"
  lines = str(error).strip().splitlines() or [type(error).__name__]
  # Below its address are the bucket's own words, and codes after them.
  line = lines[len(lines) > 1 and lines[0].startswith("Forbidden")]
  full = os.strerror(errno.ENOSPC)
  if full in line:
    return full
  return re.sub(r"( \[\w+(\[\d+\])?='.*|, \d{3})$", "", line).rstrip(".")


def advice(path: epath.Path) -> str:
  """Returns a sentence on what to look at, with a blank before it."""
  if not in_bucket(path):
    return ""
  return (
    " Look at the bucket's name, your rights to its objects, the credentials "
    "(gcloud auth application-default login) and the network."
  )


def _prepare() -> None:
  """Sets what the library behind a bucket's paths would do otherwise."""
  # TensorStore and other processes write past it: what it remembered of a
  # folder would be wrong.
  fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
  # Of each error that it raises it would print the traceback as well.
  logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
