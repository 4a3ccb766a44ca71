"""LELP and its ablations (appendix C of the paper)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.methods.base import Method
from experiments.methods.base import Setup
from experiments.methods.base import teacher_of
from experiments.methods.base import Terms
from experiments.methods.base import with_hard_labels
from lelp_jax.train_step import LossInputs


def _num_subclasses(setup: Setup) -> int:
  if setup.cell.subspace.kind == "identity":
    return setup.teacher_width
  return num_directions(setup)


def num_directions(setup: Setup) -> int:
  """Returns `config.subspace.num_subclasses`.

  Raises ValueError if it exceeds the width of the teacher's embeddings.
  """
  num_subclasses, width = (
    setup.cell.subspace.num_subclasses,
    setup.teacher_width,
  )
  if not 1 <= num_subclasses <= width:
    raise ValueError(
      f"config.subspace.num_subclasses must lie in [1, {width}], the width of "
      f"the teacher's embeddings, got {num_subclasses}."
    )
  return num_subclasses


def shared_targets(setup: Setup) -> dict[str, Any]:
  """Returns the class means of the embeddings or coordinates."""
  return {"means": setup.teacher.means}


def _targets(setup: Setup) -> dict[str, Any]:
  """Returns the cell's subspaces and the share of the variance inside them."""
  subspaces = _subspaces(setup)
  return padded(setup, subspaces) | {
    "variance_share": setup.teacher.variance_share(subspaces)
  }


def padded(setup: Setup, subspaces: lelp_jax.Subspaces) -> dict[str, Any]:
  """Returns "directions" and "where", padded to the largest S of the stack."""
  size, num_subclasses = setup.max_subclasses, subspaces.directions.shape[1]
  padding = ((0, 0), (0, size - num_subclasses), (0, 0))
  exists = np.arange(size) < num_subclasses
  return {
    "directions": jnp.pad(subspaces.directions, padding),
    "where": np.broadcast_to(exists, (setup.task.num_classes, size)),
  }


def _subspaces(setup: Setup) -> lelp_jax.Subspaces:
  """Fits the subspaces of a cell (Algorithm 1)."""
  subspace, teacher = setup.cell.subspace, setup.teacher
  if subspace.kind == "random":
    return lelp_jax.random_subspaces(
      teacher.moments,
      num_subclasses=subspace.num_subclasses,
      key=setup.key,
      normalization=subspace.normalization,
    )
  if subspace.kind == "identity":
    return lelp_jax.identity_subspaces(
      teacher.moments, normalization=subspace.normalization
    )
  if teacher.coordinates is None:
    # One decomposition with the largest S serves the whole stack.
    principal = teacher.principal(
      num_directions=setup.max_subclasses,
      null_space=subspace.used_null_space,
      rtol=subspace.rtol,
    )
  else:
    principal = lelp_jax.coordinate_directions(teacher.coordinates)
  return lelp_jax.subspaces_from_principal(
    principal,
    num_subclasses=subspace.num_subclasses,
    key=setup.key,
    rotation="none" if subspace.kind == "pca" else subspace.rotation,
    normalization=subspace.normalization,
    rank_deficient=subspace.rank_deficient,
  )


def terms(inputs: LossInputs) -> Terms:
  """Computes the terms of the LELP loss (Algorithms 2 and 3).

  By the chain rule they are a class term and a subclass term.
  """
  teacher, targets = teacher_of(inputs), inputs.targets
  hyperparameters = inputs.hyperparameters
  teacher_log_probs = lelp_jax.log_subsplit(
    teacher.embeddings,
    teacher.logits,
    lelp_jax.Subspaces(
      targets["directions"], targets["means"], targets.get("offsets")
    ),
    temperature=hyperparameters["temperature"],
    subclass_temperature=hyperparameters["subclass_temperature"],
    where=targets["where"],
  )
  return terms_of(inputs, teacher_log_probs)


def terms_of(inputs: LossInputs, teacher_log_probs: jax.Array) -> Terms:
  """Computes the terms of the LELP loss from targets.

  Args:
    inputs: Inputs of the loss.
    teacher_log_probs: Log-probabilities of the subclasses, ``[B, C, S]``.
  """
  hyperparameters, targets = inputs.hyperparameters, inputs.targets
  class_term, subclass_term = lelp_jax.lelp_loss_terms(
    inputs.student.logits,
    teacher_log_probs,
    temperature=hyperparameters["temperature"],
    where=targets["where"],
  )
  return {
    "class_term": class_term,
    "subclass_term": hyperparameters["subclass_weight"] * subclass_term,
  }


def details(setup: Setup) -> dict[str, Any]:
  """Returns the share of each class's variance in the null space (A-3)."""
  share = setup.teacher.null_space_share(setup.cell.subspace.rtol)
  return {"null_space_share": tuple(float(x) for x in share)}


LELP = Method(
  "LELP",
  (
    "loss.temperature",
    "loss.subclass_temperature",
    "subspace.num_subclasses",
  ),
  with_hard_labels(terms),
  teacher_outputs="coordinates",
  num_subclasses=_num_subclasses,
  shared_targets=shared_targets,
  targets=_targets,
  details=details,
)
