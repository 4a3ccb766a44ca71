"""Seals: whether the files in a folder are those that were put there.

A folder is renamed into place when it is complete, yet a crash of the machine,
a full disk or a copy cut short can still leave it damaged. Orbax notices most
of that while it reads, and then prints a page of tracebacks from its threads;
it does not notice a bit that flipped in an array. A seal catches both first.

In a bucket nothing is renamed: there a folder is complete if it has its seal,
which is written last and deleted first.
"""

import hashlib
import pathlib

from etils import epath

from experiments.io import json_files
from experiments.io import storage

_SEAL = "seal.json"


def write(directory: epath.Path) -> None:
  """Records every file in a folder, when all of them are complete."""
  json_files.write_json(directory / _SEAL, _digests(directory))


def is_sealed(directory: epath.Path) -> bool:
  """Whether `write` was called on a folder; its files are not looked at."""
  return (directory / _SEAL).exists()


def delete(directory: epath.Path) -> None:
  """Deletes a folder if there is one; half of it is never taken for whole."""
  (directory / _SEAL).unlink(missing_ok=True)
  directory.rmtree(missing_ok=True)


def damage(directory: epath.Path) -> str | None:
  """Returns what is wrong with a sealed folder, or None.

  Args:
    directory: The folder; it has to exist.

  Returns:
    None if each file is what it was when `write` was called, else a phrase.
  """
  try:
    expected = json_files.read_json(directory / _SEAL)
  except FileNotFoundError:
    return "it was not finished"
  except ValueError:
    return f"{_SEAL} is damaged"
  found = _digests(directory)
  for name, digest in expected.items():
    if name not in found:
      return f"{name} is missing"
    if found[name] != digest:
      return f"{name} is not what was written"
  return None


def _digests(directory: epath.Path) -> dict[str, str]:
  """Returns the SHA-256 of each file, at about 1 GB a second."""
  if storage.in_bucket(directory):
    found = storage.checksums(directory)
    found.pop(_SEAL, None)
    return found
  digests = {}
  for path in sorted(pathlib.Path(directory).rglob("*")):
    if path.is_file() and path.name != _SEAL:
      with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
      digests[path.relative_to(directory).as_posix()] = digest
  return digests
