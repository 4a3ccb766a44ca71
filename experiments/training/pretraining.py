"""Projections trained before the students: FitNet's and CRD's (A-24).

With a student that is thrown away afterwards, by the feature loss alone; once
for all cells and trials that share teacher, data and student.
"""

import functools
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments import cells
from experiments.data.dataset import Splits
from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes
from experiments.distributed.signals import Interrupts
from experiments.io import checkpoints
from experiments.io import json_files
from experiments.io import locks
from experiments.io import storage
from experiments.methods import method_named
from experiments.training import jobs
from experiments.training import loop
from experiments.training.pretrained import weights_digest
from experiments.training.watch import Wanted


def load_or_train(
  config: ConfigDict,
  splits: Splits,
  teacher: Any,
  directory: pathlib.Path,
  signals: Interrupts,
) -> Any:
  """Returns what a method learned beforehand, training it if nobody has.

  Args:
    config: A cell's config.
    splits: The data.
    teacher: The cell's `teacher.Teacher`.
    directory: Folder of such trainings; this one's is named by its digest.
    signals: What was asked of the process.

  Returns:
    The ``loss_params`` to start from, or None for a method without
    pre-training.

  Raises:
    Interrupted: On SIGINT or SIGTERM, after saving.
  """
  name = method_named(config.method).pretraining
  length = config.pretraining.num_steps or config.pretraining.num_epochs
  if name is None or not length:
    return None
  own = _as_cell(config, name)
  init = config.student.init
  fields = {
    "method": name,
    "loss": cells.static_loss(config),
    "student": cells.plain(own.student),
    # Which of the examples students see is not in the digest of these.
    "data": cells.cell_fields(config)["data"],
    # One of the same config that was trained again is another.
    "teacher": [
      teacher.summary["digest"],
      teacher.summary["origin"],
      teacher.parameters_sha256,
    ],
    "origin": [
      splits.digest,
      None if init == "random" else weights_digest(init),
    ],
  }
  digest = cells.digest(fields)
  folder = directory / digest
  job = jobs.make_job(
    [own], splits, train=splits.transfer, teacher=teacher, names=[digest]
  )
  like = jax.eval_shape(
    functools.partial(job.program.init, sizes=job.sizes), job.trials
  )
  if not jax.tree.leaves(like.loss_params):
    return None  # Without a projection there is nothing to train.
  parts = [folder / "parameters", folder / "config.json"]
  with locks.exclusive_run(folder, signals):
    if not processes.from_main(lambda: all(part.exists() for part in parts)):
      trained = loop.train(
        job,
        checkpoint_directory=folder / "checkpoints",
        wanted=Wanted(
          [own], [folder / "metrics.jsonl"], f"{config.column} {name}"
        ),
        signals=signals,
      )
      checkpoints.save_tree(folder / "parameters", trained.states.loss_params)
      processes.from_main(lambda: _end(folder, fields))
  like = mesh_lib.on_host(like.loss_params)
  saved = checkpoints.load_tree(folder / "parameters", like)
  return jax.tree.map(lambda x: x[0], saved)  # A stack of one.


def _end(folder: pathlib.Path, fields: dict[str, Any]) -> None:
  """Writes what the projections are of; that they are finished, too."""
  json_files.write_json(folder / "config.json", fields)
  storage.delete(folder / "checkpoints")


def _as_cell(config: ConfigDict, name: str) -> ConfigDict:
  """The student of a projection: trained like any other, by another method."""
  own = config.copy_and_resolve_references()
  own.method = name
  own.trial = 0
  own.student.optimizer, own.student.schedule = "adam", "constant"
  for field, value in config.pretraining.items():
    own.student[field] = value
  return own
