"""LELP and its ablations: what the package is about."""

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
from experiments.training.fitting import variance_share
from experiments.training.methods.method import Hyperparameters
from experiments.training.methods.method import Method
from experiments.training.methods.method import with_hard_labels
from lelp_jax.models import Outputs


def _terms(
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> dict[str, jax.Array]:
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
  class_term, subclass_term = lelp_jax.lelp_loss_terms(
    student.logits,
    teacher_log_probs,
    temperature=scalars["temperature"],
    where=targets["where"],
  )
  return {"class_term": class_term, "subclass_term": subclass_term}


def _reads(config: ConfigDict) -> str:
  """Directions of the ablations are no principal ones."""
  principal = config.subspace.kind in ("lelp", "pca")
  return "coordinates" if principal else "embeddings"


def _num_subclasses(config: ConfigDict, task: Task, width: int) -> int:
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


def _shared(
  task: Task, teacher: TeacherStatistics, size: int
) -> dict[str, Any]:
  del task, size
  return {"means": teacher.means}


def _targets(
  config: ConfigDict,
  task: Task,
  teacher: TeacherStatistics,
  key: jax.Array,
  size: int,
) -> dict[str, Any]:
  """Subspaces of the cell's own S, padded to the largest of the stack."""
  subspaces = fitted_subspaces(config.subspace, teacher, key, size)
  share = variance_share(subspaces, teacher)
  num_subclasses = subspaces.directions.shape[1]
  padding = ((0, 0), (0, size - num_subclasses), (0, 0))
  where = np.arange(size) < num_subclasses
  return {
    "directions": jnp.pad(subspaces.directions, padding),
    "where": np.broadcast_to(where, (task.num_classes, size)),
    "variance_share": share,
  }


LELP = Method(
  "LELP",
  (
    "loss.temperature",
    "loss.subclass_temperature",
    "subspace.num_subclasses",
  ),
  with_hard_labels(_terms),
  reads=_reads,
  num_subclasses=_num_subclasses,
  shared_targets=_shared,
  targets=_targets,
)
