"""The examples of a split, checked and written to the prepared form."""

import contextlib
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.data import columns
from experiments.data import dataset


class Rows:
  """The examples of one split, on their way to disk."""

  def __init__(
    self,
    folder: pathlib.Path,
    split: str,
    task: dataset.Task,
    token_dtype: Any,
    first_id: int,
    stack: contextlib.ExitStack,
  ):
    self.num_examples = 0
    self._split = split
    self._task = task
    self._first_id = first_id
    self._label_counts = np.zeros(task.num_classes, np.int64)
    self._fine_counts = np.zeros(len(task.fine_to_class or ()), np.int64)

    def column(name: str, dtype: Any, shape: tuple = ()) -> columns.Column:
      path = folder / f"{name}.npy"
      return stack.enter_context(columns.Column(path, np.dtype(dtype), shape))

    def ragged(name: str, dtype: Any, offsets: str) -> columns.RaggedColumn:
      offset_column = column(offsets, np.int64)
      return columns.RaggedColumn(column(name, dtype), offset_column)

    self._labels = column("labels", np.int32)
    self._ids = column("ids", np.int32)
    self._fine_labels = self._images = self._texts = self._tokens = None
    if task.fine_to_class is not None:
      self._fine_labels = column("fine_labels", np.int32)
    if task.image_shape is not None:
      self._images = column("images", np.uint8, task.image_shape)
      return
    self._texts = ragged("text", np.uint8, "text_offsets")
    if token_dtype is not None:
      self._tokens = ragged("tokens", token_dtype, "token_offsets")

  def extend(
    self,
    examples: Sequence[Mapping[str, Any]],
    tokens: Sequence[np.ndarray] | None = None,
  ) -> None:
    """Appends examples.

    Args:
      examples: As `dataset.Source` has them, with labels that are ints.
      tokens: The token ids of each text, where they are to be written.

    Raises:
      ValueError: If an example does not fit the task; the message names it.
    """
    for index, example in enumerate(examples, start=self.num_examples):
      self._check(index, example)
    if self._images is not None:
      self._images.append(np.stack([e["image"] for e in examples]))
    if self._texts is not None:
      texts = (e["text"].encode() for e in examples)
      self._texts.extend([np.frombuffer(text, np.uint8) for text in texts])
    if self._tokens is not None:
      if tokens is None or len(tokens) != len(examples):
        raise ValueError("every text must come with its tokens.")
      self._tokens.extend(tokens)
    labels = np.array([e["label"] for e in examples], np.int32)
    self._label_counts += np.bincount(labels, minlength=self._task.num_classes)
    self._labels.append(labels)
    if self._fine_labels is not None:
      fine = np.array([e["fine_label"] for e in examples], np.int32)
      self._fine_counts += np.bincount(fine, minlength=len(self._fine_counts))
      self._fine_labels.append(fine)
    start = self._first_id + self.num_examples
    self._ids.append(np.arange(start, start + len(examples)))
    self.num_examples += len(examples)

  def record(self) -> dict[str, Any]:
    """Returns what the manifest says of the split."""
    record = {
      "num_examples": self.num_examples,
      "label_counts": self._label_counts.tolist(),
    }
    if self._fine_labels is not None:
      record["fine_label_counts"] = self._fine_counts.tolist()
    return record

  def _check(self, index: int, example: Mapping[str, Any]) -> None:
    """Raises ValueError if an example does not fit the task."""
    wrong = _wrong(self._task, example)
    if wrong is not None:
      name = f"{index} (id {example['id']})" if "id" in example else index
      raise ValueError(
        f"example {name} of {self._task.name}'s {self._split} split: {wrong}."
      )


def _wrong(task: dataset.Task, example: Mapping[str, Any]) -> str | None:
  """Returns how an example does not fit a task, None if it does."""
  fine = () if task.fine_to_class is None else ("fine_label",)
  content = "text" if task.image_shape is None else "image"
  for key in ("label", *fine, content):
    if key not in example:
      return f"it has no {key!r}"
  wrong = _wrong_label("label", example["label"], task.num_classes)
  if wrong is None and task.fine_to_class is not None:
    fine_label = example["fine_label"]
    wrong = _wrong_label("fine_label", fine_label, len(task.fine_to_class))
    if wrong is None and task.fine_to_class[fine_label] != example["label"]:
      return f"label {example['label']} is not that of fine_label {fine_label}"
  if task.image_shape is None:
    return wrong or _wrong_text(example["text"])
  return wrong or _wrong_image(example["image"], task.image_shape)


def _wrong_label(name: str, label: Any, count: int) -> str | None:
  """Returns what is wrong with a label, or None."""
  if not isinstance(label, int | np.integer) or isinstance(label, bool):
    return f"{name} must be an int, got {label!r}"
  if not 0 <= label < count:
    return f"{name} must lie in [0, {count}), got {label}"
  return None


def _wrong_text(text: Any) -> str | None:
  """Returns what is wrong with a text, or None."""
  if not isinstance(text, str):
    return f"text must be a str, got {type(text).__name__}"
  try:
    text.encode()
  except UnicodeEncodeError as error:
    return f"text is not Unicode: {error.reason} at character {error.start}"
  return None


def _wrong_image(image: Any, shape: tuple[int, int, int]) -> str | None:
  """Returns what is wrong with an image, or None."""
  image = np.asarray(image)
  if image.shape == shape and image.dtype == np.uint8:
    return None
  return (
    f"image must be uint8 {list(shape)}, got {image.dtype} {list(image.shape)}"
  )
