"""Methods that also compare embeddings: KD plus lambda times a feature loss.

All see the last layer's embeddings only (spec 6). A learned linear projection
takes the student's to the teacher's width: always, never, or "auto", where they
differ and for FitNet and the contrasts at equal widths, too (A-25). FitNet's
and CRD's projections are trained beforehand, with the feature loss alone
(A-24).
"""

import functools
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from experiments.data.dataset import Task
from experiments.methods.base import Method
from experiments.methods.base import Sizes
from experiments.methods.base import weighed
from experiments.methods.labels import kd_term
from lelp_jax import baselines
from lelp_jax.train_step import LossFn

_READ = ("loss.temperature", "loss.feature_weight")
# The public code's variance at the start is 5.
_VARIANCE_LOGIT = float(np.log(np.expm1(5.0 - 1e-5)))

# ``(loss_params, loss_state, student, teacher, targets, batch, scalars, key)
# -> (loss [B] or scalar, loss_state)``.
FeatureFn = Callable[..., tuple[jax.Array, Any]]


def with_kd(feature_fn: FeatureFn) -> LossFn:
  """Makes KD, hard labels by eq. (1), and lambda times the feature loss."""

  def loss_fn(
    loss_params, loss_state, student, teacher, targets, batch, scalars, key
  ):
    given = (student, teacher, targets, batch, scalars)
    feature, loss_state = feature_fn(loss_params, loss_state, *given, key)
    feature = jnp.mean(feature)
    terms = {"class_term": kd_term(student, teacher, scalars)}
    loss, metrics = weighed(terms, student, targets, batch, scalars)
    weight = (1 - scalars["hard_label_weight"]) * scalars["feature_weight"]
    loss += weight * feature
    return loss, ({**metrics, "feature_term": feature}, loss_state)

  return loss_fn


def alone(feature_fn: FeatureFn) -> LossFn:
  """Makes the feature loss alone: what projections are pre-trained with."""

  def loss_fn(loss_params, loss_state, *given):
    feature, loss_state = feature_fn(loss_params, loss_state, *given)
    feature = jnp.mean(feature)
    return feature, ({"feature_term": feature}, loss_state)

  return loss_fn


def _stateless(function: Callable[..., jax.Array]) -> FeatureFn:
  """A feature loss of projected student and teacher embeddings."""

  def feature_fn(
    loss_params, loss_state, student, teacher, targets, batch, scalars, key
  ):
    del targets, batch, scalars, key
    projected = linear(loss_params.get("projection"), student.embeddings)
    return function(loss_params, projected, teacher.embeddings), loss_state

  return feature_fn


def linear(layer: Mapping[str, jax.Array] | None, x: jax.Array) -> jax.Array:
  """Returns a linear layer's outputs, float32 at least; x without one."""
  if layer is None:
    return x
  kernel = layer["kernel"]
  x = x.astype(jnp.promote_types(x.dtype, kernel.dtype))
  return x @ kernel + layer["bias"][None]


def init_linear(key: jax.Array, inputs: int, outputs: int) -> dict[str, Any]:
  """Makes a linear layer of random weights."""
  kernel = nn.initializers.lecun_normal()(key, (inputs, outputs))
  return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def is_projected(mode: str, sizes: Sizes, auto: bool) -> bool:
  """Whether there is a projection; `auto` is what "auto" comes to."""
  if mode == "never" and sizes.student_width != sizes.teacher_width:
    raise ValueError(
      f'config.loss.projection="never" needs embeddings of one width, the '
      f"student has {sizes.student_width}, the teacher {sizes.teacher_width}."
    )
  return mode == "always" or (mode == "auto" and auto)


def _learn_projection(
  loss: Mapping[str, Any], sizes: Sizes, key: jax.Array, *, always: bool = False
) -> tuple[dict[str, Any], Any]:
  auto = always or sizes.student_width != sizes.teacher_width
  if not is_projected(loss["projection"], sizes, auto):
    return {}, ()
  layer = init_linear(key, sizes.student_width, sizes.teacher_width)
  return {"projection": layer}, ()


def _learn_vid(
  loss: Mapping[str, Any], sizes: Sizes, key: jax.Array
) -> tuple[dict[str, Any], Any]:
  params, state = _learn_projection(loss, sizes, key)
  logits = jnp.full(sizes.teacher_width, _VARIANCE_LOGIT)
  return {**params, "variance_logits": logits}, state


def _vid(
  loss_params: Mapping[str, Any], mean: jax.Array, teacher: jax.Array
) -> jax.Array:
  return baselines.vid_loss(mean, teacher, loss_params["variance_logits"])


def _fitnet_remark(config: ConfigDict, task: Task) -> str:
  del task
  if config.loss.projection == "never":
    return "no projection: Embedding Distillation, its distance squared"
  return ""


def feature_method(
  title: str,
  feature_fn: FeatureFn,
  *,
  reads: tuple[str, ...] = (),
  **fields: Any,
) -> Method:
  """Makes a method of KD and a feature loss."""
  return Method(title, (*_READ, *reads), with_kd(feature_fn), **fields)


_EMBEDDING = _stateless(
  lambda params, student, teacher: baselines.embedding_loss(student, teacher)
)
_HINT = _stateless(
  lambda params, student, teacher: baselines.hint_loss(student, teacher)
)
_RKD_ANGLE = _stateless(
  lambda params, student, teacher: baselines.rkd_angle_loss(student, teacher)
)
_RKD_DISTANCE = _stateless(
  lambda params, student, teacher: baselines.rkd_distance_loss(student, teacher)
)
_learn_always = functools.partial(_learn_projection, always=True)

EMBEDDING = feature_method(
  "Embedding distillation", _EMBEDDING, learned=_learn_projection
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
VID = feature_method("VID", _stateless(_vid), learned=_learn_vid)
RKD = feature_method("Relational KD, angles", _RKD_ANGLE)
RKD_DISTANCE = feature_method("Relational KD, distances", _RKD_DISTANCE)
