"""Stand-ins for the paper's datasets: made up, small, and nothing to report.

They have the classes, fine labels and kind of a dataset, so that a sweep can
be tried from end to end where that is not prepared: smoke tests.
"""

import pathlib

import numpy as np

from experiments.data import dataset
from experiments.data.datasets import DATASETS
from experiments.data.prepared import Prepared

_VOCABULARY = 40
_LONGEST = 12
_VECTOR_WIDTH = 16
_NOISE = 0.5  # Of a vector and a pixel, beside its centre's one.


def make(
  like: str,
  *,
  num_train: int = 400,
  num_test: int = 40,
  image_size: int = 8,
  seed: int = 0,
) -> Prepared:
  """Makes up examples of a dataset's kind.

  Around a random centre for each fine label, or class where there are none:
  images are noise on a random image, texts drawn from a random distribution of
  tokens, beside a vector that stands for precomputed embeddings.

  Args:
    like: The dataset that they stand for.
    num_train: Number of training examples.
    num_test: Number of test examples.
    image_size: Height and width of images.
    seed: Another seed, other examples.

  Returns:
    Train and test examples, as if they had been prepared.

  Raises:
    ValueError: If there is no such dataset.
  """
  if like not in DATASETS:
    raise ValueError(
      f"no data set {like!r} to stand in for; there are {sorted(DATASETS)}."
    )
  task = DATASETS[like].task
  shape = task.image_shape and (image_size, image_size, task.image_shape[2])
  task = dataset.Task(
    name=f"stand-in for {like}",
    num_classes=task.num_classes,
    fine_to_class=task.fine_to_class,
    class_names=task.class_names,
    fine_names=task.fine_names,
    image_shape=shape,
    scale=task.scale,
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
  sizes = [num_train, num_test, image_size, seed]
  manifest = {"task": task.name, "tokenizer": None, "splits": sizes}
  return Prepared(pathlib.Path(task.name), manifest, task, splits)


def _images(rng: np.random.Generator, centres: np.ndarray) -> np.ndarray:
  pixels = centres + _NOISE * rng.normal(size=centres.shape)
  return np.clip(128 + 40 * pixels, 0, 255).astype(np.uint8)


def _texts(rng: np.random.Generator, centres: np.ndarray) -> dataset.Ragged:
  """Tokens after an ALBERT's [CLS], 2, and before its [SEP], 3."""
  rows = []
  for logits in centres:
    weights = np.exp(2 * logits[4:])
    length = rng.integers(3, _LONGEST - 1)
    words = rng.choice(_VOCABULARY - 4, length, p=weights / weights.sum())
    rows.append([2, *(4 + words), 3])
  return dataset.Ragged.concatenate(rows, np.uint16)
