"""Digests of a user's own files, which identify them by their contents."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments.data import examples as examples_lib
from experiments.data import images
from experiments.data import tables
from experiments.data.dataset import UNLABELLED
from experiments.io import digests

Files = Mapping[str, Sequence[pathlib.Path]]


def describe(files: Files, options: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the split, name, size in bytes and SHA-256 of each file.

  The SHA-256 of a folder covers the names and contents of its images, but not
  its path and its other files. The SHA-256 of a table with paths of images
  covers these images, too.
  """
  sources = []
  for split, paths in files.items():
    for path in map(pathlib.Path.expanduser, paths):
      with tables.reading(path):
        if path.is_dir():
          found, _ = images.find_images(path, by_class=split not in UNLABELLED)
          named = [(file.relative_to(path).as_posix(), file) for file in found]
        else:
          named = [("", path), *_images_of_table(path, options)]
        size, sha256 = size_and_digest(path, named)
      record = {"split": split, "name": path.absolute().name}
      sources.append(record | {"bytes": size, "sha256": sha256})
  return sources


def digest(
  sources: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> str:
  """Returns a SHA-256 of the contents of files and of the options."""
  parts = [[source["split"], source["sha256"]] for source in sources]
  text = json.dumps([parts, dict(options)], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def difference(
  sources: Sequence[Mapping[str, Any]],
  options: Mapping[str, Any],
  before: Mapping[str, Any],
) -> str:
  """Returns how data differ from those of a manifest, or "" if they do not."""
  parts = []
  # The originals of a published data set have no split.
  splits = [s.get("split", "source") for s in (*before["sources"], *sources)]
  for split in dict.fromkeys(splits):
    was, now = (
      [source for source in each if source.get("split", "source") == split]
      for each in (before["sources"], sources)
    )
    if [x["sha256"] for x in was] != [x["sha256"] for x in now]:
      parts.append(f"{split} was {_phrase(was)}, and is {_phrase(now)}")
  for name in sorted({*before["options"], *options}):
    was, now = (each.get(name) for each in (before["options"], options))
    if was != now:
      parts.append(f"the option {name} was {was!r}, and is {now!r}")
  return "; ".join(parts)


def repeated(splits: Mapping[str, examples_lib.Examples]) -> Iterator[str]:
  """Yields a warning for each split that repeats training examples."""
  digests = {split: _digests(examples) for split, examples in splits.items()}
  train = set(digests["train"])
  unlabelled = set().union(*(digests.get(split, ()) for split in UNLABELLED))
  for split, found in digests.items():
    if split in UNLABELLED:
      continue
    if split == "train":
      if "test" in splits:
        continue
      for number, what in (
        (len(found) - len(train), "repeat another one"),
        (sum(x in unlabelled for x in found), "also occur without a label"),
      ):
        if number:
          yield (
            f"{number:,} of {len(found):,} training examples {what}, so that "
            "test examples may also be training examples"
          )
    elif number := sum(x in train or x in unlabelled for x in found):
      yield (
        f"{number:,} of {len(found):,} {split} examples are also training "
        "examples"
      )


def _digests(examples: examples_lib.Examples) -> list[bytes]:
  """Returns a digest of the text or image of each example."""
  columns = examples.columns
  if "text" in columns:
    values: Any = map(str.encode, columns["text"])
  elif isinstance(columns["image"], images.DecodedImages):
    values = (
      x if isinstance(x, bytes) else _cached_digest(x).encode()
      for x in columns["image"].encoded
    )
  else:
    values = (image.tobytes() for image in columns["image"])
  return [hashlib.sha256(value).digest()[:16] for value in values]


def _phrase(sources: Sequence[Mapping[str, Any]]) -> str:
  """Returns a description of files for messages."""
  described = (
    f"{source['name']} ({source['bytes']:,} bytes, SHA-256 "
    f"{source['sha256'][:8]})"
    for source in sources
  )
  return ", ".join(described) or "not set"


def size_and_digest(
  path: pathlib.Path, named: Sequence[tuple[str, pathlib.Path]]
) -> tuple[int, str]:
  """Returns the total size and a SHA-256 of files, given with their names.

  For `path` alone it is the SHA-256 of the file. Otherwise it covers the names
  and contents of the files.
  """
  num_bytes = sum(file.stat().st_size for _, file in named)
  if [file for _, file in named] == [path]:
    return num_bytes, _cached_digest(path)
  lines = "".join(f"{name} {_cached_digest(file)}\n" for name, file in named)
  return num_bytes, hashlib.sha256(lines.encode()).hexdigest()


def _images_of_table(
  path: pathlib.Path, options: Mapping[str, Any]
) -> Iterator[tuple[str, pathlib.Path]]:
  """Yields the existing images that a text table names, with their names."""
  column = options.get("image_column")
  if not column or tables.format_suffix(path) not in tables.TEXT_SUFFIXES:
    return
  how = tables.text_options(options)
  for _, (value,) in tables.TableReader(path, [column], **how):
    file = path.parent / pathlib.Path(str(value).strip()).expanduser()
    if file.is_file():
      yield str(value), file


def _cached_digest(path: pathlib.Path) -> str:
  """Returns the SHA-256 of a file, computed again only if the file changes."""
  found = path.stat()
  return _digest_of(path, found.st_ino, found.st_size, found.st_mtime_ns)


@functools.cache
def _digest_of(path: pathlib.Path, *_version: int) -> str:
  return digests.of_file(path)
