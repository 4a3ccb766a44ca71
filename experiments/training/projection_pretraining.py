"""Pre-training of the projections of FitNet and CRD (A-24).

Projections are trained with the feature loss alone and with a student that is
then discarded. Cells and trials with the same teacher, data and student share
them.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax

from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Splits
from experiments.io import json_files
from experiments.methods import method_named
from experiments.specs import CellSpec
from experiments.training import loop
from experiments.training.build import build_run
from experiments.training.pretrained import weights_digest
from experiments.training.types import Teacher


def load_or_train(
  cell: CellSpec,
  splits: Splits,
  teacher: Teacher,
  directory: pathlib.Path,
) -> tuple[Any, results.PretrainingResult | None]:
  """Returns the projections of a cell, training them if they do not exist.

  Args:
    cell: The cell.
    splits: Its data.
    teacher: Its teacher.
    directory: Folder of all projections; each has a folder named by its digest.

  Returns:
    The ``loss_params`` that students start from, and the record of their
    training. Both are None for a cell without pre-training.
  """
  name = method_named(cell.method).pretraining
  if name is None or not (
    cell.pretraining.num_steps or cell.pretraining.num_epochs
  ):
    return None, None
  own = _pretraining_cell(cell, name)
  fields = _fields(own, splits, teacher)
  digest = identity.digest(fields)
  run = build_run([own], splits, teacher=teacher, names=[digest])
  states = jax.eval_shape(
    functools.partial(run.program.init, sizes=run.sizes), run.trials
  )
  if not jax.tree.leaves(states.loss_params):
    return None, None  # The method has no projection here.
  return loop.train_once(
    run,
    folder=directory / digest,
    kind=results.PretrainingResult,
    settings=fields,
    kept=lambda states: states.loss_params,
    record=lambda _, seconds: results.PretrainingResult(
      digest=digest,
      num_steps=run.spec.student.num_steps,
      batch_size=run.spec.student.batch_size,
      seconds=seconds,
    ),
    label=f"{cell.column} {name}",
  )


def _fields(own: CellSpec, splits: Splits, teacher: Teacher) -> dict[str, Any]:
  """Returns everything that the projections depend on, as plain data."""
  init = own.student.init
  return {
    "method": own.method,
    "loss": json_files.plain(specs.without_stacked(own.loss))
    | {"contrast_temperature": own.loss.contrast_temperature},
    "student": json_files.plain(own.student),
    # The digest of the data below does not cover which examples students see.
    "data": identity.cell_fields(own)["data"],
    # A teacher that was trained again from the same config may differ.
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


def _pretraining_cell(cell: CellSpec, name: str) -> CellSpec:
  """Returns the cell that trains the projections, with method `name`."""
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
