"""Loads the data set of a config and divides it into splits.

`load` opens a data set that `experiments.prepare` wrote, a user's own files, or
a data set without files. `divide` merges classes, holds out examples for
validation and test, and draws the examples that teachers and students train on.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data import contents as contents_lib
from experiments.data import embeddings as embeddings_lib
from experiments.data.dataset import Arrays
from experiments.data.dataset import gather
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.data.dataset import UNLABELLED
from experiments.data.datasets import cifar
from experiments.data.datasets import DATASETS
from experiments.data.datasets import digits
from experiments.data.datasets import made_up
from experiments.data.prepare import check_groups
from experiments.data.prepare import find_files
from experiments.data.prepare import how_read
from experiments.data.prepare import prepare_own
from experiments.data.prepared import open_prepared
from experiments.data.prepared import Prepared
from experiments.data.prepared import summary
from experiments.data.tokenizer import load_tokenizer
from experiments.data.tokenizer import Tokenization
from experiments.data.tokenizer import tokenizer_content
from experiments.distributed import processes
from experiments.specs import DataSpec

# Data sets without files. Those in READY are already divided; `divide` divides
# those in MADE_UP.
READY = {"digits": digits.load}
MADE_UP = {"stand_in": made_up.make}
# Arguments of `examples.read` in `config.data`, which leaves them at their
# defaults where it does not set them.
FILE_OPTIONS = (
  *("text_column", "image_column", "label_column", "image_size", "channels"),
  *("encoding", "delimiter", "header", "quoting"),
)


def load(
  spec: DataSpec, selection: str, workdir: pathlib.Path | None
) -> Splits:
  """Loads the data set of a config, divides it and adds its embeddings.

  A user's own files are prepared in `workdir`. `selection` is that of `divide`.
  """
  if spec.dataset in (*READY, *MADE_UP) and not spec.source:
    made = _made(spec)
    return made if isinstance(made, Splits) else divide(made, spec, selection)
  prepared = open_data(spec, workdir)
  if spec.source and processes.is_main_process():
    print(summary(prepared), file=sys.stderr, flush=True)
  splits = divide(prepared, spec, selection)
  if not spec.embeddings:
    return splits
  embeddings = embeddings_lib.open_embeddings(spec.embeddings)
  embeddings_lib.check_dataset(embeddings, prepared)

  def with_embeddings(arrays: Arrays) -> Arrays:
    rows = embeddings_lib.aligned(embeddings, arrays["ids"])
    return {**arrays, "embeddings": rows}

  digest = f"{splits.digest} {embeddings.digest}"
  return dataclasses.replace(splits.map(with_embeddings), digest=digest)


def text_of(
  spec: DataSpec, workdir: pathlib.Path | None
) -> Callable[[int], str] | None:
  """Returns a function from ids to raw texts, or None without raw texts."""
  if not spec.source and spec.dataset not in DATASETS:
    return None
  prepared = open_data(spec, workdir)
  return None if prepared.task.image_shape else prepared.text_of


def _made(spec: DataSpec) -> Splits | Prepared:
  """Makes a data set without files."""
  makers = {**READY, **MADE_UP}
  try:
    return makers[spec.dataset](**spec.options)
  except TypeError as error:
    raise ValueError(
      f"config.data.options {dict(spec.options)} do not fit data set "
      f"{spec.dataset!r}: {error}"
    ) from error


def open_data(spec: DataSpec, workdir: pathlib.Path | None) -> Prepared:
  """Opens a prepared data set. A user's own files are prepared if necessary.

  Texts may have no tokens if `config.data.tokenizer` is not set.
  """
  if not spec.source:
    data_dir = pathlib.Path(spec.data_dir).expanduser()
    found = open_prepared(data_dir / spec.dataset)
    check_groups(found)
    return found
  if workdir is None:
    raise ValueError("config.data.source needs a workdir to prepare files in.")
  tokenization = None
  if spec.tokenizer:
    tokenizer = load_tokenizer(spec.tokenizer)
    tokenization = Tokenization(tokenizer, spec.max_length)
  return prepare_own(
    workdir / "data" / (spec.dataset or "own"),
    paths_of(spec),
    tokenization=tokenization,
    max_bad_rows=spec.max_bad_rows,
    unlabelled=spec.unlabelled,
    **options_of(spec),
  )


def contents(spec: DataSpec) -> str:
  """Returns a SHA-256 of a user's own files and of how they are read.

  It is "" for other data sets, and if a file does not exist.
  """
  if not spec.source or not spec.train:
    return ""
  options = how_read(options_of(spec), spec.unlabelled)
  try:
    sources = contents_lib.describe(find_files(paths_of(spec)), options)
    if spec.tokenizer:
      options["tokenizer"] = tokenizer_content(spec.tokenizer)
  except FileNotFoundError:
    return ""  # Missing files are an error only in commands that read them.
  return contents_lib.digest(sources, options)


def paths_of(spec: DataSpec) -> dict[str, str]:
  """Returns the paths of each split's files, as they are in the config."""
  splits = ("train", "validation", "test", "unlabelled_files")
  return {name: path for name in splits if (path := getattr(spec, name))}


def options_of(spec: DataSpec) -> dict[str, Any]:
  """Returns the arguments of `examples.read` that the config sets."""
  return {
    name: value
    for name in FILE_OPTIONS
    if (value := getattr(spec, name)) != getattr(DataSpec, name)
  }


def divide(prepared: Prepared, spec: DataSpec, selection: str) -> Splits:
  """Divides a prepared data set into splits, as the config says.

  1. `config.data.merge_classes` merges classes.
  2. If the data set has no test examples, `config.data.test_fraction` of the
     training examples become test examples.
  3. If it has no validation examples, `config.data.validation_fraction` of the
     training examples, but at most 5,000, become validation examples. They are
     stratified, and whole groups are held out if the data set has groups
     (A-37). With the selection "test", the validation examples are the test
     examples, as in the paper.
  4. The teacher trains on the remaining training examples, or on a stratified
     subset of `config.data.num_labelled` of them (A-31).
  5. Students train on the remaining training examples and all unlabelled
     examples, or with `config.data.transfer="labelled"` on the teacher's
     examples (A-36). `config.data.transfer_fraction` draws a stratified subset.
  """
  task, parts = prepared.task, prepared.splits
  if spec.merge_classes:
    task, parts = merge_classes(task, parts, spec.merge_classes)
  train = parts["train"]
  if "inputs" not in train and not spec.embeddings:
    raise ValueError(
      f"the texts in {prepared.folder} are not tokenized: "
      + (
        "set --config.data.tokenizer to the model's tokenizer, such as "
        "albert/albert-base-v2."
        if spec.source
        else "run python -m experiments.prepare again with --tokenizer."
      )
    )
  if "test" in parts:
    test = parts["test"]
  else:
    rows, held_out = heldout_split(
      train["labels"], fraction=spec.test_fraction, most=len(train["labels"])
    )
    train, test = gather(train, rows), gather(train, held_out)
  groups = train.get("groups")
  train = {name: rows for name, rows in train.items() if name != "groups"}
  if selection == "test":
    validation = test
  elif "validation" in parts:
    validation = parts["validation"]
  else:
    rows, held_out = heldout_split(
      train["labels"], fraction=spec.validation_fraction, groups=groups
    )
    train, validation = gather(train, rows), gather(train, held_out)
  rest = [parts[name] for name in UNLABELLED if name in parts]
  unlabelled = _joined(rest) if rest else None
  transfer = train
  if spec.num_labelled:
    rows = stratified_subset(
      train["labels"], size=spec.num_labelled, seed=spec.split_seed
    )
    train = gather(train, rows)
  if spec.transfer == "labelled":
    transfer = train
  elif unlabelled is not None:
    transfer = _joined([transfer, unlabelled])
  if spec.transfer_fraction < 1:
    size = round(spec.transfer_fraction * len(transfer["labels"]))
    # Unlabelled examples are a stratum of their own. Strata count from 0.
    strata = transfer["labels"] + (unlabelled is not None)
    rows = stratified_subset(strata, size=size, seed=spec.split_seed)
    transfer = gather(transfer, rows)
  return Splits(
    task,
    train=train,
    transfer=transfer,
    validation=validation,
    test=test,
    digest=prepared.digest,
    tokenizer=prepared.tokenizer,
    left_out=prepared.left_out if spec.source else (),
    notes=tuple(prepared.manifest.get("notes", ())) if spec.source else (),
    unlabelled=unlabelled,
  )


def _joined(parts: Sequence[Arrays]) -> Arrays:
  """Concatenates the examples of several splits."""
  joined: Arrays = {}
  for name, first in parts[0].items():
    arrays = [part[name] for part in parts]
    if not isinstance(first, Ragged):
      joined[name] = np.concatenate(arrays)
      continue
    lengths = np.concatenate([array.lengths for array in arrays])
    joined[name] = Ragged(
      np.concatenate([array.values for array in arrays]),
      np.concatenate([[0], np.cumsum(lengths)]),
    )
  return joined


def merge_classes(
  task: Task, parts: Mapping[str, Arrays], num_classes: int
) -> tuple[Task, dict[str, Arrays]]:
  """Merges the classes of CIFAR-100, and makes its labels the fine labels."""
  if task.num_classes != len(cifar.NAMES_100):
    raise ValueError(
      "config.data.merge_classes merges CIFAR-100's 100 classes, but "
      f"{task.name!r} has {task.num_classes}."
    )
  classes = cifar.class_of_fine_label(num_classes)
  task = dataclasses.replace(
    task,
    num_classes=num_classes,
    fine_to_class=tuple(int(c) for c in classes),
    class_names=tuple(f"group {c}" for c in range(num_classes)),
    fine_names=task.class_names,
  )
  return task, {
    split: {
      **arrays,
      "labels": classes[arrays["labels"]],
      "fine_labels": np.asarray(arrays["labels"]),
    }
    for split, arrays in parts.items()
  }


def heldout_split(
  labels: Any, *, fraction: float = 0.1, most: int = 5000, groups: Any = None
) -> tuple[np.ndarray, np.ndarray]:
  """Divides examples into training and held-out examples.

  The paper chooses settings on the test set. Here they are chosen on held-out
  examples instead (A-37).

  >>> train, heldout = heldout_split([0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
  ...                                fraction=0.5)
  >>> len(train), len(heldout), np.bincount(np.array([0] * 8 + [1] * 2)[train])
  (5, 5, array([4, 1]))

  Args:
    labels: The class of each example.
    fraction: Fraction of the examples to hold out.
    most: Largest number of examples to hold out.
    groups: The group of each example, from 0, or None. No group is divided. The
      held-out part is smaller if no further group fits.

  Returns:
    The sorted positions of the training and of the held-out examples. Without
    groups, the number of examples of each class in either part is proportional
    to its number in all examples, to within one example.
  """
  labels = np.asarray(labels)
  size = min(round(fraction * len(labels)), most)
  if not 0 < size < len(labels):
    raise ValueError(
      f"{fraction:g} of {len(labels)} examples is {size}, and both parts need "
      "at least one example: provide more training examples, set "
      "config.data.validation_fraction and config.data.test_fraction, or name "
      "files in config.data.validation and config.data.test."
    )
  if groups is None:
    heldout = stratified_subset(labels, size=size, seed=0)
  else:
    heldout = _whole_groups(labels, np.asarray(groups), size=size, seed=0)
  return np.delete(np.arange(len(labels)), heldout), heldout


def _whole_groups(
  labels: np.ndarray, groups: np.ndarray, *, size: int, seed: int
) -> np.ndarray:
  """Draws whole groups at random, without exceeding any class's proportion."""
  free = proportional_sizes(np.bincount(labels), size)
  counts = np.zeros((groups.max() + 1, len(free)), np.int64)
  np.add.at(counts, (groups, labels), 1)
  taken = np.zeros(len(counts), bool)
  for group in np.random.default_rng(seed).permutation(len(counts)):
    if np.all(counts[group] <= free):
      free -= counts[group]
      taken[group] = True
  heldout = np.flatnonzero(taken[groups])
  if not len(heldout):
    raise ValueError(
      f"no group of examples fits in the {size:,} of {len(labels):,} examples "
      "to hold out: provide more training examples, or set "
      "config.data.validation_fraction."
    )
  return heldout


def stratified_subset(labels: Any, *, size: int, seed: int) -> np.ndarray:
  """Draws random positions, with the classes in proportion (A-31).

  If all classes are equally large and sizes are multiples of the number of
  classes, a subset contains all smaller subsets drawn with the same seed.

  >>> stratified_subset([0, 1, 0, 1, 0, 1], size=6, seed=0)
  array([0, 1, 2, 3, 4, 5])
  """
  labels = np.asarray(labels)
  if not 0 < size <= len(labels):
    raise ValueError(
      f"size must lie in [1, {len(labels)}], the number of examples, got "
      f"{size}."
    )
  sizes = proportional_sizes(np.bincount(labels), size)
  rng = np.random.default_rng(seed)
  drawn = [
    rng.permutation(np.flatnonzero(labels == c))[:count]
    for c, count in enumerate(sizes)
  ]
  return np.sort(np.concatenate(drawn))


def proportional_sizes(counts: Any, size: int) -> np.ndarray:
  """Divides a number in proportion to counts (largest-remainder method).

  >>> proportional_sizes([8, 1, 1], 5)
  array([4, 1, 0])
  """
  counts = np.asarray(counts, np.int64)
  sizes, remainders = np.divmod(size * counts, counts.sum())
  short = size - sizes.sum()
  sizes[np.argsort(-remainders, kind="stable")[:short]] += 1
  return sizes
