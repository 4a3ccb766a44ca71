"""Brings a dataset from its originals into the prepared form."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TextIO

from experiments.data import dataset
from experiments.data import prepared
from experiments.data import watching
from experiments.data.datasets import DATASETS
from experiments.data.datasets import definition
from experiments.data.datasets import opening
from experiments.data.datasets import own
from experiments.data.prepared_writer import Writer
from experiments.data.tokenizer import Tokenizer
from experiments.distributed.signals import interrupts

_TOKEN_BYTES = 0.6  # For each byte of text.
_MAX_LENGTH = 128

Counts = Mapping[str, Sequence[int]]


@dataclasses.dataclass(frozen=True)
class Tokenization:
  """What makes tokens of texts.

  Attributes:
    tokenizer: Cuts a text into tokens.
    max_length: The most tokens of a text; None for what suits the dataset.
  """

  tokenizer: Tokenizer
  max_length: int | None = None

  def encode(self, texts: list[str]) -> list[Any]:
    """Returns the tokens of each text."""
    return self.tokenizer.encode(texts, max_length=self.max_length or 0)

  def description(self) -> dict[str, Any]:
    """Returns what the manifest says of it."""
    return {
      "name": pathlib.Path(self.tokenizer.name).name,
      "sha256": self.tokenizer.digest,
      "vocab_size": self.tokenizer.vocab_size,
      "pad_id": self.tokenizer.pad_id,
      "max_length": self.max_length,
    }


def prepare(
  name: str,
  *,
  data_dir: Any,
  source: Any = None,
  tokenization: Tokenization | None = None,
  partial: bool = False,
  published: Counts | None = None,
  options: Mapping[str, Any] | None = None,
  stream: TextIO | None = None,
) -> prepared.Prepared:
  """Prepares one of the paper's datasets, unless that is done.

  An interrupted run is continued. Tokens of another tokenizer are made from
  the texts that are kept, without the originals.

  Args:
    name: A key of `DATASETS`.
    data_dir: The dataset will be in its folder `name`.
    source: The originals or their folder, or TFDS's folder. By default what
      TFDS prepared in `data_dir` or its own folder.
    tokenization: What makes tokens; without it only the texts are kept.
    partial: Whether a part of what is published will do.
    published: How many examples of each class there have to be, by split, if
      not what is published.
    options: What the dataset lets choose, such as "seed".
    stream: Where progress is shown; standard error if None.

  Raises:
    FileNotFoundError: If the originals are missing.
    Interrupted: If it was asked to stop.
    OSError: If the originals cannot be read, or the disk is full.
    ValueError: If an argument is unusable, the originals are damaged or not
      what is published, or the folder holds something else.
  """
  if name not in DATASETS:
    raise ValueError(
      f"unknown dataset {name!r}: there are {', '.join(DATASETS)}; files of "
      "yours need no preparation: --config.data.source=files."
    )
  dataset = DATASETS[name]
  chosen = {**dataset.options, **(options or {})}
  for option in chosen:
    if option not in dataset.options:
      raise ValueError(f"{name} has no option {option!r}.")
  published = dataset.published if published is None else published
  folder = pathlib.Path(data_dir).expanduser() / name
  found = opening.find(dataset, source, folder.parent)
  tokens = _fitted(tokenization, dataset.task, dataset.max_length)
  with _started(folder, stream) as (writer, watch):
    if folder.exists():
      _check_same(folder, {"options": chosen} | found.sizes)
      return _with_tokens(writer, watch, tokens)
    raw, origin = found.read(writer.scratch, watch, chosen)
    whole = _check_sizes(name, raw, published, partial)
    manifest = {"dataset": name, "options": chosen, "partial": not whole}
    _write(
      writer,
      watch,
      dataset.task,
      raw,
      manifest | origin | _remarks(raw),
      tokens,
      published if whole else {},
    )
  return prepared.open_prepared(folder)


def prepare_own(
  folder: Any,
  paths: Mapping[str, Sequence[own.Path]],
  *,
  tokenization: Tokenization | None = None,
  stream: TextIO | None = None,
  **columns: Any,
) -> prepared.Prepared:
  """Prepares a dataset that a user has, unless that is done.

  Args:
    folder: Where the dataset will be; the last part is its name.
    paths: The files, one after another, or the folder of images of "train"
      and, where there are, "validation" and "test".
    tokenization: What makes tokens; without it only the texts are kept.
    stream: Where progress is shown; standard error if None.
    **columns: Which columns are the text or image and the label, and the
      other arguments of `sources.open_source`.

  Raises:
    FileNotFoundError: If there is no such file.
    Interrupted: If it was asked to stop.
    OSError: If a file cannot be read, or the disk is full.
    ValueError: If an argument is unusable, a file is damaged, the examples are
      not alike, or the folder holds something else.
  """
  folder = pathlib.Path(folder).expanduser()
  columns = {
    name: value for name, value in columns.items() if value is not None
  }
  sources = own.describe(paths)
  wanted = {"options": columns, "sources": sources}
  if folder.exists():
    _check_same(folder, wanted)
    found = prepared.open_prepared(folder)
    if _has_tokens(found, tokenization):
      return found  # Without the lock: all processes of a run come here.
  with _started(folder, stream) as (writer, watch):
    if folder.exists():
      _check_same(folder, wanted)
      return _with_tokens(writer, watch, tokenization)
    task, raw = own.read(folder.name, paths, **columns)
    manifest = {"dataset": folder.name, "options": columns, "partial": False}
    manifest |= {"form": "files", "sources": sources} | _remarks(raw)
    tokenization = _fitted(tokenization, task, _MAX_LENGTH)
    _write(writer, watch, task, raw, manifest, tokenization, {})
  return prepared.open_prepared(folder)


def _fitted(
  tokenization: Tokenization | None,
  task: dataset.Task,
  max_length: int | None,
) -> Tokenization | None:
  """Returns the tokenization of a dataset, or raises ValueError."""
  if tokenization is None:
    return None
  if task.image_shape is not None:
    raise ValueError(f"{task.name} holds images: give no --tokenizer.")
  length = tokenization.max_length or max_length
  return dataclasses.replace(tokenization, max_length=length)


@contextlib.contextmanager
def _started(
  folder: pathlib.Path, stream: TextIO | None
) -> Iterator[tuple[Writer, definition.Watch]]:
  """Holds the folder, and gives what shows progress and minds interrupts."""
  with interrupts() as state, Writer(folder, state) as writer:
    yield writer, watching.Watch(state, stream)


def _check_same(folder: pathlib.Path, wanted: Mapping[str, Any]) -> None:
  """Raises ValueError if what is there was prepared in another way.

  Args:
    folder: What is there.
    wanted: What its manifest has to say, under some keys.
  """
  if not (folder / prepared.MANIFEST).is_file():
    raise ValueError(
      f"{folder} is there and is no prepared dataset: use another folder."
    )
  manifest = prepared.read_manifest(folder)
  for key, value in json.loads(json.dumps(wanted)).items():
    if not _agree(manifest[key], value):
      raise ValueError(
        f"{folder} was prepared with the {key} {_plain(manifest[key])}, not "
        f"{_plain(value)}: delete it, or use another folder."
      )


def _agree(found: Any, wanted: Any) -> bool:
  """Whether options are equal, and sources in all that is wanted of them."""
  if not isinstance(wanted, list) or len(found) != len(wanted):
    return found == wanted
  return all(f | w == f for f, w in zip(found, wanted, strict=True))


def _plain(value: Any) -> str:
  """Returns options and sources as a phrase."""
  if isinstance(value, list):
    return ", ".join(f"{s['name']} ({s['bytes']:,} bytes)" for s in value)
  return ", ".join(f"{k}={v}" for k, v in value.items()) or "none"


def _check_sizes(
  name: str, raw: definition.Raw, published: Counts, partial: bool
) -> bool:
  """Returns whether all examples are there; raises ValueError if they must."""
  whole = True
  for split, counts in published.items():
    found, expected = raw.splits[split].num_examples, sum(counts)
    whole = whole and found == expected
    if found != expected and not partial:
      raise ValueError(
        f"{split} of {name} has {found:,} examples and {expected:,} are "
        f"published: get the whole originals ({DATASETS[name].where}), or "
        "give --partial to go on with what there is."
      )
  return whole


def _remarks(raw: definition.Raw) -> dict[str, Any]:
  """Returns what the manifest says of the examples."""
  malformed = {name: m for name, m in raw.malformed.items() if m.count}
  return {
    "malformed": {name: m.count for name, m in malformed.items()},
    "notes": [*raw.notes, *(f"{name}: {m}" for name, m in malformed.items())],
    **raw.details,
  }


def _has_tokens(
  found: prepared.Prepared, tokenization: Tokenization | None
) -> bool:
  """Whether what is prepared needs no other tokens."""
  tokenization = _fitted(tokenization, found.task, _MAX_LENGTH)
  wanted = None if tokenization is None else tokenization.description()
  return wanted in (None, found.manifest["tokenizer"])


def _with_tokens(
  writer: Writer, watch: definition.Watch, tokenization: Tokenization | None
) -> prepared.Prepared:
  """Returns what is prepared, its texts tokenized again where need be."""
  found = prepared.open_prepared(writer.folder)
  if _has_tokens(found, tokenization):
    return found
  tokenization = _fitted(tokenization, found.task, _MAX_LENGTH)

  def split(name: str) -> definition.Split:
    arrays, texts = found.splits[name], found.texts(name)
    labels = {
      k[:-1]: arrays[k] for k in ("labels", "fine_labels") if k in arrays
    }
    return definition.Split(
      len(texts),
      lambda: (
        {"text": text} | {key: int(values[i]) for key, values in labels.items()}
        for i, text in enumerate(texts)
      ),
    )

  splits = {name: split(name) for name in found.splits}
  num_bytes = sum(len(found.texts(name).rows.values) for name in found.splits)
  raw = definition.Raw(splits, num_bytes)
  _write(writer, watch, found.task, raw, found.manifest, tokenization, {})
  return prepared.open_prepared(writer.folder)


def _write(
  writer: Writer,
  watch: definition.Watch,
  task: dataset.Task,
  raw: definition.Raw,
  manifest: Mapping[str, Any],
  tokenization: Tokenization | None,
  published: Counts,
) -> None:
  """Writes a dataset, and checks the balance of its labels."""
  description, dtype, num_bytes = None, None, raw.num_bytes
  if tokenization is not None:
    description = tokenization.description()
    dtype = tokenization.encode([""])[0].dtype
    num_bytes = int((1 + _TOKEN_BYTES) * num_bytes)
  writer.begin(
    task,
    {**manifest, "tokenizer": description},
    token_dtype=dtype,
    num_bytes=num_bytes,
  )
  for split, part in raw.splits.items():
    if split in writer.finished:
      continue
    with writer.split(split) as rows:
      examples = watch(
        part.examples(), total=part.num_examples, label=split, unit="example"
      )
      for batch in watching.batches(examples):
        tokens = None
        if tokenization is not None:
          tokens = tokenization.encode([example["text"] for example in batch])
        rows.extend(batch, tokens)
      counts = rows.record()["label_counts"]
      if split in published and counts != list(published[split]):
        raise ValueError(
          f"{split} of {task.name} has {counts} examples of its classes, and "
          f"{list(published[split])} are published: get the originals again."
        )
  writer.finish()
