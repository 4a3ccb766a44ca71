"""Small made-up sweeps for the tests of reports."""

import dataclasses
import json
import pathlib

from experiments.paper.tables import paper_table
from experiments.reporting.records import Cell
from experiments.reporting.records import METHOD_TITLES
from experiments.reporting.records import Named
from experiments.reporting.records import Results
from experiments.reporting.records import Scores
from experiments.reporting.records import Teacher

# Test accuracies by column and method, one for each trial. By hand:
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


def record(column, method, trial, accuracy, **changes):
  """What the sweep writes for one run."""
  return {
    "column": column,
    "method": method,
    "digest": "d0",
    "trial": trial,
    "hyperparameters": {},
    "validation": {"accuracy": 0.5, "loss": 0.5, "num_examples": 100},
    "test": {"accuracy": accuracy, "loss": 0.1, "agreement": 0.9},
    "train": {"loss": 0.3, "class_term": 0.1, "subclass_term": 0.2},
    "variance_share": None,
    "teacher": {
      "digest": f"teacher-{column}",
      "validation": {"accuracy": 0.9},
      "test": {"accuracy": 0.97},
      "num_parameters": 1234,
    },
    "num_parameters": 99,
    "steps": 10,
    "versions": {},
    "seed": trial,
    **changes,
  }


def write_record(workdir, content) -> pathlib.Path:
  """Writes one result.json to where it belongs."""
  path = pathlib.Path(workdir).joinpath(
    "cells",
    content["column"],
    content["method"],
    content["digest"],
    f"trial{content['trial']}",
    "result.json",
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))
  return path


def write_workdir(workdir, accuracies=BY_HAND, **changes) -> None:
  """Writes a finished sweep of one setting of each method."""
  methods = {method for column in accuracies.values() for method in column}
  runs = [
    (column, method, trial, accuracy)
    for column, of_column in accuracies.items()
    for method, trials in of_column.items()
    for trial, accuracy in enumerate(trials)
  ]
  for run in runs:
    write_record(workdir, record(*run))
  sweep = {
    "name": "made-up",
    "title": "Made-up digits",
    "columns": [{"id": c, "title": c.upper()} for c in accuracies],
    "methods": [
      {"id": m, "title": METHOD_TITLES[m]}
      for m in METHOD_TITLES
      if m in methods
    ],
    "num_trials": max(run[2] for run in runs) + 1,
    "selection": "heldout",
    "columns_are": "replicates",
    "num_cells": len(runs),
    "digests": ["d0"],
    "notes": ["Made up."],
    **changes,
  }
  (pathlib.Path(workdir) / "sweep.json").write_text(json.dumps(sweep))


def make_cell(column, method, trial, accuracy, **changes) -> Cell:
  """One run, without a file."""
  fields = {
    "digest": "d0",
    "hyperparameters": {},
    "test": Scores(accuracy, agreement=0.9),
    "validation": Scores(0.5, loss=0.5),
    "teacher": Teacher(f"teacher-{column}", Scores(0.97), 1234),
    "num_parameters": 99,
    **changes,
  }
  fields.setdefault(
    "folder", f"cells/{column}/{method}/{fields['digest']}/trial{trial}"
  )
  return Cell(column=column, method=method, trial=trial, **fields)


def make_results(accuracies=BY_HAND, **changes) -> Results:
  """All runs of a sweep of one setting of each method, without files."""
  methods = {method for column in accuracies.values() for method in column}
  cells = tuple(
    make_cell(column, method, trial, accuracy)
    for column, of_column in accuracies.items()
    for method, trials in of_column.items()
    for trial, accuracy in enumerate(trials)
  )
  fields = {
    "name": "made-up",
    "title": "Made-up digits",
    "columns": tuple(Named(c, c) for c in accuracies),
    "methods": tuple(
      Named(m, title) for m, title in METHOD_TITLES.items() if m in methods
    ),
    "num_trials": max(cell.trial for cell in cells) + 1,
    "selection": "heldout",
    "columns_are": "replicates",
    "num_expected": len(cells),
    "cells": cells,
    **changes,
  }
  return Results(**fields)


def papers_own(number, **changes) -> Results:
  """Three trials of each cell whose mean and error are the paper's."""
  table = paper_table(number)
  cells = []
  for column in table.columns:
    teachers = {
      name: Teacher(f"{name}-{column.id}", Scores(cell.mean / 100))
      for name in ("teacher", "subclass_teacher")
      if (cell := table.cell(name, column.id))
    }
    for row in table.rows:
      cell = table.cell(row.method, column.id)
      if cell.spread is None:
        continue
      kind = "subclass_teacher" if row.method == "subclass" else "teacher"
      for trial in range(3):
        # The standard error of m - d, m, m + d is d / sqrt(3).
        accuracy = cell.mean + (trial - 1) * 3**0.5 * cell.spread
        made = make_cell(column.id, row.method, trial, accuracy / 100)
        cells.append(dataclasses.replace(made, teacher=teachers[kind]))
  methods = dict.fromkeys(cell.method for cell in cells)
  fields = {
    "name": f"table{number}",
    "title": f"Table {number}",
    "columns": tuple(Named(c.id, c.id) for c in table.columns),
    "methods": tuple(Named(m, m) for m in methods),
    "num_trials": 3,
    "selection": "heldout",
    "columns_are": "settings",
    "num_expected": len(cells),
    "cells": tuple(cells),
    **changes,
  }
  return Results(**fields)
