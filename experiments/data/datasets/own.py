"""Bring your own: tables of texts or images, image folders, arrays."""

import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data import dataset
from experiments.data.datasets import definition
from experiments.data.datasets import originals
from experiments.data.sources import class_indices
from experiments.data.sources import ColumnSource
from experiments.data.sources import files
from experiments.data.sources import open_source
from experiments.data.sources import WithClasses
from experiments.data.sources.column_source import ArrowColumn

Path = str | pathlib.Path


def read(
  name: str, paths: Mapping[str, Sequence[Path]], **columns: Any
) -> tuple[dataset.Task, definition.Raw]:
  """Opens a dataset that a user has.

  Its classes are the labels of the training examples in order, integers by
  value and names by the alphabet.

  Args:
    name: What it is called.
    paths: The files of each split, as `sources.open_source` takes them, with
      "train" among them.
    **columns: The other arguments of `sources.open_source`.

  Returns:
    What there is to learn, and the examples.

  Raises:
    FileNotFoundError: If there is no such file.
    OSError: If it cannot be read.
    ValueError: If a file is damaged or lacks a column, an array has the wrong
      dtype, examples have no label, there are fewer than two classes, or
      another split has a label that train lacks.
  """
  sources = {
    split: open_source(path, **columns) for split, path in paths.items()
  }
  classes = class_indices(sources["train"])
  if len(classes) < 2:
    raise ValueError(
      f"{sources['train']} has one label, {next(iter(classes))!r}: there must "
      "be at least two classes."
    )
  first = sources["train"][0]
  shape = np.shape(first["image"]) if "image" in first else None
  task = dataset.Task(
    name=name,
    num_classes=len(classes),
    class_names=tuple(map(str, classes)),
    image_shape=shape,
    scale=1.0 if shape is None else 255.0,
  )
  raw = definition.Raw(
    splits={
      split: definition.from_source(WithClasses(source, classes))
      for split, source in sources.items()
    },
    num_bytes=sum(_num_bytes(source, shape) for source in sources.values()),
    malformed={split: source.malformed for split, source in sources.items()},
  )
  return task, raw


def describe(paths: Mapping[str, Sequence[Path]]) -> list[dict[str, Any]]:
  """Returns split, name, bytes and SHA-256 of the files of each split.

  Raises:
    FileNotFoundError: If there is no such file.
    ValueError: If there are no files to train on.
  """
  if not paths.get("train"):
    raise ValueError("there must be files to train on: give --train.")
  sources = []
  for split, split_paths in paths.items():
    for path in map(pathlib.Path, split_paths):
      path = path.expanduser()
      with files.reading(path):
        path.stat()
        sources.append({"split": split} | originals.describe(path))
  return sources


def _num_bytes(source: ColumnSource, shape: tuple[int, ...] | None) -> int:
  """Returns about how much the examples of a source take."""
  if shape is not None:
    return int(np.prod(shape)) * len(source)
  text = source.columns["text"]
  assert isinstance(text, ArrowColumn)
  return text.values.nbytes
