"""Subclass Distillation: a teacher retrained with subclasses, and its student.

The teacher's head has C * S outputs. It learns the classes, sums of them, and
an auxiliary loss keeps it from using one subclass of each only. The student
learns all C * S probabilities (Mueller et al., eqs. 7 and 8).
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.data.dataset import Task
from experiments.methods.base import class_nll
from experiments.methods.base import Hyperparameters
from experiments.methods.base import Method
from experiments.methods.base import reads_logits
from experiments.methods.base import with_hard_labels
from experiments.methods.labels import kd_term
from lelp_jax import baselines
from lelp_jax.models import Outputs


def _student_terms(
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> dict[str, jax.Array]:
  del targets, batch
  return {"class_term": kd_term(student, teacher, scalars)}


def _teacher_loss(
  loss_params, loss_state, student, teacher, targets, batch, scalars, key
):
  """Cross entropy of the classes, and the auxiliary loss times its weight."""
  del loss_params, teacher, key
  num_classes = targets["where"].shape[0]
  nll = class_nll(student.logits, batch["labels"], num_classes).mean()
  auxiliary = baselines.subclass_auxiliary_loss(
    student.logits, temperature=scalars["auxiliary_temperature"]
  )
  metrics = {"class_term": nll, "auxiliary_term": auxiliary}
  loss = nll + scalars["auxiliary_weight"] * auxiliary
  return loss, (metrics, loss_state)


def _num_subclasses(config: ConfigDict, task: Task, width: int) -> int:
  del task, width
  num_subclasses = config.teacher.subclass.num_subclasses
  if num_subclasses < 2:
    raise ValueError(
      "method 'subclass' needs a teacher with subclasses: "
      "config.teacher.subclass.num_subclasses must be at least 2, got "
      f"{num_subclasses}."
    )
  return num_subclasses


def _shared(task: Task, teacher: Any, size: int) -> dict[str, Any]:
  """All subclasses exist; their number is the teacher's."""
  del teacher
  return {"where": np.ones((task.num_classes, size), np.bool_)}


_TEACHER = (
  "teacher.subclass.num_subclasses",
  "teacher.subclass.auxiliary_weight",
  "teacher.subclass.auxiliary_temperature",
)
SUBCLASS = Method(
  "Subclass distillation",
  ("loss.temperature", *_TEACHER),
  with_hard_labels(_student_terms),
  reads=reads_logits,
  num_subclasses=_num_subclasses,
  shared_targets=_shared,
)
SUBCLASS_TEACHER = Method(
  "Subclass distillation teacher",
  _TEACHER,
  _teacher_loss,
  num_subclasses=_num_subclasses,
  shared_targets=_shared,
)
