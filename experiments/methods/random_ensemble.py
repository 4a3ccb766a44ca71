"""Ensembles of random projections: several random subspaces per class.

The S directions of a class are M independent sets of S / M directions. LELP's
softmax is computed within each set, and each set gets 1 / M of the probability
of the class.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.methods import lelp
from experiments.methods.base import Method
from experiments.methods.base import Setup
from experiments.methods.base import teacher_of
from experiments.methods.base import Terms
from experiments.methods.base import with_hard_labels
from lelp_jax.train_step import LossInputs


def _targets(setup: Setup) -> dict[str, Any]:
  """Returns the cell's subspaces and the share of the variance inside them.

  Direction ``s * M + m`` of a class is direction s of its set m.
  """
  subspace, moments = setup.cell.subspace, setup.teacher.moments
  number, key = subspace.num_projections, setup.key
  parts = [
    lelp_jax.random_subspaces(
      moments,
      num_subclasses=subspace.num_subclasses // number,
      key=part_key,
      normalization=subspace.normalization,
    )
    for part_key in (jax.random.split(key, number) if number > 1 else [key])
  ]
  directions = jnp.stack([part.directions for part in parts], axis=2)
  num_classes, _, _, width = directions.shape
  directions = directions.reshape(num_classes, -1, width)
  # Directions of different sets are not orthogonal, so the share of all of them
  # is not defined: record the mean over the sets.
  share = sum(setup.teacher.variance_share(part) for part in parts)
  subspaces = lelp_jax.Subspaces(directions, parts[0].means)
  targets = lelp.padded(setup, subspaces)
  return targets | {"variance_share": share / number}


def _terms(inputs: LossInputs) -> Terms:
  teacher, targets = teacher_of(inputs), inputs.targets
  number = inputs.hyperparameters["num_projections"]
  parts = [
    lelp_jax.log_subsplit(
      teacher.embeddings,
      teacher.logits,
      lelp_jax.Subspaces(targets["directions"][:, m::number], targets["means"]),
      temperature=inputs.hyperparameters["temperature"],
      subclass_temperature=inputs.hyperparameters["subclass_temperature"],
      where=targets["where"][:, m::number],
    )
    for m in range(number)
  ]
  stacked = jnp.stack(parts, axis=-1) - np.log(number).astype(np.float32)
  return lelp.terms_of(inputs, stacked.reshape(*stacked.shape[:-2], -1))


RANDOM_ENSEMBLE = Method(
  "Ensemble of random projections",
  (
    "loss.temperature",
    "loss.subclass_temperature",
    "subspace.num_subclasses",
    "subspace.num_projections",
  ),
  with_hard_labels(_terms),
  num_subclasses=lelp.num_directions,
  shared_targets=lelp.shared_targets,
  targets=_targets,
  details=lelp.details,
)
