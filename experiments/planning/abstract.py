"""A stack of cells as shapes: what is compiled, without any values."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import cells
from experiments.data.batches import Feed
from experiments.data.dataset import Splits
from experiments.distributed import mesh as mesh_lib
from experiments.methods import hyperparameter_arrays
from experiments.planning import blank
from experiments.training import jobs
from experiments.training import loop
from experiments.training.program import build
from experiments.training.recipe import model_fns

Lowered = jax.stages.Lowered


def abstract_job(
  configs: Sequence[ConfigDict],
  splits: Splits,
  devices: Sequence[jax.Device],
) -> loop.Job:
  """Returns the job that `jobs.make_job` would, of shapes.

  Args:
    configs: The cells of a stack.
    splits: Data, real or `blank.splits`.
    devices: Those it would run on.

  Returns:
    The job; `loop.placed` gives its shapes the shardings of real arrays.

  Raises:
    ValueError: If a config does not fit together.
  """
  first, task = configs[0], splits.task
  if first.teacher.outputs != "inline":
    raise ValueError(
      "a plan is of the teacher run inline: set "
      "--config.teacher.outputs=inline, got "
      f"{first.teacher.outputs!r}."
    )
  train = {k: splits.transfer[k] for k in loop.READ if k in splits.transfer}
  train["rows"] = np.arange(len(train["labels"]), dtype=np.int32)
  num_outputs = task.num_classes * first.teacher.subclass.num_subclasses
  model = model_fns(cells.plain(first.teacher), num_outputs)
  teacher = blank.teacher_like(model, first.teacher, splits)
  kernel = model.head(teacher[0]).kernel
  spec, sizes = jobs.stack_spec(configs, task, train, kernel.shape[0])
  shared, targets = blank.with_statistics(
    lambda statistics: jobs.stack_targets(
      configs, task, statistics, max(sizes)
    ),
    task.num_classes,
    kernel,
    train["labels"],
  )
  return loop.Job(
    spec=spec,
    program=build(spec, tuple(devices)),
    trials=np.array([config.trial for config in configs], np.int32),
    sizes=sizes,
    shared_targets=shared,
    pretrained=(),
    loss_params=None,
    details=(),
    targets=targets,
    hyperparameters={
      name: _shape(np.zeros(len(configs), np.float32))
      for name in hyperparameter_arrays(first)
    },
    teacher=teacher,
    data_seed=_shape(np.int32(0)),
    train=jax.tree.map(_shape, train)
    if spec.on_device
    else Feed(train, spec.recipe["batch_size"], first.data.length_window),
    validation={},
    fingerprint={},
    split_teacher=first.mesh.teacher == "fsdp",
  )


def arguments(job: loop.Job) -> tuple[Any, ...]:
  """Returns the shapes and shardings of what `train_chunk` takes.

  Args:
    job: An abstract job.

  Returns:
    States, teacher, shared targets, targets, hyperparameters, examples, data
    seed, first step.
  """
  mesh = job.program.mesh
  states = jax.eval_shape(
    functools.partial(job.program.init, sizes=job.sizes), job.trials
  )
  states = mesh_lib.place(states, mesh_lib.cell_sharding(mesh))
  first = mesh_lib.place(_shape(np.int32(0)), mesh_lib.replicated(mesh))
  return states, *loop.placed(job), first


def lower(job: loop.Job, given: tuple[Any, ...]) -> tuple[Lowered, int]:
  """Lowers what is compiled to train a stack.

  Args:
    job: An abstract job.
    given: Its `arguments`.

  Returns:
    The program, and how many steps it takes.
  """
  length = job.spec.recipe["steps_per_chunk"] if job.spec.on_device else 1
  return job.program.lower(*given, length=length), length


def _shape(array: Any) -> Any:
  """What stands for an array in a job without any."""
  return jax.ShapeDtypeStruct(np.shape(array), array.dtype)
