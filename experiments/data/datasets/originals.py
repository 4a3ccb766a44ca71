"""Originals: the files a dataset comes in, found, unpacked and told apart."""

import dataclasses
import functools
import gzip
import hashlib
import pathlib
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import IO

from experiments.data import prepared
from experiments.data import prepared_writer
from experiments.data.sources import files
from experiments.data.sources import tables

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
# What the files of an archive take, in bytes of the archive: texts shrink.
_EXPANSION = 4
_DAMAGE = (
  EOFError,
  gzip.BadGzipFile,
  RuntimeError,  # What zipfile raises for methods that it lacks.
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
)


@dataclasses.dataclass(frozen=True)
class Layout:
  """Files that a dataset can be made from.

  Attributes:
    name: What this form of the dataset is called.
    files: Their paths, or those of folders; ".gz" may follow those of tables.
    folders: Where they may lie below the folder that a user names.
    archive: The file they are published in.
  """

  name: str
  files: tuple[str, ...]
  folders: tuple[str, ...] = ("",)
  archive: str | None = None

  def __str__(self) -> str:
    if self.archive is not None:
      official = official_files().get(self.archive, {}).get("bytes")
      size = "" if official is None else f", {official:,} bytes"
      return f"{self.name} ({self.archive}{size}, or unpacked)"
    more = len(self.files) - 1
    return f"{self.name} ({self.files[0]}{f' and {more} more' if more else ''})"


@dataclasses.dataclass(frozen=True)
class Originals:
  """What was found of a dataset.

  Attributes:
    given: What the user has: the files of a layout, or an archive of them.
    layout: The number of the layout; None for an archive not yet unpacked.
    paths: Where each of the layout's files is.
  """

  given: tuple[pathlib.Path, ...]
  layout: int | None = None
  paths: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)


def find(source: pathlib.Path, layouts: Sequence[Layout]) -> Originals:
  """Finds the files of the first layout that is there, or an archive.

  Args:
    source: A folder with the files or their archive, or one of these itself.
    layouts: What is looked for, the best first.

  Raises:
    FileNotFoundError: If there is no such folder or file.
    OSError: If it cannot be read.
    ValueError: If no layout is complete.
  """
  with files.reading(source):
    if not source.is_file():
      list(source.iterdir())  # Raises if it cannot be read.
  archives = [layout.archive for layout in layouts if layout.archive]
  if source.is_file():
    for number, layout in enumerate(layouts):
      if len(layout.files) == 1 and source.name in _spellings(layout.files[0]):
        return Originals((source,), number, {layout.files[0]: source})
    if source.name.lower().endswith(_ARCHIVES):
      return Originals((source,))
  for number, layout in enumerate(layouts):
    if (paths := _in_folder(source, layout)) is not None:
      return Originals(tuple(paths.values()), number, paths)
  for archive in archives:
    if (source / archive).is_file():
      return Originals((source / archive,))
  raise ValueError(_missing(source, layouts))


def unpacked(
  found: Originals, layouts: Sequence[Layout], scratch: pathlib.Path
) -> Originals:
  """Unpacks an archive, where there is one.

  Args:
    found: What `find` returned.
    layouts: What it was asked for.
    scratch: A folder to unpack in.

  Raises:
    ValueError: If the archive is damaged or holds no complete layout.
  """
  if found.layout is not None:
    return found
  (archive,) = found.given
  _unpack(archive, _wanted(layouts), scratch)
  for number, layout in enumerate(layouts):
    if (paths := _in_folder(scratch, layout)) is not None:
      return Originals(found.given, number, paths)
  raise ValueError(
    _missing(scratch, layouts).replace(str(scratch), str(archive))
  )


def _wanted(layouts: Sequence[Layout]) -> list[str]:
  """Returns where in an archive the files of any layout may be."""
  return [
    f"{folder}/{name}".lstrip("/")
    for layout in layouts
    for folder in layout.folders
    for name in layout.files
  ]


def _in_folder(
  source: pathlib.Path, layout: Layout
) -> dict[str, pathlib.Path] | None:
  """Returns where each file of a layout is, None if one is missing."""
  for folder in layout.folders:
    paths = {name: _existing(source / folder, name) for name in layout.files}
    found = {name: path for name, path in paths.items() if path is not None}
    if len(found) == len(paths):
      return found
  return None


def _existing(folder: pathlib.Path, name: str) -> pathlib.Path | None:
  """Returns the path of a file, whose name may go on with ".gz"."""
  paths = (folder / spelling for spelling in _spellings(name))
  return next((path for path in paths if path.exists()), None)


def _spellings(name: str) -> tuple[str, ...]:
  table = name.endswith(tables.SUFFIXES)
  return (name, f"{name}.gz") if table else (name,)


def _missing(source: pathlib.Path, layouts: Sequence[Layout]) -> str:
  """Says what is missing."""
  for layout in layouts:
    for folder in layout.folders:
      lacking = [n for n in layout.files if not _existing(source / folder, n)]
      if len(lacking) < len(layout.files):
        where = source / folder
        return f"{where} lacks {', '.join(lacking)} of {layout.name}"
  return f"{source} holds no originals"


def _unpack(
  archive: pathlib.Path, wanted: Iterable[str], scratch: pathlib.Path
) -> None:
  """Unpacks the wanted files, or all in the wanted folders."""
  size_unpacked = _EXPANSION * archive.stat().st_size
  prepared_writer.check_space(scratch, size_unpacked)
  wanted = tuple(wanted)
  folders = tuple(f"{name}/" for name in wanted)
  try:
    for name, file in _members(archive):
      if name not in wanted and not name.startswith(folders):
        continue
      if ".." in pathlib.PurePosixPath(name).parts:
        raise ValueError(f"{archive} has a member {name!r} outside of it.")
      path = scratch / name
      path.parent.mkdir(parents=True, exist_ok=True)
      with path.open("wb") as copy:
        shutil.copyfileobj(file, copy)
  except _DAMAGE as error:
    reason = str(error) or "it ends early"
    raise ValueError(f"{archive} is damaged or cut short ({reason})") from error


def _members(archive: pathlib.Path) -> Iterator[tuple[str, IO[bytes]]]:
  """Yields the files of an archive, in its order."""
  if archive.suffix == ".zip":
    with zipfile.ZipFile(archive) as file:
      for info in file.infolist():
        if not info.is_dir():
          with file.open(info) as member:
            yield info.filename, member
    return
  with tarfile.open(archive, "r|*") as file:
    for info in file:
      member = file.extractfile(info) if info.isfile() else None
      if member is not None:
        yield info.name.removeprefix("./"), member


def size(path: pathlib.Path) -> dict[str, Any]:
  """Returns the name and bytes of a file, or of all files in a folder."""
  if path.is_file():
    return {"name": path.name, "bytes": path.stat().st_size}
  name = f"{path.parent.name}/{path.name}"
  return {"name": name, "bytes": sum(p.stat().st_size for p in _below(path))}


def describe(path: pathlib.Path) -> dict[str, Any]:
  """Returns what `size` does, and the SHA-256.

  A folder's is that of the names and SHA-256 of the files in it.
  """
  if path.is_file():
    return size(path) | {"sha256": prepared.file_sha256(path)}
  lines = (
    f"{p.relative_to(path).as_posix()} {prepared.file_sha256(p)}\n"
    for p in _below(path)
  )
  digest = hashlib.sha256("".join(lines).encode()).hexdigest()
  return size(path) | {"sha256": digest}


def _below(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files in a folder and its folders."""
  return sorted(path for path in folder.rglob("*") if path.is_file())


def unofficial(given: Iterable[pathlib.Path]) -> list[str]:
  """Says which files differ in size from those that were published."""
  phrases = []
  for path in given:
    expected = official_files().get(path.name, {}).get("bytes")
    found = path.stat().st_size
    if expected not in (None, found):
      phrases.append(f"{path.name} has {found:,} bytes, published {expected:,}")
  return phrases


def differing(sources: Iterable[Mapping[str, Any]]) -> list[str]:
  """Says which files, as `describe` returns them, are not those published."""
  return [
    f"{source['name']} is not the file that was published under that name"
    for source in sources
    if source["name"] in official_files()
    and source["sha256"] != official_files()[source["name"]]["sha256"]
  ]


@functools.cache
def official_files() -> dict[str, dict[str, Any]]:
  """Returns bytes and SHA-256 of the files as they were published."""
  path = pathlib.Path(__file__).with_name("official.tsv")
  return {
    row["file"]: {"bytes": int(row["bytes"]), "sha256": row["sha256"]}
    for row in tables.rows(path)
  }
