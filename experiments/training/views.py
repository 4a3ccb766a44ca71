"""A batch as student and teacher see it."""

import json
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import cast

import jax

from experiments.data import augment
from experiments.training.initial import data_keys
from experiments.training.initial import Spec
from experiments.training.recipe import model_fns
from experiments.training.recipe import model_inputs
from lelp_jax.models import Outputs
from lelp_jax.train_step import teacher_outputs


def augmented(
  spec: Spec, batch: Mapping[str, Any], seed: jax.Array, step: jax.Array
) -> dict[str, Any]:
  """Returns a training batch, its images shifted and mirrored at random.

  Args:
    spec: What the student's recipe says of it.
    batch: The arrays.
    seed: Seed of the data, int32.
    step: The step, which has an augmentation of its own.
  """
  recipe, shape = spec.recipe, dict(spec.shapes).get("inputs")
  shift = augment.shift_pixels(recipe["max_shift"], shape[0] if shape else 1)
  if not shift and not recipe["flip"]:
    return dict(batch)
  images = augment.random_flip_and_shift(
    jax.random.fold_in(data_keys(spec, seed)[1], step),
    batch["inputs"],
    max_shift=shift,
    flip=recipe["flip"],
  )
  return {**batch, "inputs": images}


def teacher_apply(spec: Spec) -> Callable[..., Any] | None:
  """Returns the teacher's `apply`, None without a teacher.

  Args:
    spec: Names its model.
  """
  if spec.teacher is None:
    return None
  fields = json.loads(spec.teacher)
  num_outputs = spec.num_classes * fields["subclass"]["num_subclasses"]
  return model_fns(fields, num_outputs).apply


def with_outputs(
  spec: Spec,
  apply: Callable[..., Any] | None,
  teacher: Any,
  batch: Mapping[str, Any],
) -> dict[str, Any]:
  """Returns the batch as the student reads it, with the teacher's outputs.

  These are computed, or come from a cache, once for all cells.

  Args:
    spec: What the stack is.
    apply: What `teacher_apply` returned.
    teacher: ``(params, model_state)`` of the teacher.
    batch: The arrays.
  """
  scale = spec.input_scale
  outputs = {}
  if spec.teacher is not None and apply is not None:
    fields = json.loads(spec.teacher)
    if fields["outputs"] == "inline":
      params, model_state = teacher
      outputs["teacher"] = teacher_outputs(
        apply, params, model_state, model_inputs(fields, batch, scale)
      )
    else:  # Embeddings only where the loss reads them.
      outputs["teacher"] = Outputs(
        cast(Any, batch.get("teacher_embeddings")), batch["teacher_logits"]
      )
  return {**batch, "inputs": model_inputs(spec.recipe, batch, scale)} | outputs
