"""What a sweep is about, for the reports that read its folder."""

import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments import cells
from experiments.data.dataset import Task
from experiments.methods import METHODS
from experiments.paper import rows as rows_lib


def remarks(
  configs: Sequence[ConfigDict], task_of: Callable[[ConfigDict], Task]
) -> dict[tuple[str, str], str]:
  """Says what methods come down to where they degenerate.

  Args:
    configs: Configs of single cells.
    task_of: What there is to learn in a cell.

  Returns:
    The text by column and row; those that start with "=" need no training.
  """
  found = {}
  for config in configs:
    place = config.column, cells.row_name(config)
    if place not in found:
      method = METHODS[config.method]
      found[place] = method.remark(config, task_of(config))
  return {place: text for place, text in found.items() if text}


def describe(
  config: ConfigDict,
  configs: Sequence[ConfigDict],
  said: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
  """Describes a sweep as plain data.

  Args:
    config: The config with the sweep.
    configs: Its cells, with those that need no training.
    said: What `remarks` returned for them.

  Returns:
    Name, title, columns, methods (in the order of `METHODS`), trials, and
    the digests of its cells: a workdir may hold those of an earlier sweep.
  """
  rows = {cells.row_name(c): c.method for c in configs}
  columns = dict.fromkeys(c.column for c in configs)
  same_as = {place: text for place, text in said.items() if text[0] == "="}
  configs = needed(configs, said)
  order = list(METHODS)

  def title(row: str) -> str:
    method = METHODS[rows[row]].title
    return rows_lib.TITLES.get(
      row, method if row == rows[row] else f"{method}: {row}"
    )

  notes = dict.fromkeys(
    f"{title(row)}: {text}."
    for (_, row), text in said.items()
    if text[0] != "="
  )
  return {
    "name": config.name,
    "title": config.title,
    "columns": [
      {"id": column, "title": column.replace("split", "split ")}
      for column in columns
    ],
    "methods": [
      {"id": row, "title": title(row)}
      for row, _ in sorted(
        rows.items(), key=lambda item: (order.index(item[1]), item[0])
      )
    ],
    "num_trials": config.sweep.num_trials,
    "selection": config.selection,
    "columns_are": config.sweep.columns_are,
    "num_cells": len(configs),
    "digests": sorted({cells.cell_digest(config) for config in configs}),
    "notes": [*config.sweep.notes, *notes],
    "same_as": [
      {"column": column, "method": row, "text": text}
      for (column, row), text in same_as.items()
    ],
  }


def needed(
  configs: Sequence[ConfigDict], said: Mapping[tuple[str, str], str]
) -> list[ConfigDict]:
  """Returns the cells that have to be trained.

  Args:
    configs: Configs of single cells.
    said: What `remarks` returned for them.
  """
  return [
    config
    for config in configs
    if not said.get((config.column, cells.row_name(config)), "").startswith("=")
  ]


def announcement(
  description: dict[str, Any], num_here: int, workdir: pathlib.Path
) -> str:
  """One paragraph for whoever started a sweep.

  Args:
    description: What `describe` returned.
    num_here: How many of its cells this command is to see to.
    workdir: Where they go.
  """
  part = f"{num_here} of " * (num_here < description["num_cells"])
  methods = ", ".join(method["id"] for method in description["methods"])
  return (
    f"{description['title']}: {part}{description['num_cells']} cells "
    f"({len(description['columns'])} columns; {methods}; "
    f"{description['num_trials']} trials) into {workdir}. Interrupt it when "
    "you like: the same command continues."
  )
