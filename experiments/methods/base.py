"""What a method is to the training of a stack of cells."""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import lelp_jax
from experiments.data.dataset import Task
from lelp_jax.train_step import LossFn

Hyperparameters = Mapping[str, jax.Array]


class Sizes(NamedTuple):
  """What the arrays that a method learns are measured by.

  Attributes:
    student_width: Width of the student's embeddings.
    teacher_width: Width of the teacher's, D.
    num_examples: Number of training examples.
  """

  student_width: int
  teacher_width: int
  num_examples: int


def one_subclass(config: ConfigDict, task: Task, width: int) -> int:
  """Returns 1: a head of one output a class."""
  del config, task, width
  return 1


def reads_embeddings(config: ConfigDict) -> str:
  """Returns "embeddings": the teacher's whole outputs."""
  del config
  return "embeddings"


def reads_logits(config: ConfigDict) -> str:
  """Returns "logits": nothing else of the teacher's outputs."""
  del config
  return "logits"


def nothing(*arguments: Any) -> dict[str, Any]:
  """Returns no targets."""
  del arguments
  return {}


def nothing_learned(*arguments: Any) -> tuple[Any, Any]:
  """Returns no parameters and no state of the loss."""
  del arguments
  return {}, ()


@dataclasses.dataclass(frozen=True)
class Method:
  """How one method trains a student.

  Every student has ``C * S`` outputs, those of one class contiguous, and is
  read by summing them (`class_log_probs`); without subclasses ``S = 1``.

  Attributes:
    title: Its name in tables.
    hyperparameters: The config fields it reads, which its grid may vary.
    loss: See `lelp_jax.train_step.LossFn`.
    reads: ``config -> text``: what of the teacher's outputs it needs, in
      training or before: "logits", also "coordinates" on principal
      directions, or also "embeddings".
    num_subclasses: ``(config, task, embedding width) -> S``.
    shared_targets: ``(task, teacher statistics, largest S) -> dict`` of the
      arrays that all cells of a stack have in common.
    targets: ``(config, task, teacher statistics, key, largest S) -> dict`` of
      the arrays of one cell. Shapes depend on the largest S alone, so that
      cells can be stacked. The loss gets both in one dict; ``"where"`` in it
      masks padded subclasses.
    learned: ``(config.loss as plain data, sizes, key) -> (loss_params,
      loss_state)``: what is trained, and carried along, beside the student.
    pretraining: The method that makes the ``loss_params`` this one starts
      from, or None: "METHOD_pretraining", by which reports find its cost.
    details: ``(config, teacher statistics) -> dict`` of plain data on the
      targets, for the result.
    remark: ``(config, task) -> text`` on what the method comes down to here,
      or "". Text that starts with "=" names a method whose training it would
      repeat: then it is not run.
  """

  title: str
  hyperparameters: tuple[str, ...]
  loss: LossFn
  reads: Callable[[ConfigDict], str] = reads_embeddings
  num_subclasses: Callable[[ConfigDict, Task, int], int] = one_subclass
  shared_targets: Callable[..., dict[str, Any]] = nothing
  targets: Callable[..., dict[str, Any]] = nothing
  learned: Callable[..., tuple[Any, Any]] = nothing_learned
  pretraining: str | None = None
  details: Callable[..., dict[str, Any]] = nothing
  remark: Callable[[ConfigDict, Task], str] = lambda config, task: ""


def class_nll(
  logits: jax.Array, labels: jax.Array, num_classes: int, where: Any = None
) -> jax.Array:
  """Computes the cross entropy of the true class, summed over its subclasses.

  Args:
    logits: The student's, ``[B, C * S]``.
    labels: Classes, int ``[B]``.
    num_classes: C.
    where: Subclasses that exist, bool ``[C, S]``, or None for all.

  Returns:
    Nats, ``[B]``.
  """
  log_probs = lelp_jax.class_log_probs(
    logits, num_classes=num_classes, temperature=1.0, where=where
  )
  return -jnp.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]


def with_hard_labels(terms_fn: Callable[..., Mapping[str, Any]]) -> LossFn:
  """Makes the loss of a method that learns and carries nothing of its own.

  Eq. (1) of the paper: alpha * hard labels + (1 - alpha) * distillation, both
  means over the batch.

  Args:
    terms_fn: ``(student, teacher, targets, batch, hyperparameters)`` to the
      terms of the distillation loss by name, each ``[B]`` or a scalar.

  Returns:
    The loss, which also reports its terms.
  """

  def loss_fn(
    loss_params, loss_state, student, teacher, targets, batch, scalars, key
  ):
    del loss_params, key
    terms = terms_fn(student, teacher, targets, batch, scalars)
    loss, metrics = weighed(terms, student, targets, batch, scalars)
    return loss, (metrics, loss_state)

  return loss_fn


def weighed(
  terms: Mapping[str, Any],
  student: Any,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Computes eq. (1) from the terms of the distillation loss.

  Args:
    terms: By name, each ``[B]`` or a scalar.
    student: The student's outputs.
    targets: ``"where"`` in it masks padded subclasses.
    batch: ``"labels"`` among others.
    scalars: ``"hard_label_weight"`` is alpha.

  Returns:
    The loss, and the terms' means for the log.
  """
  means = {name: jnp.mean(term) for name, term in terms.items()}
  where = targets.get("where")
  outputs = student.logits.shape[-1]
  num_classes = outputs if where is None else where.shape[0]
  hard = class_nll(student.logits, batch["labels"], num_classes, where).mean()
  weight = scalars["hard_label_weight"]
  loss = weight * hard + (1 - weight) * sum(means.values())
  return loss, {**means, "hard_label_term": hard}


def scalars(config: ConfigDict, method: Method) -> dict[str, np.float32]:
  """Returns the hyperparameters of a cell that its compiled program takes.

  Args:
    config: The cell's config.
    method: Its method.

  Raises:
    ValueError: If one is out of range.
  """
  loss = config.loss
  if loss.prediction_temperature not in ("train", "one"):
    raise ValueError(
      'config.loss.prediction_temperature must be "train" or "one", got '
      f"{loss.prediction_temperature!r}."
    )
  if loss.projection not in ("auto", "always", "never"):
    raise ValueError(
      'config.loss.projection must be "auto", "always" or "never", got '
      f"{loss.projection!r}."
    )
  # Methods that soften nothing have temperature one, and as they learn from
  # hard labels alone there is nothing for alpha to weigh.
  softened = "loss.temperature" in method.hyperparameters
  temperature = loss.temperature if softened else 1.0
  predict_at_train = loss.prediction_temperature == "train"
  values = {
    "temperature": temperature,
    "subclass_temperature": loss.subclass_temperature,
    "contrast_temperature": loss.contrast_temperature,
    "auxiliary_temperature": config.teacher.subclass.auxiliary_temperature,
    "prediction_temperature": temperature if predict_at_train else 1.0,
  }
  for name, value in values.items():
    if not value > 0:
      raise ValueError(f"{_field(name)} must be positive, got {value}.")
  weights = {
    "hard_label_weight": loss.hard_label_weight if softened else 0.0,
    "feature_weight": loss.feature_weight,
    "nontarget_weight": loss.nontarget_weight,
    "subclass_weight": loss.subclass_weight,
    "auxiliary_weight": config.teacher.subclass.auxiliary_weight,
  }
  for name, value in weights.items():
    if not value >= 0:
      raise ValueError(f"{_field(name)} must not be negative, got {value}.")
  if not 0 <= loss.hard_label_weight <= 1:
    raise ValueError(
      "config.loss.hard_label_weight, alpha of eq. (1), must lie in [0, 1], "
      f"got {loss.hard_label_weight}."
    )
  return {k: np.float32(v) for k, v in (values | weights).items()}


def _field(name: str) -> str:
  """Where a config has a hyperparameter."""
  if name.startswith("auxiliary"):
    return f"config.teacher.subclass.{name}"
  return f"config.loss.{name}"
