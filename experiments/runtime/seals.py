"""Seals: whether the files in a folder are those that were put there.

A folder is renamed into place when it is complete, yet a crash of the machine,
a full disk or a copy cut short can still leave it damaged. Orbax notices most
of that while it reads, and then prints a page of tracebacks from its threads;
it does not notice a bit that flipped in an array. A seal catches both first.
"""

import hashlib
import pathlib

from experiments.runtime import metric_writer

_SEAL = "seal.json"


def write(directory: pathlib.Path) -> None:
  """Records every file in a folder, when all of them are complete."""
  metric_writer.write_json(directory / _SEAL, _digests(directory))


def is_sealed(directory: pathlib.Path) -> bool:
  """Whether `write` was called on a folder; its files are not looked at."""
  return (directory / _SEAL).exists()


def damage(directory: pathlib.Path) -> str | None:
  """Returns what is wrong with a sealed folder, or None.

  Args:
    directory: The folder; it has to exist.

  Returns:
    None if each file is what it was when `write` was called, else a phrase.
  """
  try:
    expected = metric_writer.read_json(directory / _SEAL)
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


def _digests(directory: pathlib.Path) -> dict[str, str]:
  """Returns the SHA-256 of each file, at about 1 GB a second."""
  digests = {}
  for path in sorted(directory.rglob("*")):
    if path.is_file() and path.name != _SEAL:
      with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
      digests[path.relative_to(directory).as_posix()] = digest
  return digests
