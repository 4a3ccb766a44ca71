"""A stack of cells as shapes: what is compiled, without any values."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.data.batches import Feed
from experiments.data.dataset import Splits
from experiments.distributed import mesh as mesh_lib
from experiments.methods import method_named
from experiments.methods.base import Setup
from experiments.planning import blank
from experiments.specs import CellSpec
from experiments.training import build
from experiments.training.models import model_fns
from experiments.training.step import build_program
from experiments.training.types import Run
from experiments.training.types import StepInputs
from experiments.training.types import TrainingData
from lelp_jax.train_step import TrainState

Lowered = jax.stages.Lowered
Arguments = tuple[TrainState, StepInputs, TrainingData, Any]


def abstract_run(
  cells: Sequence[CellSpec],
  splits: Splits,
  devices: Sequence[jax.Device],
) -> Run:
  """Returns the run that `build.build_run` would return, of shapes.

  Args:
    cells: The cells of a stack.
    splits: Data, real or `blank.splits`.
    devices: The devices it would run on.

  Returns:
    The run; `arguments` gives its shapes the shardings of real arrays.

  Raises:
    ValueError: If the cells do not fit the data.
  """
  first, task = cells[0], splits.task
  mode = first.teacher.outputs
  if mode == "coordinates":
    raise ValueError(
      "a plan cannot have cached coordinates: set "
      f'--config.teacher.outputs to "inline" or "cached", got {mode!r}.'
    )
  num_outputs = task.num_classes * first.teacher.subclass.num_subclasses
  model = model_fns(first.teacher, num_outputs)
  teacher = blank.teacher_like(model, first.teacher, splits)
  kernel = model.head(teacher[0]).kernel
  width = kernel.shape[0]
  train = build.training_arrays(splits.transfer)
  if mode == "cached":
    size = len(train["labels"])
    zero = np.float32(0)
    train["teacher_logits"] = np.broadcast_to(zero, (size, num_outputs))
    if method_named(first.method).teacher_outputs(first) != "logits":
      train["teacher_embeddings"] = np.broadcast_to(zero, (size, width))
  spec, sizes = build.program_spec(cells, task, train, width)
  shared, targets = blank.with_statistics(
    lambda statistics: build.stack_targets(
      [Setup(cell, task, width, statistics, max(sizes)) for cell in cells]
    ),
    task.num_classes,
    kernel,
    train["labels"],
  )
  return Run(
    spec=spec,
    program=build_program(spec, tuple(devices)),
    trials=np.array([cell.trial for cell in cells], np.int32),
    sizes=sizes,
    pretrained=(),
    loss_params=None,
    details=(),
    shared_targets=shared,
    targets=targets,
    hyperparameters={
      name: _shape(np.zeros(len(cells), np.float32))
      for name in method_named(first.method).scalars(first)
    },
    teacher=teacher if mode == "inline" else (),
    split_teacher=first.split_teacher,
    data_seed=_shape(np.int32(0)),
    train=jax.tree.map(_shape, train)
    if spec.on_device
    else Feed(train, spec.student.batch_size, first.data.length_window),
    validation={},
    test={},
    fingerprint={},
  )


def arguments(run: Run) -> Arguments:
  """Returns the shapes and shardings of the arguments of `train_chunk`.

  Args:
    run: An abstract run.

  Returns:
    States, fixed inputs, data and the first step.
  """
  mesh = run.program.mesh
  states = jax.eval_shape(
    functools.partial(run.program.init, sizes=run.sizes), run.trials
  )
  states = mesh_lib.place(states, mesh_lib.cell_sharding(mesh))
  first = mesh_lib.place(_shape(np.int32(0)), mesh_lib.replicated(mesh))
  return states, run.inputs, run.data(), first


def lower(run: Run, given: Arguments) -> tuple[Lowered, int]:
  """Lowers what is compiled to train a stack.

  Args:
    run: An abstract run.
    given: Its `arguments`.

  Returns:
    The program, and its number of steps.
  """
  length = run.spec.student.steps_per_chunk if run.spec.on_device else 1
  return run.program.lower(*given, length=length), length


def _shape(array: Any) -> Any:
  """What stands for an array in a run without any."""
  return jax.ShapeDtypeStruct(np.shape(array), array.dtype)
