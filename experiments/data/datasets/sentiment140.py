"""Sentiment140: is a tweet negative or positive, by its emoticon.

Go, Bhayani and Huang 2009. Spec section 3 and A-30: 10,000 of the 1.6 million
training tweets are tested on and the others trained on, both balanced and
drawn at random; the 498 tweets labelled by hand are not used.
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data import dataset
from experiments.data.datasets import definition
from experiments.data.datasets import originals
from experiments.data.sources import ColumnSource
from experiments.data.sources import open_source

_LABELS = {0: 0, 4: 1}  # Class of each polarity.
_TEST_SHARE = 160  # One tweet in so many: 5,000 of the 800,000 of a class.
_CSV = "training.1600000.processed.noemoticon.csv"
_SAMPLE = "sample20k.tsv"


def _read_csv(
  paths: Mapping[str, pathlib.Path], **options: Any
) -> definition.Raw:
  source = open_source(
    paths[_CSV],
    text_column=5,
    label_column=0,
    header=False,
    encoding="latin-1",
  )
  return _divided(source, **options)


def _read_sample(
  paths: Mapping[str, pathlib.Path], **options: Any
) -> definition.Raw:
  source = open_source(paths[_SAMPLE], text_column="text", label_column="label")
  return _divided(source, **options)


def _read_tfds(
  open_tfds: definition.OpenTfds, **options: Any
) -> definition.Raw:
  return _divided(open_tfds("sentiment140", "train"), **options)


def _divided(
  source: dataset.Source, *, watch: definition.Watch, seed: int
) -> definition.Raw:
  """Divides tweets at random, with the classes in both parts equally large."""
  labels = _labels(source, watch)
  size = min(np.bincount(labels, minlength=2))
  num_test = size // _TEST_SHARE
  rng = np.random.default_rng(seed)
  drawn = [rng.permutation(np.flatnonzero(labels == c))[:size] for c in (0, 1)]
  positions = {
    "train": np.sort(np.concatenate([d[num_test:] for d in drawn])),
    "test": np.sort(np.concatenate([d[:num_test] for d in drawn])),
  }
  return definition.Raw(
    splits={
      split: definition.Split(
        len(chosen), functools.partial(_examples, source, labels, chosen)
      )
      for split, chosen in positions.items()
    },
    num_bytes=110 * len(source),
    malformed=(
      {"tweets": source.malformed} if isinstance(source, ColumnSource) else {}
    ),
  )


def _labels(source: dataset.Source, watch: definition.Watch) -> np.ndarray:
  """Returns the class of each tweet, int8 [N]."""
  column = source.columns["label"] if isinstance(source, ColumnSource) else None
  labels = np.empty(len(source), np.int8)
  positions = range(len(source))
  for i in watch(positions, total=len(source), label="dividing", unit="tweet"):
    polarity = source[i]["label"] if column is None else column[i]
    if polarity not in _LABELS:
      raise ValueError(
        f"{source}: the label of tweet {i} must be 0 (negative) or 4 "
        f"(positive), got {polarity!r}"
      )
    labels[i] = _LABELS[polarity]
  return labels


def _examples(source: dataset.Source, labels: np.ndarray, chosen: np.ndarray):
  """Yields the tweets at some positions."""
  for i in chosen.tolist():
    yield {**source[i], "label": int(labels[i])}


SENTIMENT140_BIN = definition.Dataset(
  task=dataset.Task(
    name="sentiment140_bin",
    num_classes=2,
    class_names=("negative", "positive"),
  ),
  forms=(
    definition.Form(
      originals.Layout(
        name="Sentiment140",
        files=(_CSV,),
        archive="trainingandtestdata.zip",
      ),
      _read_csv,
    ),
    definition.Form(
      originals.Layout(name="a sample of Sentiment140", files=(_SAMPLE,)),
      _read_sample,
    ),
  ),
  tfds="sentiment140",
  read_tfds=_read_tfds,
  published={"train": (795_000, 795_000), "test": (5_000, 5_000)},
  where=(
    "http://help.sentiment140.com no longer has them: a copy of "
    f"trainingandtestdata.zip or {_CSV} is needed"
  ),
  max_length=128,
  options={"seed": 0},
)
