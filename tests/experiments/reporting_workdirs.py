"""Small made-up sweeps for the tests of reports."""

import dataclasses
import functools
import json
import pathlib

from experiments import results as results_lib
from experiments import specs
from experiments.io import json_files
from experiments.methods import METHODS
from experiments.paper.names import ROW_TITLES
from experiments.paper.tables import paper_table
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import SweepResults
from experiments.results import CellResult
from experiments.results import CellSeconds
from experiments.results import Evaluation
from experiments.results import Heading
from experiments.results import StackResult
from experiments.results import SweepDescription
from experiments.results import TeacherSummary
from tests.experiments import tiny

TITLES = {name: method.title for name, method in METHODS.items()} | ROW_TITLES
# Test accuracies by column and method, one per trial. By hand:
#            split0 (mean, se)   split1 (mean, se)   all (mean, se)
# standard   92.00  1.15         82.00  1.15         87.00  5.00
# vanilla    96.00  1.53         85.00  0.58         90.50  5.50
# lelp       96.00  0.58         88.00  0.00         92.00  4.00
BY_HAND = {
  "split0": {
    "standard": (0.90, 0.92, 0.94),
    "vanilla": (0.94, 0.95, 0.99),
    "oracle": (0.98, 0.99, 1.00),
    "lelp": (0.95, 0.96, 0.97),
  },
  "split1": {
    "standard": (0.80, 0.82, 0.84),
    "vanilla": (0.84, 0.85, 0.86),
    "oracle": (0.97, 0.97, 0.97),
    "lelp": (0.88, 0.88, 0.88),
  },
}


def teacher(digest, accuracy=0.97, num_parameters=1234) -> TeacherSummary:
  """The teacher of a cell."""
  return TeacherSummary(
    digest=digest,
    outputs="inline",
    validation=Evaluation(0.9),
    test=Evaluation(accuracy),
    num_parameters=num_parameters,
    origin={},
  )


def make_cell(column, method, trial, accuracy, **changes) -> FinishedCell:
  """A finished cell, without files."""
  digest = changes.get("digest", "d0")
  fields = {
    "column": column,
    "method": method,
    "trial": trial,
    "digest": digest,
    "selection": "heldout",
    "hyperparameters": {},
    "test": Evaluation(accuracy, loss=0.1, agreement=0.9),
    "validation": Evaluation(0.5, loss=0.5, num_examples=100),
    "train": {"loss": 0.3, "class_term": 0.1, "subclass_term": 0.2},
    "teacher": teacher(f"teacher-{column}"),
    "num_parameters": 99,
    "num_extra_parameters": 0,
    "num_steps": 10,
    "num_train_examples": 1000,
    "variance_share": None,
    "versions": {},
    "stack": StackResult(digest="s", num_cells=4, seconds=100.0),
    "seconds": CellSeconds(),
    "folder": f"cells/{column}/{method}/{digest}/trial{trial}",
  }
  return FinishedCell(**fields | changes)


def write_config(folder, **changes) -> None:
  """Writes the config.json of a cell, with changed fields."""
  named = {name.replace("__", "."): x for name, x in changes.items()}
  config = specs.replace(_small_cell(), named)
  json_files.write_json(pathlib.Path(folder) / "config.json", config)


@functools.cache
def _small_cell() -> specs.CellSpec:
  """A cell that names neither a table nor data."""
  nameless = {"name": "", "title": "", "data.dataset": ""}
  return specs.replace(tiny.cell(), nameless)


def write_cell(workdir, cell, **config) -> pathlib.Path:
  """Writes result.json and config.json of a cell; returns the folder."""
  folder = pathlib.Path(workdir) / cell.folder
  names = [field.name for field in dataclasses.fields(CellResult)]
  result = CellResult(**{name: getattr(cell, name) for name in names})
  results_lib.write(folder, result)
  write_config(folder, **config)
  return folder


def make_cells(accuracies) -> tuple[FinishedCell, ...]:
  """One setting of each method."""
  return tuple(
    make_cell(column, method, trial, accuracy)
    for column, methods in accuracies.items()
    for method, trials in methods.items()
    for trial, accuracy in enumerate(trials)
  )


def _headings(accuracies):
  methods = {m: None for column in accuracies.values() for m in column}
  known = [m for m in TITLES if m in methods]
  return tuple(Heading(m, TITLES.get(m, m)) for m in known or methods)


def write_workdir(workdir, accuracies=BY_HAND, **changes) -> None:
  """Writes a finished sweep of one setting of each method."""
  fields = {
    "columns": tuple(Heading(c, c.upper()) for c in accuracies),
    "digests": ("d0",),
    "notes": ("Made up.",),
  }
  results = make_results(accuracies, **fields | changes)
  for cell in results.cells:
    write_cell(workdir, cell)
  names = [field.name for field in dataclasses.fields(SweepDescription)]
  description = {name: getattr(results, name) for name in names}
  results_lib.write(workdir, SweepDescription(**description))


def make_results(accuracies=BY_HAND, **changes) -> SweepResults:
  """All cells of a sweep of one setting of each method, without files."""
  cells = make_cells(accuracies)
  fields = {
    "name": "made-up",
    "title": "Made-up digits",
    "columns": tuple(Heading(c, c) for c in accuracies),
    "methods": _headings(accuracies),
    "num_trials": max(cell.trial for cell in cells) + 1,
    "selection": "heldout",
    "columns_are": "splits",
    "num_cells": len(cells),
    "cells": cells,
  }
  return SweepResults(**fields | changes)


def results_of(runs, columns=(), **changes) -> SweepResults:
  """Results of ``(column, method, hyperparameters, accuracies)``.

  The better on the test set, the better on held-out examples. Columns are
  those of the runs unless given.
  """
  columns = columns or tuple(dict.fromkeys(run[0] for run in runs))
  cells = tuple(
    make_cell(
      column,
      method,
      trial,
      accuracy,
      digest=json.dumps(hyperparameters),
      hyperparameters=hyperparameters,
      validation=Evaluation(accuracy, loss=0.5),
      num_train_examples=1000 * (1 + columns.index(column)),
    )
    for column, method, hyperparameters, accuracies in runs
    for trial, accuracy in enumerate(accuracies)
  )
  accuracies = {c: {run[1]: run[3] for run in runs} for c in columns}
  fields = {"cells": cells, "columns_are": "settings", **changes}
  return make_results(accuracies, **fields)


def papers_own(number, **changes) -> SweepResults:
  """Three trials of each cell whose mean and error are the paper's."""
  table = paper_table(number)
  # The standard error of m - d, m, m + d is d / sqrt(3).
  accuracies = {
    column.id: {
      row.method: tuple(
        (cell.mean + k * 3**0.5 * cell.spread) / 100 for k in (-1, 0, 1)
      )
      for row in table.rows
      if (cell := table.cell(row.method, column.id)).spread is not None
    }
    for column in table.columns
  }
  methods = dict.fromkeys(m for column in accuracies.values() for m in column)
  cells = []
  for cell in make_cells(accuracies):
    kind = "subclass_teacher" if cell.method == "subclass" else "teacher"
    accuracy = table.cell(kind, cell.column).mean / 100
    own = teacher(f"{kind}-{cell.column}", accuracy)
    cells.append(dataclasses.replace(cell, teacher=own))
  fields = {
    "name": f"table{number}",
    "title": f"Table {number}",
    "methods": tuple(Heading(m, m) for m in methods),
    "columns_are": "settings",
    "cells": tuple(cells),
  }
  return make_results(accuracies, **fields | changes)


def texts(table) -> dict[str, list[str]]:
  """The texts of each row of a table, by label."""
  return {row.label: [c.text for c in row.cells] for row in table.rows}


def means(line) -> dict[float, float]:
  """The mean of each point of a line of a plot."""
  return {x: round(value.mean, 6) for x, value in line.points.items()}
