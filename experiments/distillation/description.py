"""Description of an exported student: `config.json` in its folder."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated
from typing import Any
from typing import Literal

from flax.core import FrozenDict

from experiments import specs
from experiments.io import json_files
from experiments.io import safetensors_files

CONFIG = "config.json"
LABELS = "labels.json"
TOKENIZER = "tokenizer.json"
WEIGHTS = safetensors_files.WEIGHTS
ONNX = "model.onnx"
JAX_EXPORT = "model.jaxexport"
CARD = "README.md"

# Names of the inputs and of the output of `ONNX` and `JAX_EXPORT`.
INPUT_NAMES = {
  "text": ("input_ids", "attention_mask"),
  "image": ("pixels",),
  "embeddings": ("embeddings",),
}
OUTPUT_NAME = "probabilities"


@dataclasses.dataclass(frozen=True)
class Student:
  """Everything about an exported student except its weights and labels.

  Attributes:
    reads: The data that it predicts: "text", "image" or "embeddings". This is
      not `Architecture.reads`: an MLP reads arrays, which may be images or
      embeddings.
    model: The model, as in `config.student`.
    options: Options of the model, which computes in float32.
    num_classes: Number of classes, C.
    num_outputs: Number of outputs of its head, C * S.
    temperature: Temperature of the softmax over the outputs, before the
      probabilities of each class are summed.
    calibration_temperature: Temperature that calibrates the sums.
    text_column: Column of the texts in the training data, "" for other data.
    image_column: Column of the images in the training data, "" for other data.
    header: Whether the tables of the training data have a line of column names.
    max_length: The largest number of tokens of a text, 0 for other data.
    pad_id: The token that pads the shorter texts of a batch.
    shape: Height, width and channels of an image, or the width of embeddings.
    scale: Divisor of stored pixels.
    versions: Versions of the packages that wrote the student.
  """

  reads: Literal["text", "image", "embeddings"]
  model: str
  options: FrozenDict[str, Any]
  num_classes: Annotated[int, specs.AT_LEAST_1]
  num_outputs: Annotated[int, specs.AT_LEAST_1]
  temperature: float
  calibration_temperature: float
  text_column: str = ""
  image_column: str = ""
  header: bool = True
  max_length: int = 0
  pad_id: int = 0
  shape: tuple[int, ...] = ()
  scale: float = 1.0
  versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


def write(folder: pathlib.Path, student: Student) -> None:
  """Writes the description of a student."""
  json_files.write_json(folder / CONFIG, student)


def is_student(folder: pathlib.Path) -> bool:
  """Returns whether a folder has the description of an exported student."""
  path = folder / CONFIG
  values = json_files.read_json(path) if path.is_file() else None
  return isinstance(values, dict) and "calibration_temperature" in values


def read(folder: pathlib.Path) -> tuple[Student, tuple[str, ...]]:
  """Returns the description of a student, and the names of its classes.

  Raises FileNotFoundError if there is no such folder, and ValueError if it
  does not hold a student.
  """
  if not folder.is_dir():
    raise FileNotFoundError(
      f"there is no student {folder}: run experiments.distill, which writes it "
      "to `student` in its workdir."
    )
  try:
    for name in (CONFIG, LABELS):
      if not (folder / name).is_file():
        raise ValueError(f"it has no {name}.")
    values = json_files.read_json(folder / CONFIG)
    labels = json_files.read_json(folder / LABELS)
    if not isinstance(values, dict):
      raise ValueError(f"{CONFIG} must hold an object, got {values!r:.80}.")
    student = specs.from_plain(values, Student, CONFIG)
    if not (
      isinstance(labels, list)
      and all(isinstance(label, str) for label in labels)
      and len(set(labels)) == len(labels) == student.num_classes
    ):
      raise ValueError(
        f"{LABELS} must list the names of the {student.num_classes} classes in "
        "order."
      )
    if student.reads == "text" and not (folder / TOKENIZER).is_file():
      raise ValueError(f"it reads texts and has no {TOKENIZER}.")
  except ValueError as error:
    raise ValueError(
      f"{folder} is not a student: {error} Name the folder `student` of a "
      "workdir of experiments.distill, or export the student again."
    ) from None
  return student, tuple(labels)
