"""What a sweep is about, for the reports that read its folder."""

import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.training import cells
from experiments.training.methods import METHODS

_ABLATIONS = {
  "lelp_pca": "LELP, plain principal directions",
  "lelp_random": "LELP, random directions",
  "lelp_identity": "LELP, all coordinates",
}


def describe(
  config: ConfigDict, configs: Sequence[ConfigDict]
) -> dict[str, Any]:
  """Describes a sweep as plain data.

  Args:
    config: The config with the sweep.
    configs: Its cells.

  Returns:
    Name, title, columns, methods (in the order of `METHODS`), trials, and
    the digests of its cells: a workdir may hold those of an earlier sweep.
  """
  rows = {cells.row_name(c): c.method for c in configs}
  order = list(METHODS)

  def title(row: str) -> str:
    method = METHODS[rows[row]].title
    return _ABLATIONS.get(
      row, method if row == rows[row] else f"{method}: {row}"
    )

  return {
    "name": config.name,
    "title": config.title,
    "columns": [
      {"id": column, "title": column.replace("split", "split ")}
      for column in dict.fromkeys(c.column for c in configs)
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
    "notes": list(config.sweep.notes),
  }


def announcement(description: dict[str, Any], workdir: pathlib.Path) -> str:
  """One paragraph for whoever started a sweep."""
  methods = ", ".join(method["id"] for method in description["methods"])
  return (
    f"{description['title']}: {description['num_cells']} cells "
    f"({len(description['columns'])} columns; {methods}; "
    f"{description['num_trials']} trials) into {workdir}. Interrupt it when "
    "you like: the same command continues."
  )
