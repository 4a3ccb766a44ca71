"""CoLA and SST-2 of GLUE: is a sentence acceptable, is it positive.

A-27: GLUE's test splits have no labels; what is tested on here, and most likely
was in the paper, are its validation splits.
"""

import functools
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from experiments.data import dataset
from experiments.data.datasets import definition
from experiments.data.datasets import originals
from experiments.data.sources import open_source

_WHERE = "they are at https://gluebenchmark.com/tasks"
_COLA_COLUMNS = {"text_column": 3, "label_column": 1, "header": False}
_SST2_COLUMNS = {"text_column": "sentence", "label_column": "label"}


def _read(
  paths: Mapping[str, pathlib.Path],
  *,
  splits: Mapping[str, Sequence[str]],
  columns: Mapping[str, Any],
  **_: Any,
) -> definition.Raw:
  """Reads the tables of each split."""
  return _raw(
    {
      split: open_source([paths[name] for name in names], **columns)
      for split, names in splits.items()
    }
  )


def _read_tfds(
  open_tfds: definition.OpenTfds, *, name: str, **_: Any
) -> definition.Raw:
  return _raw(
    {"train": open_tfds(name, "train"), "test": open_tfds(name, "validation")}
  )


def _raw(sources: Mapping[str, dataset.Source]) -> definition.Raw:
  return definition.from_sources(
    sources,
    example_bytes=100,
    notes=(
      "the test split is GLUE's validation split, as its test split has no "
      "labels (A-27)",
    ),
  )


def _glue_form(folder: str, columns: Mapping[str, Any]) -> definition.Form:
  """Returns a task in the form that GLUE has it in."""
  layout = originals.Layout(
    name=f"{folder} of GLUE",
    files=("train.tsv", "dev.tsv"),
    folders=("", folder),
    archive=f"{folder}.zip",
  )
  splits = {"train": ("train.tsv",), "test": ("dev.tsv",)}
  read = functools.partial(_read, splits=splits, columns=columns)
  return definition.Form(layout, read)


# The authors' own form: GLUE's validation split is both of theirs.
_COLA_SPLITS = {
  "train": ("in_domain_train.tsv",),
  "test": ("in_domain_dev.tsv", "out_of_domain_dev.tsv"),
}
_COLA_PUBLIC = definition.Form(
  originals.Layout(
    name="CoLA as its authors published it",
    files=(*_COLA_SPLITS["train"], *_COLA_SPLITS["test"]),
    folders=("", "raw", "cola_public/raw"),
    archive="cola_public_1.1.zip",
  ),
  functools.partial(_read, splits=_COLA_SPLITS, columns=_COLA_COLUMNS),
)

COLA = definition.Dataset(
  task=dataset.Task(
    name="glue_cola",
    num_classes=2,
    class_names=("unacceptable", "acceptable"),
  ),
  forms=(_glue_form("CoLA", _COLA_COLUMNS), _COLA_PUBLIC),
  tfds="glue/cola",
  read_tfds=functools.partial(_read_tfds, name="glue/cola"),
  published={"train": (2528, 6023), "test": (324, 719)},
  where=_WHERE,
  max_length=128,
)

SST2 = definition.Dataset(
  task=dataset.Task(
    name="glue_sst2", num_classes=2, class_names=("negative", "positive")
  ),
  forms=(_glue_form("SST-2", _SST2_COLUMNS),),
  tfds="glue/sst2",
  read_tfds=functools.partial(_read_tfds, name="glue/sst2"),
  published={"train": (29_780, 37_569), "test": (428, 444)},
  where=_WHERE,
  max_length=128,
)
