"""CIFAR-10 and CIFAR-100, whole or with the label's parity as the class.

Spec section 3: `y = y_original % 2`; the oracle's hidden subclass is the
original label, in CIFAR-100 the fine one.
"""

import functools
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data import dataset
from experiments.data.datasets import cifar_files
from experiments.data.datasets import definition
from experiments.data.datasets import originals
from experiments.data.sources import open_source

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

# The published superclass of each fine label, in the order of its number:
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


_JPEG = (
  "the images are JPEG copies, not the original pixels: accuracies are not "
  "comparable with published ones"
)
_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))

_Convert = Callable[[definition.Example], definition.Example]


def class_of_fine_label(num_classes: int) -> np.ndarray:
  """Returns the class of each of CIFAR-100's labels after merging classes.

  20 classes are the published superclasses. Fewer classes are unions of
  consecutive superclasses: each class of a small number of classes is a union
  of classes of a larger number.

  >>> np.bincount(class_of_fine_label(5))
  array([20, 20, 20, 20, 20])

  Args:
    num_classes: 2, 4, 5, 10, 20 or 100.

  Returns:
    Classes, int32 ``[100]``.

  Raises:
    ValueError: If the classes cannot be merged into that many.
  """
  if num_classes == len(_SUPERCLASSES):
    return np.arange(len(_SUPERCLASSES), dtype=np.int32)
  if num_classes < 2 or _NUM_SUPERCLASSES % num_classes:
    raise ValueError(
      "config.data.merge_classes must be 100 or a divisor of CIFAR-100's 20 "
      f"superclasses above 1, got {num_classes}."
    )
  return _SUPERCLASSES // (_NUM_SUPERCLASSES // num_classes)


def cifar10(name: str, *, binary: bool) -> definition.Dataset:
  """Returns CIFAR-10 under a name, as it is or with parity as the class."""
  batches = [f"{batch}.bin" for batch in _BATCHES]
  binary_version = originals.Layout(
    name="CIFAR-10's binary version",
    files=(*batches, "test_batch.bin"),
    folders=("", "cifar-10-batches-bin"),
    archive="cifar-10-binary.tar.gz",
  )
  python_version = originals.Layout(
    name="CIFAR-10's Python version",
    files=(*_BATCHES, "test_batch"),
    folders=("", "cifar-10-batches-py"),
    archive="cifar-10-python.tar.gz",
  )
  jpeg = originals.Layout(
    name="CIFAR-10 as JPEG images in Parquet files",
    files=("cifar10_jpegq75_train.parquet", "cifar10_jpegq75_test.parquet"),
  )
  subset = originals.Layout(
    name="a part of CIFAR-10 in an .npz file",
    files=("cifar10_exact_subset.npz",),
  )
  reads = {
    binary_version: functools.partial(_read_binary, num_labels=1),
    python_version: functools.partial(_read_python, label_key="labels"),
    jpeg: _read_jpeg,
    subset: functools.partial(_read_npz, label_key="y"),
  }
  return _dataset(name, NAMES_10, reads, binary)


def cifar100(name: str, *, binary: bool) -> definition.Dataset:
  """Returns CIFAR-100 under a name, as it is or with parity as the class."""
  binary_version = originals.Layout(
    name="CIFAR-100's binary version",
    files=("train.bin", "test.bin"),
    folders=("", "cifar-100-binary"),
    archive="cifar-100-binary.tar.gz",
  )
  python_version = originals.Layout(
    name="CIFAR-100's Python version",
    files=("train", "test"),
    folders=("", "cifar-100-python"),
    archive="cifar-100-python.tar.gz",
  )
  subset = originals.Layout(
    name="a part of CIFAR-100 in an .npz file",
    files=("cifar100_exact_subset.npz",),
  )
  reads = {
    binary_version: functools.partial(_read_binary, num_labels=2),
    python_version: functools.partial(_read_python, label_key="fine_labels"),
    subset: functools.partial(_read_npz, label_key="fine"),
  }
  return _dataset(name, NAMES_100, reads, binary)


def _dataset(
  name: str,
  names: tuple[str, ...],
  reads: Mapping[originals.Layout, Callable[..., definition.Raw]],
  binary: bool,
) -> definition.Dataset:
  """Returns one of the two, given how each of its layouts is read."""
  fine_to_class = tuple(i % 2 for i in range(len(names)))
  task = dataset.Task(
    name=name,
    num_classes=2 if binary else len(names),
    fine_to_class=fine_to_class if binary else None,
    class_names=("even", "odd") if binary else names,
    fine_names=names if binary else (),
    image_shape=(32, 32, 3),
    scale=255.0,
  )
  convert = _parity if binary else dict
  tfds = f"cifar{len(names)}"
  return definition.Dataset(
    task=task,
    forms=tuple(
      definition.Form(layout, functools.partial(read, convert=convert))
      for layout, read in reads.items()
    ),
    tfds=tfds,
    read_tfds=functools.partial(_read_tfds, name=tfds, convert=convert),
    published={
      split: (count // task.num_classes,) * task.num_classes
      for split, count in (("train", 50_000), ("test", 10_000))
    },
    where="they are at https://www.cs.toronto.edu/~kriz/cifar.html",
  )


def _parity(example: definition.Example) -> definition.Example:
  """Makes the original label the hidden one, and its parity the class."""
  label = example["label"]
  return {**example, "label": label % 2, "fine_label": label}


def _raw(
  splits: Mapping[str, definition.Split], convert: _Convert, **fields: Any
) -> definition.Raw:
  """Returns splits whose examples are converted."""

  def converted(split: definition.Split) -> definition.Split:
    return definition.Split(
      split.num_examples, lambda: map(convert, split.examples())
    )

  num_examples = sum(split.num_examples for split in splits.values())
  return definition.Raw(
    splits={name: converted(split) for name, split in splits.items()},
    num_bytes=(32 * 32 * 3 + 12) * num_examples,
    **fields,
  )


def _by_split(paths: Mapping[str, pathlib.Path]) -> dict[str, list]:
  """Divides the files into those of either split."""
  splits: dict[str, list] = {"train": [], "test": []}
  for name, path in paths.items():
    splits["test" if "test" in name else "train"].append(path)
  return splits


def _read_binary(
  paths: Mapping[str, pathlib.Path],
  *,
  num_labels: int,
  convert: _Convert,
  **_: Any,
) -> definition.Raw:
  splits = {
    split: cifar_files.binary_split(files, num_labels)
    for split, files in _by_split(paths).items()
  }
  return _raw(splits, convert)


def _read_python(
  paths: Mapping[str, pathlib.Path],
  *,
  label_key: str,
  convert: _Convert,
  **_: Any,
) -> definition.Raw:
  splits = {
    split: cifar_files.python_split(files, label_key)
    for split, files in _by_split(paths).items()
  }
  return _raw(splits, convert)


def _read_jpeg(
  paths: Mapping[str, pathlib.Path], *, convert: _Convert, **_: Any
) -> definition.Raw:
  splits = {
    split: definition.from_source(
      open_source(files, image_column="jpeg", label_column="label")
    )
    for split, files in _by_split(paths).items()
  }
  return _raw(splits, convert, notes=(_JPEG,), details={"jpeg": True})


def _read_npz(
  paths: Mapping[str, pathlib.Path],
  *,
  label_key: str,
  convert: _Convert,
  **_: Any,
) -> definition.Raw:
  (path,) = paths.values()
  splits = {
    split: definition.from_source(
      open_source(
        path,
        image_column=f"x_{split}",
        label_column=f"{label_key}_{split}",
      )
    )
    for split in ("train", "test")
  }
  return _raw(splits, convert)


def _read_tfds(
  open_tfds: definition.OpenTfds, *, name: str, convert: _Convert, **_: Any
) -> definition.Raw:
  splits = {
    split: definition.from_source(open_tfds(name, split))
    for split in ("train", "test")
  }
  return _raw(splits, convert)
