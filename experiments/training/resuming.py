"""Runs of one cell that were stopped: continued as they were, or not at all.

A cell's folder is named by its settings. Started again with another batch size,
data or seed, a run would begin anew in another folder, and what is saved would
lie there unnoticed: so that is refused.
"""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from experiments.runtime import checkpoints
from experiments.runtime import locks
from experiments.runtime import metric_writer
from experiments.runtime import plain_trees
from experiments.runtime import processes
from experiments.training import cells


def check(
  config: ConfigDict,
  workdir: pathlib.Path,
  teachers: pathlib.Path,
  checkpoint_directory: pathlib.PurePath | None = None,
) -> None:
  """Raises ValueError if a run was stopped that this one would not continue.

  It is one of the same column and row with other settings or another trial, of
  which a state is saved: of its student, or of a teacher that is not finished.
  Cells of a sweep do not count, nor does what another command works on.

  Args:
    config: A cell's config.
    workdir: Where it is to be trained.
    teachers: Folder of teachers.
    checkpoint_directory: Where states of students are, if not in the workdir.
  """
  folders = (workdir, teachers, checkpoint_directory or workdir / "checkpoints")
  message = processes.from_main(lambda: _refusal(config, *folders))
  if message:
    raise ValueError(message)


def _refusal(
  config: ConfigDict,
  workdir: pathlib.Path,
  teachers: pathlib.Path,
  students: pathlib.PurePath,
) -> str | None:
  folders = (workdir, teachers, students)
  own = cells.cell_directory(workdir, config)
  if (own / "config.json").exists() and _states(config, own, *folders):
    return None  # It is continued itself, whatever else was stopped.
  for path in sorted(own.parents[1].glob("*/trial*/config.json")):
    cell = path.parent
    if (cell / "result.json").exists() or cell.parent.name in _swept(workdir):
      continue
    other = ConfigDict(metric_writer.read_json(path))
    for held, saved, fields in _states(other, cell, *folders):
      found = _differences(fields(other), fields(config))
      if found and not _in_work(held):
        return (
          f"{workdir} holds an unfinished run of {config.column}/"
          f"{cells.row_name(config)} with other settings, saved at step "
          f"{checkpoints.last_step(saved)}: {'; '.join(found)}. Give the old "
          "values to continue it, use another --workdir, or delete "
          f"{saved} to start over."
        )
  return None


def _states(
  config: ConfigDict,
  cell: pathlib.Path,
  workdir: pathlib.Path,
  teachers: pathlib.Path,
  students: pathlib.PurePath,
) -> list[tuple[pathlib.Path, pathlib.PurePath, Any]]:
  """What is saved of a run that is not finished.

  The folder that is held in work, that of the states, and what these depend on.
  """
  digest, trial = cell.parts[-2:]
  stack = cells.digest([f"{digest}/{trial}"])
  teacher = teachers / cells.teacher_digest(config)
  states = (
    (workdir / "checkpoints" / stack, students / stack, _cell_fields),
    (teacher, teacher / "checkpoints", cells.teacher_fields),
  )
  return [x for x in states if checkpoints.last_step(x[1]) is not None]


def _swept(workdir: pathlib.Path) -> list[str]:
  """Digests of the cells of the sweep in a workdir."""
  path = workdir / "sweep.json"
  return metric_writer.read_json(path)["digests"] if path.exists() else []


def _cell_fields(config: ConfigDict) -> dict[str, Any]:
  return cells.cell_fields(config) | {"trial": config.trial}


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
  """What differs in two sets of fields, as JSON has them."""
  flat = [
    plain_trees.flat(json.loads(json.dumps(fields))) for fields in (there, here)
  ]
  return plain_trees.differences(*flat)


def _in_work(folder: pathlib.Path) -> bool:
  if not folder.exists():
    return False  # Its states are elsewhere; the lock would make it.
  try:
    with locks.exclusive(folder):
      return False
  except locks.Held:
    return True
