"""Measurement of a training step, which predicts the duration of a run."""

import dataclasses
import time
from collections.abc import Iterable
from typing import NamedTuple

import jax
import numpy as np
import optax

from experiments import specs
from experiments.data.batches import collate
from experiments.data.dataset import Arrays
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.specs import CellSpec
from experiments.stacks import Stack
from experiments.training.models import in_steps
from experiments.training.models import model_fns
from experiments.training.models import model_inputs
from experiments.training.models import optimizer
from experiments.training.types import model_fields

_NUM_STEPS = 5
# The compilation of a stack's programs, which initialize, train and evaluate,
# takes as long as this many compilations of the measured step.
_PROGRAMS = 4


class StepTime(NamedTuple):
  """Times of the training of a student.

  Attributes:
    step: Seconds per training step of one cell.
    compilation: Seconds to compile the programs of a stack.
  """

  step: float
  compilation: float

  def of(self, stacks: Iterable[Stack]) -> float:
    """Returns the seconds that the training of stacks takes.

    The students' `num_steps` must be set. Stacks that differ only in fields
    marked `specs.STACKED` are counted as sharing their programs.
    """
    programs, steps = set(), 0
    for stack in stacks:
      first, size = stack.cells[0], len(stack.cells)
      plain = dataclasses.replace(first, trial=0, varied=())
      programs.add((specs.without_stacked(plain), size))
      steps += size * first.student.num_steps
    return self.compilation * len(programs) + self.step * steps


def measure(cell: CellSpec, splits: Splits) -> StepTime:
  """Times a few training steps of a student, with a loss of negligible cost.

  Args:
    cell: A cell of the student.
    splits: The data of the cell.
  """
  spec = in_steps(cell.student, len(splits.transfer["labels"]))
  model = model_fns(spec, splits.task.num_classes)
  batch = collate(
    model_fields(splits.transfer), _typical(splits.transfer, spec.batch_size)
  )
  inputs = model_inputs(spec, batch, splits.task.scale)
  params, model_state = jax.jit(model.init)(jax.random.key(0), inputs)
  tx = optimizer(spec)

  @jax.jit
  def step(params, model_state, opt_state, key):
    def loss(params):
      outputs, state = model.apply(
        params, model_state, inputs, train=True, key=key
      )
      return jax.nn.logsumexp(outputs.logits, axis=-1).mean(), state

    gradient, state = jax.grad(loss, has_aux=True)(params)
    updates, opt_state = tx.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), state, opt_state

  state = params, model_state, tx.init(params)
  times = [time.monotonic()]
  for key in jax.random.split(jax.random.key(1), _NUM_STEPS):
    state = jax.block_until_ready(step(*state, key))
    times.append(time.monotonic())
  seconds = np.diff(times)
  return StepTime(float(np.median(seconds[1:])), _PROGRAMS * float(seconds[0]))


def _typical(arrays: Arrays, size: int) -> np.ndarray:
  """Returns the rows of a batch whose texts are of a typical length."""
  num_rows = len(arrays["labels"])
  rows = np.arange(num_rows)
  for array in arrays.values():
    if isinstance(array, Ragged):
      rows = np.argsort(array.lengths, kind="stable")
  start = max(0, min(num_rows - size, num_rows * 6 // 10 - size // 2))
  return rows[start : start + size]
