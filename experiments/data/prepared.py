"""Prepared data sets: folders with arrays and a manifest.

  <data_dir>/<dataset>/manifest.json   contents, origin, sizes and checksums
  <data_dir>/<dataset>/<split>/
    labels.npy int32 [N], ids.npy int32 [N], fine_labels.npy int32 [N]
    groups.npy int32 [N]                     examples held out together
    images.npy uint8 [N, H, W, channels]                     images
    text.npy uint8 [bytes], text_offsets.npy int64 [N + 1]   texts, as UTF-8
    tokens.npy [tokens], token_offsets.npy int64 [N + 1]     texts, tokenized
    source_ids.npy, source_id_offsets.npy    ids in a user's files, as UTF-8

Ids are unique in the data set: they continue from one split to the next. Labels
are `NO_LABEL` in the splits of `UNLABELLED`. Only this module reads and writes
the arrays: `open_prepared` memory-maps them, and `write` writes them.
`describe` returns a summary to print.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
import pathlib
import shutil
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data.dataset import Arrays
from experiments.data.dataset import Columns
from experiments.data.dataset import LeftOut
from experiments.data.dataset import Ragged
from experiments.data.dataset import Task
from experiments.data.dataset import UNLABELLED
from experiments.data.tokenizer import Tokenization
from experiments.io import array_files
from experiments.io import digests
from experiments.io import folders
from experiments.io import json_files
from experiments.io import locks
from experiments.io.progress import tracked

FORMAT = 1
MANIFEST = "manifest.json"
_TEXTS_AT_ONCE, _IMAGES_AT_ONCE = 1000, 200
_MOST_ROWS = 30  # A table of classes shows at most this many.


@dataclasses.dataclass(frozen=True)
class Texts(Sequence[str]):
  """The texts of a split, read from disk one by one.

  Attributes:
    rows: The UTF-8 bytes of each text, uint8.
  """

  rows: Ragged

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, index: Any) -> Any:
    return self.rows[range(len(self))[index]].tobytes().decode()


@dataclasses.dataclass(frozen=True)
class Prepared:
  """A prepared data set, memory-mapped.

  Attributes:
    folder: The folder of the data set.
    task: Classes to learn, and the form of an example.
    splits: The arrays of each split, as in `dataset.Splits`. Texts that are not
      tokenized have no "inputs".
    digest: SHA-256 that changes with any example or token.
    manifest: Contents of `manifest.json`.
  """

  folder: pathlib.Path
  task: Task
  splits: Mapping[str, Arrays]
  digest: str = ""
  manifest: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def tokenizer(self) -> str:
    """SHA-256 of the tokenizer, or "" if there are no tokens."""
    return (self.manifest.get("tokenizer") or {}).get("sha256", "")

  @property
  def left_out(self) -> tuple[LeftOut, ...]:
    """The rows of the original files that are in no split."""
    return tuple(
      LeftOut(**record | {"first": tuple(record["first"])})
      for record in self.manifest.get("left_out", ())
    )

  def texts(self, split: str) -> Texts:
    """Returns the raw texts of a split."""
    if self.task.image_shape is not None:
      raise ValueError(f"{self.folder} holds images, not texts.")
    return Texts(_ragged(self.folder / split, "text"))

  @property
  def has_source_ids(self) -> bool:
    """Whether the prepared files record the source id of each example."""
    records = self.manifest["splits"].values()
    return all("source_ids.npy" in record["files"] for record in records)

  def source_ids(self, split: str) -> Texts:
    """Returns the id that each example of a split has in a user's own files.

    For an image in a folder, it is the path relative to the folder. For other
    examples it is the number of the row, counted from 0 with the rows that were
    left out.
    """
    if not self.has_source_ids:
      raise ValueError(
        f"{self.folder} does not record which row of the original files each "
        "example was: delete it and prepare it again."
      )
    return Texts(_ragged(self.folder / split, "source_ids"))

  def text_of(self, example: int) -> str:
    """Returns the raw text of the example with an id."""
    for split, arrays in self.splits.items():
      ids = arrays["ids"]  # Consecutive within a split.
      if len(ids) and ids[0] <= example <= ids[-1]:
        return self.texts(split)[int(example - ids[0])]
    raise ValueError(f"{self.folder} has no example with id {example}.")


def open_prepared(
  folder: str | os.PathLike[str], *, verify: bool = False
) -> Prepared:
  """Opens a prepared data set, without reading its arrays.

  The sizes of files are always compared with the manifest. With `verify`, so is
  the SHA-256 of every file, which takes about 1 second per GB.
  """
  folder = pathlib.Path(folder)
  manifest = read_manifest(folder)
  splits = {}
  for split, record in manifest["splits"].items():
    for name, expected in record["files"].items():
      _check_file(folder / split / name, expected, verify)
    splits[split] = _arrays(folder / split, record["files"])
  task: dict[str, Any] = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in manifest["task"].items()
  }
  keys = ("task", "tokenizer", "splits")
  contents = json.dumps({key: manifest[key] for key in keys})
  digest = hashlib.sha256(contents.encode()).hexdigest()
  return Prepared(folder, Task(**task), splits, digest, manifest)


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the manifest of a prepared data set."""
  path = folder / MANIFEST
  if not path.is_file():
    raise FileNotFoundError(
      f"there is no prepared data set in {folder}: run python -m "
      f"experiments.prepare --dataset={folder.name} --data_dir={folder.parent}."
    )
  manifest = json_files.read_json(path)
  found = manifest.get("format") if isinstance(manifest, dict) else None
  if found != FORMAT:
    raise ValueError(
      f"{path} has format {found}, but this version reads format {FORMAT}: "
      f"delete {folder} and prepare it again."
    )
  return manifest


def _check_file(
  path: pathlib.Path, expected: Mapping[str, Any], verify: bool
) -> None:
  """Raises ValueError if a file is missing or differs from the manifest."""
  again = f"delete {path.parents[1]} and prepare it again."
  if not path.is_file():
    raise ValueError(f"{path} is missing: {again}")
  size = path.stat().st_size
  if size != expected["bytes"]:
    raise ValueError(
      f"{path} has {size:,} bytes instead of {expected['bytes']:,}: {again}"
    )
  if verify and digests.of_file(path) != expected["sha256"]:
    raise ValueError(
      f"{path} is damaged: its SHA-256 is not that of the manifest; {again}"
    )


def _arrays(folder: pathlib.Path, files: Collection[str]) -> Arrays:
  """Memory-maps the arrays of a split that training uses."""
  arrays: Arrays = {}
  if "images.npy" in files:
    arrays["inputs"] = _mapped(folder / "images.npy")
  elif "tokens.npy" in files:
    arrays["inputs"] = _ragged(folder, "tokens")
  for name in ("labels", "fine_labels", "groups", "ids"):
    if f"{name}.npy" in files:
      arrays[name] = _mapped(folder / f"{name}.npy")
  return arrays


def _ragged(folder: pathlib.Path, name: str) -> Ragged:
  """Memory-maps rows of different lengths."""
  names = (name, _offsets_of(name))
  return Ragged(*(_mapped(folder / f"{each}.npy") for each in names))


def _offsets_of(name: str) -> str:
  return f"{name.removesuffix('s')}_offsets"


def _mapped(path: pathlib.Path) -> np.ndarray:
  return np.load(path, mmap_mode="r", allow_pickle=False)


def describe(
  found: Prepared, published: Mapping[str, Sequence[int]] | None = None
) -> str:
  """Returns a description of a data set: counts, remarks, flags to use it."""
  manifest, task = found.manifest, found.task
  heading, *counts = _class_table(found, published)
  lines = [f"{task.name}: {heading}", *counts]
  for title, table in manifest.get("tables", {}).items():
    rows = [["", *table["columns"]]]
    rows += [
      [name, *(f"{value:,}" for value in values)]
      for name, values in table["rows"].items()
    ]
    lines += ["", title, *_aligned(rows)]
  lines += ["", f"from {manifest['form']}"]
  lines += [f"note: {note}" for note in (*manifest["notes"], *found.left_out)]
  if manifest["partial"]:
    lines.append("note: a part of the published examples")
  if task.image_shape is None:
    lines.append(_token_counts(found))
  lines += [
    f"in {found.folder}",
    f"to train on it: --config.data.dataset={found.folder.name} "
    f"--config.data.data_dir={found.folder.parent}",
  ]
  return "\n".join(lines)


def summary(found: Prepared) -> str:
  """Returns the counts per class of a user's files, and the rows left out."""
  lines = _class_table(found)
  lines += [f"  left out of {rows}" for rows in found.left_out]
  lines += [f"  warning: {note}" for note in found.manifest["notes"]]
  return "\n".join(lines)


def _class_table(
  found: Prepared, published: Mapping[str, Sequence[int]] | None = None
) -> list[str]:
  """Returns a table of the number of examples by class and split, as lines."""
  task, splits = found.task, found.manifest["splits"]
  rows = [["", *splits]]
  numbers = {"examples": [s["num_examples"] for s in splits.values()]}
  if published and splits.keys() <= published.keys():
    numbers["published"] = [sum(published[split]) for split in splits]
  counts = [record["label_counts"] for record in splits.values()]
  for number, name in enumerate(task.class_names[:_MOST_ROWS]):
    numbers[f"class {number}: {name}"] = [c[number] for c in counts]
  rows += [[name, *(f"{x:,}" for x in row)] for name, row in numbers.items()]
  kind = "texts" if task.image_shape is None else "images"
  lines = [f"{kind} of {task.num_classes:,} classes", *_aligned(rows)]
  if task.num_classes > _MOST_ROWS:
    lines.append(f"  ... ({found.folder / MANIFEST} lists all classes)")
  return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
  """Returns the lines of a table, aligned to the right after column one."""
  first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    "  ".join(["", name.ljust(first), *map(str.rjust, cells, widths)])
    for name, *cells in rows
  ]


def _token_counts(found: Prepared) -> str:
  tokenizer = found.manifest["tokenizer"]
  if tokenizer is None:
    return "not tokenized: the same command with --tokenizer adds tokens"
  lengths = [found.splits[split]["inputs"].lengths for split in found.splits]
  longest = max(int(length.max()) for length in lengths)
  tokens = sum(int(length.sum()) for length in lengths)
  return (
    f"{tokens:,} tokens of {tokenizer['name']}; the longest text has "
    f"{longest} of at most {tokenizer['max_length']}"
  )


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Waits until no other process prepares a data set, and locks its folder.

  Yields a folder for temporary files, which the caller creates. At the end it
  is deleted, and so are the new parents of `folder` if they are empty.
  """
  aside = folder.with_name(f".{folder.name}.partial")
  new_parents = [path for path in folder.parents if not path.exists()]
  with locks.exclusive_when_free(aside, all_processes=False):
    folders.restore(folder)
    scratch = aside / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
      yield scratch
    finally:
      shutil.rmtree(aside, ignore_errors=True)
      with contextlib.suppress(OSError):  # Other processes may use them.
        for path in new_parents:
          path.rmdir()


def write(
  folder: pathlib.Path,
  task: Task,
  manifest: Mapping[str, Any],
  splits: Mapping[str, Columns],
  tokenization: Tokenization | None = None,
) -> None:
  """Writes a whole data set, or nothing. An existing one is replaced.

  Args:
    folder: The folder of the data set.
    task: The classes, and the form of an example.
    manifest: Entries of the manifest about the origin of the examples.
    splits: The examples of each split.
    tokenization: How texts are tokenized; None stores only the texts.
  """
  description = None
  if tokenization is not None:
    if task.image_shape is not None:
      raise ValueError(f"{task.name} holds images: do not set a tokenizer.")
    description = tokenization.description()
  records: dict[str, Any] = {}
  with folders.new_folder(folder, replace=True) as scratch:
    first_id = 0
    for split, columns in splits.items():
      records[split] = _write_split(
        scratch / split, task, columns, tokenization, first_id
      )
      first_id += records[split]["num_examples"]
    whole = {"format": FORMAT, **manifest, "tokenizer": description}
    whole |= {"task": dataclasses.asdict(task), "splits": records}
    json_files.write_json(scratch / MANIFEST, whole)


def _write_split(
  folder: pathlib.Path,
  task: Task,
  columns: Columns,
  tokenization: Tokenization | None,
  first_id: int,
) -> dict[str, Any]:
  """Writes the examples of a split; returns its entry in the manifest."""
  split, labels = folder.name, np.asarray(columns["label"], np.int32)
  ids = np.arange(first_id, first_id + len(labels), dtype=np.int32)
  arrays = {"labels": labels, "ids": ids}
  counts = {"label_counts": [0] * task.num_classes}
  if not len(labels):
    raise ValueError(f"{split} of {task.name} has no examples.")
  if split not in UNLABELLED:
    arrays["labels"] = task.classes_of(labels)
    counts["label_counts"] = _counts(arrays["labels"], task.num_classes)
  if task.fine_to_class is not None:
    arrays["fine_labels"] = labels
    counts["fine_label_counts"] = _counts(labels, len(task.fine_to_class))
  if "group" in columns:
    arrays["groups"] = np.asarray(columns["group"], np.int32)
  if "id" in columns:
    arrays |= _flat("source_ids", _encoded(map(str, columns["id"])))
  num_bytes = 0
  if task.image_shape is None:
    texts, tokens = [], []
    for batch in _batches(split, columns["text"], _TEXTS_AT_ONCE):
      texts += _encoded(batch)
      if tokenization is not None:
        tokens += tokenization.encode(batch)
    arrays |= _flat("text", texts)
    if tokenization is not None:
      arrays |= _flat("tokens", tokens)
  else:
    num_bytes = len(labels) * math.prod(task.image_shape)
  check_space(folder, num_bytes + sum(x.nbytes for x in arrays.values()))
  folder.mkdir()
  for name, array in arrays.items():
    array_files.write(folder / f"{name}.npy", array.shape, array.dtype, [array])
  if task.image_shape is not None:
    batches = (
      _stacked(split, task, batch)
      for batch in _batches(split, columns["image"], _IMAGES_AT_ONCE)
    )
    size = (len(labels), *task.image_shape)
    array_files.write(folder / "images.npy", size, np.uint8, batches)
  files = {
    path.name: {"bytes": path.stat().st_size, "sha256": digests.of_file(path)}
    for path in sorted(folder.iterdir())
  }
  return {"num_examples": len(labels), **counts, "files": files}


def _stacked(split: str, task: Task, batch: Sequence[np.ndarray]) -> np.ndarray:
  """Stacks images. Grey ones become colour images if the task has any."""
  shape = task.image_shape
  assert shape is not None
  for image in batch:
    if image.dtype != np.uint8 or image.shape not in (shape, (*shape[:2], 1)):
      raise ValueError(
        f"the images of {split} of {task.name} must be uint8 {[*shape]}, but "
        f"one is {image.dtype} {[*image.shape]}."
      )
  return np.broadcast_to(np.stack(batch), (len(batch), *shape))


def _counts(labels: np.ndarray, num_labels: int) -> list[int]:
  return np.bincount(labels, minlength=num_labels).tolist()


def _encoded(texts: Iterable[str]) -> list[np.ndarray]:
  """Returns the UTF-8 bytes of each text."""
  return [np.frombuffer(text.encode(), np.uint8) for text in texts]


def _flat(name: str, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
  """Returns rows of different lengths as the arrays that `_ragged` reads."""
  ragged = Ragged.concatenate(rows, rows[0].dtype)
  return {name: ragged.values, _offsets_of(name): ragged.offsets}


def _batches(split: str, values: Sequence[Any], size: int) -> Iterator[Any]:
  """Yields values in batches, with progress and handling of signals."""
  iterator = tracked(values, label=split)
  while batch := list(itertools.islice(iterator, size)):
    yield batch


def check_space(folder: pathlib.Path, num_bytes: int) -> None:
  """Raises ValueError if the disk of a folder has too little free space."""
  existing = next(path for path in folder.absolute().parents if path.exists())
  free = shutil.disk_usage(existing).free
  if free < num_bytes:
    raise ValueError(
      f"{folder} needs about {num_bytes / 1e6:,.0f} MB, but its disk has only "
      f"{free / 1e6:,.0f} MB free: free some space, or set another --data_dir."
    )
