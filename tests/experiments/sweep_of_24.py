"""A stack of 24 cells and the 24 runs of one cell each, from one teacher."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

import lelp_jax
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.training import finished
from experiments.training import fitting
from experiments.training import jobs
from experiments.training import loop
from experiments.training import teacher as teacher_lib
from experiments.training.recipe import model_fns
from lelp_jax.models import from_linen
from lelp_jax.models import ModelFns
from lelp_jax.train_step import TrainState
from tests.experiments import tiny

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


def configs(num_steps: int, cells: str = "auto") -> list[ConfigDict]:
  """The cells: every S, pair of temperatures and seed."""
  grid = itertools.product(SIZES, TEMPERATURES, range(2))
  made = []
  for size, (temperature, subclass_temperature), trial in grid:
    config = tiny.config("lelp", trial)
    config.stack.cells = cells
    config.subspace.num_subclasses = size
    config.loss.temperature = temperature
    config.loss.subclass_temperature = subclass_temperature
    config.loss.hard_label_weight = 0.25
    config.teacher.options.features = (TEACHER_WIDTH,)
    config.student.num_steps = config.student.steps_per_chunk = num_steps
    config.student.batch_size = BATCH
    made.append(config)
  return made


def teacher(config: ConfigDict, data: Splits) -> Any:
  """A teacher of random weights: what it knows does not matter here."""
  model = model_fns(config.teacher, NUM_CLASSES)
  inputs = data.train["inputs"].astype(np.float32) / data.task.scale
  params, state = model.init(jax.random.key(7), inputs)
  outputs, _ = model.apply(params, state, inputs)
  moments = lelp_jax.class_moments(
    outputs.embeddings, data.train["labels"], num_classes=NUM_CLASSES
  )
  statistics = fitting.TeacherStatistics(moments, model.head(params).kernel)
  found: Any = (params, state, statistics, {}, None, {})
  return teacher_lib.Teacher(*found)


class _Float64(nn.Module):
  """The MLP in float64, which the bundled one leaves in its head."""

  num_outputs: int
  features: tuple[int, ...]

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    del train
    x = x.reshape(len(x), -1)
    dense = functools.partial(nn.Dense, dtype=float, param_dtype=float)
    for width in self.features:
      x = nn.relu(dense(width)(x))
    return dense(self.num_outputs, name="head")(x)


def float64_mlp(num_outputs: int, *, features: tuple[int, ...]) -> ModelFns:
  """What `MODELS["mlp"]` is replaced with."""
  return from_linen(_Float64(num_outputs, features), head="head")


def make(cells: list[ConfigDict], data: Splits, taught: Any) -> loop.Job:
  """The stack of some cells."""
  return jobs.make_job(
    cells,
    data,
    train=data.transfer,
    teacher=taught,
    names=[str(number) for number in range(len(cells))],
  )


def trained(job: loop.Job) -> tuple[TrainState, Any]:
  """Its states and metrics after all its steps."""
  return job.program.train_chunk(
    job.program.init(job.trials, sizes=job.sizes),
    *loop.placed(job),
    jnp.int32(0),
    length=job.spec.recipe["num_steps"],
  )


def largest_errors(num_steps: int) -> tuple[float, float, float]:
  """Trains both; returns how far they are apart, at the most.

  Args:
    num_steps: Number of steps.

  Returns:
    Relative errors of a student's parameters (of the vector of them) and of
    the last loss, and how far the first student's went from its start.
  """
  cells, data = configs(num_steps), splits()
  taught = teacher(cells[0], data)
  stack = make(cells, data, taught)
  assert (stack.spec.num_cells, stack.spec.num_subclasses) == (24, 10)
  start = stack.program.init(stack.trials, sizes=stack.sizes)
  origin = vector(next(finished.students(stack, start))[0])
  states, metrics = trained(stack)
  errors, losses, moved = [], [], 0.0
  for cell, student in enumerate(finished.students(stack, states)):
    single = make([cells[cell]], data, taught)
    own_states, own_metrics = trained(single)
    found = vector(student[0])
    expected = vector(next(finished.students(single, own_states))[0])
    errors.append(_relative(found, expected))
    losses.append(_relative(metrics["loss"][cell], own_metrics["loss"][0]))
    moved = moved or _relative(found, origin)
  return max(errors), max(losses), moved


def vector(tree: Any) -> np.ndarray:
  """All entries of a tree."""
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _relative(found: Any, expected: Any) -> float:
  difference = np.linalg.norm(np.asarray(found) - np.asarray(expected))
  return float(difference / np.linalg.norm(expected))
