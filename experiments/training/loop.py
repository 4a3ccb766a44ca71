"""The training loop: one for teachers, single runs and stacks of cells.

It takes compiled chunks of steps. After each it evaluates on held-out data,
writes one line of metrics a cell and saves a checkpoint, so an interrupted
run continues from a chunk's boundary and repeats the bits of one that was
not interrupted.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.data import batches
from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes
from experiments.distributed.signals import Interrupted
from experiments.distributed.signals import Interrupts
from experiments.io.checkpoints import Checkpoints
from experiments.training import nonfinite
from experiments.training.initial import Spec
from experiments.training.program import FIRST_NONFINITE
from experiments.training.program import Program
from experiments.training.watch import Wanted
from experiments.training.watch import Watch
from lelp_jax import metrics as metrics_lib
from lelp_jax.train_step import TrainState

Arrays = Mapping[str, Any]

# What models and losses read of an example; not every data set has all.
READ = ("inputs", "embeddings", "labels", "fine_labels")
# And where the teacher's outputs are cached.
READ += ("teacher_embeddings", "teacher_logits")


@dataclasses.dataclass(frozen=True)
class Job:
  """A stack of cells, ready to be trained.

  Attributes:
    spec: What its program was compiled for.
    program: The compiled functions.
    trials: Seed of each cell, int32, ``[cells]``.
    sizes: S of each cell.
    pretrained: Parameters and model state to start from, or ().
    loss_params: What the method learns, where it was trained before, or None.
    details: What else results record, plain data of each cell.
    shared_targets: What the method prepared for all cells alike.
    targets: What it prepared for each, a leading cell axis on each array.
    hyperparameters: Scalars, ``[cells]`` each.
    teacher: ``(params, model_state)`` of the teacher, or ().
    data_seed: Seed of batch order and augmentation, int32.
    train: Examples to train on, arrays for the devices or a `Feed`.
    validation: Held-out examples, evaluated after each chunk.
    fingerprint: What must be the same for a checkpoint to be continued.
    example_ids: Ids of the training examples in their data set, int ``[N]``, or
      None where these have none.
    split_teacher: Whether each of the teacher's arrays is cut over the devices
      that share batches, where it does not fit on one.
  """

  spec: Spec
  program: Program
  trials: np.ndarray
  sizes: tuple[int, ...]
  pretrained: tuple[Any, ...]
  loss_params: Any
  details: tuple[dict[str, Any], ...]
  shared_targets: dict[str, Any]
  targets: dict[str, Any]
  hyperparameters: Mapping[str, np.ndarray]
  teacher: tuple[Any, ...]
  data_seed: np.int32
  train: Arrays | batches.Feed
  validation: Arrays
  fingerprint: Mapping[str, Any]
  example_ids: Any = None
  split_teacher: bool = False

  @functools.cached_property
  def arguments(self) -> tuple[Any, ...]:
    """What its programs take beside states and examples, on the devices.

    Teacher, shared targets, targets, hyperparameters.
    """
    mesh = self.program.mesh
    cells, everywhere = mesh_lib.cell_sharding(mesh), mesh_lib.replicated(mesh)
    return (
      mesh_lib.place_split(self.teacher, mesh)
      if self.split_teacher
      else mesh_lib.place(self.teacher, everywhere),
      mesh_lib.place(self.shared_targets, everywhere),
      mesh_lib.place(self.targets, cells),
      mesh_lib.place(dict(self.hyperparameters), cells),
    )


@dataclasses.dataclass(frozen=True)
class Trained:
  """What training leaves.

  Attributes:
    states: The last states, a leading cell axis on each array.
    train_metrics: Means over the last chunk, ``[cells]`` each.
    step_seconds: How long a step of the stack took, see `Watch`.
    continued: Whether another process began it.
  """

  states: TrainState
  train_metrics: dict[str, np.ndarray]
  step_seconds: float | None
  continued: bool


def train(
  job: Job,
  *,
  checkpoint_directory: pathlib.PurePath,
  wanted: Wanted,
  signals: Interrupts,
) -> Trained:
  """Trains a stack to its last step, from its last checkpoint if there is one.

  Args:
    job: The stack.
    checkpoint_directory: Where checkpoints are and go.
    wanted: What is to be seen of it.
    signals: What was asked of the process, looked at after each chunk. After
      the last one it is left to the caller, who can write the results first.

  Returns:
    The trained states.

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
    FloatingPointError: If a loss or a state is not finite; what is not finite
      is never saved.
    ValueError: If the checkpoint belongs to another configuration.
  """
  recipe = job.spec.recipe
  num_steps, chunk = recipe["num_steps"], recipe["steps_per_chunk"]
  mesh = job.program.mesh
  states = job.program.init(
    job.trials,
    sizes=job.sizes,
    pretrained=job.pretrained,
    loss_params=job.loss_params,
  )
  states = mesh_lib.place(states, mesh_lib.cell_sharding(mesh))
  fixed = placed(job)
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(
      Checkpoints(checkpoint_directory, fingerprint=dict(job.fingerprint))
    )
    step, train_metrics = 0, {}
    restored = checkpoints.restore(_like(job, states, fixed))
    if restored is not None:
      step, saved = restored
      states, metrics = saved["states"], saved["metrics"]
      train_metrics = mesh_lib.fetch(metrics, mesh)
    processes.from_main(lambda: nonfinite.clear(wanted.metric_paths))
    watch = stack.enter_context(
      Watch(
        wanted,
        step=step,
        num_steps=num_steps,
        batch_size=recipe["batch_size"],
        feed=job.train if isinstance(job.train, batches.Feed) else None,
      )
    )
    while step < num_steps:
      length = min(chunk, num_steps - step)
      with watch.chunk(step, length):
        states, metrics = job.program.train_chunk(
          states, *fixed, np.int32(step), length=length
        )
        metrics = dict(metrics)
        # Waits for the chunk's end.
        first_bad = mesh_lib.fetch(metrics.pop(FIRST_NONFINITE), mesh)
      if first_bad.any():
        checkpoints.close()
        raise nonfinite.error(
          job,
          first_bad,
          label=wanted.label,
          saved=checkpoint_directory / f"{step}" if step else None,
          metric_paths=wanted.metric_paths,
        )
      train_metrics = mesh_lib.fetch(metrics, mesh)
      step += length
      held_out = evaluate(job, states, job.validation)
      watch.write(step, train_metrics, held_out)
      checkpoints.save(step, {"states": states, "metrics": metrics})
      stop = processes.any_process(signals.requested is not None)
      if stop and step < num_steps:
        checkpoints.close()
        name = signals.requested or "a signal to another process"
        raise Interrupted(
          name, f"step {step} is saved in {checkpoint_directory}"
        )
  return Trained(
    states, train_metrics, watch.step_seconds, restored is not None
  )


def evaluate(
  job: Job, states: TrainState, arrays: Arrays
) -> dict[str, np.ndarray]:
  """Evaluates all cells on a set of examples, each exactly once.

  Args:
    job: The stack.
    states: Its states.
    arrays: The examples.

  Returns:
    Accuracy, loss and, with a teacher, agreement with it: ``[cells]`` each.
  """
  means: dict[str, metrics_lib.Mean] = {}
  for _, batch in clean_batches(job, arrays):
    part = job.program.eval_batch(states, *job.arguments, batch)
    means = metrics_lib.merge(means, mesh_lib.settled(part, job.program.mesh))
  return mesh_lib.fetch(metrics_lib.compute(means), job.program.mesh)


def clean_batches(
  job: Job, arrays: Arrays
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
  """Yields all examples once, without augmentation.

  Args:
    job: The stack.
    arrays: The examples.

  Yields:
    A batch on the host, as `batches.eval_batches` has it, and on the devices:
    laid over those that share batches, if their number divides it.
  """
  mesh = job.program.mesh
  size = min(job.spec.recipe["eval_batch_size"], len(arrays["labels"]))
  fits = size % mesh.shape["data"] == 0
  sharding = (
    mesh_lib.batch_sharding(mesh) if fits else mesh_lib.replicated(mesh)
  )
  kept = {name: arrays[name] for name in READ if name in arrays}
  for batch in batches.eval_batches(kept, size):
    yield batch, mesh_lib.place(batch, sharding)


def _like(
  job: Job, states: TrainState, fixed: tuple[Any, ...]
) -> dict[str, Any]:
  """What a checkpoint holds, as shapes where there are no arrays yet."""
  metrics = job.program.metric_shapes(states, *fixed, np.int32(0))
  cells = mesh_lib.cell_sharding(job.program.mesh)
  metrics = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=cells)
    for name, x in metrics.items()
  }
  return {"states": states, "metrics": metrics}


def placed(job: Job) -> tuple[Any, ...]:
  """Puts the fixed arguments of a chunk on the devices.

  Args:
    job: The stack.

  Returns:
    Teacher, shared targets, targets, hyperparameters, examples, data seed.
  """
  everywhere = mesh_lib.replicated(job.program.mesh)
  return (
    *job.arguments,
    job.train
    if isinstance(job.train, batches.Feed)
    else mesh_lib.place(dict(job.train), everywhere),
    mesh_lib.place(job.data_seed, everywhere),
  )
