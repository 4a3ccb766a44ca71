"""Subclass Distillation: trains a teacher with subclasses, and its student.

The teacher's head has C * S outputs, and the probability of a class is the sum
over its S outputs. An auxiliary loss makes the teacher use all subclasses of a
class. The student learns all C * S probabilities (Mueller et al., eqs. 7 and
8).
"""

from typing import Any

import jax
import numpy as np

from experiments.methods.base import class_nll
from experiments.methods.base import Method
from experiments.methods.base import Setup
from experiments.methods.labels import VANILLA
from lelp_jax import baselines
from lelp_jax.train_step import LossInputs


def _teacher_loss(inputs: LossInputs) -> tuple[jax.Array, tuple[Any, Any]]:
  """Computes the cross entropy of the classes plus the auxiliary loss."""
  logits, hyperparameters = inputs.student.logits, inputs.hyperparameters
  num_classes = inputs.targets["where"].shape[0]
  nll = class_nll(logits, inputs.batch["labels"], num_classes).mean()
  auxiliary = baselines.subclass_auxiliary_loss(
    logits, temperature=hyperparameters["auxiliary_temperature"]
  )
  metrics = {"class_term": nll, "auxiliary_term": auxiliary}
  loss = nll + hyperparameters["auxiliary_weight"] * auxiliary
  return loss, (metrics, inputs.loss_state)


def _num_subclasses(setup: Setup) -> int:
  return setup.cell.teacher.subclass.num_subclasses


def _shared_targets(setup: Setup) -> dict[str, Any]:
  """Returns "where", which is True for all subclasses."""
  shape = (setup.task.num_classes, setup.max_subclasses)
  return {"where": np.ones(shape, np.bool_)}


_TEACHER = (
  "teacher.subclass.num_subclasses",
  "teacher.subclass.auxiliary_weight",
  "teacher.subclass.auxiliary_temperature",
)
SUBCLASS = Method(
  "Subclass distillation",
  ("loss.temperature", *_TEACHER),
  VANILLA.loss,
  teacher_outputs="logits",
  num_subclasses=_num_subclasses,
  shared_targets=_shared_targets,
)
SUBCLASS_TEACHER = Method(
  "Subclass distillation teacher",
  _TEACHER,
  _teacher_loss,
  num_subclasses=_num_subclasses,
  shared_targets=_shared_targets,
)
