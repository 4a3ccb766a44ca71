"""Prepares published data sets and a user's own files for training."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data import contents
from experiments.data import examples as examples_lib
from experiments.data import originals
from experiments.data import prepared
from experiments.data import tables
from experiments.data.dataset import Columns
from experiments.data.dataset import LeftOut
from experiments.data.dataset import Task
from experiments.data.datasets import DATASETS
from experiments.data.tokenizer import Tokenization
from experiments.distributed import signals

_MAX_LENGTH = 128  # A user's own texts are truncated to this many tokens.


def prepare(
  name: str,
  *,
  data_dir: tables.Path,
  source: tables.Path | None = None,
  tokenization: Tokenization | None = None,
  partial: bool = False,
  options: Mapping[str, Any] | None = None,
) -> prepared.Prepared:
  """Prepares one of the published data sets.

  If the data set is already prepared, its files are compared with their
  checksums. If only the tokenizer changed, the stored texts are tokenized
  again, without the originals.

  Args:
    name: Name of the data set, one of `DATASETS`.
    data_dir: Folder in which the folder of the data set is created.
    source: File or folder of the originals; None for TFDS.
    tokenization: How texts become tokens; None stores only the texts.
    partial: Whether to accept fewer examples than were published.
    options: Options of the data set that differ from `Dataset.options`.

  Raises:
    FileNotFoundError: If there are no originals.
    ValueError: If the originals are damaged or incomplete, or the folder holds
      other data.
  """
  if name not in DATASETS:
    raise ValueError(
      f"unknown data set {name!r}; the known ones are {', '.join(DATASETS)}. "
      "Your own files need no preparation: set --config.data.source=files."
    )
  dataset = DATASETS[name]
  chosen = {**dataset.options, **(options or {})}
  for option in chosen:
    if option not in dataset.options:
      raise ValueError(f"{name} has no option {option!r}.")
  folder = pathlib.Path(data_dir).expanduser() / name
  found = originals.find(dataset, source, folder.parent)
  tokenization = _fitted(tokenization, dataset.max_length)
  with signals.deferred(), prepared.locked(folder) as scratch:
    if folder.exists():
      _check_same(folder, found.sources if found.given else None, chosen)
      check_groups(prepared.open_prepared(folder, verify=True))
      return _with_tokens(folder, tokenization)
    raw, origin = found.read(scratch, chosen)
    splits = dict(raw.splits)
    if dataset.groups is not None:
      groups = dataset.groups(splits["train"]["text"])
      splits["train"] = {**splits["train"], "group": groups}
    whole = _check_published(dataset, splits, partial)
    manifest = {"dataset": name, "options": chosen, "partial": not whole}
    manifest |= origin | _remarks(raw)
    prepared.write(folder, dataset.task, manifest, splits, tokenization)
  return prepared.open_prepared(folder)


def check_groups(found: prepared.Prepared) -> None:
  """Raises ValueError if a data set was prepared without required groups."""
  name = found.manifest["dataset"]
  if DATASETS[name].groups and "groups" not in found.splits["train"]:
    raise ValueError(
      f"{found.folder} lacks train/groups.npy, which records the examples to "
      f"hold out together: delete {found.folder} and prepare it again."
    )


def prepare_own(
  folder: pathlib.Path,
  paths: Mapping[str, tables.Path],
  *,
  tokenization: Tokenization | None = None,
  max_bad_rows: float = 0.01,
  unlabelled: str = "refuse",
  **columns: Any,
) -> prepared.Prepared:
  """Prepares a user's own files, unless they are already prepared.

  The classes are the different labels of the training examples, in the order of
  `examples.class_names`.

  Args:
    folder: Folder of the prepared data set. Its name is the data set's name.
    paths: An argument of `tables.find_files` for "train" and optionally for
      "validation", "test" and "unlabelled_files". The labels of the last are
      ignored.
    tokenization: How texts become tokens; None stores only the texts.
    max_bad_rows: Largest fraction of the rows of a split that may be malformed.
      Malformed rows are left out.
    unlabelled: What to do with rows without a label. "refuse" raises an error,
      and "drop" leaves them out. "transfer" puts those of the training files in
      the split "unlabelled", and leaves out the others.
    **columns: Arguments of `examples.read`.
  """
  tokenization = _fitted(tokenization, _MAX_LENGTH)
  columns = {k: value for k, value in columns.items() if value is not None}
  files, options = find_files(paths), how_read(columns, unlabelled)
  sources = contents.describe(files, options)
  if folder.exists():
    _check_same(folder, sources, options)
    found = prepared.open_prepared(folder)
    sizes = {k: len(arrays["labels"]) for k, arrays in found.splits.items()}
    _check_left_out(found.left_out, sizes, max_bad_rows, unlabelled)
    if _has_tokens(found, tokenization):
      return found  # Takes no lock, since all processes of a run load data.
  with signals.deferred(), prepared.locked(folder):
    if folder.exists():
      _check_same(folder, sources, options)
      return _with_tokens(folder, tokenization)
    found = _read(files, columns, unlabelled)
    image_shape: Any = _image_shape(found)
    classes = examples_lib.class_names(found["train"])
    raw = originals.from_tables(
      found, classes, notes=tuple(contents.repeated(found))
    )
    sizes = {split: len(examples) for split, examples in found.items()}
    _check_left_out(raw.left_out, sizes, max_bad_rows, unlabelled)
    task = Task(
      name=folder.name,
      num_classes=len(classes),
      class_names=classes,
      image_shape=image_shape,
      scale=255.0 if image_shape else 1.0,
    )
    manifest = {"dataset": folder.name, "partial": False, "form": "files"}
    manifest |= {"options": options, "sources": sources} | _remarks(raw)
    splits = {
      split: {**part, "id": found[split].columns["id"]}
      for split, part in raw.splits.items()
    }
    prepared.write(folder, task, manifest, splits, tokenization)
  return prepared.open_prepared(folder)


def how_read(columns: Mapping[str, Any], unlabelled: str) -> dict[str, Any]:
  """Returns the options to record in the manifest of a user's own files."""
  is_kept = unlabelled == "transfer"
  return {**columns, **({"unlabelled": unlabelled} if is_kept else {})}


def _read(
  files: Mapping[str, Sequence[pathlib.Path]],
  columns: Mapping[str, Any],
  unlabelled: str,
) -> dict[str, examples_lib.Examples]:
  """Reads the examples of each split, and adds the split "unlabelled"."""
  kinds = {"unlabelled_files": "ignored"}
  if unlabelled == "transfer":
    kinds["train"] = "optional"
  found = {
    split: examples_lib.read(
      *each, labels=kinds.get(split, "required"), **columns
    )
    for split, each in files.items()
  }
  found["train"], rest = examples_lib.divide_by_label(found["train"])
  return found if rest is None else {**found, "unlabelled": rest}


def _image_shape(
  found: Mapping[str, examples_lib.Examples],
) -> tuple[int, ...] | None:
  """Returns the shape of all images, in colour if some are; None for texts.

  Raises ValueError if the splits have images of different sizes.
  """
  if "image" not in found["train"].columns:
    return None
  shapes = {split: np.shape(x[0]["image"]) for split, x in found.items()}
  for split, shape in shapes.items():
    if shape[:2] != shapes["train"][:2]:
      raise ValueError(
        "images must all have the same size, but those of "
        f"{found['train'].name} have the shape {shapes['train']} and those of "
        f"{found[split].name} have {shape}: set config.data.image_size to "
        "resize all images."
      )
  return max(shapes.values(), key=lambda shape: shape[2])


def find_files(
  paths: Mapping[str, tables.Path],
) -> dict[str, list[pathlib.Path]]:
  """Returns the files of each split of a user's own data, given its paths."""
  if "train" not in paths:
    raise ValueError("config.data.train is not set: name the training file.")
  return {split: tables.find_files(path) for split, path in paths.items()}


def _fitted(
  tokenization: Tokenization | None, max_length: int | None
) -> Tokenization | None:
  """Sets the default length of a tokenization."""
  if tokenization is None:
    return None
  length = tokenization.max_length or max_length
  return dataclasses.replace(tokenization, max_length=length)


def _check_same(
  folder: pathlib.Path,
  sources: Sequence[Mapping[str, Any]] | None,
  options: Mapping[str, Any],
) -> None:
  """Raises ValueError if a folder was prepared from other data or options.

  With None for `sources`, only the options are compared.
  """
  if not (folder / prepared.MANIFEST).is_file():
    raise ValueError(
      f"{folder} exists but is not a prepared data set: use another folder."
    )
  before = prepared.read_manifest(folder)
  sources = before["sources"] if sources is None else sources
  if changes := contents.difference(sources, options, before):
    raise ValueError(
      f"{folder} was prepared from other data: {changes}. Correct this, use "
      f"another workdir or data_dir for the new data, or delete {folder}."
    )


def _check_published(
  dataset: originals.Dataset, splits: Mapping[str, Columns], partial: bool
) -> bool:
  """Returns whether all published examples exist.

  Raises ValueError if they do not, unless `partial` is set, or if a class has
  another number of them.
  """
  name, whole = dataset.task.name, True
  for split, published in dataset.published.items():
    classes = dataset.task.classes_of(splits[split]["label"])
    counts = np.bincount(classes, minlength=len(published)).tolist()
    if sum(counts) != sum(published):
      whole = False
      if not partial:
        raise ValueError(
          f"{split} of {name} has {sum(counts):,} examples, but "
          f"{sum(published):,} are published: get the whole originals "
          f"({dataset.where}), or set --partial to accept fewer."
        )
    elif counts != [*published]:
      raise ValueError(
        f"{split} of {name} has {counts} examples per class, but "
        f"{[*published]} are published: get the originals again."
      )
  return whole


def _check_left_out(
  left_out: Sequence[LeftOut],
  sizes: Mapping[str, int],
  max_bad_rows: float,
  unlabelled: str,
) -> None:
  """Raises ValueError if too many rows of a user's files were left out."""
  totals = collections.Counter(sizes)
  for rows in left_out:
    totals[rows.split] += rows.count
  for rows in left_out:
    total = totals[rows.split]
    if rows.kind == "malformed" and rows.count > max_bad_rows * total:
      raise ValueError(
        f"{rows.count:,} of {total:,} rows cannot be used, which is more than "
        f"config.data.max_bad_rows={max_bad_rows:g} allows: correct them, or "
        f"set a larger share to leave them out ({rows})."
      )
    if rows.kind != "malformed" and unlabelled == "refuse":
      raise ValueError(
        f"{rows.count:,} of {total:,} rows have no label: label them, set "
        "config.data.unlabelled=transfer to train students on them with the "
        "teacher's outputs, or set config.data.unlabelled=drop to leave them "
        f"out ({rows})."
      )


def _remarks(raw: originals.Raw) -> dict[str, Any]:
  """Returns the entries of the manifest about rows left out and remarks."""
  return {
    "left_out": [dataclasses.asdict(record) for record in raw.left_out],
    "notes": list(raw.notes),
    **raw.details,
  }


def _has_tokens(
  found: prepared.Prepared, tokenization: Tokenization | None
) -> bool:
  """Returns whether a data set has the tokens of a tokenization (or None)."""
  if tokenization is None:
    return True
  return tokenization.description() == found.manifest["tokenizer"]


def _with_tokens(
  folder: pathlib.Path, tokenization: Tokenization | None
) -> prepared.Prepared:
  """Opens a prepared data set, and tokenizes its texts again if necessary."""
  found = prepared.open_prepared(folder)
  if _has_tokens(found, tokenization):
    return found
  splits = {}
  for split, arrays in found.splits.items():
    labels = arrays.get("fine_labels", arrays["labels"])
    splits[split] = {"label": labels, "text": found.texts(split)}
    if "groups" in arrays:
      splits[split]["group"] = arrays["groups"]
    if found.has_source_ids:
      splits[split]["id"] = found.source_ids(split)
  prepared.write(folder, found.task, found.manifest, splits, tokenization)
  return prepared.open_prepared(folder)
