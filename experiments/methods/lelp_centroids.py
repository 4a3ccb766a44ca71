"""LELP with centroids of clusters in place of principal directions.

This method is not in the paper; see `lelp_jax.centroid_subspaces`.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.methods import lelp
from experiments.methods.base import Method
from experiments.methods.base import Setup
from experiments.methods.base import with_hard_labels
from experiments.methods.statistics import Centroids


def _centroids(setup: Setup) -> Centroids:
  subspace = setup.cell.subspace
  return setup.teacher.centroids(
    setup.cell.clustering.num_clusters,
    null_space=subspace.null_space,
    rtol=subspace.rtol,
  )


def _targets(setup: Setup) -> dict[str, Any]:
  """Returns the cell's subspaces, padded to the largest K of the stack."""
  subspace, teacher = setup.cell.subspace, setup.teacher
  centroids = _centroids(setup)
  variance = centroids.soft_variance
  if subspace.widening:
    variance = subspace.widening * centroids.variance
  subspaces = lelp_jax.centroid_subspaces(
    jnp.asarray(centroids.centroids),
    teacher.moments,
    teacher.head_kernel,
    variance=variance,
    null_space=subspace.null_space,
    rtol=subspace.rtol,
  )
  padding = (0, setup.max_subclasses - centroids.where.shape[1])
  return {
    "directions": jnp.pad(subspaces.directions, ((0, 0), padding, (0, 0))),
    "offsets": jnp.pad(jnp.asarray(subspaces.offsets), ((0, 0), padding)),
    "where": np.pad(centroids.where, ((0, 0), padding)),
  }


def _details(setup: Setup) -> dict[str, Any]:
  return lelp.details(setup) | {"clustering": _centroids(setup).summary}


LELP_CENTROIDS = Method(
  "LELP with centroids (ours)",
  (
    "loss.temperature",
    "loss.subclass_temperature",
    "clustering.num_clusters",
  ),
  with_hard_labels(lelp.terms),
  num_subclasses=lambda setup: setup.cell.clustering.num_clusters,
  shared_targets=lelp.shared_targets,
  targets=_targets,
  details=_details,
)
