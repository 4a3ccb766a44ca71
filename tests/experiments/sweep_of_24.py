"""A stack of 24 cells and the 24 runs of one cell each, from one teacher."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import numpy as np
from flax import linen as nn

import lelp_jax
from experiments import specs
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import CellSpec
from experiments.training import states as states_lib
from experiments.training.build import build_run
from experiments.training.models import model_fns
from experiments.training.models import Weights
from experiments.training.types import Run
from experiments.training.types import Teacher
from lelp_jax.models import MODELS
from tests.experiments import tiny
from tests.experiments.training_runs import chunk
from tests.experiments.training_runs import initial
from tests.experiments.training_runs import vector

BATCH, TEACHER_WIDTH, NUM_CLASSES = 20, 16, 2
SIZES = (2, 5, 10)
TEMPERATURES = ((1.0, 1.0), (1.0, 4.0), (4.0, 0.5), (10.0, 2.0))


def splits() -> Splits:
  """Images with something to see in them."""
  rng = np.random.default_rng(0)
  labels = np.arange(60, dtype=np.int32) % NUM_CLASSES
  inputs = rng.integers(0, 12, (60, 4, 4, 1)) + 3 * labels[:, None, None, None]
  arrays = {
    "inputs": inputs.astype(np.uint8),
    "labels": labels,
    "ids": np.arange(60, dtype=np.int32),
  }
  task = Task("made up", NUM_CLASSES, image_shape=(4, 4, 1), scale=16.0)
  return Splits(task, arrays, arrays, arrays, arrays)


def cells(num_steps: int, mode: str = "auto") -> list[CellSpec]:
  """The cells: every S, pair of temperatures and seed."""
  first = specs.replace(
    tiny.cell("lelp"),
    {
      "stack.cells": mode,
      "loss.hard_label_weight": 0.25,
      "teacher.options.features": (TEACHER_WIDTH,),
      "student.num_steps": num_steps,
      "student.steps_per_chunk": num_steps,
      "student.batch_size": BATCH,
    },
  )
  return [
    specs.replace(
      first,
      {
        "trial": trial,
        "subspace.num_subclasses": size,
        "loss.temperature": temperature,
        "loss.subclass_temperature": subclass_temperature,
      },
    )
    for size, (temperature, subclass_temperature), trial in itertools.product(
      SIZES, TEMPERATURES, range(2)
    )
  ]


def teacher(cell: CellSpec, data: Splits) -> Teacher:
  """A teacher of random weights: what it knows does not matter here."""
  model = model_fns(cell.teacher, NUM_CLASSES)
  inputs = data.train["inputs"].astype(np.float32) / data.task.scale
  params, state = model.init(jax.random.key(7), inputs)
  outputs, _ = model.apply(params, state, inputs)
  moments = lelp_jax.class_moments(
    outputs.embeddings, data.train["labels"], num_classes=NUM_CLASSES
  )
  statistics = TeacherStatistics(
    lambda: moments,
    model.head(params).kernel,
    lambda: data.train["labels"],
    lambda: outputs,
  )
  unused: Any = None
  cache: Any = _Inline()
  return Teacher(Weights(params, state), statistics, unused, cache, {})


class _Inline:
  """The part of a `TeacherCache` that a run with an inline teacher uses."""

  mode = "inline"


class _Float64(nn.Module):
  """The MLP in float64, which the bundled one leaves in its head."""

  num_outputs: int
  features: tuple[int, ...] = (8,)

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    del train
    x = x.reshape(len(x), -1)
    dense = functools.partial(nn.Dense, dtype=float, param_dtype=float)
    for width in self.features:
      x = nn.relu(dense(width)(x))
    return dense(self.num_outputs, name="head")(x)


# The replacement of `MODELS["mlp"]`.
FLOAT64_MLP = dataclasses.replace(
  MODELS["mlp"], module=_Float64, free_options=frozenset()
)


def make(some: list[CellSpec], data: Splits, taught: Teacher) -> Run:
  """The stack of some cells."""
  names = [str(number) for number in range(len(some))]
  return build_run(some, data, teacher=taught, names=names)


def largest_errors(num_steps: int) -> tuple[float, float, float]:
  """Trains both; returns how far they are apart, at the most.

  These are relative errors of a student's parameters (of the vector of them)
  and of the last loss, and how far the first student's went from its start.
  """
  some, data = cells(num_steps), splits()
  taught = teacher(some[0], data)
  stack = make(some, data, taught)
  assert (stack.spec.num_cells, stack.spec.num_subclasses) == (24, 10)
  origin = vector(next(states_lib.students(stack, initial(stack)))[0])
  states, metrics = chunk(stack)
  errors, losses, moved = [], [], 0.0
  for cell, student in enumerate(states_lib.students(stack, states)):
    single = make([some[cell]], data, taught)
    own_states, own_metrics = chunk(single)
    found = vector(student[0])
    expected = vector(next(states_lib.students(single, own_states))[0])
    errors.append(_relative(found, expected))
    losses.append(_relative(metrics["loss"][cell], own_metrics["loss"][0]))
    moved = moved or _relative(found, origin)
  return max(errors), max(losses), moved


def _relative(found: Any, expected: Any) -> float:
  difference = np.linalg.norm(np.asarray(found) - np.asarray(expected))
  return float(difference / np.linalg.norm(expected))
