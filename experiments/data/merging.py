"""Fewer classes from many: CIFAR-100 in 2, 5, 10 or 20 parts."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from experiments.data import dataset

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


def class_of_fine_label(num_classes: int) -> np.ndarray:
  """Returns the merged class of each of CIFAR-100's labels, int32 ``[100]``.

  20 classes are the published superclasses. Fewer are these in the order of
  their numbers, so many to a class: a class of few is a union of classes of
  many.

  Args:
    num_classes: 2, 4, 5, 10, 20 or 100.

  Raises:
    ValueError: If there is no such merging.

  Examples:
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


def merged(
  task: dataset.Task, parts: Mapping[str, dataset.Arrays], num_classes: int
) -> tuple[dataset.Task, dict[str, dataset.Arrays]]:
  """Merges the classes of CIFAR-100; its own labels become the fine ones.

  Args:
    task: What there is to learn of it.
    parts: Its splits.
    num_classes: How many classes there are to be, see `class_of_fine_label`.

  Returns:
    The task and the splits, with other labels.

  Raises:
    ValueError: If the task has other than 100 classes, or there is no such
      merging.
  """
  if task.num_classes != len(_SUPERCLASSES):
    raise ValueError(
      "config.data.merge_classes merges CIFAR-100's 100 classes, "
      f"{task.name!r} has {task.num_classes}."
    )
  classes = class_of_fine_label(num_classes)
  task = dataclasses.replace(
    task,
    num_classes=num_classes,
    fine_to_class=tuple(int(c) for c in classes),
    class_names=tuple(f"group {c}" for c in range(num_classes)),
    fine_names=task.class_names,
  )
  return task, {
    split: {
      **arrays,
      "labels": classes[arrays["labels"]],
      "fine_labels": np.asarray(arrays["labels"]),
    }
    for split, arrays in parts.items()
  }
