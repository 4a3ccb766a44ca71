"""Methods that also compare embeddings: KD plus lambda times a feature loss.

They compare the embeddings of the last layer only. `config.loss.projection`
says whether a learned linear projection maps the student's embeddings to the
teacher's width: "always", "never", or "auto", which means if the widths differ.
With "auto", FitNet and the contrastive methods also have a projection at equal
widths (A-25). FitNet and CRD train their projections before the students, with
the feature loss alone (A-24).
"""

import functools
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.methods.base import Learned
from experiments.methods.base import LossSetup
from experiments.methods.base import Method
from experiments.methods.base import Setup
from experiments.methods.base import teacher_of
from experiments.methods.base import weighed
from experiments.methods.labels import kd_term
from lelp_jax import baselines
from lelp_jax.train_step import LossFn
from lelp_jax.train_step import LossInputs

_HYPERPARAMETERS = ("loss.temperature", "loss.feature_weight")
# VID's variance starts at 5, as in the public code.
_VARIANCE_LOGIT = float(np.log(np.expm1(5.0 - 1e-5)))

# A feature loss: returns the loss, [B] or a scalar, and the new loss state.
FeatureFn = Callable[[LossInputs], tuple[jax.Array, Any]]


def with_kd(feature_fn: FeatureFn) -> LossFn:
  """Makes the loss of eq. (1) with KD, plus lambda times a feature loss."""

  def loss_fn(inputs: LossInputs) -> tuple[jax.Array, tuple[Any, Any]]:
    feature, loss_state = feature_fn(inputs)
    feature = jnp.mean(feature)
    loss, metrics = weighed({"class_term": kd_term(inputs)}, inputs)
    scalars = inputs.hyperparameters
    weight = (1 - scalars["hard_label_weight"]) * scalars["feature_weight"]
    loss += weight * feature
    return loss, ({**metrics, "feature_term": feature}, loss_state)

  return loss_fn


def alone(feature_fn: FeatureFn) -> LossFn:
  """Makes the loss that pre-trains projections: the feature loss alone."""

  def loss_fn(inputs: LossInputs) -> tuple[jax.Array, tuple[Any, Any]]:
    feature, loss_state = feature_fn(inputs)
    feature = jnp.mean(feature)
    return feature, ({"feature_term": feature}, loss_state)

  return loss_fn


def _projected(function: Callable[..., jax.Array]) -> FeatureFn:
  """Makes a feature loss of projected student and teacher embeddings."""

  def feature_fn(inputs: LossInputs) -> tuple[jax.Array, Any]:
    projection = inputs.loss_params.get("projection")
    student = linear(projection, inputs.student.embeddings)
    return function(student, teacher_of(inputs).embeddings), inputs.loss_state

  return feature_fn


def _vid(inputs: LossInputs) -> tuple[jax.Array, Any]:
  """Computes variational information distillation with a learned variance."""
  params = inputs.loss_params
  mean = linear(params.get("projection"), inputs.student.embeddings)
  teacher = teacher_of(inputs).embeddings
  loss = baselines.vid_loss(mean, teacher, params["variance_logits"])
  return loss, inputs.loss_state


def linear(layer: Mapping[str, jax.Array] | None, x: jax.Array) -> jax.Array:
  """Applies a linear layer in float32 or wider; None is the identity."""
  if layer is None:
    return x
  kernel = layer["kernel"]
  x = x.astype(jnp.promote_types(x.dtype, kernel.dtype))
  return x @ kernel + layer["bias"][None]


def init_linear(key: jax.Array, inputs: int, outputs: int) -> dict[str, Any]:
  """Initializes a linear layer."""
  kernel = nn.initializers.lecun_normal()(key, (inputs, outputs))
  return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def is_projected(setup: LossSetup, *, auto: bool) -> bool:
  """Returns whether a method has projections.

  `auto` is the answer for `config.loss.projection="auto"`. Raises ValueError if
  the widths differ and the config says "never".
  """
  mode = setup.statics.projection
  if mode == "never" and setup.student_width != setup.teacher_width:
    raise ValueError(
      'config.loss.projection="never" needs embeddings of one width, but the '
      f"student's have {setup.student_width} and the teacher's "
      f"{setup.teacher_width}."
    )
  return mode == "always" or (mode == "auto" and auto)


def _learn_projection(setup: LossSetup, *, always: bool = False) -> Learned:
  auto = always or setup.student_width != setup.teacher_width
  if not is_projected(setup, auto=auto):
    return {}, ()
  layer = init_linear(setup.key, setup.student_width, setup.teacher_width)
  return {"projection": layer}, ()


def _learn_vid(setup: LossSetup) -> Learned:
  params, state = _learn_projection(setup)
  logits = jnp.full(setup.teacher_width, _VARIANCE_LOGIT)
  return {**params, "variance_logits": logits}, state


def _fitnet_remark(setup: Setup) -> str:
  if setup.cell.loss.projection == "never":
    return (
      "without a projection this is Embedding Distillation with squared "
      "distances"
    )
  return ""


def feature_method(title: str, feature_fn: FeatureFn, **fields: Any) -> Method:
  """Makes a method of KD and a feature loss; `fields` are those of `Method`."""
  return Method(title, _HYPERPARAMETERS, with_kd(feature_fn), **fields)


_HINT = _projected(baselines.hint_loss)
_learn_always = functools.partial(_learn_projection, always=True)

EMBEDDING = feature_method(
  "Embedding distillation",
  _projected(baselines.embedding_loss),
  learned=_learn_projection,
)
FITNET = feature_method(
  "FitNet",
  _HINT,
  learned=_learn_always,
  pretraining="fitnet_pretraining",
  remark=_fitnet_remark,
)
FITNET_PRETRAINING = Method(
  "FitNet, projection", (), alone(_HINT), learned=_learn_always
)
VID = feature_method("VID", _vid, learned=_learn_vid)
RKD = feature_method(
  "Relational KD, angles", _projected(baselines.rkd_angle_loss)
)
RKD_DISTANCE = feature_method(
  "Relational KD, distances", _projected(baselines.rkd_distance_loss)
)
