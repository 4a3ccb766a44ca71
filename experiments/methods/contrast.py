"""Contrastive methods: the student is to tell examples apart as the teacher.

CRD as the paper has it, with the batch's other examples as negatives, CRD of
the original with its memory bank, and InfoNCE. Linear maps take both
embeddings to a common width, unless `projection` is "never".
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.data.dataset import Task
from experiments.methods.base import Hyperparameters
from experiments.methods.base import Method
from experiments.methods.base import Sizes
from experiments.methods.features import alone
from experiments.methods.features import feature_method
from experiments.methods.features import init_linear
from experiments.methods.features import is_projected
from experiments.methods.features import linear
from experiments.training.fitting import TeacherStatistics
from lelp_jax import baselines
from lelp_jax.baselines import unit_rows
from lelp_jax.models import Outputs


def _learn_contrast(
  loss: Mapping[str, Any], sizes: Sizes, key: jax.Array
) -> tuple[dict[str, Any], Any]:
  """Linear maps of both embeddings to the width of the contrast."""
  if not is_projected(loss["projection"], sizes, True):
    return {}, ()
  student_key, teacher_key = jax.random.split(key)
  width = loss["contrast_width"]
  return {
    "student": init_linear(student_key, sizes.student_width, width),
    "teacher": init_linear(teacher_key, sizes.teacher_width, width),
  }, ()


def _learn_bank(
  loss: Mapping[str, Any], sizes: Sizes, key: jax.Array
) -> tuple[dict[str, Any], Any]:
  params_key, bank_key = jax.random.split(key)
  params, _ = _learn_contrast(loss, sizes, params_key)
  width = loss["contrast_width"] if params else sizes.teacher_width
  bank = baselines.CRDBank.init(
    bank_key, num_examples=sizes.num_examples, width=width
  )
  return params, bank


def _units(
  loss_params: Mapping[str, Any], student: Outputs, teacher: Outputs
) -> tuple[jax.Array, jax.Array]:
  """Unit rows of both, projected."""
  return (
    unit_rows(linear(loss_params.get("student"), student.embeddings)),
    unit_rows(linear(loss_params.get("teacher"), teacher.embeddings)),
  )


def _crd(
  loss_params: Mapping[str, Any],
  loss_state: Any,
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
  key: jax.Array,
) -> tuple[jax.Array, Any]:
  """The critic with the batch's other examples as negatives (the paper's)."""
  del batch, key
  loss = baselines.crd_loss(
    *_units(loss_params, student, teacher),
    temperature=scalars["contrast_temperature"],
    dataset_size=targets["num_examples"],
  )
  return loss, loss_state


def _info_nce(
  loss_params: Mapping[str, Any],
  loss_state: Any,
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
  key: jax.Array,
) -> tuple[jax.Array, Any]:
  del targets, batch, key
  loss = baselines.info_nce_loss(
    *_units(loss_params, student, teacher),
    temperature=scalars["contrast_temperature"],
  )
  return loss, loss_state


def _crd_bank(
  loss_params: Mapping[str, Any],
  loss_state: Any,
  student: Outputs,
  teacher: Outputs,
  targets: Mapping[str, Any],
  batch: Mapping[str, Any],
  scalars: Hyperparameters,
  key: jax.Array,
) -> tuple[jax.Array, Any]:
  """The original: a memory bank, negatives from the other classes.

  As many as `config.loss.num_negatives`, drawn with replacement; the authors'
  code draws 16,384, without where the other classes have so many.
  """
  # Examples sorted by class: those of other classes are the rest of the ring.
  order, ends, others = (
    targets[name] for name in ("by_class", "class_ends", "num_others")
  )
  labels = batch["labels"]
  shape = (len(labels), targets["negatives"].shape[0])
  draws = jax.random.randint(key, shape, 0, others[labels][:, None])
  negatives = order[(ends[labels][:, None] + draws) % len(order)]
  return baselines.crd_bank_loss(
    *_units(loss_params, student, teacher),
    loss_state,
    batch["rows"],
    negatives,
    temperature=scalars["contrast_temperature"],
  )


def _contrast_shared(
  task: Task, teacher: TeacherStatistics, size: int
) -> dict[str, Any]:
  del task, size
  return {"num_examples": np.int32(len(teacher.transfer_labels))}


def _bank_shared(
  task: Task, teacher: TeacherStatistics, size: int
) -> dict[str, Any]:
  del size
  labels = np.asarray(teacher.transfer_labels)
  counts = np.bincount(labels, minlength=task.num_classes)
  if (counts == len(labels)).any():
    raise ValueError(
      "method 'crd_bank' draws its negatives from other classes, and all "
      f"{len(labels)} training examples are of one class."
    )
  return {
    "by_class": np.argsort(labels, kind="stable").astype(np.int32),
    "class_ends": np.cumsum(counts).astype(np.int32),
    "num_others": (len(labels) - counts).astype(np.int32),
  }


def _bank_targets(
  config: ConfigDict,
  task: Task,
  teacher: TeacherStatistics,
  key: jax.Array,
  size: int,
) -> dict[str, Any]:
  del task, teacher, key, size
  # Its length says how many; shapes are what a program is compiled for.
  return {"negatives": np.zeros(config.loss.num_negatives, np.bool_)}


_CONTRAST = {"learned": _learn_contrast, "shared_targets": _contrast_shared}
CRD = feature_method("CRD", _crd, pretraining="crd_pretraining", **_CONTRAST)
CRD_PRETRAINING = Method("CRD, projections", (), alone(_crd), **_CONTRAST)
CRD_BANK = feature_method(
  "CRD, memory bank",
  _crd_bank,
  learned=_learn_bank,
  shared_targets=_bank_shared,
  targets=_bank_targets,
)
INFO_NCE = feature_method("InfoNCE", _info_nce, learned=_learn_contrast)
