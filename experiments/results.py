"""Reads and writes results: `result.json` of cells and teachers, `sweep.json`.

The dataclasses in this module define all fields of these files. Training builds
one of them and calls `write`; reports call `read`. NaN and infinity, which JSON
cannot hold, are written as null and read as None.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any
from typing import Literal
from typing import TypeVar

from experiments import specs
from experiments.data.dataset import LeftOut
from experiments.io import json_files

# A confusion matrix of more classes is not stored: it would fill `result.json`,
# and nobody could read it.
MOST_CLASSES = 32
Numbers = Mapping[str, float | None]
Folder = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Mistake:
  """An example whose predicted class is wrong.

  Attributes:
    id: Id of the example in its data set.
    label: True class.
    predicted: Predicted class.
    probability: Probability of the predicted class.
  """

  id: int
  label: int
  predicted: int
  probability: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
  """Summary of predictions, from which reports compute intervals and pictures.

  Attributes:
    correct: One bit per example, in the order of the split, which says whether
      the prediction is correct. Eight bits are packed into a byte, and bytes
      are written as hexadecimal digits. Reports use it for paired comparisons
      of models.
    calibration: Bins of the prediction's confidence, `[num_bins, 3]`: number of
      examples, sum of their confidences, number of correct predictions.
    loss_deviation: Standard deviation of the loss over examples.
    confusion: Number of examples by class and predicted class, `[C, C]`; None
      for more than `MOST_CLASSES` classes.
    mistakes: The wrong predictions with the highest probabilities.
  """

  correct: str
  calibration: tuple[tuple[float, ...], ...]
  loss_deviation: float | None = None
  confusion: tuple[tuple[int, ...], ...] | None = None
  mistakes: tuple[Mistake, ...] = ()


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Scores of a model on one set of examples.

  Attributes:
    accuracy: Fraction of the examples whose class is predicted correctly.
    loss: Cross entropy of the true class (log loss), in nats per example.
    agreement: Fraction of the examples on which the model and its teacher
      predict the same class; None for a model without a teacher.
    num_examples: Number of examples.
    macro_f1: Mean F1 score of the classes. This and the following fields are
      None for validation examples.
    matthews_correlation: Matthews' correlation of classes and predictions.
    calibration_error: Expected calibration error, a fraction.
    predictions: Summary of the predictions.
  """

  accuracy: float
  loss: float | None = None
  agreement: float | None = None
  num_examples: int | None = None
  macro_f1: float | None = None
  matthews_correlation: float | None = None
  calibration_error: float | None = None
  predictions: Predictions | None = None

  def __post_init__(self) -> None:
    if not 0 <= self.accuracy <= 1:
      raise ValueError(
        f"accuracy must be a fraction from 0 to 1, got {self.accuracy}."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelResult:
  """Results that students and teachers have in common.

  Attributes:
    validation: Scores on the validation examples; with `selection="test"`
      these are the test examples.
    test: Scores on the test examples.
    train: Loss and its terms in the last training steps, by name.
    num_parameters: Number of parameters of the model.
    num_extra_parameters: Number of parameters of the loss, such as projections,
      which are trained with the model but are not part of it.
    num_steps: Number of training steps.
    num_train_examples: Number of distinct training examples.
    num_unlabelled_examples: Number of training examples without a label, on
      which a student learns from its teacher alone.
    variance_share: Share of each class's variance along the method's
      directions; None for a method without directions.
    versions: Versions of the packages, and the kind of device.
  """

  validation: Evaluation
  test: Evaluation
  train: Numbers
  num_parameters: int
  num_extra_parameters: int
  num_steps: int
  num_train_examples: int
  num_unlabelled_examples: int = 0
  variance_share: tuple[float | None, ...] | None
  versions: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class TeacherSeconds:
  """Time spent on a teacher.

  Attributes:
    training: Seconds of its training; None if it was interrupted.
  """

  training: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherResult(ModelResult):
  """`teachers/<digest>/result.json`.

  Attributes:
    origin: Digests of the "data" and the "pretrained weights" that the teacher
      was trained from. A digest is empty or None if there is nothing to digest.
    seconds: Time spent on the teacher.
  """

  origin: Mapping[str, str | None]
  seconds: TeacherSeconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherSummary:
  """A cell's record of its teacher.

  Attributes:
    digest: Digest of the teacher, which names its folder.
    outputs: Value of `config.teacher.outputs`.
    validation: Scores on the validation examples.
    test: Scores on the test examples.
    num_parameters: Number of parameters.
    origin: As in `TeacherResult`.
  """

  digest: str
  outputs: str
  validation: Evaluation
  test: Evaluation
  num_parameters: int
  origin: Mapping[str, str | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingResult:
  """`pretraining/<digest>/result.json`, and a cell's record of it.

  Attributes:
    digest: Digest of the pre-training, which names its folder.
    num_steps: Number of training steps.
    batch_size: Number of examples per step.
    seconds: Seconds of the pre-training; None if it was interrupted.
  """

  digest: str
  num_steps: int
  batch_size: int
  seconds: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackResult:
  """A cell's record of the stack that it was trained in.

  Attributes:
    digest: Digest of the stack.
    num_cells: Number of cells in the stack.
    seconds: Seconds of its training; None if it was interrupted.
  """

  digest: str
  num_cells: int
  seconds: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellSeconds:
  """Seconds spent on a cell.

  Attributes:
    teacher: Training of the teacher; None if it was interrupted.
    moments: Moments of the teacher's embeddings; None if they are not needed.
      Stacks that share them record the same number.
    preparation: Everything between the teacher and the first step of the
      stack: projections, clusters, subspaces.
    step: One step of the whole stack.
    example: The student's forward pass of one example, in a batch of at most
      64 on the devices of one process.
    teacher_example: The teacher's forward pass of one example, likewise.
  """

  teacher: float | None = None
  moments: float | None = None
  preparation: float | None = None
  step: float | None = None
  example: float | None = None
  teacher_example: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellResult(ModelResult):
  """`cells/<column>/<row>/<digest>/trial<k>/result.json`.

  Attributes:
    column: Column of the table; empty for a single run without a column.
    method: Row of the table.
    digest: Digest of the settings, which is the same for all trials.
    trial: Number of the trial, from 0.
    selection: Examples on which hyperparameters are chosen, "heldout" or
      "test".
    hyperparameters: Settings of the method, by the last part of their names.
    teacher: The teacher.
    stack: The stack that the cell was trained in.
    seconds: Seconds spent on the cell.
    pretraining: Record of the pre-training of the cell's projections; None for
      a method without one.
    null_space_share: Share of each class's variance that lies in the null
      space of the teacher's head; None for methods that do not compute it.
    subclass_information: Adjusted mutual information of the subclasses with
      the fine labels of the students' training examples, within classes; None
      without subclasses, fine labels or cached outputs of the teacher.
    clustering: `Clustering.summary` or `Centroids.summary`; None for methods
      without clusters.
    classes: Names of the classes; empty if the data have none.
    left_out: Rows of a user's own files that are not used.
    data_notes: Remarks on a user's own files, such as the number of test
      examples that are also training examples.
    inputs: Description of the student's inputs. For images: their "shape", the
      "scale" by which pixels are divided, and the filter of "resize", if any.
      For texts: the SHA-256 of the "tokenizer", and the "max_length".
  """

  column: str
  method: str
  digest: str
  trial: int
  selection: Literal["heldout", "test"]
  hyperparameters: Mapping[str, Any]
  teacher: TeacherSummary
  stack: StackResult
  seconds: CellSeconds
  pretraining: PretrainingResult | None = None
  null_space_share: tuple[float | None, ...] | None = None
  subclass_information: float | None = None
  clustering: Mapping[str, Any] | None = None
  classes: tuple[str, ...] = ()
  left_out: tuple[LeftOut, ...] = ()
  data_notes: tuple[str, ...] = ()
  inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Heading:
  """A column or a row of a table.

  Attributes:
    id: Name of its folder.
    title: Name in reports.
  """

  id: str
  title: str


@dataclasses.dataclass(frozen=True)
class SameAs:
  """A cell that is not trained because it would repeat another method.

  Attributes:
    column: Column of the table.
    method: Row of the table.
    other: The method that it would repeat, a key of `METHODS`.
  """

  column: str
  method: str
  other: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepDescription:
  """`sweep.json`: the cells of a sweep.

  Attributes:
    name: Short name.
    title: Title in reports.
    columns: Columns of the table, in order.
    methods: Rows of the table, in order.
    num_trials: Number of trials of each cell.
    selection: Examples on which hyperparameters are chosen, "heldout" or
      "test".
    columns_are: "splits" (random splits of one data set) or "teachers" (which
      differ in their seed), for which reports show means, or "settings".
    num_cells: Number of cells to train.
    digests: Digests of the cells. The workdir may also hold cells of an earlier
      sweep.
    notes: Sentences for the report.
    same_as: Cells that are not trained because they repeat another method.
    is_smoke: Whether this is a smoke test, whose numbers mean nothing.
    maps: Whether the report draws maps of the students' embeddings.
    num_tried: Number of settings, by row, among which a first stage chose the
      setting of these cells; empty without a first stage.
  """

  name: str
  title: str
  columns: tuple[Heading, ...]
  methods: tuple[Heading, ...]
  num_trials: int
  selection: Literal["heldout", "test"]
  columns_are: Literal["settings", "splits", "teachers"]
  num_cells: int
  digests: tuple[str, ...]
  notes: tuple[str, ...] = ()
  same_as: tuple[SameAs, ...] = ()
  is_smoke: bool = False
  maps: bool = True
  num_tried: Mapping[str, int] = dataclasses.field(default_factory=dict)


# Records in the folders of cells, teachers, pre-trainings and sweeps.
Record = TypeVar(
  "Record", CellResult, TeacherResult, PretrainingResult, SweepDescription
)


def path_of(folder: Folder, kind: type[Record]) -> pathlib.Path:
  """Returns the path of a record in the folder of a cell, teacher or sweep."""
  name = "sweep.json" if kind is SweepDescription else "result.json"
  return pathlib.Path(folder) / name


def write(folder: Folder, record: Record) -> None:
  """Writes a record atomically."""
  fields = json_files.plain(record)
  # The fields of the subclass come first, since they name the cell.
  own = {k: fields[k] for k in vars(type(record)).get("__annotations__", {})}
  json_files.write_json(path_of(folder, type(record)), own | fields)


def read(folder: Folder, kind: type[Record]) -> Record:
  """Reads the record of a folder.

  Raises FileNotFoundError if it does not exist, and ValueError if it is damaged
  or was written by another version.
  """
  path = path_of(folder, kind)
  values = json_files.read_json(path)
  try:
    if not isinstance(values, dict):
      raise ValueError(f"it must hold an object, got {values!r:.80}.")
    return specs.from_plain(values, kind, kind.__name__)
  except ValueError as error:
    raise ValueError(
      f"{path} cannot be used: {error} Delete it and run the command that "
      "writes it again."
    ) from None
