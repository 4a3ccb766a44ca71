"""Training of a sweep, in two stages if `config.sweep.grid_trials` is set.

Every grid point is then trained with that number of trials. Held-out data
choose one point per column and row, and only that one gets the other trials.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Callable
from collections.abc import Sequence

from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Task
from experiments.distributed import processes
from experiments.reporting import workdirs
from experiments.training import description

_Cells = list[specs.CellSpec]


# Trains the cells of one stage. It also gets the sweep as `sweep.json` has it,
# and cells that take as long as the next stage will.
Train = Callable[[_Cells, results.SweepDescription, _Cells], None]


def run(
  sweep: specs.SweepSpec,
  cells: Sequence[specs.CellSpec],
  task_of: Callable[[specs.CellSpec], Task],
  workdir: pathlib.Path,
  train: Train,
  select: Callable[[_Cells], _Cells] = list,
) -> None:
  """Trains the cells of a sweep, and describes them in `sweep.json`.

  Args:
    sweep: The sweep without its cells.
    cells: All of its cells, with all trials of every grid point.
    task_of: Returns the task of a cell.
    workdir: Folder of the results.
    train: Trains cells; called once per stage.
    select: Returns the cells that this command is to train.
  """
  first = first_stage(sweep, cells)
  number = sweep.grid_trials or sweep.num_trials
  needed, described = description.described(
    dataclasses.replace(sweep, num_trials=number), first, task_of
  )
  here = select(needed)
  processes.from_main(lambda: results.write(workdir, described))
  train(here, described, stand_ins(sweep, cells, here))
  if not sweep.grid_trials:
    return
  choice = processes.from_main(lambda: _choice(workdir, needed, described))
  chosen = {(column, row): digest for column, row, digest, _ in choice}

  def is_kept(cell: specs.CellSpec) -> bool:
    digest = chosen.get((cell.column, cell.row))
    if digest is None:  # Another command trains the first stage of this row.
      return cell.trial < number
    return identity.cell_digest(cell) == digest

  kept, described = description.described(
    sweep, [cell for cell in cells if is_kept(cell)], task_of
  )
  tried = {row: num_settings for _, row, _, num_settings in choice}
  described = dataclasses.replace(described, num_tried=tried)
  processes.from_main(lambda: results.write(workdir, described))
  train([c for c in select(kept) if c.trial >= number], described, [])


def first_stage(
  sweep: specs.SweepSpec, cells: Sequence[specs.CellSpec]
) -> _Cells:
  """Returns the cells of the first stage, all of them if there is no other."""
  number = sweep.grid_trials or sweep.num_trials
  return [cell for cell in cells if cell.trial < number]


def stand_ins(
  sweep: specs.SweepSpec,
  cells: Sequence[specs.CellSpec],
  here: Sequence[specs.CellSpec],
) -> _Cells:
  """Returns cells that take as long as the second stage of `here` will.

  They are the further trials of the last grid point of each column and row.
  """
  if not sweep.grid_trials:
    return []
  last = {(cell.column, cell.row): identity.cell_digest(cell) for cell in here}
  return [
    cell
    for cell in cells
    if cell.trial >= sweep.grid_trials
    and identity.cell_digest(cell) in last.values()
  ]


def _choice(
  workdir: pathlib.Path,
  needed: _Cells,
  described: results.SweepDescription,
) -> list[tuple[str, str, str, int]]:
  """Returns what held-out data choose: column, row, digest, number of points.

  Rows with grid points that are not finished, which another command trains, are
  left out. That command may also have replaced `sweep.json`.
  """
  found = workdirs.load(workdir, workdir, described)
  left = collections.Counter((cell.column, cell.row) for cell in needed)
  left.subtract((cell.column, cell.method) for cell in found.cells)
  return [
    (column, row, summary.digest, summary.num_settings)
    for (column, row), summary in found.summaries.items()
    if not left[column, row]
  ]
