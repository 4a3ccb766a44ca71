"""Makes models, their inputs and their optimizers from specs."""

import dataclasses
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from experiments.specs import ModelSpec
from lelp_jax.models import ModelFns
from lelp_jax.models import MODELS

AnyModel = TypeVar("AnyModel", bound=ModelSpec)


class Weights(NamedTuple):
  """Weights of a model.

  Attributes:
    params: Its parameters.
    model_state: Its state, such as BatchNorm's statistics.
  """

  params: Any
  model_state: Any


def model_fns(spec: ModelSpec, num_outputs: int) -> ModelFns:
  """Returns the functions of the model that a spec describes."""
  return MODELS[spec.model](num_outputs, **spec.options)


def model_inputs(
  spec: ModelSpec, batch: Mapping[str, Any], scale: float
) -> Any:
  """Returns the inputs of a model: the field of a batch that it reads.

  Images and vectors become float32, and images are divided by `scale`.
  """
  part = batch[spec.input_field]
  if isinstance(part, Mapping):  # Token ids stay as they are.
    return part
  part = part.astype(jnp.float32)
  return part / scale if spec.input_field == "inputs" else part


def in_steps(spec: AnyModel, num_examples: int) -> AnyModel:
  """Converts the lengths of a training from epochs to steps.

  The result has `num_epochs=0` and a positive `steps_per_chunk`.
  """
  per_epoch = max(1, num_examples // spec.batch_size)
  num_steps, boundaries = spec.num_steps, spec.schedule_boundaries
  if spec.num_epochs:
    num_steps = round(spec.num_epochs * per_epoch)
    boundaries = tuple(round(b * per_epoch) for b in boundaries)
  chunk = spec.steps_per_chunk or per_epoch
  return dataclasses.replace(
    spec,
    num_epochs=0.0,
    num_steps=num_steps,
    schedule_boundaries=boundaries,
    steps_per_chunk=min(chunk, max(1, num_steps)),
  )


def optimizer(spec: ModelSpec) -> optax.GradientTransformation:
  """Returns the optimizer of a spec that `in_steps` returned."""
  if spec.optimizer == "adam":
    scale = optax.scale_by_adam()
  else:
    scale = optax.trace(spec.momentum, nesterov=spec.nesterov)
  # Only kernels decay: the arrays with more than one axis.
  decay = optax.add_decayed_weights(
    spec.weight_decay, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
  )
  rate = optax.scale_by_learning_rate(_learning_rate(spec))
  return optax.chain(scale, decay, rate)


def _learning_rate(spec: ModelSpec) -> optax.Schedule:
  rate = spec.learning_rate
  if spec.schedule == "cosine":
    steps = max(1, spec.num_steps)
    return optax.cosine_decay_schedule(rate, steps, alpha=1e-6 / rate)
  if spec.schedule == "constant":
    return optax.constant_schedule(rate)
  # After each boundary the rate is the initial rate times a factor (A-21b).
  factors = (1.0, *spec.schedule_factors)
  pieces = [optax.constant_schedule(rate * factor) for factor in factors]
  return optax.join_schedules(
    pieces, [int(b) for b in spec.schedule_boundaries]
  )
