"""All settings of a method that were tried, not only the chosen one."""

from typing import Any

from experiments.reporting.records import Cell
from experiments.reporting.records import Results
from experiments.reporting.statistics import summarize_cells
from experiments.reporting.statistics import Summary


def varied(results: Results, method: str) -> list[str]:
  """The hyperparameters of which a method has several values in a column."""
  values: dict[tuple[str, str], set[Any]] = {}
  for cell in results.cells:
    if cell.method == method:
      for name, value in cell.hyperparameters.items():
        values.setdefault((name, cell.column), set()).add(value)
  several = [name for (name, _), found in values.items() if len(found) > 1]
  return list(dict.fromkeys(several))


def along(
  results: Results, method: str, column: str, *names: str
) -> dict[tuple[Any, ...], Summary]:
  """The best setting at each combination of some hyperparameters' values.

  Args:
    results: What `results.load` returns.
    method: Id of a method.
    column: Id of a column.
    *names: Hyperparameters. Over the others is chosen as everywhere, on what
      `results.selection` says.

  Returns:
    A summary for each combination that was run, in ascending order.
  """
  groups: dict[tuple[Any, ...], list[Cell]] = {}
  for cell in results.cells:
    if (cell.method, cell.column) == (method, column):
      key = tuple(cell.hyperparameters.get(name) for name in names)
      if None not in key:
        groups.setdefault(key, []).append(cell)
  return {
    key: summarize_cells(groups[key], results.selection)
    for key in sorted(groups)
  }
