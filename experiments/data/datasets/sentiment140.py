"""Sentiment140: tweets labelled as positive or negative by their emoticons.

Go, Bhayani and Huang 2009. Of the 1.6 million training tweets, 10,000 random
ones are the test examples, and both splits have equally large classes (A-30).
The 498 tweets labelled by hand are not used.
"""

import pathlib
from collections.abc import Mapping

import numpy as np

from experiments.data import examples as examples_lib
from experiments.data import originals
from experiments.data.dataset import Task
from experiments.data.tfds import TfdsExamples

_POLARITIES = ("0", "4")  # Of negative and positive tweets.
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
  return _divided(examples, seed)


def _read_tfds(folder: pathlib.Path | None, *, seed: int) -> originals.Raw:
  fields = {"text": "text", "label": "polarity"}
  tweets = TfdsExamples("sentiment140", "train", fields, folder)
  columns = tweets.columns()
  columns |= {
    "id": [*range(len(tweets))],
    "label": [*map(str, columns["label"])],
  }
  return _divided(examples_lib.Examples(tweets.name, columns), seed)


def _divided(examples: examples_lib.Examples, seed: int) -> originals.Raw:
  """Divides tweets at random into splits with equally large classes."""
  texts = examples.columns["text"]
  labels = np.array(examples_lib.class_numbers(examples, _POLARITIES))
  size = min(np.bincount(labels, minlength=2))
  num_test = size // _TEST_SHARE
  rng = np.random.default_rng(seed)
  drawn = [rng.permutation(np.flatnonzero(labels == c))[:size] for c in (0, 1)]
  rows = {
    "train": np.sort(np.concatenate([d[num_test:] for d in drawn])),
    "test": np.sort(np.concatenate([d[:num_test] for d in drawn])),
  }
  splits = {
    split: {"text": [texts[i] for i in chosen], "label": labels[chosen]}
    for split, chosen in rows.items()
  }
  return originals.Raw(splits, examples.left_out("tweets"))


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
  tfds=("sentiment140",),
  read_tfds=_read_tfds,
  published={"train": (795_000, 795_000), "test": (5_000, 5_000)},
  where=(
    "http://help.sentiment140.com no longer has them: a copy of "
    f"trainingandtestdata.zip or {_CSV} is needed"
  ),
  max_length=128,
  options={"seed": 0},
)
