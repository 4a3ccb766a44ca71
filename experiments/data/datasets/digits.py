"""Scikit-learn's handwritten digits, with the parity of the digit as the class.

Scikit-learn contains these 1,797 images of 8 x 8 pixels, so nothing is
downloaded. The two classes are even and odd digits, and the ten digits are the
hidden subclasses.
"""

import importlib.util
import pathlib

import numpy as np

from experiments.data import dataset

_NUM_EXAMPLES = 1797

TASK = dataset.Task(
  name="digits",
  num_classes=2,
  fine_to_class=tuple(digit % 2 for digit in range(10)),
  class_names=("even", "odd"),
  fine_names=tuple(str(digit) for digit in range(10)),
  image_shape=(8, 8, 1),
  scale=16.0,
)


def load(
  split_seed: int,
  *,
  num_train: int = 1000,
  num_transfer: int = 100,
  num_validation: int = 297,
  num_test: int = 500,
) -> dataset.Splits:
  """Returns the digits, divided into splits at random.

  The number of examples of a digit in each split is proportional to its number
  in all data, to within two examples. Pixels have values from 0 to 16, and ids
  are positions in scikit-learn's arrays.
  """
  sizes = (num_train, num_validation, num_test)
  if (
    min(sizes) < 1
    or sum(sizes) != _NUM_EXAMPLES
    or not 1 <= num_transfer <= num_train
  ):
    raise ValueError(
      "config.data.options must have positive num_train + num_validation + "
      f"num_test = {_NUM_EXAMPLES} and num_transfer in [1, num_train], got "
      f"num_train={num_train}, num_validation={num_validation}, "
      f"num_test={num_test}, num_transfer={num_transfer}."
    )
  images, digits = _read()
  arrays = {
    "inputs": images,
    "labels": digits % 2,
    "fine_labels": digits,
    "ids": np.arange(len(digits), dtype=np.int32),
  }
  order = _balanced_order(digits, np.random.default_rng(split_seed))

  def part(start: int, size: int) -> dataset.Arrays:
    return dataset.gather(arrays, order[start : start + size])

  return dataset.Splits(
    task=TASK,
    train=part(0, num_train),
    transfer=part(0, num_transfer),
    validation=part(num_train, num_validation),
    test=part(num_train + num_validation, num_test),
  )


def _read() -> tuple[np.ndarray, np.ndarray]:
  """Reads the images, uint8 [N, 8, 8, 1], and their digits, int32 [N].

  The result equals `sklearn.datasets.load_digits`. It is read from
  scikit-learn's file, because importing scikit-learn takes most of a second.
  """
  found = importlib.util.find_spec("sklearn")
  assert found is not None
  assert found.origin is not None
  folder = pathlib.Path(found.origin).parent
  path = folder / "datasets" / "data" / "digits.csv.gz"
  rows = np.loadtxt(path, dtype=np.uint8, delimiter=",")
  return rows[:, :-1].reshape(-1, 8, 8, 1), rows[:, -1].astype(np.int32)


def _balanced_order(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Returns a random order in which the digits are evenly distributed.

  The examples of each digit are shuffled and placed at equal distances in
  [0, 1), with a random offset per digit. Then all examples are sorted by place.
  """
  places = np.empty(len(digits))
  for digit in np.unique(digits):
    (members,) = np.nonzero(digits == digit)
    rank = rng.permutation(len(members))
    places[members] = (rank + rng.random()) / len(members)
  return np.argsort(places)
