"""Contrastive methods: CRD, CRD with a memory bank, and InfoNCE.

CRD takes its negatives from the batch, as in the paper. With a memory bank it
is the method that its authors published. Linear maps project the embeddings of
student and teacher to a common width, unless `config.loss.projection` is
"never".
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from experiments.methods.base import Learned
from experiments.methods.base import LossSetup
from experiments.methods.base import Method
from experiments.methods.base import Setup
from experiments.methods.base import teacher_of
from experiments.methods.features import alone
from experiments.methods.features import feature_method
from experiments.methods.features import init_linear
from experiments.methods.features import is_projected
from experiments.methods.features import linear
from lelp_jax import baselines
from lelp_jax.baselines import unit_rows
from lelp_jax.train_step import LossInputs


def _learn_maps(setup: LossSetup) -> Learned:
  """Initializes linear maps of both embeddings to `contrast_width`."""
  if not is_projected(setup, auto=True):
    return {}, ()
  student_key, teacher_key = jax.random.split(setup.key)
  width = setup.statics.contrast_width
  return {
    "student": init_linear(student_key, setup.student_width, width),
    "teacher": init_linear(teacher_key, setup.teacher_width, width),
  }, ()


def _learn_bank(setup: LossSetup) -> Learned:
  """Initializes the linear maps, and a bank of projections of all examples."""
  params_key, bank_key = jax.random.split(setup.key)
  params, _ = _learn_maps(dataclasses.replace(setup, key=params_key))
  statics = setup.statics
  width = statics.contrast_width if params else setup.teacher_width
  bank = baselines.CRDBank.init(
    bank_key, num_examples=setup.num_examples, width=width
  )
  return params, bank


def _units(inputs: LossInputs) -> tuple[jax.Array, jax.Array]:
  """Returns the projections of student and teacher, with rows of length one."""
  params, teacher = inputs.loss_params, teacher_of(inputs)
  return (
    unit_rows(linear(params.get("student"), inputs.student.embeddings)),
    unit_rows(linear(params.get("teacher"), teacher.embeddings)),
  )


def _crd(inputs: LossInputs) -> tuple[jax.Array, Any]:
  """Computes CRD with the other examples of the batch as negatives."""
  loss = baselines.crd_loss(
    *_units(inputs),
    temperature=inputs.hyperparameters["contrast_temperature"],
    dataset_size=inputs.targets["num_examples"],
  )
  return loss, inputs.loss_state


def _info_nce(inputs: LossInputs) -> tuple[jax.Array, Any]:
  temperature = inputs.hyperparameters["contrast_temperature"]
  loss = baselines.info_nce_loss(*_units(inputs), temperature=temperature)
  return loss, inputs.loss_state


def _crd_bank(inputs: LossInputs) -> tuple[jax.Array, Any]:
  """Computes CRD with a memory bank and negatives from the other classes.

  `config.loss.num_negatives` negatives are drawn with replacement.

  Note:
    The authors' code draws 16,384 negatives, without replacement if the other
    classes have that many examples.
  """
  targets, hyperparameters = inputs.targets, inputs.hyperparameters
  labels, order = inputs.batch["labels"], targets["by_class"]
  # `order` lists the examples by class. Read as a ring, the examples of all
  # other classes follow the end of an example's own class.
  draws = jax.random.randint(
    inputs.key,
    (len(labels), hyperparameters["num_negatives"]),
    0,
    targets["num_others"][labels][:, None],
  )
  places = targets["class_ends"][labels][:, None] + draws
  return baselines.crd_bank_loss(
    *_units(inputs),
    inputs.loss_state,
    inputs.batch["rows"],
    order[places % len(order)],
    temperature=hyperparameters["contrast_temperature"],
  )


def _shared_targets(setup: Setup) -> dict[str, Any]:
  return {"num_examples": np.int32(len(setup.teacher.transfer_labels))}


def _bank_shared_targets(setup: Setup) -> dict[str, Any]:
  labels = np.asarray(setup.teacher.transfer_labels)
  counts = np.bincount(labels, minlength=setup.task.num_classes)
  if (counts == len(labels)).any():
    raise ValueError(
      "method 'crd_bank' draws its negatives from other classes, but all "
      f"{len(labels)} training examples are of one class."
    )
  return {
    "by_class": np.argsort(labels, kind="stable").astype(np.int32),
    "class_ends": np.cumsum(counts).astype(np.int32),
    "num_others": (len(labels) - counts).astype(np.int32),
  }


CRD = feature_method(
  "CRD",
  _crd,
  learned=_learn_maps,
  shared_targets=_shared_targets,
  pretraining="crd_pretraining",
)
CRD_PRETRAINING = Method(
  "CRD, projections",
  (),
  alone(_crd),
  learned=_learn_maps,
  shared_targets=_shared_targets,
)
CRD_BANK = feature_method(
  "CRD, memory bank",
  _crd_bank,
  learned=_learn_bank,
  shared_targets=_bank_shared_targets,
)
INFO_NCE = feature_method("InfoNCE", _info_nce, learned=_learn_maps)
