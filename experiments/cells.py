"""Expands a sweep into cells.

A cell describes one student: a column of the table, a method with its
hyperparameters, and a trial.
"""

import itertools
import pathlib
import re
from collections.abc import Container
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments import identity
from experiments import specs
from experiments.configs import dotted
from experiments.configs import validate


def of_config(config: ConfigDict) -> list[specs.CellSpec]:
  """Returns the cells of a config's sweep, or the cell of a single run."""
  if config.sweep.methods:
    return expand(config)
  return [validate.cell_spec(config)]


def expand(
  config: ConfigDict, given: Container[str] = ()
) -> list[specs.CellSpec]:
  """Returns all cells of `config.sweep`, after checking them.

  Args:
    config: A config with a sweep.
    given: Dotted names of fields whose values in the config override columns,
      rows and grids.

  Returns:
    The cells in the order of columns, methods, grid points and trials.

  Raises:
    ValueError: If the sweep is empty or names a field that does not exist, if a
      cell is not valid, or if two cells are the same.
  """
  sweep = config.sweep
  if not sweep.columns or not sweep.methods or sweep.num_trials < 1:
    raise ValueError(
      f"config {config.name!r} has no sweep: set config.sweep.columns, "
      "config.sweep.methods and a positive config.sweep.num_trials, or train a "
      "single cell with experiments.main."
    )
  _check_grids(sweep)
  columns = sorted(sweep.columns, key=_natural_order)
  cells: list[specs.CellSpec] = []
  for column, row in itertools.product(columns, sweep.methods):
    cells += _cells_of_row(config, column, row, given)
  cells = validate.completed(cells)
  for cell in cells:
    validate.check_cell(cell, sweep.cluster_scope)
  folders = {identity.cell_directory(pathlib.Path(), cell) for cell in cells}
  if len(folders) < len(cells):
    raise ValueError(
      f"config.sweep has {len(cells)} cells, of which only {len(folders)} are "
      "distinct: a grid contains a value twice, or two rows are the same."
    )
  return cells


def _cells_of_row(
  config: ConfigDict, column: str, row: str, given: Container[str]
) -> list[specs.CellSpec]:
  """Returns the cells of a column and a row without checking them."""
  axes = config.sweep.methods[row].copy_and_resolve_references().unlock()
  with axes.ignore_type():
    axes.update(config.sweep.grids.get(column, {}).get(row, {}))
  sweep = dict(config.sweep.items())
  sweep |= {"columns": {}, "grids": {}, "methods": {row: axes}}
  first = ConfigDict(dict(config.items()) | {"sweep": ConfigDict(sweep)})
  first = first.copy_and_resolve_references().unlock()
  names = {"column": column, "row": row, "method": row}
  own = dotted.flatten(config.sweep.columns[column])
  values = dotted.flatten(axes)
  # In a column a tuple is a value; in a row it is an axis.
  fixed = {k: v for k, v in values.items() if not isinstance(v, tuple)}
  dotted.override(first, names | _without(own | fixed, given))
  common = validate.converted(first)
  grid = _without({k: v for k, v in values.items() if k not in fixed}, given)
  grid["trial"] = tuple(range(config.sweep.num_trials))
  return [
    specs.replace(common, dict(zip(grid, point, strict=True)))
    for point in itertools.product(*grid.values())
  ]


def _without(values: Mapping[str, Any], names: Container[str]) -> Any:
  return {k: v for k, v in values.items() if k not in names}


def _check_grids(sweep: ConfigDict) -> None:
  """Raises ValueError for a grid of a column or row that does not exist."""
  for column, grids in sweep.grids.items():
    for row in grids:
      if column not in sweep.columns or row not in sweep.methods:
        raise ValueError(
          f"config.sweep.grids has a grid for row {row!r} of column "
          f"{column!r}, but config.sweep has no such row or no such column."
        )


def _natural_order(name: str) -> list[Any]:
  """Returns a sorting key that puts split2 before split10."""
  return [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", name)]
