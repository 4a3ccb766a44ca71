"""What a dataset is to the rest: a task, and arrays of examples."""

import dataclasses

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Task:
  """What there is to learn, and what an example looks like.

  Attributes:
    name: The dataset's name.
    num_classes: Number of classes, C.
    fine_to_class: The class of each hidden subclass, where the data tell: the
      oracle trains on them, and the report counts how many were found.
    class_names: A name for each class.
    fine_names: A name for each hidden subclass.
    image_shape: Height, width and channels; None for text.
    scale: A model sees an image's stored values divided by this.
  """

  name: str
  num_classes: int
  fine_to_class: tuple[int, ...] | None = None
  class_names: tuple[str, ...] = ()
  fine_names: tuple[str, ...] = ()
  image_shape: tuple[int, int, int] | None = None
  scale: float = 1.0

  def __post_init__(self):
    wrong = set(self.fine_to_class or ()) - set(range(self.num_classes))
    if wrong:
      raise ValueError(
        f"fine_to_class of {self.name} must lie in [0, {self.num_classes}), "
        f"got {sorted(wrong)}."
      )


@dataclasses.dataclass(frozen=True)
class Splits:
  """A dataset, divided. No example is in two splits but `transfer`'s.

  Each split holds, by name: "inputs" (uint8 for images), "labels" (int32),
  "fine_labels" (int32) where the data have them, and "ids" (int32, unique in
  the dataset).

  Attributes:
    task: What there is to learn.
    train: What the teacher trains on.
    transfer: The part of `train` that students train on.
    validation: What settings are chosen on; nothing trains on it.
    test: What the reported numbers are measured on.
  """

  task: Task
  train: Arrays
  transfer: Arrays
  validation: Arrays
  test: Arrays
