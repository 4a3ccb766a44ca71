"""Teachers: trained once, kept by digest, frozen afterwards."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Splits
from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes
from experiments.io import checkpoints
from experiments.io import json_files
from experiments.io import locks
from experiments.io import storage
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import CellSpec
from experiments.training import loop
from experiments.training.build import build_run
from experiments.training.inference import evaluation_batches
from experiments.training.inference import FrozenModel
from experiments.training.models import model_fns
from experiments.training.monitor import MonitorSpec
from experiments.training.teacher_cache import TeacherCache
from experiments.training.types import Run
from experiments.training.types import Teacher
from experiments.training.types import Weights


def load_or_train(
  cell: CellSpec, splits: Splits, directory: pathlib.Path
) -> Teacher:
  """Returns the teacher of a cell, training it if it does not exist yet.

  Its folder in `directory` is named by its digest. Its outputs are computed
  when something asks for them. Raises ValueError for a teacher of this name
  that was trained from other data or weights.
  """
  digest = identity.teacher_digest(cell)
  folder = directory / digest
  if cell.teacher.input_field != "embeddings":
    splits = splits.without_embeddings()  # Those are for students.
  own = as_student(cell)
  run = build_run([own], splits, teacher=None, names=[digest])
  parts = [folder / "parameters", folder / "result.json"]
  # Another process that shares the folder may be training it: wait for that.
  with locks.exclusive_when_free(folder):
    if not processes.from_main(lambda: all(part.exists() for part in parts)):
      _train(own, run, folder, f"teacher of {cell.column}")
    # The process that finished it may have been killed before this.
    processes.from_main(lambda: storage.delete(folder / "checkpoints"))
  weights = _read_weights(run, folder)
  result = results.read(folder, results.TeacherResult)
  _check_origin(result, run, folder)
  model = FrozenModel(
    own.student,
    weights,
    splits.task.scale,
    is_split=cell.split_teacher,
  )
  kernel = model_fns(own.student, 1).head(weights.params).kernel
  cache = TeacherCache(
    cell.teacher.outputs,
    folder / "outputs",
    splits,
    _on_own_devices(model).outputs,
    teacher=weights,
    widths=(kernel.shape[0], kernel.shape[1]),
    batch_size=own.student.eval_batch_size,
    label=f"outputs of the teacher of {cell.column}",
  )
  seconds: dict[str, float | None] = {"training": result.seconds.training}

  def moments() -> lelp_jax.ClassMoments:
    start = time.monotonic()
    found = jax.block_until_ready(_moments(model, splits, cache))
    seconds["moments"] = round(time.monotonic() - start, 3)
    return found

  return Teacher(
    weights=weights,
    statistics=TeacherStatistics(
      moments,
      jnp.asarray(kernel),
      splits.transfer["labels"],
      lambda: cache.on(splits.transfer),
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


def check_above_chance(
  cell: CellSpec, splits: Splits, teacher: Teacher
) -> None:
  """Raises ValueError for a teacher from which there is nothing to learn.

  Only a user's own data and teachers that are taken as they are are checked:
  there, the names of classes or the tokenizer may be wrong.
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
  """Returns a cell whose student is the teacher of another cell.

  A teacher is trained as a student is: from labels, without a teacher.
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


def _check_origin(
  result: results.TeacherResult, run: Run, folder: pathlib.Path
) -> None:
  """Raises ValueError if what a teacher came from changed under its name."""
  for name, now in _origin(run).items():
    if result.origin[name] != now:
      raise ValueError(
        f"the teacher in {folder} was trained from other {name} than there are "
        "now under the same name: delete it, or set another --teacher_dir."
      )


def _origin(run: Run) -> dict[str, str | None]:
  return {
    "data": run.fingerprint["data"],
    "pretrained weights": run.fingerprint["pretrained"],
  }


def _train(own: CellSpec, run: Run, folder: pathlib.Path, label: str) -> None:
  """Trains a teacher and writes its folder, result.json last."""
  processes.from_main(
    lambda: json_files.write_json(
      folder / "config.json", identity.teacher_fields(own)
    )
  )
  start = time.monotonic()
  trained = loop.train(
    run,
    checkpoint_directory=folder / "checkpoints",
    monitoring=MonitorSpec([own], [folder / "metrics.jsonl"], label),
  )
  states = trained.states
  checkpoints.save_tree(
    folder / "parameters",
    {"params": states.params, "model_state": states.model_state},
  )
  (result,) = loop.model_results(run, trained)
  # The time of a training that another process began is not known.
  seconds = None if trained.continued else round(time.monotonic() - start, 3)
  record = results.TeacherResult(
    **vars(result),
    origin=_origin(run),
    seconds=results.TeacherSeconds(training=seconds),
  )
  processes.from_main(lambda: results.write(folder, record))


def _read_weights(run: Run, folder: pathlib.Path) -> Weights:
  """Reads the weights of a finished teacher."""
  states = jax.eval_shape(
    functools.partial(run.program.init, sizes=run.sizes), run.trials
  )
  like = mesh_lib.on_host(
    {"params": states.params, "model_state": states.model_state}
  )
  saved = checkpoints.load_tree(folder / "parameters", like)
  # Training keeps a leading cell axis, of one.
  saved = jax.tree.map(lambda x: x[0], saved)
  return Weights(saved["params"], saved["model_state"])


def _on_own_devices(model: FrozenModel) -> FrozenModel:
  """The model on this process's devices: each process computes other rows."""
  if jax.process_count() == 1:
    return model
  return dataclasses.replace(model, devices=tuple(jax.local_devices()))


def _moments(
  model: FrozenModel, splits: Splits, cache: TeacherCache
) -> lelp_jax.ClassMoments:
  """Moments of the embeddings: one clean pass over the training set (A-12)."""
  moments, mesh = None, model.mesh
  for embeddings, batch in _embeddings(model, splits, cache):
    part = lelp_jax.class_moments(
      embeddings,
      batch["labels"],
      num_classes=splits.task.num_classes,
      where=batch["mask"],
    )
    part = mesh_lib.settled(part, mesh)
    moments = part if moments is None else lelp_jax.merge_moments(moments, part)
    moments = mesh_lib.settled(moments, mesh)
  return jax.tree.map(jnp.asarray, mesh_lib.fetch(moments, mesh))


def _embeddings(
  model: FrozenModel, splits: Splits, cache: TeacherCache
) -> Iterator[tuple[jax.Array, dict[str, Any]]]:
  """Yields the embeddings of the training set, with their batches."""
  if not cache.has_embeddings():
    for _, batch, outputs in model.batches(splits.train):
      yield outputs.embeddings, batch
    return
  arrays = {
    "labels": splits.train["labels"],
    "teacher_embeddings": cache.rows(cache.whole["embeddings"], splits.train),
  }
  size = model.spec.eval_batch_size
  for _, batch in evaluation_batches(arrays, size, model.mesh):
    yield batch["teacher_embeddings"], batch
