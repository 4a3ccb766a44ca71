"""LELP and its ablations: what the package is about."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import lelp_jax
from experiments.data.dataset import Task
from experiments.methods.base import Hyperparameters
from experiments.methods.base import Method
from experiments.methods.base import with_hard_labels
from experiments.training.fitting import fitted_subspaces
from experiments.training.fitting import TeacherStatistics
from experiments.training.fitting import variance_share
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
  class_term, subclass_term = lelp_jax.lelp_loss_terms(
    student.logits,
    _teacher_log_probs(teacher, targets, scalars),
    temperature=scalars["temperature"],
    where=targets["where"],
  )
  return {
    "class_term": class_term,
    "subclass_term": scalars["subclass_weight"] * subclass_term,
  }


def _teacher_log_probs(
  teacher: Outputs, targets: Mapping[str, Any], scalars: Hyperparameters
) -> jax.Array:
  """The mean over projections of the pseudo-subclasses of each, ``[B, C, S]``.

  LELP has one projection; of M, each has 1/M of each class's probability.
  """
  number = targets["projections"].shape[0]
  parts = [
    lelp_jax.log_subsplit(
      teacher.embeddings,
      teacher.logits,
      lelp_jax.Subspaces(targets["directions"][:, m::number], targets["means"]),
      temperature=scalars["temperature"],
      subclass_temperature=scalars["subclass_temperature"],
      where=targets["where"][:, m::number],
    )
    for m in range(number)
  ]
  stacked = jnp.stack(parts, axis=-1) - np.log(number).astype(np.float32)
  return stacked.reshape(*stacked.shape[:-2], -1)


def _projection(
  subspaces: lelp_jax.Subspaces, m: int, number: int
) -> lelp_jax.Subspaces:
  """One of several projections whose directions take turns."""
  return lelp_jax.Subspaces(subspaces.directions[:, m::number], subspaces.means)


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
  number = config.subspace.num_projections
  share = sum(  # Directions of different projections are not orthogonal.
    variance_share(_projection(subspaces, m, number), teacher)
    for m in range(number)
  )
  num_subclasses = subspaces.directions.shape[1]
  padding = ((0, 0), (0, size - num_subclasses), (0, 0))
  where = np.arange(size) < num_subclasses
  return {
    "directions": jnp.pad(subspaces.directions, padding),
    "where": np.broadcast_to(where, (task.num_classes, size)),
    "variance_share": share / number,
    # Its length says how many; shapes are what a program is compiled for.
    "projections": np.zeros(number, np.bool_),
  }


def _details(config: ConfigDict, teacher: TeacherStatistics) -> dict[str, Any]:
  """How much of each class's variance the head's null space leaves (A-3)."""
  share = teacher.once(
    ("null space share", config.subspace.rtol),
    lambda: lelp_jax.null_space_share(
      teacher.moments, teacher.head_kernel, rtol=config.subspace.rtol
    ),
  )
  return {"null_space_share": [float(x) for x in share]}


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
  details=_details,
)
