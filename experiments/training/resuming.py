"""Runs of one cell that were stopped: continued as they were, or not at all.

A cell's folder is named by its settings. Started again with another batch size,
data or seed, a run would begin anew in another folder, and what is saved would
lie there unnoticed: so that is refused. States may be elsewhere
(--checkpoint_dir): where is recorded in the folder that claims the stack.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from experiments import cells
from experiments.distributed import processes
from experiments.io import checkpoints
from experiments.io import json_files
from experiments.io import locks
from experiments.io import storage

_RECORD = "states.json"
_Saved = tuple[pathlib.Path, pathlib.PurePath, dict[str, Any], dict[str, Any]]


def check(
  config: ConfigDict,
  workdir: pathlib.Path,
  checkpoint_directory: pathlib.PurePath | None = None,
) -> None:
  """Raises ValueError if a run was stopped that this one would not continue.

  It is one of the same column and row with other settings or another trial, of
  which a state is saved: of its student, or of its teacher in this workdir.
  What a sweep began does not count, nor does what another command works on.

  Args:
    config: A cell's config.
    workdir: Where it is to be trained.
    checkpoint_directory: Where states of students are, if not in the workdir.
  """
  states = checkpoint_directory or workdir / "checkpoints"
  message = processes.from_main(lambda: _refusal(config, workdir, states))
  if message:
    raise ValueError(message)


def states_folder(
  held: pathlib.Path, elsewhere: pathlib.PurePath | None = None
) -> pathlib.PurePath:
  """Returns where the states of a stack go, and records it.

  Args:
    held: The folder that whoever trains the stack holds.
    elsewhere: Where its states go, if not there too.

  Raises:
    ValueError: If the stack was begun with its states in another folder, and
      one is there.
  """
  states = storage.folder(elsewhere or held)
  message = processes.from_main(lambda: _record(held, states))
  if message:
    raise ValueError(message)
  return states


def forget_states(held: pathlib.Path) -> None:
  """Deletes the record of where states went: the stack is finished.

  Args:
    held: As for `states_folder`.
  """
  processes.from_main(lambda: (held / _RECORD).unlink(missing_ok=True))


def _record(held: pathlib.Path, states: epath.Path) -> str | None:
  """Records where states go, or says where they are instead."""
  here = storage.folder(held)
  before = _recorded(held) or here
  if before != states:
    step = checkpoints.last_step(before)
    if step is not None:
      how = "no --checkpoint_dir"
      if before != here:
        how = f"--checkpoint_dir={before.parent}"
      return (
        f"this run was stopped with step {step} saved in {before}, and would "
        f"begin anew with its states in {states}: give {how} to continue it, "
        f"or delete {before} to start over."
      )
  if states == here:
    (held / _RECORD).unlink(missing_ok=True)
  else:
    json_files.write_json(held / _RECORD, {"folder": str(states)})
  return None


def _recorded(held: pathlib.Path) -> epath.Path | None:
  """Where the states of a stack went that were not where it is held."""
  path = held / _RECORD
  if not path.exists():
    return None
  return storage.folder(json_files.read_json(path)["folder"])


def _refusal(
  config: ConfigDict, workdir: pathlib.Path, states: pathlib.PurePath
) -> str | None:
  found = [
    (held, saved, step, _differences(there, here))
    for held, saved, there, here in _unfinished(config, workdir, states)
    if (step := checkpoints.last_step(saved)) is not None
  ]
  if not all(differences for *_, differences in found):
    return None  # It is continued itself, whatever else was stopped.
  for held, saved, step, differences in found:
    if not _in_work(held):
      return (
        f"{workdir} holds an unfinished run of {config.column}/"
        f"{cells.row_name(config)} with other settings, saved at step {step}: "
        f"{'; '.join(differences)}. Give the old values to continue it, use "
        f"another --workdir, or delete {saved} to start over."
      )
  return None


def _unfinished(
  config: ConfigDict, workdir: pathlib.Path, states: pathlib.PurePath
) -> Iterator[_Saved]:
  """Yields the runs of a column and a row that have no result.

  Of students and of teachers: the folder that is held in work, that of the
  states, what these depend on, and what the config has in its place.
  """
  row = cells.cell_directory(workdir, config).parents[1]
  sweep = workdir / "sweep.json"
  swept = json_files.read_json(sweep)["digests"] if sweep.exists() else []
  for path in sorted(row.glob("*/*/config.json")):
    digest, trial = path.parts[-3:-1]
    if path.with_name("result.json").exists() or digest in swept:
      continue
    stack = cells.digest([f"{digest}/{trial}"])
    held = workdir / "checkpoints" / stack
    other = ConfigDict(json_files.read_json(path))
    saved = _recorded(held) or states / stack
    yield held, saved, _cell_fields(other), _cell_fields(config)
  for path in sorted(workdir.glob("teachers/*/config.json")):
    if path.with_name("result.json").exists():
      continue  # Of a finished one states are there if it was killed just then.
    there, folder = json_files.read_json(path), path.parent
    run = [config.column, cells.row_name(config)]
    if there.pop("run", None) == run and not sweep.exists():
      saved = folder / "checkpoints"
      yield folder, saved, there, cells.teacher_fields(config)


def _cell_fields(config: ConfigDict) -> dict[str, Any]:
  fields = cells.cell_fields(config) | {"trial": config.trial}
  # No part of a name, and yet what is saved is of a program that reads them so.
  fields["teacher"]["outputs"] = config.teacher.outputs
  return fields


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
  """What differs in two sets of fields, as JSON has them."""
  return json_files.differences(there, here)


def _in_work(folder: pathlib.Path) -> bool:
  if not folder.exists():
    return False  # Its states are elsewhere; the lock would make it.
  try:
    with locks.exclusive(folder):
      return False
  except locks.Held:
    return True
