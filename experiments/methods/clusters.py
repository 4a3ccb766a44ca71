"""Pseudo-subclasses by clustering the teacher's embeddings (section 4.2).

Each training example gets a cluster beforehand, from clean embeddings; hard
targets are pairs of true class (A-18) and cluster, soft ones weigh the
clusters by the teacher's class probabilities.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import lelp_jax
from experiments.data.dataset import Task
from experiments.methods.base import class_nll
from experiments.methods.base import Hyperparameters
from experiments.methods.base import Method
from experiments.methods.base import with_hard_labels
from experiments.training.fitting import TeacherStatistics
from lelp_jax.models import Outputs


def _hard_terms(
  student: Outputs,
  teacher: Outputs | None,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> dict[str, jax.Array]:
  """Cross entropy with pairs of class and cluster."""
  del teacher, scalars
  where, labels = targets["where"], batch["labels"]
  outputs = labels * where.shape[1] + targets["assignments"][batch["rows"]]
  log_probs = jax.nn.log_softmax(student.logits, where=where.ravel()[None])
  pair = -jnp.take_along_axis(log_probs, outputs[:, None], axis=-1)[:, 0]
  nll = class_nll(student.logits, labels, where.shape[0], where)
  return {"class_term": nll, "subclass_term": pair - nll}


def _soft_terms(
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
) -> dict[str, jax.Array]:
  """Tempered divergence from class probabilities put on one cluster each."""
  from experiments.training import clustering

  where, temperature = targets["where"], scalars["temperature"]
  log_probs = lelp_jax.class_log_probs(
    teacher.logits, num_classes=where.shape[0], temperature=temperature
  )
  soft = clustering.log_soft_targets(
    log_probs,
    targets["memberships"][batch["rows"]],
    num_clusters=where.shape[1],
  )
  class_term, subclass_term = lelp_jax.lelp_loss_terms(
    student.logits, soft, temperature=temperature, where=where
  )
  return {"class_term": class_term, "subclass_term": subclass_term}


def _num_clusters(config: ConfigDict, task: Task, width: int) -> int:
  del task, width
  num_clusters = config.clustering.num_clusters
  if num_clusters < 1:
    raise ValueError(
      f"config.clustering.num_clusters must be at least 1, got {num_clusters}."
    )
  return num_clusters


def _found(
  algorithm: str, form: str, config: ConfigDict, teacher: TeacherStatistics
) -> Any:
  """A `clustering.Clustering`; trials share it, as they share the teacher."""
  # Here because scikit-learn takes a second, and other methods do without it.
  from experiments.training import clustering

  scope, num_clusters = config.clustering.scope, config.clustering.num_clusters

  def clusterer():
    return clustering.Clusterer(
      np.asarray(teacher.transfer_outputs.embeddings),
      np.asarray(teacher.transfer_labels),
      num_classes=teacher.moments.mean.shape[0],
      method=algorithm,
      scope=scope,
    )

  def clusters():
    found = teacher.once((algorithm, scope), clusterer)
    return found.cluster(num_clusters, targets=form)

  return teacher.once((algorithm, scope, num_clusters, form), clusters)


def _details(
  algorithm: str, form: str, config: ConfigDict, teacher: TeacherStatistics
) -> dict[str, Any]:
  """How many examples were clustered, how many placed, and where."""
  return {"clustering": _found(algorithm, form, config, teacher).summary}


def _targets(
  algorithm: str,
  form: str,
  config: ConfigDict,
  task: Task,
  teacher: TeacherStatistics,
  key: jax.Array,
  size: int,
) -> dict[str, Any]:
  """Clusters of the cell's own number, padded to the largest of the stack."""
  del task, key
  found = _found(algorithm, form, config, teacher)
  padding = size - config.clustering.num_clusters
  where = np.pad(found.where, ((0, 0), (0, padding)))
  if form == "soft":
    return {"where": where, "memberships": found.memberships}
  return {"where": where, "assignments": found.assignments}


def _make(title: str, algorithm: str, form: str) -> Method:
  hyperparameters: tuple[str, ...] = ("clustering.num_clusters",)
  if form == "soft":
    title, hyperparameters = (
      f"{title}, soft",
      (
        "loss.temperature",
        *hyperparameters,
      ),
    )
  return Method(
    title,
    hyperparameters,
    with_hard_labels(_soft_terms if form == "soft" else _hard_terms),
    num_subclasses=_num_clusters,
    targets=functools.partial(_targets, algorithm, form),
    details=functools.partial(_details, algorithm, form),
  )


_TITLES = {
  "agglomerative": "Agglomerative clustering",
  "kmeans": "K-means clustering",
  "tsne_kmeans": "t-SNE & K-means clustering",
}
HARD = {name: _make(title, name, "hard") for name, title in _TITLES.items()}
SOFT = {
  f"{name}_soft": _make(title, name, "soft") for name, title in _TITLES.items()
}
CLUSTERINGS = (*HARD, *SOFT)


def check_scope(config: ConfigDict) -> None:
  """Raises ValueError if a sweep's numbers of clusters are of another scope.

  Args:
    config: The cell's config.
  """
  counted, scope = config.sweep.cluster_scope, config.clustering.scope
  if config.method in CLUSTERINGS and counted not in ("", scope):
    raise ValueError(
      f"config.clustering.scope={scope!r}, and this config's numbers of "
      f"clusters are {counted!r} ones: instead of the field set the config "
      f"argument, --config=FILE.py:cluster_scope={scope}."
    )
