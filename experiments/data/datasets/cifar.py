"""CIFAR-10 and CIFAR-100, with all classes or with two.

The class of the two-class versions is ``y % 2``, where y is the original label
(for CIFAR-100 the fine label). The original labels are the hidden subclasses.
"""

import functools
import pathlib
import pickle
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data import originals
from experiments.data import tables
from experiments.data.dataset import Task

NAMES_10 = tuple(
  "airplane automobile bird cat deer dog frog horse ship truck".split()
)
NAMES_100 = tuple(
  """
  apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy
  bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee
  clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
  flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
  leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
  oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
  poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
  shrew skunk skyscraper snail snake spider squirrel streetcar sunflower
  sweet_pepper table tank telephone television tiger tractor train trout tulip
  turtle wardrobe whale willow_tree wolf woman worm
  """.split()
)

# The published superclass of each fine label. The superclasses are, from 0:
# aquatic mammals, fish, flowers, food containers, fruit and vegetables,
# electrical devices, furniture, insects, large carnivores, large man-made
# outdoor things, large natural outdoor scenes, large omnivores and herbivores,
# medium-sized mammals, non-insect invertebrates, people, reptiles, small
# mammals, trees, vehicles 1, vehicles 2.
_SUPERCLASSES = np.array(
  """
  4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11
  6 11 5 10 7 6 13 15 3 15 0 11 1 10 12 14 16 9 11 5
  5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17
  10 3 2 12 12 16 12 1 9 19 2 10 0 1 16 12 9 13 15 13
  16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13
  """.split(),
  np.int32,
)
_NUM_SUPERCLASSES = 20

_JPEG_NOTE = (
  "the images are JPEG copies, not the original pixels: accuracies are not "
  "comparable with published ones"
)
_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_IMAGE_BYTES = 3072
# Callables that are needed to unpickle an array, by their names in the files.
_UNPICKLED: Mapping[tuple[str, str], Callable[..., Any]] = {
  ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
  ("numpy", "ndarray"): np.ndarray,
  ("numpy", "dtype"): np.dtype,
}

# Reads the images of a file, uint8 [N, 3072], and their labels.
_ReadFile = Callable[[pathlib.Path], tuple[np.ndarray, Sequence[int]]]


def class_of_fine_label(num_classes: int) -> np.ndarray:
  """Returns the merged class of each of CIFAR-100's fine labels, ``[100]``.

  20 classes are the published superclasses, and fewer classes are unions of
  consecutive superclasses.

  >>> np.bincount(class_of_fine_label(5))
  array([20, 20, 20, 20, 20])
  """
  if num_classes == len(_SUPERCLASSES):
    return np.arange(len(_SUPERCLASSES), dtype=np.int32)
  if num_classes < 2 or _NUM_SUPERCLASSES % num_classes:
    raise ValueError(
      "config.data.merge_classes must be 100 or a divisor of CIFAR-100's 20 "
      f"superclasses above 1, got {num_classes}."
    )
  return _SUPERCLASSES // (_NUM_SUPERCLASSES // num_classes)


def _read_files(
  paths: Mapping[str, pathlib.Path], *, read: _ReadFile
) -> originals.Raw:
  """Reads binary files or pickles; test files have "test" in their names."""
  splits = {}
  for split in ("train", "test"):
    files = [
      x for name, x in paths.items() if ("test" in name) == (split == "test")
    ]
    images, labels = zip(*map(read, files), strict=True)
    pixels = np.concatenate(images).reshape(-1, 3, 32, 32)
    splits[split] = {
      "image": pixels.transpose(0, 2, 3, 1),
      "label": np.concatenate(labels),
    }
  return originals.Raw(splits)


def _read_binary(
  path: pathlib.Path, num_labels: int
) -> tuple[np.ndarray, list[int]]:
  """Reads a file of the binary version, and the last label of each image."""
  with tables.reading(path):
    data = np.fromfile(path, np.uint8)
  row_bytes = num_labels + _IMAGE_BYTES
  if data.size % row_bytes:
    raise ValueError(
      f"{path} has {data.size:,} bytes, which is not a multiple of "
      f"{row_bytes:,}: it is cut short, or not a file of this data set"
    )
  rows = data.reshape(-1, row_bytes)
  return rows[:, num_labels:], rows[:, num_labels - 1].tolist()


def _unpickle(
  path: pathlib.Path, label_key: str
) -> tuple[np.ndarray, list[int]]:
  """Reads a file of the Python version, without running code in it."""
  with tables.opened(path) as file:
    # Python 2 wrote the files, and its strings are bytes.
    batch = _ArrayUnpickler(file, encoding="bytes").load()
    rows, labels = batch[b"data"], list(batch[label_key.encode()])
  expected = (len(labels), _IMAGE_BYTES)
  if getattr(rows, "shape", None) != expected or rows.dtype != np.uint8:
    raise ValueError(f"{path} does not hold uint8 images of shape {expected}")
  return rows, labels


class _ArrayUnpickler(pickle.Unpickler):
  """Unpickles NumPy arrays and Python's own types, and calls nothing else."""

  def find_class(self, module: str, name: str) -> Any:
    """Returns a callable by its name, or raises UnpicklingError."""
    module = module.replace("numpy._core", "numpy.core")  # NumPy 2's name.
    try:
      return _UNPICKLED[module, name]
    except KeyError:
      raise pickle.UnpicklingError(
        f"it calls {module}.{name}, which arrays do not need"
      ) from None


def _dataset(
  name: str, names: tuple[str, ...], *, binary: bool = False
) -> originals.Dataset:
  """Returns a version of CIFAR-10 or CIFAR-100."""
  number = len(names)
  fine = number == len(NAMES_100)
  files = ("train", "test") if fine else (*_BATCHES, "test_batch")
  folder = "cifar-100" if fine else "cifar-10"
  read_binary = functools.partial(_read_binary, num_labels=2 if fine else 1)
  unpickle = functools.partial(
    _unpickle, label_key="fine_labels" if fine else "labels"
  )
  forms = [
    originals.Form(
      name=f"CIFAR-{number}'s {version} version",
      files=tuple(f"{file}{suffix}" for file in files),
      read=functools.partial(_read_files, read=read),
      folders=("", f"{folder}-{'' if fine else 'batches-'}{inside}"),
      archive=f"{folder}-{version.lower()}.tar.gz",
    )
    for version, suffix, inside, read in (
      ("binary", ".bin", "binary" if fine else "bin", read_binary),
      ("Python", "", "python" if fine else "py", unpickle),
    )
  ]
  if not fine:
    splits = ("train", "test")
    forms.append(
      originals.table_form(
        "CIFAR-10 as JPEG images in Parquet files",
        {split: (f"cifar10_jpegq75_{split}.parquet",) for split in splits},
        tuple(map(str, range(number))),
        {"image_column": "jpeg", "label_column": "label"},
        notes=(_JPEG_NOTE,),
        details={"jpeg": True},
      )
    )
  num_classes = 2 if binary else number
  return originals.Dataset(
    task=Task(
      name=name,
      num_classes=num_classes,
      fine_to_class=tuple(i % 2 for i in range(number)) if binary else None,
      class_names=("even", "odd") if binary else names,
      fine_names=names if binary else (),
      image_shape=(32, 32, 3),
      scale=255.0,
    ),
    forms=tuple(forms),
    tfds=(f"cifar{number}",),
    read_tfds=originals.tfds_reader(
      f"cifar{number}", content={"image": "image"}
    ),
    published={
      split: (count // num_classes,) * num_classes
      for split, count in (("train", 50_000), ("test", 10_000))
    },
    where="they are at https://www.cs.toronto.edu/~kriz/cifar.html",
  )


CIFAR10 = _dataset("cifar10", NAMES_10)
CIFAR10_BIN = _dataset("cifar10_bin", NAMES_10, binary=True)
CIFAR100 = _dataset("cifar100", NAMES_100)
CIFAR100_BIN = _dataset("cifar100_bin", NAMES_100, binary=True)
