"""From a config's data fields to a dataset, divided."""

import dataclasses
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data import digits
from experiments.data import embeddings as embeddings_lib
from experiments.data import merging
from experiments.data import splits as splits_lib
from experiments.data import stand_in
from experiments.data.dataset import Arrays
from experiments.data.dataset import Splits
from experiments.data.datasets import DATASETS as PREPARED
from experiments.data.preparation import prepare_own
from experiments.data.preparation import Tokenization
from experiments.data.prepared import open_prepared
from experiments.data.prepared import Prepared
from experiments.data.tokenizer import load_tokenizer

# Data sets that need no preparation, by the name that a config uses: those that
# come divided, and those that are divided like a prepared one.
READY = {"digits": digits.load}
MADE_UP = {"stand_in": stand_in.make}
# Fields of a config that only concern what is divided here, with the values
# that do nothing.
_DIVIDING = {
  "num_labelled": 0,
  "embeddings": "",
  "merge_classes": 0,
  "transfer": "all",
  "transfer_fraction": 1.0,
}
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
    return _called(READY, fields)
  if fields["dataset"] in MADE_UP and not fields["source"]:
    return divided(_called(MADE_UP, fields), fields, selection)
  prepared = _prepared(fields, workdir)
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
  if fields["transfer"] not in ("all", "labelled"):
    raise ValueError(
      'config.data.transfer must be "all" or "labelled", got '
      f"{fields['transfer']!r}."
    )
  if not 0 < fields["transfer_fraction"] <= 1:
    raise ValueError(
      "config.data.transfer_fraction must lie in (0, 1], got "
      f"{fields['transfer_fraction']}."
    )
  if source == "files":
    return
  known = sorted([*READY, *MADE_UP, *PREPARED])
  if not name:
    raise ValueError(
      "config.data.dataset is empty: a table has many columns, and one cell is "
      "of one. Add :column=... to the config, or set config.data.dataset."
    )
  if name not in known:
    raise ValueError(
      f"unknown data set {name!r}; there are {known}, and your own files with "
      "config.data.source=files."
    )
  for field, nothing in _DIVIDING.items():
    if name in READY and fields[field] != nothing:
      raise ValueError(f"data set {name!r} takes no config.data.{field}.")
  if name in READY and selection != "heldout":
    raise ValueError(
      f"data set {name!r} has validation examples of its own: "
      f'config.selection must be "heldout", got {selection!r}.'
    )


def text_of(
  fields: Mapping[str, Any], workdir: pathlib.Path | None
) -> Callable[[int], str] | None:
  """Returns what gives the raw text of an example by its id.

  Args:
    fields: `config.data`, plain data.
    workdir: Where a user's own files were prepared.

  Returns:
    The function, None where the examples are no prepared texts.

  Raises:
    FileNotFoundError: If they are not there any more.
  """
  if not fields["source"] and fields["dataset"] not in PREPARED:
    return None
  prepared = _prepared(fields, workdir)
  return None if prepared.task.image_shape else prepared.text_of


def divided(
  prepared: Prepared, fields: Mapping[str, Any], selection: str
) -> Splits:
  """Divides a prepared dataset into what is trained, chosen and measured on.

  Held out are the dataset's own validation examples or, without any, a tenth
  of the training set, at most 5,000, stratified (A-37). A user's own data
  without test examples lose a fifth of the training set to them. With
  `num_labelled` the teacher trains on that many of the rest, students on all
  or, with `transfer` "labelled", on the same (A-31, A-36); and on a share of
  them, `transfer_fraction`, with every class in its proportion. Before all
  that, `merge_classes` merges classes.

  Args:
    prepared: The dataset.
    fields: `config.data`, plain data: those fields, and `split_seed`.
    selection: "heldout", or "test": then nothing is held out, and settings
      are chosen on the test examples as the paper did.

  Returns:
    The splits.

  Raises:
    ValueError: If texts were not tokenized, `num_labelled` is too large, or
      the classes cannot be merged.
  """
  task, parts = prepared.task, prepared.splits
  if fields["merge_classes"]:
    task, parts = merging.merged(task, parts, fields["merge_classes"])
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
  if fields["transfer"] == "labelled":
    transfer = train
  if fields["transfer_fraction"] < 1:
    size = round(fields["transfer_fraction"] * len(transfer["labels"]))
    rows = splits_lib.labelled_subset(
      transfer["labels"], size=size, seed=fields["split_seed"]
    )
    transfer = _rows(transfer, rows)
  return Splits(
    task,
    train,
    transfer,
    validation,
    test,
    prepared.digest,
    (prepared.manifest["tokenizer"] or {}).get("sha256", ""),
  )


def _rows(arrays: Arrays, rows: np.ndarray) -> Arrays:
  return {name: array[rows] for name, array in arrays.items()}


def _called(makers: Mapping[str, Any], fields: Mapping[str, Any]) -> Any:
  name, options = fields["dataset"], fields["options"]
  try:
    return makers[name](**options)
  except TypeError as error:
    raise ValueError(
      f"config.data.options {options} do not fit data set {name!r}: {error}"
    ) from error


def _prepared(
  fields: Mapping[str, Any], workdir: pathlib.Path | None
) -> Prepared:
  """Opens what `prepare` wrote, or a user's own files."""
  if not fields["source"]:
    folder = pathlib.Path(fields["data_dir"]).expanduser() / fields["dataset"]
    return open_prepared(folder)
  if workdir is None:
    raise ValueError("config.data.source needs a workdir to prepare in.")
  return _own(fields, workdir / "data" / (fields["dataset"] or "own"))


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
