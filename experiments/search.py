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
from experiments.training import data
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
    task_of: Function that returns the task of a cell.
    workdir: Folder of the results.
    train: Trains cells; called once per stage.
    select: Returns the cells that this command is to train; it chooses whole
      rows of columns if there are two stages.

  Raises:
    ValueError: If one of these cells cannot learn from its data, before
      anything is trained.
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
  tried = {row: tried for _, row, digest, tried in choice if digest}
  described = dataclasses.replace(described, num_tried=tried)
  processes.from_main(lambda: results.write(workdir, described))
  own = {(cell.column, cell.row) for cell in here}
  further = [cell for cell in kept if cell.trial >= number]
  train([c for c in further if (c.column, c.row) in own], described, [])


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

  The digest is "" where some grid points are not finished: another command
  trains them. That command may also have replaced `sweep.json`. Columns and
  rows that no command has begun are left out.
  """
  found = workdirs.load(workdir, workdir, described)
  left = collections.Counter((cell.column, cell.row) for cell in needed)
  left.subtract((cell.column, cell.method) for cell in found.cells)
  return [
    (*place, "" if left[place] else summary.digest, summary.num_settings)
    for place, summary in found.summaries.items()
  ]
