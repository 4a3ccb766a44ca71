"""Interface of a method, and eq. (1) of the paper, which all methods share."""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.data.dataset import Task
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import CellSpec
from experiments.specs import fields_of
from experiments.specs import LossSpec
from lelp_jax.models import Outputs
from lelp_jax.train_step import LossFn
from lelp_jax.train_step import LossInputs

# Each use of a trial's seed folds a different number into the key; for the
# other numbers see `experiments.training.states`.
ROTATION = 2

Terms = Mapping[str, jax.Array]
TermsFn = Callable[[LossInputs], Terms]
Learned = tuple[dict[str, Any], Any]


@dataclasses.dataclass(frozen=True)
class Setup:
  """Arguments of the functions with which a method prepares a cell's training.

  Attributes:
    cell: The cell.
    task: Its task.
    teacher_width: Width D of the teacher's embeddings, 0 if it is not known.
    statistics: Statistics of the teacher; None if the teacher does not exist
      yet.
    max_subclasses: The largest S of the cell's stack.
  """

  cell: CellSpec
  task: Task
  teacher_width: int = 0
  statistics: TeacherStatistics | None = None
  max_subclasses: int = 1

  @property
  def teacher(self) -> TeacherStatistics:
    """Statistics of the teacher; raises ValueError if there is no teacher."""
    if self.statistics is None:
      raise ValueError(f"method {self.cell.method!r} needs a teacher.")
    return self.statistics

  @property
  def key(self) -> jax.Array:
    """Random key of the cell's rotation or random directions (A-9)."""
    seed = self.cell.subspace.seed
    seed = self.cell.trial if seed < 0 else seed
    return jax.random.fold_in(jax.random.key(seed), ROTATION)


@dataclasses.dataclass(frozen=True)
class LossStatics:
  """Settings of a loss that are static in the compiled program.

  The loss finds them among its hyperparameters, as Python values.
  """

  projection: str
  contrast_width: int
  num_negatives: int
  num_projections: int


def loss_statics(cell: CellSpec) -> LossStatics:
  """Returns the settings of a cell's loss that are static in its program."""
  return LossStatics(
    projection=cell.loss.projection,
    contrast_width=cell.loss.contrast_width,
    num_negatives=cell.loss.num_negatives,
    num_projections=cell.subspace.num_projections,
  )


@dataclasses.dataclass(frozen=True)
class LossSetup:
  """Arguments of the function that initializes a loss's parameters and state.

  Attributes:
    statics: Static settings of the loss.
    student_width: Width of the student's embeddings.
    teacher_width: Width D of the teacher's embeddings.
    num_examples: Number of training examples.
    key: Random key.
  """

  statics: LossStatics
  student_width: int
  teacher_width: int
  num_examples: int
  key: jax.Array


@dataclasses.dataclass(frozen=True)
class Method:
  """A method: its loss, its targets and its hyperparameters.

  Every student has ``C * S`` outputs, with the outputs of one class next to
  each other. The probability of a class is the sum over its outputs
  (`class_log_probs`). Methods without subclasses have ``S = 1``.

  Attributes:
    title: Name in tables.
    hyperparameters: Config fields that the method reads and a grid may vary.
    loss: The loss, see `lelp_jax.train_step.LossFn`.
    teacher_outputs: Outputs of the teacher that the method needs, in training
      or before: "logits", "coordinates" (logits and coordinates on principal
      directions) or "embeddings" (logits and embeddings).
    num_subclasses: Returns the number of subclasses per class, S.
    shared_targets: Returns the arrays that all cells of a stack share.
    targets: Returns the arrays of one cell. Their shapes depend only on the
      largest S of the stack, so that cells can be stacked. The loss gets both
      kinds of targets in one dict. ``"where"`` in it, bool ``[C, S]``, is False
      for padded subclasses.
    learned: Returns ``(loss_params, loss_state)``: parameters that are trained
      with the student, and state that the loss carries from step to step.
    pretraining: Name of the method that pre-trains the ``loss_params``, or
      None.
    details: Returns JSON-compatible data on the targets for `result.json`:
      fields of `experiments.results.CellResult`.
    same_as: Returns the key in `METHODS` of the method that this one would
      repeat on a task, or None. It is called before the teacher is trained, so
      it may only use the cell and its task.
    remark: Returns a note for tables if the method degenerates on a task, else
      "". It is called like `same_as`.
    needs_labels: Whether students train only on labelled examples. For other
      methods, the label of an unlabelled example is the class that the teacher
      predicts (A-11). If there are such examples, batches hold "is_labelled",
      bool ``[B]``.
    needs_fine_labels: Whether students learn the fine labels of the data. Data
      without fine labels are refused before training.
  """

  title: str
  hyperparameters: tuple[str, ...]
  loss: LossFn
  teacher_outputs: str = "embeddings"
  num_subclasses: Callable[[Setup], int] = lambda setup: 1
  shared_targets: Callable[[Setup], dict[str, Any]] = lambda setup: {}
  targets: Callable[[Setup], dict[str, Any]] = lambda setup: {}
  learned: Callable[[LossSetup], Learned] = lambda setup: ({}, ())
  pretraining: str | None = None
  details: Callable[[Setup], dict[str, Any]] = lambda setup: {}
  same_as: Callable[[Setup], str | None] = lambda setup: None
  remark: Callable[[Setup], str] = lambda setup: ""
  needs_labels: bool = False
  needs_fine_labels: bool = False

  def outputs_for(self, cell: CellSpec) -> str:
    """Returns which outputs of the teacher a cell of this method needs."""
    # Ablations without principal directions cannot use coordinates.
    if self.teacher_outputs == "coordinates" and not cell.subspace.is_principal:
      return "embeddings"
    return self.teacher_outputs

  def scalars(self, cell: CellSpec) -> dict[str, np.float32]:
    """Returns the hyperparameters that the compiled program takes as arrays."""
    loss, subclass = cell.loss, cell.teacher.subclass
    values = {
      field.name: getattr(loss, field.name)
      for field in fields_of(LossSpec)
      if field.type is float
    }
    # A method without a temperature predicts at temperature one. It learns from
    # hard labels alone, so alpha does not apply.
    if "loss.temperature" not in self.hyperparameters:
      values |= {"temperature": 1.0, "hard_label_weight": 0.0}
    predicts_at_train = loss.prediction_temperature == "train"
    values |= {
      "prediction_temperature": (
        values["temperature"] if predicts_at_train else 1.0
      ),
      "auxiliary_weight": subclass.auxiliary_weight,
      "auxiliary_temperature": subclass.auxiliary_temperature,
    }
    return {name: np.float32(value) for name, value in values.items()}


def teacher_of(inputs: LossInputs) -> Outputs:
  """Returns the teacher's outputs, for a loss that requires them."""
  assert inputs.teacher is not None
  return inputs.teacher


def class_nll(
  logits: jax.Array,
  labels: jax.Array,
  num_classes: int,
  where: jax.Array | None = None,
) -> jax.Array:
  """Computes the cross entropy of the true classes in nats, ``[B]``.

  Args:
    logits: The student's logits, ``[B, C * S]``. The probability of a class is
      the sum over its subclasses.
    labels: True classes, ``[B]``.
    num_classes: C.
    where: Subclasses that exist, bool ``[C, S]``.
  """
  log_probs = lelp_jax.class_log_probs(
    logits, num_classes=num_classes, temperature=1.0, where=where
  )
  return -jnp.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]


def with_hard_labels(terms_fn: TermsFn) -> LossFn:
  """Makes a loss function for a method without parameters or state.

  Args:
    terms_fn: Computes the terms of the distillation loss by name, each ``[B]``
      or a scalar.

  Returns:
    A function that computes eq. (1) of the paper and reports its terms as
    metrics.
  """

  def loss_fn(inputs: LossInputs) -> tuple[jax.Array, tuple[Any, Any]]:
    loss, metrics = weighed(terms_fn(inputs), inputs)
    return loss, (metrics, inputs.loss_state)

  return loss_fn


def weighed(
  terms: Terms, inputs: LossInputs
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Computes eq. (1) of the paper from the terms of the distillation loss.

  The equation is alpha * hard labels + (1 - alpha) * distillation, where alpha
  is `config.loss.hard_label_weight` and both losses are means over the batch.
  Examples without a label do not count in the mean of the first one.

  Args:
    terms: Terms by name, each ``[B]`` or a scalar.
    inputs: Inputs of the loss. ``targets["where"]`` masks padded subclasses.

  Returns:
    The loss, and the mean of each term as metrics.
  """
  means = {name: jnp.mean(term) for name, term in terms.items()}
  where, logits = inputs.targets.get("where"), inputs.student.logits
  num_classes = logits.shape[-1] if where is None else where.shape[0]
  hard = class_nll(logits, inputs.batch["labels"], num_classes, where)
  is_labelled = inputs.batch.get("is_labelled")
  if is_labelled is None:
    hard = hard.mean()
  else:
    hard = (hard * is_labelled).sum() / jnp.maximum(is_labelled.sum(), 1)
  weight = inputs.hyperparameters["hard_label_weight"]
  loss = weight * hard + (1 - weight) * sum(means.values())
  return loss, {**means, "hard_label_term": hard}
