"""LELP with centroids of clusters in place of principal directions.

This method is ours and not the paper's: see `lelp_jax.centroid_subspaces`.
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
  """Directions, offsets and which exist, padded to the largest K."""
  subspace, teacher = setup.cell.subspace, setup.teacher
  found = _centroids(setup)
  variance = found.soft_variance
  if subspace.widening:
    variance = subspace.widening * found.variance
  subspaces = lelp_jax.centroid_subspaces(
    jnp.asarray(found.centroids),
    teacher.moments,
    teacher.head_kernel,
    variance=variance,
    null_space=subspace.null_space,
    rtol=subspace.rtol,
  )
  missing = (0, setup.max_subclasses - found.where.shape[1])
  return {
    "directions": jnp.pad(subspaces.directions, ((0, 0), missing, (0, 0))),
    "offsets": jnp.pad(jnp.asarray(subspaces.offsets), ((0, 0), missing)),
    "where": np.pad(found.where, ((0, 0), missing)),
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
