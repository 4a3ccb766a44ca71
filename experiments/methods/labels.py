"""Methods that learn from labels and from the teacher's class probabilities."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.data.dataset import Task
from experiments.methods.base import class_nll
from experiments.methods.base import Hyperparameters
from experiments.methods.base import Method
from experiments.methods.base import reads_logits
from experiments.methods.base import with_hard_labels
from experiments.training.fitting import TeacherStatistics
from lelp_jax import baselines
from lelp_jax.models import Outputs
from lelp_jax.train_step import LossFn

Terms = dict[str, jax.Array]


def _standard(
  student: Outputs,
  teacher: Outputs | None,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> Terms:
  """Cross entropy with the true labels: no teacher, no temperature."""
  del teacher, targets, scalars
  nll = class_nll(student.logits, batch["labels"], student.logits.shape[-1])
  return {"class_term": nll}


def kd_term(
  student: Outputs, teacher: Outputs, scalars: Hyperparameters
) -> jax.Array:
  """Computes the tempered divergence from the teacher's probabilities, [B]."""
  return baselines.kd_loss(
    student.logits, teacher.logits, temperature=scalars["temperature"]
  )


def _compared(loss_fn: Callable[..., jax.Array]) -> LossFn:
  """Makes the loss that compares tempered probabilities in some way."""

  def terms(student, teacher, targets, batch, scalars):
    del targets, batch
    temperature = scalars["temperature"]
    loss = loss_fn(student.logits, teacher.logits, temperature=temperature)
    return {"class_term": loss}

  return with_hard_labels(terms)


def _dkd(
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> Terms:
  """Target and non-target divergence apart, by the true label."""
  del targets
  loss = baselines.dkd_loss(
    student.logits,
    teacher.logits,
    batch["labels"],
    temperature=scalars["temperature"],
    nontarget_weight=scalars["nontarget_weight"],
  )
  return {"class_term": loss}


def _oracle(
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
  log_probs = jax.nn.log_softmax(student.logits, where=where.ravel()[None])
  fine = -jnp.take_along_axis(log_probs, outputs[:, None], axis=-1)[:, 0]
  coarse = class_nll(student.logits, batch["labels"], where.shape[0], where)
  return {"class_term": coarse, "subclass_term": fine - coarse}


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


def _dkd_remark(config: ConfigDict, task: Task) -> str:
  """With two classes there is no non-target divergence (kd_peers, DKD)."""
  del config
  return "= vanilla KD" if task.num_classes == 2 else ""


def _dist_remark(config: ConfigDict, task: Task) -> str:
  del config
  if task.num_classes > 2:
    return ""
  return "of two classes only the part between examples has a gradient"


def _standardized_remark(config: ConfigDict, task: Task) -> str:
  del config
  if task.num_classes > 2:
    return ""
  return "two standardized logits are a sign: nothing is learned"


STANDARD = Method(
  "Standard training",
  (),
  with_hard_labels(_standard),
  reads=reads_logits,
)
VANILLA = Method(
  "Vanilla distillation",
  ("loss.temperature",),
  _compared(baselines.kd_loss),
  reads=reads_logits,
)
DKD = Method(
  "Decoupled KD",
  ("loss.temperature", "loss.nontarget_weight"),
  with_hard_labels(_dkd),
  reads=reads_logits,
  remark=_dkd_remark,
)
DIST = Method(
  "DIST",
  ("loss.temperature",),
  _compared(baselines.dist_loss),
  reads=reads_logits,
  remark=_dist_remark,
)
STANDARDIZED = Method(
  "Logit standardization",
  ("loss.temperature",),
  _compared(baselines.standardized_kd_loss),
  reads=reads_logits,
  remark=_standardized_remark,
)
ORACLE = Method(
  "Oracle clustering",
  (),
  with_hard_labels(_oracle),
  reads=reads_logits,
  num_subclasses=_oracle_num_subclasses,
  shared_targets=_oracle_shared,
)
