"""The methods that are compared, each a small value in `METHODS`.

A method says how many subclasses the student's head has for each class, what
it prepares from the teacher, and its loss. Every student has ``C * S``
outputs, those of one class contiguous, and is read by summing them
(`class_log_probs`); methods without subclasses have ``S = 1``. To add one,
write its loss and its value here.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import lelp_jax
from experiments.data.types import Task
from experiments.training.fitting import fitted_subspaces
from experiments.training.fitting import TeacherStatistics
from lelp_jax.baselines import kd_loss
from lelp_jax.models import Outputs
from lelp_jax.subsplit import masked_log_softmax
from lelp_jax.train_step import LossFn

Hyperparameters = Mapping[str, jax.Array]
Terms = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Method:
  """How one method trains a student.

  Attributes:
    title: Its name in tables.
    hyperparameters: The config fields it reads, which its grid may vary.
    num_subclasses: ``(config, task, embedding width) -> S``.
    shared_targets: ``(task, teacher statistics, largest S) -> dict`` of the
      arrays that all cells of a stack have in common.
    targets: ``(config, task, teacher statistics, key, largest S) -> dict`` of
      the arrays of one cell. Shapes depend on the largest S alone, so that
      cells can be stacked. The loss gets both in one dict; ``"where"`` in it
      masks padded subclasses.
    loss: See `lelp_jax.train_step.LossFn`.
  """

  title: str
  hyperparameters: tuple[str, ...]
  num_subclasses: Callable[[ConfigDict, Task, int], int]
  shared_targets: Callable[..., dict[str, Any]]
  targets: Callable[..., dict[str, Any]]
  loss: LossFn


def hyperparameter_arrays(config: ConfigDict) -> dict[str, np.float32]:
  """Returns the scalars of a cell that its compiled program takes."""
  loss = config.loss
  if loss.prediction_temperature not in ("train", "one"):
    raise ValueError(
      'config.loss.prediction_temperature must be "train" or "one", got '
      f"{loss.prediction_temperature!r}."
    )
  # Methods that soften nothing have temperature one, and as they learn from
  # hard labels alone there is nothing for alpha to weigh.
  softened = "loss.temperature" in METHODS[config.method].hyperparameters
  temperature = loss.temperature if softened else 1.0
  predict_at_train = loss.prediction_temperature == "train"
  values = {
    "temperature": temperature,
    "subclass_temperature": loss.subclass_temperature,
    "hard_label_weight": loss.hard_label_weight if softened else 0.0,
    "prediction_temperature": temperature if predict_at_train else 1.0,
  }
  for name, value in values.items():
    if name != "hard_label_weight" and not value > 0:
      raise ValueError(f"config.loss.{name} must be positive, got {value}.")
  if not 0 <= loss.hard_label_weight <= 1:
    raise ValueError(
      "config.loss.hard_label_weight, alpha of eq. (1), must lie in [0, 1], "
      f"got {loss.hard_label_weight}."
    )
  return {name: np.float32(value) for name, value in values.items()}


def _class_nll(
  logits: jax.Array, labels: jax.Array, num_classes: int, where: Any = None
) -> jax.Array:
  """Cross entropy of the true class, summed over its subclasses, [B]."""
  log_probs = lelp_jax.class_log_probs(
    logits, num_classes=num_classes, temperature=1.0, where=where
  )
  return -jnp.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]


def _with_hard_labels(terms_fn: Callable[..., Terms]) -> LossFn:
  """Makes the loss of a method that learns and carries nothing of its own.

  Eq. (1) of the paper: alpha * hard labels + (1 - alpha) * distillation, both
  means over the batch.

  Args:
    terms_fn: ``(student, teacher, targets, batch, hyperparameters)`` to the
      class term and the subclass term of each example, ``[B]``.

  Returns:
    The loss, which also reports its terms.
  """

  def loss_fn(
    loss_params, loss_state, student, teacher, targets, batch, scalars, key
  ):
    del loss_params, key
    terms = terms_fn(student, teacher, targets, batch, scalars)
    class_term, subclass_term = (term.mean() for term in terms)
    where = targets.get("where")
    outputs = student.logits.shape[-1]
    num_classes = outputs if where is None else where.shape[0]
    hard = _class_nll(student.logits, batch["labels"], num_classes, where)
    weight = scalars["hard_label_weight"]
    loss = weight * hard.mean() + (1 - weight) * (class_term + subclass_term)
    metrics = {
      "class_term": class_term,
      "subclass_term": subclass_term,
      "hard_label_term": hard.mean(),
    }
    return loss, (metrics, loss_state)

  return loss_fn


def _standard_terms(
  student: Outputs,
  teacher: Outputs | None,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> Terms:
  """Cross entropy with the true labels: no teacher, no temperature."""
  del teacher, targets, scalars
  nll = _class_nll(student.logits, batch["labels"], student.logits.shape[-1])
  return nll, jnp.zeros_like(nll)


def _vanilla_terms(
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> Terms:
  """Tempered divergence from the teacher's class probabilities."""
  del targets, batch
  loss = kd_loss(
    student.logits, teacher.logits, temperature=scalars["temperature"]
  )
  return loss, jnp.zeros_like(loss)


def _lelp_terms(
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> Terms:
  """The paper's loss (Algorithms 2 and 3), by the chain rule in two terms."""
  del batch
  teacher_log_probs = lelp_jax.log_subsplit(
    teacher.embeddings,
    teacher.logits,
    lelp_jax.Subspaces(targets["directions"], targets["means"]),
    temperature=scalars["temperature"],
    subclass_temperature=scalars["subclass_temperature"],
    where=targets["where"],
  )
  return lelp_jax.lelp_loss_terms(
    student.logits,
    teacher_log_probs,
    temperature=scalars["temperature"],
    where=targets["where"],
  )


def _oracle_terms(
  student: Outputs,
  teacher: Outputs | None,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> Terms:
  """Cross entropy with the true fine labels, of which classes are unions."""
  del teacher, scalars
  where = targets["where"]
  outputs = targets["output_of_fine_label"][batch["fine_labels"]]
  log_probs = masked_log_softmax(student.logits, where.ravel())
  fine = -jnp.take_along_axis(log_probs, outputs[:, None], axis=-1)[:, 0]
  coarse = _class_nll(student.logits, batch["labels"], where.shape[0], where)
  return coarse, fine - coarse


def _one_subclass(config: ConfigDict, task: Task, width: int) -> int:
  del config, task, width
  return 1


def _no_targets(*arguments: Any) -> dict[str, Any]:
  del arguments
  return {}


def _lelp_num_subclasses(config: ConfigDict, task: Task, width: int) -> int:
  del task
  if config.subspace.kind == "identity":
    return width
  num_subclasses = config.subspace.num_subclasses
  if not 1 <= num_subclasses <= width:
    raise ValueError(
      f"config.subspace.num_subclasses must lie in [1, {width}], the width of "
      f"the teacher's embeddings, got {num_subclasses}."
    )
  return num_subclasses


def _lelp_shared(
  task: Task, teacher: TeacherStatistics, size: int
) -> dict[str, Any]:
  del task, size
  return {"means": teacher.moments.mean}


def _lelp_targets(
  config: ConfigDict,
  task: Task,
  teacher: TeacherStatistics,
  key: jax.Array,
  size: int,
) -> dict[str, Any]:
  """Subspaces of the cell's own S, padded to the largest of the stack."""
  subspaces = fitted_subspaces(config.subspace, teacher, key, size)
  share = lelp_jax.variance_share(subspaces, teacher.moments)
  num_subclasses = subspaces.directions.shape[1]
  padding = ((0, 0), (0, size - num_subclasses), (0, 0))
  where = np.arange(size) < num_subclasses
  return {
    "directions": jnp.pad(subspaces.directions, padding),
    "where": np.broadcast_to(where, (task.num_classes, size)),
    "variance_share": share,
  }


def _oracle_num_subclasses(config: ConfigDict, task: Task, width: int) -> int:
  del config, width
  return int(np.bincount(_fine_to_class(task)).max())


def _oracle_shared(
  task: Task, teacher: TeacherStatistics, size: int
) -> dict[str, Any]:
  """Gives each fine label an output beside the others of its class."""
  del teacher
  classes = _fine_to_class(task)
  rank = np.array([np.sum(classes[:i] == c) for i, c in enumerate(classes)])
  members = np.bincount(classes, minlength=task.num_classes)
  return {
    "output_of_fine_label": (classes * size + rank).astype(np.int32),
    "where": np.arange(size) < members[:, None],
  }


def _fine_to_class(task: Task) -> np.ndarray:
  if task.fine_to_class is None:
    raise ValueError(
      f"method 'oracle' needs fine labels, and data set {task.name!r} has "
      "none; leave it out of the sweep."
    )
  return np.asarray(task.fine_to_class)


METHODS: dict[str, Method] = {
  "standard": Method(
    "Standard training",
    (),
    _one_subclass,
    _no_targets,
    _no_targets,
    _with_hard_labels(_standard_terms),
  ),
  "vanilla": Method(
    "Vanilla distillation",
    ("loss.temperature",),
    _one_subclass,
    _no_targets,
    _no_targets,
    _with_hard_labels(_vanilla_terms),
  ),
  "lelp": Method(
    "LELP",
    (
      "loss.temperature",
      "loss.subclass_temperature",
      "subspace.num_subclasses",
    ),
    _lelp_num_subclasses,
    _lelp_shared,
    _lelp_targets,
    _with_hard_labels(_lelp_terms),
  ),
  "oracle": Method(
    "Oracle clustering",
    (),
    _oracle_num_subclasses,
    _oracle_shared,
    _no_targets,
    _with_hard_labels(_oracle_terms),
  ),
}
