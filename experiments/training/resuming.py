"""Finds interrupted runs and the folders of their checkpoints.

A cell's folder is named after its settings, so a run with other settings never
continues its checkpoint. With --checkpoint_dir, checkpoints are in another
folder, whose path is recorded in the folder that is locked for the stack.
"""

import pathlib

from etils import epath

from experiments import identity
from experiments import results
from experiments import specs
from experiments.distributed import processes
from experiments.io import checkpoints
from experiments.io import json_files
from experiments.io import storage

_RECORD = "states.json"


def unfinished(
  cell: specs.CellSpec, workdir: pathlib.Path
) -> list[pathlib.Path]:
  """Returns folders of unfinished runs that `main` would not continue.

  They have the cell's column and row, but other settings or another trial. The
  workdir of a sweep has none, since the sweep's command continues all of them.
  """
  if results.path_of(workdir, results.SweepDescription).exists():
    return []
  own = identity.cell_directory(workdir, cell)
  folders = [path.parent for path in own.parents[1].glob("*/*/config.json")]
  return sorted(
    folder
    for folder in folders
    if folder != own
    and not results.path_of(folder, results.CellResult).exists()
  )


def checkpoint_folder(
  held: pathlib.Path, elsewhere: pathlib.PurePath | None = None
) -> pathlib.PurePath:
  """Returns the folder of a stack's checkpoints, and records its path.

  Args:
    held: The folder that is locked for the stack, which also holds its
      checkpoints by default and the record of their folder.
    elsewhere: The stack's folder in --checkpoint_dir, or None.

  Raises:
    ValueError: If the stack has a checkpoint in another folder.
  """
  folder = storage.folder(elsewhere or held)
  message = processes.from_main(lambda: _record(held, folder))
  if message:
    raise ValueError(message)
  return folder


def forget_checkpoint_folder(held: pathlib.Path) -> None:
  """Deletes the recorded path of a finished stack's checkpoints."""
  processes.from_main(lambda: (held / _RECORD).unlink(missing_ok=True))


def _record(held: pathlib.Path, folder: epath.Path) -> str | None:
  """Records the folder of checkpoints, or returns an error message."""
  here, record = storage.folder(held), held / _RECORD
  before = here
  if record.exists():
    before = storage.folder(json_files.read_json(record)["folder"])
  step = None if before == folder else checkpoints.last_step(before)
  if step is not None:
    flag = "no --checkpoint_dir"
    if before != here:
      flag = f"--checkpoint_dir={before.parent}"
    return (
      f"this run was interrupted and has a checkpoint of step {step} in "
      f"{before}; with checkpoints in {folder} it would start again from the "
      f"beginning. Give {flag} to continue it, or delete {before} to start "
      "again."
    )
  if folder == here:
    record.unlink(missing_ok=True)
  else:
    json_files.write_json(record, {"folder": str(folder)})
  return None
