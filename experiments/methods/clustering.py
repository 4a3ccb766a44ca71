"""Pseudo-subclasses by clustering the teacher's embeddings (section 4.2).

Each training example is assigned to a cluster before training, from embeddings
without augmentation. Hard targets are pairs of a class and a cluster. The class
is the true one (A-18), unless `config.subspace.membership` is "teacher". Soft
targets weight the clusters by the teacher's class probabilities.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.methods.base import class_nll
from experiments.methods.base import Method
from experiments.methods.base import Setup
from experiments.methods.base import teacher_of
from experiments.methods.base import Terms
from experiments.methods.base import with_hard_labels
from experiments.methods.statistics import Clustering
from lelp_jax.train_step import LossInputs


def _hard_terms(inputs: LossInputs) -> Terms:
  """Computes the cross entropy of the pairs of class and cluster."""
  targets, where, rows = (
    inputs.targets,
    inputs.targets["where"],
    inputs.batch["rows"],
  )
  logits, classes = inputs.student.logits, targets["classes"][rows]
  outputs = classes * where.shape[1] + targets["assignments"][rows]
  log_probs = jax.nn.log_softmax(logits, where=where.ravel()[None])
  pair = -jnp.take_along_axis(log_probs, outputs[:, None], axis=-1)[:, 0]
  nll = class_nll(logits, classes, where.shape[0], where)
  return {"class_term": nll, "subclass_term": pair - nll}


def _soft_terms(inputs: LossInputs) -> Terms:
  """Computes the tempered divergence from the soft targets."""
  where = inputs.targets["where"]
  temperature = inputs.hyperparameters["temperature"]
  log_probs = lelp_jax.class_log_probs(
    teacher_of(inputs).logits,
    num_classes=where.shape[0],
    temperature=temperature,
  )
  soft = log_soft_targets(
    log_probs,
    inputs.targets["memberships"][inputs.batch["rows"]],
    num_clusters=where.shape[1],
  )
  class_term, subclass_term = lelp_jax.lelp_loss_terms(
    inputs.student.logits, soft, temperature=temperature, where=where
  )
  return {"class_term": class_term, "subclass_term": subclass_term}


def log_soft_targets(
  class_log_probs: jax.Array, memberships: jax.Array, *, num_clusters: int
) -> jax.Array:
  r"""Computes soft targets in the form that `lelp_loss` takes.

  Args:
    class_log_probs: The teacher's log-probabilities at any temperature, float,
      ``[..., C]``.
    memberships: Cluster of each example in each class, int, ``[..., C]``.
    num_clusters: S.

  Returns:
    :math:`\log p_{c,s}`, see `Clusterer.cluster`, ``[..., C, S]``.

  Examples:
    >>> log_probs = jnp.log(jnp.array([0.75, 0.25]))
    >>> jnp.exp(log_soft_targets(log_probs, jnp.array([2, 0]), num_clusters=3))
    Array([[0.  , 0.  , 0.75],
           [0.25, 0.  , 0.  ]], dtype=float32)
  """
  members = jax.nn.one_hot(memberships, num_clusters, dtype=bool)
  return jnp.where(members, class_log_probs[..., None], -jnp.inf)


def _targets(algorithm: str, form: str, setup: Setup) -> dict[str, Any]:
  """Returns a cell's clusters, padded to the largest number in its stack."""
  clustering = _clustering(algorithm, form, setup)
  padding = setup.max_subclasses - setup.cell.clustering.num_clusters
  where = np.pad(clustering.where, ((0, 0), (0, padding)))
  if form == "soft":
    return {"where": where, "memberships": clustering.memberships}
  classes = np.asarray(setup.teacher.transfer_classes, np.int32)
  return {
    "where": where,
    "assignments": clustering.assignments,
    "classes": classes,
  }


def _details(algorithm: str, form: str, setup: Setup) -> dict[str, Any]:
  """Returns the record of the clusters for `result.json`."""
  return {"clustering": _clustering(algorithm, form, setup).summary}


def _clustering(algorithm: str, form: str, setup: Setup) -> Clustering:
  cell = setup.cell
  return setup.teacher.clustering(
    algorithm, form, cell.clustering, cell.subspace.rtol
  )


def _make(title: str, algorithm: str, form: str) -> Method:
  hyperparameters: tuple[str, ...] = ("clustering.num_clusters",)
  if form == "soft":
    title = f"{title}, soft"
    hyperparameters = ("loss.temperature", *hyperparameters)
  return Method(
    title,
    hyperparameters,
    with_hard_labels(_soft_terms if form == "soft" else _hard_terms),
    num_subclasses=lambda setup: setup.cell.clustering.num_clusters,
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
