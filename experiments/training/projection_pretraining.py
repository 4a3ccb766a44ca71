"""Projections trained before the students: FitNet's and CRD's (A-24).

They are trained by the feature loss alone, with a student that is thrown away
afterwards; once for all cells and trials that share teacher, data and student.
"""

import dataclasses
import functools
import pathlib
import time
from typing import Any

import jax

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
from experiments.methods import method_named
from experiments.specs import CellSpec
from experiments.training import loop
from experiments.training.build import build_run
from experiments.training.monitor import MonitorSpec
from experiments.training.pretrained import weights_digest
from experiments.training.types import Run
from experiments.training.types import Teacher


@dataclasses.dataclass(frozen=True)
class Projections:
  """Trained projections.

  Attributes:
    params: The ``loss_params`` that students start from.
    record: Record of their training in the results of the students.
  """

  params: Any
  record: results.PretrainingResult


def load_or_train(
  cell: CellSpec,
  splits: Splits,
  teacher: Teacher,
  directory: pathlib.Path,
) -> Projections | None:
  """Returns the projections of a cell, training them if they do not exist.

  Their folder in `directory` is named by their digest. None for a cell without
  pre-training.
  """
  name = method_named(cell.method).pretraining
  if name is None or not (
    cell.pretraining.num_steps or cell.pretraining.num_epochs
  ):
    return None
  own = _pretraining_cell(cell, name)
  fields = _fields(own, splits, teacher)
  digest = identity.digest(fields)
  folder = directory / digest
  run = build_run([own], splits, teacher=teacher, names=[digest])
  states = jax.eval_shape(
    functools.partial(run.program.init, sizes=run.sizes), run.trials
  )
  if not jax.tree.leaves(states.loss_params):
    return None  # Without a projection there is nothing to train.
  parts = [folder / "parameters", folder / "result.json"]
  with locks.exclusive_when_free(folder):
    if not processes.from_main(lambda: all(part.exists() for part in parts)):
      label = f"{cell.column} {name}"
      _train(own, run, digest, fields, folder, label)
  like = mesh_lib.on_host(states.loss_params)
  saved = checkpoints.load_tree(folder / "parameters", like)
  return Projections(
    jax.tree.map(lambda x: x[0], saved),  # From a stack of one cell.
    results.read(folder, results.PretrainingResult),
  )


def _fields(own: CellSpec, splits: Splits, teacher: Teacher) -> dict[str, Any]:
  """Everything that the projections depend on, plain data."""
  init = own.student.init
  return {
    "method": own.method,
    "loss": specs.plain(specs.without_stacked(own.loss))
    | {"contrast_temperature": own.loss.contrast_temperature},
    "student": specs.plain(own.student),
    # The digest of the data does not depend on which examples students see.
    "data": identity.cell_fields(own)["data"],
    # A teacher of the same config may have been trained again.
    "teacher": [
      teacher.summary.digest,
      dict(teacher.summary.origin),
      teacher.parameters_sha256,
    ],
    "origin": [
      splits.digest,
      None if init == "random" else weights_digest(init),
    ],
  }


def _train(
  own: CellSpec,
  run: Run,
  digest: str,
  fields: dict[str, Any],
  folder: pathlib.Path,
  label: str,
) -> None:
  """Trains projections and writes their folder, result.json last."""
  start = time.monotonic()
  trained = loop.train(
    run,
    checkpoint_directory=folder / "checkpoints",
    monitoring=MonitorSpec([own], [folder / "metrics.jsonl"], label),
  )
  checkpoints.save_tree(folder / "parameters", trained.states.loss_params)
  seconds = None if trained.continued else round(time.monotonic() - start, 3)
  record = results.PretrainingResult(
    digest=digest,
    num_steps=run.spec.student.num_steps,
    batch_size=run.spec.student.batch_size,
    seconds=seconds,
  )

  def write() -> None:
    json_files.write_json(folder / "config.json", fields)
    results.write(folder, record)
    storage.delete(folder / "checkpoints")

  processes.from_main(write)


def _pretraining_cell(cell: CellSpec, name: str) -> CellSpec:
  """The cell whose student is thrown away, trained by another method."""
  student = dataclasses.replace(
    cell.student,
    optimizer="adam",
    schedule="constant",
    num_steps=cell.pretraining.num_steps,
    num_epochs=cell.pretraining.num_epochs,
    steps_per_chunk=cell.pretraining.steps_per_chunk,
    learning_rate=cell.pretraining.learning_rate,
  )
  return dataclasses.replace(cell, method=name, trial=0, student=student)
