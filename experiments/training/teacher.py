"""Trains the teacher of a cell once, or loads it from its folder."""

import dataclasses
import pathlib
import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Arrays
from experiments.data.dataset import NO_LABEL
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.distributed import mesh as mesh_lib
from experiments.methods.statistics import predicted_classes
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import CellSpec
from experiments.training import loop
from experiments.training.build import build_run
from experiments.training.forecast import Watch
from experiments.training.inference import evaluation_batches
from experiments.training.inference import FrozenModel
from experiments.training.models import model_fns
from experiments.training.models import Weights
from experiments.training.teacher_cache import TeacherCache
from experiments.training.types import Teacher


def load_or_train(
  cell: CellSpec,
  splits: Splits,
  directory: pathlib.Path,
  watch: Watch | None = None,
) -> Teacher:
  """Returns the teacher of a cell, training it if it does not exist yet.

  Its outputs are computed when they are first needed.

  Args:
    cell: The cell.
    splits: Its data.
    directory: Folder of teachers; each has a folder named by its digest.
    watch: See `Monitor`.

  Raises:
    ValueError: If the teacher with this digest was trained from other data or
      other pretrained weights.
  """
  digest = identity.teacher_digest(cell)
  folder = directory / digest
  if cell.teacher.input_field != "embeddings":
    splits = splits.without_embeddings()  # Only students read these.
  weights, result = _trained(cell, splits, folder, watch)
  spec = as_student(cell).student
  model = FrozenModel(
    spec, weights, splits.task.scale, is_split=cell.split_teacher
  )
  kernel = model_fns(spec, 1).head(weights.params).kernel
  own_model = model
  if jax.process_count() > 1:  # Processes compute the outputs of other rows.
    devices = tuple(jax.local_devices())
    own_model = dataclasses.replace(model, devices=devices)
  cache = TeacherCache(
    mode=cell.teacher.outputs,
    outputs=folder / "outputs",
    splits=splits,
    compute=own_model.outputs,
    weights=weights,
    widths=(kernel.shape[0], kernel.shape[1]),
    batch_size=spec.eval_batch_size,
    label=f"outputs of the teacher of {cell.column}",
  )
  seconds: dict[str, float | None] = {
    "training": result.seconds.training,
    "example": own_model.seconds_per_example(splits.test),
  }

  def moments() -> lelp_jax.ClassMoments:
    start = time.monotonic()
    parts = _examples_of_moments(cell, splits, cache)
    result = jax.block_until_ready(_moments(model, splits.task, parts, cache))
    seconds["moments"] = round(time.monotonic() - start, 3)
    return result

  return Teacher(
    weights=weights,
    statistics=TeacherStatistics(
      moments,
      jnp.asarray(kernel),
      lambda: _labels(splits.transfer, splits.task, cache),
      lambda: cache.on(splits.transfer),
      membership=cell.subspace.membership,
    ),
    summary=results.TeacherSummary(
      digest=digest,
      outputs=cell.teacher.outputs,
      validation=result.validation,
      test=result.test,
      num_parameters=result.num_parameters,
      origin=result.origin,
    ),
    outputs=cache,
    seconds=seconds,
  )


def _trained(
  cell: CellSpec, splits: Splits, folder: pathlib.Path, watch: Watch | None
) -> tuple[Weights, results.TeacherResult]:
  """Trains the teacher of a cell, or loads it."""
  own = as_student(cell)
  run = build_run([own], splits, teacher=None, names=[folder.name])
  origin = {
    "data": run.fingerprint["data"],
    "pretrained weights": run.fingerprint["pretrained"],
  }
  saved, result = loop.train_once(
    run,
    folder,
    results.TeacherResult,
    settings=identity.teacher_fields(cell),
    kept=lambda states: {
      "params": states.params,
      "model_state": states.model_state,
    },
    record=lambda trained, seconds: results.TeacherResult(
      **vars(loop.model_results(run, trained)[0]),
      origin=origin,
      seconds=results.TeacherSeconds(training=seconds),
    ),
    label=f"teacher of {cell.column}",
    watch=watch,
  )
  for name, now in origin.items():
    if result.origin[name] != now:
      raise ValueError(
        f"the teacher in {folder} was trained from other {name} than the "
        "config names now: delete the folder, or set another --teacher_dir."
      )
  return Weights(**saved), result


def check_above_chance(
  cell: CellSpec, splits: Splits, teacher: Teacher
) -> None:
  """Raises ValueError for a teacher that is not better than chance.

  Teachers are checked on a user's own data, or if they are pretrained and used
  without training: the names of classes or the tokenizer may then be wrong.
  """
  spec = cell.teacher
  is_given = spec.init != "random" and not (spec.num_steps or spec.num_epochs)
  if spec.allow_chance or not (cell.data.source or is_given):
    return
  labels = np.asarray(splits.validation["labels"])
  chance = np.bincount(labels).max() / len(labels)
  accuracy = teacher.summary.validation.accuracy
  if accuracy <= chance:
    raise ValueError(
      f"the teacher has an accuracy of {100 * accuracy:.2f} % on the "
      f"{len(labels):,} validation examples, and always predicting the most "
      f"frequent class reaches {100 * chance:.2f} %: check its labels and its "
      "tokenizer, train it longer, or set config.teacher.allow_chance=True to "
      "go on."
    )


def as_student(cell: CellSpec) -> CellSpec:
  """Returns the cell that trains the teacher of a cell as its student.

  This student learns from labels, without a teacher.
  """
  teacher = cell.teacher
  names = [field.name for field in dataclasses.fields(specs.ModelSpec)]
  model = specs.ModelSpec(**{name: getattr(teacher, name) for name in names})
  is_plain = teacher.subclass.num_subclasses == 1
  return dataclasses.replace(
    cell,
    method="standard" if is_plain else "subclass_teacher",
    trial=teacher.seed,
    data=dataclasses.replace(cell.data, shared_batch_order=False),
    student=model,
  )


def _labels(part: Arrays, task: Task, cache: TeacherCache) -> np.ndarray:
  """Returns the labels, with the teacher's class where there is no label."""
  labels = np.array(part["labels"])
  unknown = np.flatnonzero(labels == NO_LABEL)
  if unknown.size:
    rows = {name: array[unknown] for name, array in part.items()}
    labels[unknown] = _predicted(rows, task, cache)
  return labels


def _predicted(part: Arrays, task: Task, cache: TeacherCache) -> np.ndarray:
  """Returns the class that the teacher predicts for each example, int32."""
  return predicted_classes(cache.on(part).logits, task.num_classes)


def _examples_of_moments(
  cell: CellSpec, splits: Splits, cache: TeacherCache
) -> list[Arrays]:
  """Returns the examples that moments are computed from, with classes (A-11).

  With `config.subspace.membership="labels"` these are the teacher's training
  examples and the unlabelled ones. With "teacher" they are the students'
  training examples.
  """
  task = splits.task
  if cell.subspace.membership == "teacher":
    labels = _predicted(splits.transfer, task, cache)
    return [{**splits.transfer, "labels": labels}]
  if splits.unlabelled is None:
    return [splits.train]
  labels = _predicted(splits.unlabelled, task, cache)
  return [splits.train, {**splits.unlabelled, "labels": labels}]


def _moments(
  model: FrozenModel, task: Task, parts: Sequence[Arrays], cache: TeacherCache
) -> lelp_jax.ClassMoments:
  """Computes class moments in one pass without augmentation (A-12)."""
  moments, mesh = None, model.mesh
  for examples in parts:
    for embeddings, batch in _embeddings(model, examples, cache):
      part = lelp_jax.class_moments(
        embeddings,
        batch["labels"],
        num_classes=task.num_classes,
        where=batch["mask"],
      )
      part = mesh_lib.settled(part, mesh)
      if moments is not None:
        part = lelp_jax.merge_moments(moments, part)
      moments = mesh_lib.settled(part, mesh)
  return jax.tree.map(jnp.asarray, mesh_lib.fetch(moments, mesh))


def _embeddings(
  model: FrozenModel, examples: Arrays, cache: TeacherCache
) -> Iterator[tuple[jax.Array, dict[str, Any]]]:
  """Yields the embeddings of each batch with the batch, both on the devices."""
  if not cache.has_embeddings():
    for _, batch, outputs in model.batches(examples):
      yield outputs.embeddings, batch
    return
  arrays = {
    "labels": examples["labels"],
    "teacher_embeddings": cache.rows(cache.whole["embeddings"], examples),
  }
  size = model.spec.eval_batch_size
  for _, batch in evaluation_batches(arrays, size, model.mesh):
    yield batch["teacher_embeddings"], batch
