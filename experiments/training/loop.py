"""The training loop: one for teachers, single runs and stacks of cells.

It takes compiled chunks of steps. After each it evaluates on held-out data,
writes one line of metrics a cell and saves a checkpoint, so an interrupted
run continues from a chunk's boundary and repeats the bits of one that was
not interrupted.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import feed
from experiments.runtime import mesh as mesh_lib
from experiments.runtime.checkpoints import Checkpoints
from experiments.runtime.interrupts import Interrupted
from experiments.runtime.interrupts import Interrupts
from experiments.runtime.metric_writer import MetricWriter
from experiments.runtime.progress import Progress
from experiments.training.initial import Spec
from experiments.training.program import Program
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
  train: Arrays | feed.Feed
  validation: Arrays
  fingerprint: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Trained:
  """What training leaves.

  Attributes:
    states: The last states, a leading cell axis on each array.
    train_metrics: Means over the last chunk, ``[cells]`` each.
  """

  states: TrainState
  train_metrics: dict[str, np.ndarray]


def train(
  job: Job,
  *,
  checkpoint_directory: pathlib.Path,
  metric_paths: Sequence[pathlib.Path | None],
  label: str,
  signals: Interrupts,
) -> Trained:
  """Trains a stack to its last step, from its last checkpoint if there is one.

  Args:
    job: The stack.
    checkpoint_directory: Where checkpoints are and go.
    metric_paths: One file of metrics a cell, None for one that has its own.
    label: What the progress display calls it.
    signals: What was asked of the process, looked at after each chunk. After
      the last one it is left to the caller, who can write the results first.

  Returns:
    The trained states.

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
    FloatingPointError: If a loss is not finite.
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
      train_metrics = jax.device_get(metrics)
    writers = [
      stack.enter_context(MetricWriter(path, resume_step=step))
      for path in metric_paths
    ]
    progress = stack.enter_context(
      Progress(
        num_steps,
        label=label,
        initial=step,
        examples_per_unit=recipe["batch_size"] * job.spec.num_cells,
      )
    )
    while step < num_steps:
      length = min(chunk, num_steps - step)
      states, metrics = job.program.train_chunk(
        states, *fixed, jnp.int32(step), length=length
      )
      train_metrics = jax.device_get(metrics)
      _check_finite(train_metrics, step, step + length, label)
      step += length
      held_out = evaluate(job, states, job.validation)
      _write(writers, step, train_metrics, held_out)
      checkpoints.save(step, {"states": states, "metrics": metrics})
      accuracy = 100 * held_out["accuracy"].mean()
      progress.update(length, accuracy=accuracy)
      stop = mesh_lib.any_process(signals.requested is not None)
      if stop and step < num_steps:
        name = signals.requested or "another process was interrupted"
        raise Interrupted(
          name, f"step {step} is saved in {checkpoint_directory}"
        )
  return Trained(states, train_metrics)


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
  teacher, shared, targets, scalars, *_ = placed(job)
  size = min(job.spec.recipe["eval_batch_size"], len(arrays["labels"]))
  means: dict[str, metrics_lib.Mean] = {}
  kept = {name: arrays[name] for name in READ if name in arrays}
  for batch in feed.eval_batches(kept, size):
    part = job.program.eval_batch(
      states, teacher, shared, targets, scalars, batch
    )
    means = metrics_lib.merge(means, part)
  return jax.device_get(metrics_lib.compute(means))


def _like(
  job: Job, states: TrainState, fixed: tuple[Any, ...]
) -> dict[str, Any]:
  """What a checkpoint holds, as shapes where there are no arrays yet."""
  metrics = job.program.metric_shapes(states, *fixed, jnp.int32(0))
  return {"states": states, "metrics": metrics}


def placed(job: Job) -> tuple[Any, ...]:
  """Puts the fixed arguments of a chunk on the devices.

  Args:
    job: The stack.

  Returns:
    Teacher, shared targets, targets, hyperparameters, examples, data seed.
  """
  mesh = job.program.mesh
  cells, everywhere = mesh_lib.cell_sharding(mesh), mesh_lib.replicated(mesh)
  return (
    mesh_lib.place(job.teacher, everywhere),
    mesh_lib.place(job.shared_targets, everywhere),
    mesh_lib.place(job.targets, cells),
    mesh_lib.place(dict(job.hyperparameters), cells),
    job.train
    if isinstance(job.train, feed.Feed)
    else mesh_lib.place(dict(job.train), everywhere),
    mesh_lib.place(job.data_seed, everywhere),
  )


def _write(
  writers: Sequence[MetricWriter],
  step: int,
  train_metrics: Mapping[str, np.ndarray],
  held_out: Mapping[str, np.ndarray],
) -> None:
  """One line a cell."""
  for cell, writer in enumerate(writers):
    scalars = {f"train/{k}": v[cell] for k, v in train_metrics.items()}
    scalars |= {f"validation/{k}": v[cell] for k, v in held_out.items()}
    writer.write(step, scalars)


def _check_finite(
  metrics: Mapping[str, np.ndarray],
  first: int,
  last: int,
  label: str,
) -> None:
  """Raises FloatingPointError if the loss of a cell is not finite."""
  bad = np.flatnonzero(~np.isfinite(metrics["loss"]))
  if bad.size:
    raise FloatingPointError(
      f"{label}: the loss is not finite between steps {first} and {last} in "
      f"{bad.size} of {len(metrics['loss'])} cells, the first being number "
      f"{bad[0]}; what was saved at step {first} is kept. Try a smaller "
      "learning rate."
    )
