"""Description of a sweep: the contents of `sweep.json`."""

import pathlib
import re
from collections.abc import Callable
from collections.abc import Sequence

from experiments import identity
from experiments import results
from experiments import specs
from experiments.data.dataset import Task
from experiments.methods import METHODS
from experiments.methods.base import Setup
from experiments.paper.names import row_title
from experiments.training.forecast import counted


def described(
  sweep: specs.SweepSpec,
  cells: Sequence[specs.CellSpec],
  task_of: Callable[[specs.CellSpec], Task],
) -> tuple[list[specs.CellSpec], results.SweepDescription]:
  """Describes a sweep, and drops cells that would repeat another method's.

  Args:
    sweep: The sweep, without its cells.
    cells: All cells of the sweep.
    task_of: Returns the task of a cell.

  Returns:
    The cells to train, and the description.
  """
  firsts = {(cell.column, cell.row): cell for cell in reversed(cells)}
  same_as, remarks = {}, {}
  for place, cell in reversed(firsts.items()):
    method, setup = METHODS[cell.method], Setup(cell, task_of(cell))
    other = method.same_as(setup)
    if other is not None:
      same_as[place] = results.SameAs(*place, other)
    elif remark := method.remark(setup):
      remarks[f"{title_of_row(cell)}: {remark}."] = None
  needed = [cell for cell in cells if (cell.column, cell.row) not in same_as]
  columns = dict.fromkeys(cell.column for cell in cells)
  rows = {cell.row: cell for cell in cells}
  order = list(METHODS)
  description = results.SweepDescription(
    name=sweep.name,
    title=sweep.title,
    columns=tuple(
      results.Heading(column, re.sub(r"^split(\d+)$", r"split \1", column))
      for column in columns
    ),
    methods=tuple(
      results.Heading(cell.row, title_of_row(cell))
      for cell in sorted(
        rows.values(), key=lambda c: (order.index(c.method), c.row)
      )
    ),
    num_trials=sweep.num_trials,
    selection=sweep.selection,
    columns_are=sweep.columns_are,
    num_cells=len(needed),
    digests=tuple(sorted({identity.cell_digest(cell) for cell in needed})),
    notes=(*sweep.notes, *remarks),
    same_as=tuple(same_as.values()),
    is_smoke=sweep.is_smoke,
    maps=sweep.maps,
  )
  return needed, description


def title_of_row(cell: specs.CellSpec) -> str:
  """Returns the title of a cell's row in reports."""
  return row_title(cell.row, cell.method, METHODS[cell.method].title)


def announcement(
  description: results.SweepDescription, num_here: int, workdir: pathlib.Path
) -> str:
  """Returns the paragraph that a sweep prints before it trains.

  Args:
    description: The description of the sweep.
    num_here: Number of its cells that this command trains.
    workdir: Folder of the results.
  """
  part = f"{num_here} of " * (num_here < description.num_cells)
  methods = ", ".join(method.id for method in description.methods)
  return (
    f"{description.title}: {part}{counted(description.num_cells, 'cell')} "
    f"({counted(len(description.columns), 'column')}; {methods}; "
    f"{counted(description.num_trials, 'trial')}) into {workdir}. You can "
    "interrupt it at any time; the same command continues."
  )
