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
the arrays: `open_prepared` memory-maps them, and `Writer` writes them.
`describe` returns a summary to print.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Self

import numpy as np

from experiments.data.dataset import Arrays
from experiments.data.dataset import Example
from experiments.data.dataset import ExampleSource
from experiments.data.dataset import LeftOut
from experiments.data.dataset import NO_LABEL
from experiments.data.dataset import Ragged
from experiments.data.dataset import Task
from experiments.data.dataset import UNLABELLED
from experiments.data.tokenizer import Tokenization
from experiments.distributed.signals import Interrupted
from experiments.io import digests
from experiments.io import json_files
from experiments.io import locks
from experiments.io.array_files import GrowingArray
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
    if split not in self.splits:
      raise ValueError(
        f"{self.folder} has no split {split!r}; its splits are "
        f"{', '.join(self.splits)}."
      )
    return Texts(_ragged(self.folder / split, "text.npy", "text_offsets.npy"))

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
    names = ("source_ids.npy", "source_id_offsets.npy")
    return Texts(_ragged(self.folder / split, *names))

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
    arrays["inputs"] = _ragged(folder, "tokens.npy", "token_offsets.npy")
  for name in ("labels", "fine_labels", "groups", "ids"):
    if f"{name}.npy" in files:
      arrays[name] = _mapped(folder / f"{name}.npy")
  return arrays


def _ragged(folder: pathlib.Path, values: str, offsets: str) -> Ragged:
  return Ragged(_mapped(folder / values), _mapped(folder / offsets))


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


class Writer:
  """Writes a prepared data set to a hidden folder, and renames it when done.

  If a signal interrupts it, finished splits are kept, and the next writer with
  the same manifest continues after them. Unfinished splits and splits of
  another manifest are deleted. After any other error the hidden folder is
  deleted. A second writer of the same data set waits for the first.

    with Writer(folder) as writer:
      writer.write(task, manifest, splits)

  Attributes:
    folder: The folder of the data set. An existing one is replaced at the end.
    scratch: A folder for temporary files. The caller creates it.
  """

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self._aside = folder.with_name(f".{folder.name}.partial")
    self._replaced = folder.with_name(f".{folder.name}.replaced")
    self.scratch = self._aside / "scratch"
    self._stack = contextlib.ExitStack()
    self._moved = False
    self._manifest: dict[str, Any] = {"splits": {}}

  def __enter__(self) -> Self:
    """Waits until no other process writes the data set."""
    self._new_parents = [
      path for path in self.folder.parents if not path.exists()
    ]
    self._stack.enter_context(
      locks.exclusive_when_free(self._aside, all_processes=False)
    )
    if self._replaced.exists() and not self.folder.exists():
      self._replaced.rename(self.folder)  # A writer was killed in `_move`.
    shutil.rmtree(self.scratch, ignore_errors=True)
    return self

  def __exit__(self, _kind: Any, error: Any, _traceback: Any) -> None:
    shutil.rmtree(self.scratch, ignore_errors=True)
    stopped = isinstance(error, Interrupted | KeyboardInterrupt)
    worth_keeping = stopped and self._manifest["splits"]
    if not worth_keeping and not self._moved:
      shutil.rmtree(self._aside, ignore_errors=True)
      with contextlib.suppress(OSError):  # Other processes may use them.
        for path in self._new_parents:
          path.rmdir()
    self._stack.close()

  def write(
    self,
    task: Task,
    manifest: Mapping[str, Any],
    splits: Mapping[str, ExampleSource],
    tokenization: Tokenization | None = None,
    *,
    published: Mapping[str, Sequence[int]] | None = None,
    keep_ids: bool = False,
  ) -> None:
    """Writes the splits that are missing, and moves the data set to its place.

    Args:
      task: The classes, and the form of an example.
      manifest: Entries of the manifest about the origin of the examples.
      splits: The examples of each split.
      tokenization: How texts are tokenized; None stores only the texts.
      published: Expected number of examples per class, by split.
      keep_ids: Whether to store the "id" of each example as its source id.
    """
    description = None
    if tokenization is not None:
      tokenization.encode([""])  # Raises an error early if it cannot work.
      description = tokenization.description()
    self._begin(task, {**manifest, "tokenizer": description})
    finished = self._manifest["splits"]
    missing = {k: v for k, v in splits.items() if k not in finished}
    num_examples = sum(len(examples) for examples in missing.values())
    fits = False
    for name, examples in missing.items():
      half = self._aside / f"{name}.half"
      half.mkdir()
      first_id = sum(s["num_examples"] for s in finished.values())
      try:
        with _SplitWriter(
          half, name, task, tokenization, first_id, keep_ids
        ) as rows:
          for batch in _batches(examples, name, task):
            num_bytes = rows.extend(batch)
            if not fits:  # Estimate the total size from the first batch.
              total = num_bytes * num_examples // len(batch)
              check_space(self.folder, total - num_bytes)
              fits = True
        record = rows.record()
        expected = list((published or {}).get(name, record["label_counts"]))
        if record["label_counts"] != expected:
          raise ValueError(
            f"{name} of {task.name} has {record['label_counts']} examples per "
            f"class, but {expected} are published: get the originals again."
          )
      except BaseException:
        shutil.rmtree(half)
        raise
      half.rename(self._aside / name)
      finished[name] = record
      json_files.write_json(self._aside / MANIFEST, self._manifest)
    self._move()

  def _begin(self, task: Task, manifest: Mapping[str, Any]) -> None:
    """Starts the manifest, or continues that of an interrupted writer."""
    manifest = {
      "format": FORMAT,
      **manifest,
      "task": dataclasses.asdict(task),
      "splits": {},
    }
    self._manifest = json.loads(json.dumps(manifest))
    with contextlib.suppress(ValueError, FileNotFoundError):
      found = json_files.read_json(self._aside / MANIFEST)
      if found | {"splits": {}} == self._manifest:
        self._manifest = found
    kept = {self.scratch.name, *self._manifest["splits"]}
    for entry in self._aside.iterdir():
      if entry.is_dir() and entry.name not in kept:
        shutil.rmtree(entry)

  def _move(self) -> None:
    """Moves the finished data set to its place."""
    shutil.rmtree(self.scratch, ignore_errors=True)
    (self._aside / ".lock").unlink()
    if self.folder.exists():
      self.folder.rename(self._replaced)
    self._aside.rename(self.folder)
    self._moved = True  # Another process may create the hidden folder now.
    shutil.rmtree(self._replaced, ignore_errors=True)


class _SplitWriter(contextlib.ExitStack):
  """Checks the examples of one split and writes them."""

  def __init__(
    self,
    folder: pathlib.Path,
    split: str,
    task: Task,
    tokenization: Tokenization | None,
    first_id: int,
    keep_ids: bool,
  ):
    super().__init__()
    self._folder = folder
    self._split = split
    self._task = task
    self._tokenization = tokenization
    self._keep_ids = keep_ids
    self._next_id = self._first_id = first_id
    self._arrays: dict[str, GrowingArray] = {}
    self._counts = {"label_counts": np.zeros(task.num_classes, np.int64)}
    if task.fine_to_class is not None:
      fine = np.zeros(len(task.fine_to_class), np.int64)
      self._counts["fine_label_counts"] = fine

  def extend(self, batch: Sequence[Example]) -> int:
    """Appends examples, and returns their size in bytes."""
    columns = self._columns(batch)
    for name, rows in columns.items():
      if name not in self._arrays:
        array = GrowingArray(self._folder / f"{name}.npy", rows)
        self._arrays[name] = self.enter_context(array)
      self._arrays[name].append(rows)
    self._next_id += len(batch)
    for key, counts in self._counts.items():
      labels = [example[key.removesuffix("_counts")] for example in batch]
      if self._split not in UNLABELLED:
        counts += np.bincount(labels, minlength=len(counts))
    return sum(rows.nbytes for rows in columns.values())

  def _columns(self, batch: Sequence[Example]) -> dict[str, np.ndarray]:
    """Returns examples as arrays by file name, or raises ValueError."""
    for number, example in enumerate(batch, self._next_id - self._first_id):
      if problem := _problem(self._task, self._split, example):
        name = f"{number} (id {example['id']})" if "id" in example else number
        raise ValueError(
          f"example {name} of {self._task.name}'s {self._split} split: "
          f"{problem}."
        )
    ids = np.arange(self._next_id, self._next_id + len(batch), dtype=np.int32)
    columns: dict[str, np.ndarray] = {
      "labels": np.array([e["label"] for e in batch], np.int32),
      "ids": ids,
    }
    if self._task.fine_to_class is not None:
      fine = [example["fine_label"] for example in batch]
      columns["fine_labels"] = np.array(fine, np.int32)
    if "group" in batch[0]:
      groups = [example["group"] for example in batch]
      columns["groups"] = np.array(groups, np.int32)
    if self._keep_ids:
      names = [str(example["id"]).encode() for example in batch]
      columns["source_ids"] = np.frombuffer(b"".join(names), np.uint8)
      columns["source_id_offsets"] = self._offsets("source_ids", names)
    if self._task.image_shape is not None:
      return columns | {"images": np.stack([e["image"] for e in batch])}
    texts = [example["text"] for example in batch]
    encoded = [text.encode() for text in texts]
    columns["text"] = np.frombuffer(b"".join(encoded), np.uint8)
    columns["text_offsets"] = self._offsets("text", encoded)
    if self._tokenization is not None:
      tokens = self._tokenization.encode(texts)
      columns["tokens"] = np.concatenate(tokens)
      columns["token_offsets"] = self._offsets("tokens", tokens)
    return columns

  def _offsets(self, name: str, rows: Sequence[Any]) -> np.ndarray:
    """Returns the offsets to append for some rows; the first call adds a 0."""
    is_first = name not in self._arrays
    lengths = [0] * is_first + [len(row) for row in rows]
    start = 0 if is_first else len(self._arrays[name])
    return start + np.cumsum(lengths, dtype=np.int64)

  def record(self) -> dict[str, Any]:
    """Returns the split's entry in the manifest, once the files are closed."""
    num_examples = self._next_id - self._first_id
    if not num_examples:
      raise ValueError(f"{self._split} of {self._task.name} has no examples.")
    counts = {key: value.tolist() for key, value in self._counts.items()}
    files = {
      path.name: {"bytes": path.stat().st_size, "sha256": digests.of_file(path)}
      for path in sorted(self._folder.iterdir())
    }
    return {"num_examples": num_examples, **counts, "files": files}


def _batches(
  examples: ExampleSource, split: str, task: Task
) -> Iterator[list[Example]]:
  """Yields examples in batches, with progress and handling of signals."""
  size = _TEXTS_AT_ONCE if task.image_shape is None else _IMAGES_AT_ONCE
  iterator: Iterable[Any] = tracked(
    examples,
    total=len(examples),
    label=split,
    unit="example",
    saved="the splits that are finished are kept",
  )
  while batch := list(itertools.islice(iterator, size)):
    yield batch


def _problem(task: Task, split: str, example: Example) -> str | None:
  """Returns why an example does not fit a task, or None if it does."""
  sizes = {"label": task.num_classes}
  if task.fine_to_class is not None:
    sizes["fine_label"] = len(task.fine_to_class)
  for key, size in sizes.items():
    label = example.get(key)
    if not isinstance(label, int | np.integer) or isinstance(label, bool):
      return f"{key} must be an int, got {label!r}"
    if split in UNLABELLED:
      if label != NO_LABEL:
        return f"{key} must be {NO_LABEL} in this split, got {label}"
    elif not 0 <= label < size:
      return f"{key} must lie in [0, {size}), got {label}"
  if task.fine_to_class is not None:
    fine_label, label = example["fine_label"], example["label"]
    if task.fine_to_class[fine_label] != label:
      return f"label {label} is not the class of fine_label {fine_label}"
  if task.image_shape is not None:
    image = np.asarray(example.get("image"))
    if image.shape != task.image_shape or image.dtype != np.uint8:
      return (
        f"image must be uint8 {list(task.image_shape)}, got {image.dtype} "
        f"{list(image.shape)}"
      )
  elif not isinstance(example.get("text"), str):
    return f"text must be a str, got {type(example.get('text')).__name__}"
  elif not example["text"].isascii():
    try:
      example["text"].encode()
    except UnicodeEncodeError as error:
      return f"text is not Unicode: {error.reason} at character {error.start}"
  return None


def check_space(folder: pathlib.Path, num_bytes: int) -> None:
  """Raises ValueError if the disk of a folder has too little free space."""
  existing = next(path for path in folder.absolute().parents if path.exists())
  free = shutil.disk_usage(existing).free
  if free < num_bytes:
    raise ValueError(
      f"{folder} needs about {num_bytes / 1e6:,.0f} MB, but its disk has only "
      f"{free / 1e6:,.0f} MB free: free some space, or set another --data_dir."
    )
