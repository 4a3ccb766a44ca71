"""Sentiment140: tweets labelled as positive or negative by their emoticons.

Go, Bhayani and Huang 2009. Of the 1.6 million training tweets, 10,000 random
ones are the test examples, and both splits have equally large classes (A-30).
The 498 tweets labelled by hand are not used.
"""

import functools
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data import examples as examples_lib
from experiments.data import originals
from experiments.data.dataset import Example
from experiments.data.dataset import Task
from experiments.data.tfds import TfdsExamples
from experiments.io.progress import tracked

_Tweets = examples_lib.Examples | TfdsExamples
_CLASSES = {"0": 0, "4": 1}  # The class of each polarity.
# One tweet in 160 is a test example: 5,000 of the 800,000 per class.
_TEST_SHARE = 160
_CSV = "training.1600000.processed.noemoticon.csv"


def _read_csv(paths: Mapping[str, pathlib.Path], *, seed: int) -> originals.Raw:
  examples = examples_lib.read(
    paths[_CSV],
    text_column=5,
    label_column=0,
    header=False,
    encoding="latin-1",
  )
  return _divided(examples, seed, left_out=examples.left_out("tweets"))


def _read_tfds(open_tfds: originals.OpenTfds, *, seed: int) -> originals.Raw:
  fields = {"text": "text", "label": "polarity"}
  return _divided(open_tfds("sentiment140", "train", fields), seed)


def _divided(examples: _Tweets, seed: int, **fields: Any) -> originals.Raw:
  """Divides tweets at random into splits with equally large classes."""
  labels = _labels(examples)
  size = min(np.bincount(labels, minlength=2))
  num_test = size // _TEST_SHARE
  rng = np.random.default_rng(seed)
  drawn = [rng.permutation(np.flatnonzero(labels == c))[:size] for c in (0, 1)]
  positions = {
    "train": np.sort(np.concatenate([d[num_test:] for d in drawn])),
    "test": np.sort(np.concatenate([d[:num_test] for d in drawn])),
  }

  def chosen(positions: np.ndarray) -> Iterator[Example]:
    for i in positions.tolist():
      yield {**examples[i], "label": int(labels[i])}

  splits = {
    split: originals.Generated(len(rows), functools.partial(chosen, rows))
    for split, rows in positions.items()
  }
  return originals.Raw(splits, **fields)


def _labels(examples: _Tweets) -> np.ndarray:
  """Returns the class of each tweet, int8 ``[N]``."""
  labels = np.empty(len(examples), np.int8)
  tweets = tracked(
    examples,
    total=len(examples),
    label="dividing",
    unit="tweet",
    saved="nothing is written yet",
  )
  for i, tweet in enumerate(tweets):
    polarity = str(tweet["label"])
    if polarity not in _CLASSES:
      raise ValueError(
        f"{examples.name}: the label of tweet {i} must be 0 (negative) or 4 "
        f"(positive), got {polarity}"
      )
    labels[i] = _CLASSES[polarity]
  return labels


SENTIMENT140_BIN = originals.Dataset(
  task=Task(
    name="sentiment140_bin",
    num_classes=2,
    class_names=("negative", "positive"),
  ),
  forms=(
    originals.Form(
      name="Sentiment140",
      files=(_CSV,),
      read=_read_csv,
      archive="trainingandtestdata.zip",
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
