"""Small random data sets for smoke tests, in place of the paper's data sets.

They have the classes, hidden subclasses and type of inputs of a real data set,
so that a sweep can be run from end to end without preparing that data set. The
resulting accuracies mean nothing.
"""

import dataclasses
import hashlib
import pathlib

import numpy as np

from experiments.data import dataset
from experiments.data.datasets import DATASETS
from experiments.data.prepared import Prepared

_VOCABULARY = 40
_LONGEST = 12
_VECTOR_WIDTH = 16
_NOISE = 0.5  # Standard deviation; that of the centres is 1.


def make(
  like: str,
  *,
  num_train: int = 400,
  num_test: int = 40,
  image_size: int = 8,
  seed: int = 0,
) -> Prepared:
  """Makes random examples with the classes and type of inputs of a data set.

  Each hidden subclass, or each class without hidden subclasses, has a random
  centre. Images are a random image per centre plus noise. Texts consist of
  tokens from a random distribution per centre, and have a random vector per
  centre plus noise as precomputed embeddings.

  Args:
    like: Name of the data set.
    num_train: Number of training examples.
    num_test: Number of test examples.
    image_size: Height and width of images.
    seed: Seed of all random numbers.
  """
  if like not in DATASETS:
    raise ValueError(
      f"unknown data set like={like!r}; the known ones are {sorted(DATASETS)}."
    )
  task = DATASETS[like].task
  shape = task.image_shape and (image_size, image_size, task.image_shape[2])
  task = dataclasses.replace(
    task, name=f"stand-in for {like}", image_shape=shape
  )
  rng = np.random.default_rng(seed)
  num_centres = len(task.fine_to_class or range(task.num_classes))
  centres = rng.normal(size=(num_centres, int(np.prod(shape or _VOCABULARY))))
  vectors = rng.normal(size=(num_centres, _VECTOR_WIDTH))
  splits, first = {}, 0
  for split, size in (("train", num_train), ("test", num_test)):
    fine = (np.arange(size) % num_centres).astype(np.int32)
    ids = np.arange(first, first + size, dtype=np.int32)
    arrays: dataset.Arrays = {"labels": fine, "ids": ids}
    if task.fine_to_class:
      classes = np.array(task.fine_to_class, np.int32)
      arrays |= {"labels": classes[fine], "fine_labels": fine}
    if shape:
      arrays["inputs"] = _images(rng, centres[fine]).reshape(size, *shape)
    else:
      arrays["inputs"] = _texts(rng, centres[fine])
      noise = rng.normal(size=(size, _VECTOR_WIDTH))
      arrays["embeddings"] = np.float32(vectors[fine] + _NOISE * noise)
    splits[split] = arrays
    first += size
  sizes = [task.name, num_train, num_test, image_size, seed]
  digest = hashlib.sha256(str(sizes).encode()).hexdigest()
  return Prepared(pathlib.Path(task.name), task, splits, digest)


def _images(rng: np.random.Generator, centres: np.ndarray) -> np.ndarray:
  pixels = centres + _NOISE * rng.normal(size=centres.shape)
  return np.clip(128 + 40 * pixels, 0, 255).astype(np.uint8)


def _texts(rng: np.random.Generator, centres: np.ndarray) -> dataset.Ragged:
  """Draws random tokens, and adds ALBERT's [CLS] (2) and [SEP] (3)."""
  rows = []
  for logits in centres:
    weights = np.exp(2 * logits[4:])
    length = rng.integers(3, _LONGEST - 1)
    words = rng.choice(_VOCABULARY - 4, length, p=weights / weights.sum())
    rows.append([2, *(4 + words), 3])
  return dataset.Ragged.concatenate(rows, np.uint16)
