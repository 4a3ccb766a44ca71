"""Projections trained before the students: FitNet's and CRD's (A-24).

They are trained by the feature loss alone, with a student that is thrown away
afterwards; once for all cells and trials that share teacher, data and student.
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

  They are the ``loss_params`` that students start from, and come with a record
  of their training. Their folder in `directory` is named by their digest. Both
  are None for a cell without pre-training.
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
    return None, None  # Without a projection there is nothing to train.
  return loop.train_once(
    run,
    own,
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
