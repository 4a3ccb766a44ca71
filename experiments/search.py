"""Trains a sweep, in two stages if `config.sweep.grid_trials` is set.

The first stage trains every grid point with `grid_trials` trials. Held-out data
then choose one point per column and row, and the second stage trains only its
remaining trials.
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
from experiments.training import data
from experiments.training import description

_Cells = list[specs.CellSpec]


# Trains the cells of one stage. The other arguments are the description of the
# sweep, and cells that take as long as the next stage, for the forecast.
Train = Callable[[_Cells, results.SweepDescription, _Cells], object]


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
    cells: All cells of the sweep, with all trials of every grid point.
    task_of: Returns the task of a cell.
    workdir: Folder of the results.
    train: Trains cells; called once per stage.
    select: Returns the cells that this command trains. With two stages it must
      keep or drop all cells of a column and row together.

  Raises:
    ValueError: If a method needs fine labels that its data lack. Nothing is
      trained then.
  """
  first = first_stage(sweep, cells)
  number = sweep.grid_trials or sweep.num_trials
  needed, described = description.described(
    dataclasses.replace(sweep, num_trials=number), first, task_of
  )
  here = select(needed)
  data.check_tasks(here, task_of)
  processes.from_main(lambda: results.write(workdir, described))
  train(here, described, stand_ins(sweep, cells, here))
  if not sweep.grid_trials:
    return
  choice = processes.from_main(lambda: _choice(workdir, needed, described))
  begun = {column for column, *_ in choice}
  repeated = [each for each in described.same_as if each.column in begun]
  chosen = {(each.column, each.method): "" for each in repeated}
  chosen |= {(column, row): digest for column, row, digest, _ in choice}

  def is_kept(cell: specs.CellSpec) -> bool:
    digest = chosen.get((cell.column, cell.row))
    if digest == "":
      return cell.trial < number
    return identity.cell_digest(cell) == digest

  kept, described = description.described(
    sweep, [cell for cell in cells if is_kept(cell)], task_of
  )
  num_tried = {row: number for _, row, digest, number in choice if digest}
  described = dataclasses.replace(described, num_tried=num_tried)
  processes.from_main(lambda: results.write(workdir, described))
  own = {(cell.column, cell.row) for cell in here}
  further = [cell for cell in kept if cell.trial >= number]
  train([c for c in further if (c.column, c.row) in own], described, [])


def first_stage(
  sweep: specs.SweepSpec, cells: Sequence[specs.CellSpec]
) -> _Cells:
  """Returns the cells of the first stage, or all cells if there is only one."""
  number = sweep.grid_trials or sweep.num_trials
  return [cell for cell in cells if cell.trial < number]


def stand_ins(
  sweep: specs.SweepSpec,
  cells: Sequence[specs.CellSpec],
  here: Sequence[specs.CellSpec],
) -> _Cells:
  """Returns cells that take as long as the second stage will.

  The chosen grid points are not known yet. The cells are the remaining trials
  of the last grid point of each column and row in `here`, the cells of the
  first stage.
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
  """Returns the grid point that held-out data choose, per column and row.

  Each item has the column, the row, the digest of the chosen settings, and the
  number of grid points. The digest is "" if some grid points are not finished
  because another command trains them. Columns and rows without any finished
  cell are left out.
  """
  # Pass the description, since another command may have replaced `sweep.json`.
  loaded = workdirs.load(workdir, workdir, described)
  left = collections.Counter((cell.column, cell.row) for cell in needed)
  left.subtract((cell.column, cell.method) for cell in loaded.cells)
  return [
    (*place, "" if left[place] else summary.digest, summary.num_settings)
    for place, summary in loaded.summaries.items()
  ]
