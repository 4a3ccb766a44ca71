"""Smoke tests of tables and figures from the config to the result."""

import importlib
import re

import pytest

from experiments import cells
from experiments import report
from experiments import results
from experiments import stacks
from experiments.configs import validate
from experiments.io.metrics import read_metrics
from experiments.reporting.render import FORMATS
from experiments.training import data
from experiments.training import description
from experiments.training import sweep

# A text that only the report of this config has.
_OWN = {
  **{f"table{n}": f"Table {n} of the paper beside ours" for n in range(1, 6)},
  "figure1a": "Table 2 of the paper beside ours",
  "figure3": "Table 1 of the paper beside ours",
  "figure4": "embeddings.png",
  "figure5": "figure5.png",
  "figure6": "figure6_left.png",
  "figure6:panel=middle": "figure6_middle.png",
  "figure6:panel=right": "figure6_right.png",
  "sensitivity": "sensitivity.png",
  "null_space": "## With and without the null space",
  "num_classes": "num_classes.png",
  "cost": "| Subclass distillation |",
  "random_ensembles": "random_ensembles.png",
}


# 100 labels of 100 classes: a class has no variance.
@pytest.mark.filterwarnings("ignore:num_subclasses=2 exceeds:UserWarning")
@pytest.mark.slow
@pytest.mark.parametrize("case", _OWN)
def test_every_row_and_every_column_with_its_report(tmp_path, case):
  name, _, arg = case.partition(":")
  module = importlib.import_module(f"experiments.configs.{name}")
  config = module.get_config(f"smoke=True,{arg}")
  columns, rows = list(config.sweep.columns), list(config.sweep.methods)
  needed, described = description.described(
    validate.sweep_spec(config),
    cells.expand(config),
    lambda cell: data.load_splits(cell).task,
  )
  results.write(tmp_path, described)
  # Every method in one column, and every column with one method.
  row = next(row for row in rows if row.startswith("lelp"))
  chosen = stacks.selected(needed, only=[f"{columns[0]}/*", f"*/{row}"])
  folders = sweep.run_cells(chosen, tmp_path)
  for folder in folders:
    assert read_metrics(folder / "metrics.jsonl")[-1]["step"] == 4
  found = [results.read(folder, results.CellResult) for folder in folders]
  assert {result.column for result in found} == set(columns)
  assert set(rows) - {result.method for result in found} <= {"dkd"}
  report.report([tmp_path], list(FORMATS))
  files = tmp_path / "report"
  assert _OWN[case] in (files / "table.md").read_text()
  assert "SMOKE TEST" in (files / "report.html").read_text()
  for picture in re.findall(r"\]\((.*?)\)", (files / "table.md").read_text()):
    assert (files / picture).stat().st_size > 10_000
