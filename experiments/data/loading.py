"""From a config's data fields to a dataset, divided."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data import digits
from experiments.data import embeddings as embeddings_lib
from experiments.data import splits as splits_lib
from experiments.data.datasets import DATASETS as PREPARED
from experiments.data.preparation import prepare_own
from experiments.data.preparation import Tokenization
from experiments.data.prepared import open_prepared
from experiments.data.prepared import Prepared
from experiments.data.tokenizer import load_tokenizer
from experiments.data.types import Arrays
from experiments.data.types import Splits

# Data sets that need no preparation, by the name that a config uses.
READY = {"digits": digits.load}
_TEST_FRACTION = 0.2


def load(
  fields: Mapping[str, Any], selection: str, workdir: pathlib.Path | None
) -> Splits:
  """Loads the data that a config describes.

  Args:
    fields: `config.data`, plain data.
    selection: `config.selection`.
    workdir: Where a user's own files are brought into their training form.

  Returns:
    The examples, divided.

  Raises:
    FileNotFoundError: If they were not prepared, or a file is not there.
    ValueError: If a field is out of range or the data are not what they say.
  """
  check(fields, selection)
  if fields["dataset"] in READY and not fields["source"]:
    return _ready(fields)
  if fields["source"]:
    if workdir is None:
      raise ValueError("config.data.source needs a workdir to prepare in.")
    prepared = _own(fields, workdir / "data" / (fields["dataset"] or "own"))
  else:
    folder = pathlib.Path(fields["data_dir"]).expanduser() / fields["dataset"]
    prepared = open_prepared(folder)
  splits = divided(prepared, fields, selection)
  if not fields["embeddings"]:
    return splits
  embeddings = embeddings_lib.open_embeddings(fields["embeddings"])
  embeddings_lib.check_dataset(embeddings, prepared)
  return _with_embeddings(splits, embeddings)


def check(fields: Mapping[str, Any], selection: str) -> None:
  """Raises ValueError for data that there cannot be.

  Args:
    fields: `config.data`, plain data.
    selection: `config.selection`.
  """
  if selection not in ("heldout", "test"):
    raise ValueError(
      f'config.selection must be "heldout" or "test", got {selection!r}.'
    )
  name, source = fields["dataset"], fields["source"]
  if source not in ("", "files"):
    raise ValueError(
      f'config.data.source must be "" or "files", got {source!r}.'
    )
  if source == "files":
    return
  known = sorted([*READY, *PREPARED])
  if name not in known:
    raise ValueError(
      f"unknown data set {name!r}; there are {known}, and your own files with "
      "config.data.source=files."
    )
  for field in ("num_labelled", "embeddings"):
    if name in READY and fields[field]:
      raise ValueError(f"data set {name!r} takes no config.data.{field}.")
  if name in READY and selection != "heldout":
    raise ValueError(
      f"data set {name!r} has validation examples of its own: "
      f'config.selection must be "heldout", got {selection!r}.'
    )


def divided(
  prepared: Prepared, fields: Mapping[str, Any], selection: str
) -> Splits:
  """Divides a prepared dataset into what is trained, chosen and measured on.

  Held out are the dataset's own validation examples or, without any, a tenth
  of the training set, at most 5,000, stratified (A-37). A user's own data
  without test examples lose a fifth of the training set to them. With
  `num_labelled` the teacher trains on that many of the rest, students on all
  (A-31).

  Args:
    prepared: The dataset.
    fields: `config.data`, plain data: `num_labelled`, `split_seed`.
    selection: "heldout", or "test": then nothing is held out, and settings
      are chosen on the test examples as the paper did.

  Returns:
    The splits.

  Raises:
    ValueError: If texts were not tokenized, or `num_labelled` is too large.
  """
  parts = prepared.splits
  train = parts["train"]
  if "inputs" not in train and not fields["embeddings"]:
    raise ValueError(
      f"the texts in {prepared.folder} are not tokenized: run python -m "
      "experiments.prepare again, with --tokenizer."
    )
  if "test" in parts:
    test = parts["test"]
  else:
    rows, held_out = splits_lib.heldout_split(
      train["labels"], fraction=_TEST_FRACTION, most=len(train["labels"])
    )
    train, test = _rows(train, rows), _rows(train, held_out)
  if selection == "test":
    validation = test
  elif "validation" in parts:
    validation = parts["validation"]
  else:
    rows, held_out = splits_lib.heldout_split(train["labels"])
    train, validation = _rows(train, rows), _rows(train, held_out)
  transfer = train
  if fields["num_labelled"]:
    rows = splits_lib.labelled_subset(
      train["labels"], size=fields["num_labelled"], seed=fields["split_seed"]
    )
    train = _rows(train, rows)
  return Splits(
    prepared.task,
    train,
    transfer,
    validation,
    test,
    prepared.digest,
    (prepared.manifest["tokenizer"] or {}).get("sha256", ""),
  )


def _rows(arrays: Arrays, rows: np.ndarray) -> Arrays:
  return {name: array[rows] for name, array in arrays.items()}


def _ready(fields: Mapping[str, Any]) -> Splits:
  name, options = fields["dataset"], fields["options"]
  try:
    return READY[name](**options)
  except TypeError as error:
    raise ValueError(
      f"config.data.options {options} do not fit data set {name!r}: {error}"
    ) from error


def _own(fields: Mapping[str, Any], folder: pathlib.Path) -> Prepared:
  """A user's own files in their training form, made at their first use."""
  paths = {
    split: [fields[split]]
    for split in ("train", "validation", "test")
    if fields[split]
  }
  tokenization = None
  if fields["tokenizer"]:
    tokenizer = load_tokenizer(fields["tokenizer"])
    tokenization = Tokenization(tokenizer, fields["max_length"])
  columns = ("text_column", "image_column", "label_column", "image_size")
  return prepare_own(
    folder,
    paths,
    tokenization=tokenization,
    **{name: fields[name] or None for name in columns},
  )


def _with_embeddings(
  splits: Splits, embeddings: embeddings_lib.Embeddings
) -> Splits:
  """Adds the precomputed vector of each example, found by its id."""

  def added(arrays: Arrays) -> Arrays:
    rows = embeddings_lib.aligned(embeddings, arrays["ids"])
    return {**arrays, "embeddings": rows}

  return dataclasses.replace(
    splits,
    train=added(splits.train),
    transfer=added(splits.transfer),
    validation=added(splits.validation),
    test=added(splits.test),
    digest=f"{splits.digest} {embeddings.digest}",
  )
