"""Folders of checkpoints, in a file system or in a bucket.

A bucket (`gs://BUCKET/FOLDER`) has no folders, but objects whose names have a
common prefix. Writing one object is atomic, but several objects cannot be
renamed or deleted atomically.
"""

import contextlib
import errno
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

from experiments.io import digests

PathLike = str | os.PathLike[str]

_SCHEME = "gs://"
_PROBE = "probe"
# Otherwise epath uses TensorFlow for buckets if it is installed.
os.environ.setdefault("EPATH_USE_TF", "false")


def folder(directory: PathLike) -> epath.Path:
  """Returns the absolute path of a folder of checkpoints.

  It may be `gs://BUCKET/FOLDER`; other URLs raise ValueError.
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
  # Listings must not be cached, since TensorStore and other processes write to
  # the bucket without gcsfs.
  fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
  # gcsfs logs the traceback of each error that it raises.
  logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
  return epath.Path(text)


def in_bucket(path: PathLike) -> bool:
  """Returns whether a path is in a bucket."""
  return os.fspath(path).startswith(_SCHEME)


def names(directory: epath.Path) -> list[str]:
  """Returns the sorted names in a folder, or [] if it does not exist."""
  try:
    return sorted(path.name for path in directory.iterdir())
  except FileNotFoundError:
    return []


def checksums(directory: epath.Path) -> dict[str, str]:
  """Returns a checksum of each file in a folder, by its relative name.

  In a file system it is the SHA-256, which takes about 1 second per GB. In a
  bucket it is the MD5 or CRC-32C that the bucket computed when it received the
  object, so that the object is not read.
  """
  if in_bucket(directory):
    files, path = fsspec.url_to_fs(os.fspath(directory))
    return {
      # Objects that were uploaded in parts have no MD5.
      name.removeprefix(f"{path}/"): about.get("md5Hash") or about["crc32c"]
      for name, about in sorted(files.find(path, detail=True).items())
      if about["type"] == "file"  # Some buckets list folders, too.
    }
  return {
    path.relative_to(directory).as_posix(): digests.of_file(path)
    for path in sorted(pathlib.Path(directory).rglob("*"))
    if path.is_file()
  }


def delete(directory: PathLike) -> None:
  """Deletes a folder if it exists.

  If a folder in a bucket cannot be deleted, a warning is logged. In a file
  system, errors are ignored.
  """
  if not in_bucket(directory):
    shutil.rmtree(directory, ignore_errors=True)
    return
  directory = folder(directory)
  try:
    directory.rmtree(missing_ok=True)
  except Exception as error:
    absl_logging.warning(
      "%s could not be deleted: %s. It is not needed any more, but the bucket "
      "charges for it: delete it yourself.",
      directory,
      reason(directory, error),
    )


def check_writable(directory: epath.Path) -> None:
  """Raises OSError unless files in a folder can be written, listed and deleted.

  In a file system, the folder is created.
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
  """Turns any error at a path in a bucket into an OSError of one line.

  Errors at other paths are not changed.
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
  """Returns the message of an error in one line without a full stop."""
  if in_bucket(path) and isinstance(error, FileNotFoundError):
    return "there is no such bucket or object"
  lines = str(error).strip().splitlines() or [type(error).__name__]
  # An error of gcsfs may be "Forbidden: <URL>", with the message in the next
  # line.
  line = lines[len(lines) > 1 and lines[0].startswith("Forbidden")]
  full = os.strerror(errno.ENOSPC)
  if full in line:
    return full
  # Cut off the fields of TensorStore, such as " [source locations='...']", and
  # the status code of gcsfs, such as ", 403".
  return re.sub(r"( \[\w+(\[\d+\])?='.*|, \d{3})$", "", line).rstrip(".")


def advice(path: epath.Path) -> str:
  """Returns " Check ..." with advice for a path in a bucket, otherwise ""."""
  if not in_bucket(path):
    return ""
  return (
    " Check the bucket's name, your rights to its objects, the credentials "
    "(gcloud auth application-default login) and the network."
  )
