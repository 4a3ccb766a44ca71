"""Mutual information of a cell's subclasses and the fine labels of its data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import lelp_jax
from experiments.methods.statistics import TeacherStatistics


def adjusted_mutual_information(
  statistics: TeacherStatistics,
  targets: Mapping[str, Any],
  fine_labels: np.ndarray,
) -> float | None:
  """Returns the adjusted mutual information of subclasses and fine labels.

  It is computed within each class, corrected for chance, and averaged over the
  students' training examples: 0 is chance, 1 is equality.

  Args:
    statistics: Statistics of the teacher, with its outputs at hand.
    targets: Targets of the cell.
    fine_labels: Fine labels of the students' training examples, int ``[N]``.

  Returns:
    The information, or None if the method has no subclasses or its students
    get coordinates in place of embeddings.
  """
  classes = np.asarray(statistics.transfer_classes)
  subclasses = _subclasses_of(statistics, targets, classes)
  if subclasses is None:
    return None
  # Imported here because importing scikit-learn takes a second.
  from sklearn.metrics import adjusted_mutual_info_score

  total = 0.0
  for c in np.unique(classes):
    own = classes == c
    score = adjusted_mutual_info_score(fine_labels[own], subclasses[own])
    total += own.sum() * float(score)
  return total / len(classes)


def clusters_of(
  targets: Mapping[str, Any], classes: np.ndarray
) -> np.ndarray | None:
  """Returns the cluster of each training example in its class, int ``[N]``.

  Returns None for a method whose targets are not clusters.
  """
  if "assignments" in targets:
    return np.asarray(targets["assignments"])
  if "memberships" not in targets:
    return None
  memberships = np.asarray(targets["memberships"])
  return np.take_along_axis(memberships, classes[:, None], axis=1)[:, 0]


def _subclasses_of(
  statistics: TeacherStatistics,
  targets: Mapping[str, Any],
  classes: np.ndarray,
) -> np.ndarray | None:
  """Returns the subclass of each training example in its class, int ``[N]``.

  Returns None if the method does not split classes by the teacher's embeddings,
  or if students get coordinates in place of embeddings.
  """
  clusters = clusters_of(targets, classes)
  if clusters is not None:
    return clusters
  if "directions" not in targets or statistics.coordinates is not None:
    return None
  embeddings = statistics.transfer_outputs.embeddings
  subclasses = np.zeros(len(classes), np.int32)
  for c in np.unique(classes):
    own = classes == c
    offsets = targets.get("offsets")
    subspace = lelp_jax.Subspaces(
      targets["directions"][c : c + 1],
      targets["means"][c : c + 1],
      None if offsets is None else offsets[c : c + 1],
    )
    coordinates = np.array(
      lelp_jax.subspace_coordinates(embeddings[own], subspace)
    )[:, 0]
    coordinates[:, ~np.asarray(targets["where"])[c]] = -np.inf
    subclasses[own] = coordinates.argmax(axis=1)
  return subclasses
