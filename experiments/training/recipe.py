"""Models and optimizers from the fields of a config."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lelp_jax.models import ModelFns
from lelp_jax.models import MODELS

_LEAST = {"num_steps": 0, "num_epochs": 0, "steps_per_chunk": 0}
_OPTIONS = {
  "reads": ("inputs", "embeddings"),
  "init_head": ("fresh", "pretrained"),
}


def model_fns(fields: Mapping[str, Any], num_outputs: int) -> ModelFns:
  """Builds the model that config fields describe.

  Args:
    fields: `model`, a key of `MODELS`, and `options`.
    num_outputs: Width of its head.

  Returns:
    The model.

  Raises:
    ValueError: If there is no such model or it lacks an option.
  """
  name, options = fields["model"], dict(fields["options"])
  if name not in MODELS:
    raise ValueError(f"unknown model {name!r}; there are {sorted(MODELS)}.")
  try:
    return MODELS[name](num_outputs, **options)
  except TypeError as error:
    raise ValueError(f"model {name!r} with options {options}: {error}") from (
      error
    )


def model_inputs(
  fields: Mapping[str, Any], batch: Mapping[str, Any], scale: float
) -> Any:
  """Returns what a model is called with: its part of a batch, as floats.

  Args:
    fields: `reads` names the part.
    batch: Arrays, and a dict of them for text, which stays as it is.
    scale: What images are divided by.
  """
  part = batch[fields["reads"]]
  if isinstance(part, Mapping):
    return part
  part = part.astype(jnp.float32)
  return part / scale if fields["reads"] == "inputs" else part


def resolved(recipe: Mapping[str, Any], num_examples: int) -> dict[str, Any]:
  """Returns a training with everything that is given in epochs in steps.

  Args:
    recipe: Fields of `experiments.configs.base.model`.
    num_examples: How many examples it trains on.

  Returns:
    The fields: `num_epochs` is spent, chunks of 0 steps are an epoch's.
  """
  per_epoch = max(1, num_examples // max(1, recipe["batch_size"]))
  fields = dict(recipe)
  epochs = fields.pop("num_epochs")
  if epochs:
    fields["num_steps"] = round(epochs * per_epoch)
    boundaries = fields["schedule_boundaries"]
    fields["schedule_boundaries"] = [round(b * per_epoch) for b in boundaries]
  chunk = fields["steps_per_chunk"] or per_epoch
  fields["steps_per_chunk"] = min(chunk, max(1, fields["num_steps"]))
  return fields


def check(recipe: Mapping[str, Any]) -> None:
  """Raises ValueError for a model or a training that there cannot be.

  Args:
    recipe: Fields of `experiments.configs.base.model`.
  """
  for name, least in _LEAST.items():
    if recipe[name] < least:
      raise ValueError(f"{name} must be at least {least}, got {recipe[name]}.")
  steps = recipe["num_steps"]
  if not steps and not recipe["num_epochs"] and recipe["init"] == "random":
    raise ValueError(
      "num_steps=0 and num_epochs=0 leave a model as random as it starts: set "
      '"init" to a folder or a hub id, or train it.'
    )
  for name, options in _OPTIONS.items():
    if recipe[name] not in options:
      raise ValueError(
        f"{name} must be one of {options}, got {recipe[name]!r}."
      )
  model_fns(recipe, 1)
  optimizer(recipe)


def optimizer(recipe: Mapping[str, Any]) -> optax.GradientTransformation:
  """Builds the optimizer that config fields describe.

  Args:
    recipe: Fields of `experiments.configs.base.model`.

  Returns:
    The optimizer.

  Raises:
    ValueError: If optimizer or schedule is unknown.
  """
  rate = recipe["learning_rate"]
  if recipe["schedule"] == "cosine":
    schedule = optax.cosine_decay_schedule(
      rate, max(1, recipe["num_steps"]), alpha=1e-6 / rate
    )
  elif recipe["schedule"] == "constant":
    schedule = optax.constant_schedule(rate)
  elif recipe["schedule"] == "piecewise_constant":
    schedule = _piecewise(
      rate, recipe["schedule_boundaries"], recipe["schedule_factors"]
    )
  else:
    raise ValueError(
      'schedule must be "constant", "cosine" or "piecewise_constant", got '
      f"{recipe['schedule']!r}."
    )
  if recipe["optimizer"] == "adam":
    scale = optax.scale_by_adam()
  elif recipe["optimizer"] == "sgd":
    scale = optax.trace(recipe["momentum"], nesterov=recipe["nesterov"])
  else:
    raise ValueError(
      f'optimizer must be "adam" or "sgd", got {recipe["optimizer"]!r}.'
    )
  # Kernels are the arrays with more than one axis.
  decay = optax.add_decayed_weights(
    recipe["weight_decay"], mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
  )
  return optax.chain(scale, decay, optax.scale_by_learning_rate(schedule))


def _piecewise(
  rate: float, boundaries: Sequence[int], factors: Sequence[float]
) -> optax.Schedule:
  """From each boundary on, the rate times its factor (A-21b)."""
  if len(boundaries) != len(factors) or list(boundaries) != sorted(boundaries):
    raise ValueError(
      "schedule_boundaries must increase, with one of schedule_factors for "
      f"each, got {list(boundaries)} and {list(factors)}."
    )
  pieces = [optax.constant_schedule(rate * f) for f in (1.0, *factors)]
  return optax.join_schedules(pieces, list(boundaries))
