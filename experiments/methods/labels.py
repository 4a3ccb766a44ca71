"""Methods that learn from labels and from the teacher's class probabilities."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.methods.base import class_nll
from experiments.methods.base import Method
from experiments.methods.base import Setup
from experiments.methods.base import teacher_of
from experiments.methods.base import Terms
from experiments.methods.base import with_hard_labels
from lelp_jax import baselines
from lelp_jax.train_step import LossFn
from lelp_jax.train_step import LossInputs


def kd_term(inputs: LossInputs) -> jax.Array:
  """Computes the loss of vanilla distillation (KD), ``[B]``."""
  return baselines.kd_loss(
    inputs.student.logits,
    teacher_of(inputs).logits,
    temperature=inputs.hyperparameters["temperature"],
  )


def _compared(loss_fn: Callable[..., jax.Array]) -> LossFn:
  """Makes the loss of a method that compares tempered logits by `loss_fn`."""

  def terms(inputs: LossInputs) -> Terms:
    loss = loss_fn(
      inputs.student.logits,
      teacher_of(inputs).logits,
      temperature=inputs.hyperparameters["temperature"],
    )
    return {"class_term": loss}

  return with_hard_labels(terms)


def _standard(inputs: LossInputs) -> Terms:
  """Computes the cross entropy of the true labels, without a teacher."""
  logits = inputs.student.logits
  nll = class_nll(logits, inputs.batch["labels"], logits.shape[-1])
  return {"class_term": nll}


def _dkd(inputs: LossInputs) -> Terms:
  """Computes decoupled KD from the logits and the true labels."""
  loss = baselines.dkd_loss(
    inputs.student.logits,
    teacher_of(inputs).logits,
    inputs.batch["labels"],
    temperature=inputs.hyperparameters["temperature"],
    nontarget_weight=inputs.hyperparameters["nontarget_weight"],
  )
  return {"class_term": loss}


def _of_two_classes(remark: str) -> Callable[[Setup], str]:
  """Makes a `Method.remark` for tasks of two classes."""
  return lambda setup: "" if setup.task.num_classes > 2 else remark


def _oracle(inputs: LossInputs) -> Terms:
  """Computes the cross entropy of the fine labels, as a term per level."""
  batch, targets = inputs.batch, inputs.targets
  logits, where = inputs.student.logits, targets["where"]
  outputs = targets["output_of_fine_label"][batch["fine_labels"]]
  log_probs = jax.nn.log_softmax(logits, where=where.ravel()[None])
  fine = -jnp.take_along_axis(log_probs, outputs[:, None], axis=-1)[:, 0]
  coarse = class_nll(logits, batch["labels"], where.shape[0], where)
  return {"class_term": coarse, "subclass_term": fine - coarse}


def _oracle_num_subclasses(setup: Setup) -> int:
  return int(np.bincount(np.asarray(setup.task.fine_to_class)).max())


def _oracle_shared(setup: Setup) -> dict[str, Any]:
  """Assigns each fine label an output next to the others of its class."""
  size, classes = setup.max_subclasses, np.asarray(setup.task.fine_to_class)
  rank = np.array([np.sum(classes[:i] == c) for i, c in enumerate(classes)])
  members = np.bincount(classes, minlength=setup.task.num_classes)
  return {
    "output_of_fine_label": (classes * size + rank).astype(np.int32),
    "where": np.arange(size) < members[:, None],
  }


STANDARD = Method(
  "Standard training",
  (),
  with_hard_labels(_standard),
  teacher_outputs="logits",
  needs_labels=True,
)
VANILLA = Method(
  "Vanilla distillation",
  ("loss.temperature",),
  _compared(baselines.kd_loss),
  teacher_outputs="logits",
)
DKD = Method(
  "Decoupled KD",
  ("loss.temperature", "loss.nontarget_weight"),
  with_hard_labels(_dkd),
  teacher_outputs="logits",
  # With two classes DKD has no non-target term.
  same_as=lambda setup: "vanilla" if setup.task.num_classes == 2 else None,
)
DIST = Method(
  "DIST",
  ("loss.temperature",),
  _compared(baselines.dist_loss),
  teacher_outputs="logits",
  remark=_of_two_classes(
    "with two classes, only its term between examples has a gradient"
  ),
)
STANDARDIZED = Method(
  "Logit standardization",
  ("loss.temperature",),
  _compared(baselines.standardized_kd_loss),
  teacher_outputs="logits",
  remark=_of_two_classes(
    "with two classes, standardized logits keep only a sign, so nothing is "
    "learned"
  ),
)
ORACLE = Method(
  "Oracle clustering",
  (),
  with_hard_labels(_oracle),
  teacher_outputs="logits",
  num_subclasses=_oracle_num_subclasses,
  shared_targets=_oracle_shared,
  needs_labels=True,
  needs_fine_labels=True,
)
