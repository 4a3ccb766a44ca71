"""Smoke tests of tables and figures from the config to the result."""

import importlib
import re

import jax
import pytest

from experiments import cells
from experiments import report
from experiments.io.json_files import read_json
from experiments.io.json_files import write_json
from experiments.io.metrics import read_metrics
from experiments.reporting.files import FORMATS
from experiments.training import jobs
from experiments.training import runs
from experiments.training import sweeping
from experiments.training import table

CONFIGS = (
  *(f"table{n}" for n in range(1, 6)),
  *("figure1a", "figure3", "figure4", "figure5", "figure6"),
  *("sensitivity", "null_space", "num_classes", "cost", "random_ensembles"),
)
slow = pytest.mark.slow


def config_of(name, arg):
  module = importlib.import_module(f"experiments.configs.{name}")
  return module.get_config(f"smoke=True,{arg}")


def run(config, workdir, only=()):
  """Results of a sweep by column and row, one of each."""
  expanded = list(cells.expand(config))
  said = table.remarks(expanded, lambda cell: runs.load_splits(cell).task)
  described = table.describe(config, expanded, said)
  write_json(workdir / "sweep.json", described)
  chosen = sweeping.selected(table.needed(expanded, said), only=only)
  found = {}
  for folder in runs.run_cells(chosen, workdir):
    result = read_json(folder / "result.json")
    assert 0 <= result["test"]["accuracy"] <= 1
    assert read_metrics(folder / "metrics.jsonl")[-1]["step"] == 4
    found[result["column"], result["method"]] = result
  return found


def test_a_cell_of_table_3(tmp_path):
  pair = "cifar100_bin-resnet92-mobilenet"
  config = config_of("table3", f"column={pair},methods=lelp")
  (result,) = run(config, tmp_path).values()
  assert (result["column"], result["method"]) == (pair, "lelp")
  assert result["hyperparameters"] == {
    "temperature": 1.0,
    "subclass_temperature": 1 / 32,
    "num_subclasses": 2,
  }
  assert len(result["null_space_share"]) == 2
  # What it cost; the second of two chunks of two steps was timed.
  assert set(result["seconds"]) == {"teacher", "moments", "preparation", "step"}
  assert all(seconds > 0 for seconds in result["seconds"].values())


def test_a_student_of_labels_sees_those_that_there_are():
  (cell, other) = cells.expand(
    config_of(
      "table5",
      "column=cifar100-resnet92-mobilenet-15000,methods=standard+vanilla",
    )
  )
  sizes = {c.row: runs.load_splits(c).transfer["labels"] for c in (cell, other)}
  assert {k: len(v) for k, v in sizes.items()} == {
    "standard": 150,
    "vanilla": 360,
  }


def test_a_rotation_has_a_seed_of_its_own():
  column = "cifar100_bin-resnet92-resnet56"
  arg = f"column={column},methods=lelp_rotation,trials=2"
  expanded = list(cells.expand(config_of("sensitivity", arg)))
  assert [(c.subspace.seed, c.trial) for c in expanded] == [
    (seed, trial) for seed in (0, 1) for trial in (0, 1)
  ]
  keys = [
    tuple(jax.random.key_data(jobs.rotation_key(cell)).tolist())
    for cell in expanded
  ]
  assert keys[0] == keys[1] != keys[2] == keys[3]
  # Cells of other seeds are trained together; by default the trial's it is.
  assert sorted(len(s.configs) for s in cells.stacks(expanded)) == [2, 2]
  own = expanded[1].copy_and_resolve_references()
  own.subspace.seed = -1
  data = jax.random.key_data(jobs.rotation_key(own))
  assert tuple(data.tolist()) == keys[3]


@slow
def test_students_of_vectors_and_of_texts_share_a_teacher(tmp_path):
  config = config_of("table2", "methods=vanilla")
  for column in list(config.sweep.columns):
    if not column.startswith("amazon-"):
      del config.sweep.columns[column]
      del config.sweep.grids[column]
  found = run(config, tmp_path)
  assert len(found) == 2
  (digest,) = {result["teacher"]["digest"] for result in found.values()}
  assert [p.name for p in (tmp_path / "teachers").iterdir()] == [digest]


# What stands in the report of these besides what is in all of them.
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
@pytest.mark.filterwarnings("ignore:num_subclasses=2 is more than:UserWarning")
@slow
@pytest.mark.parametrize("case", _OWN)
def test_every_row_and_every_column_with_its_report(tmp_path, case):
  name, _, arg = case.partition(":")
  config = config_of(name, arg)
  columns, rows = list(config.sweep.columns), list(config.sweep.methods)
  row = next(row for row in rows if row.startswith("lelp"))
  # Every method in one column, and every column with one method.
  found = run(config, tmp_path, [f"{columns[0]}/*", f"*/{row}"])
  assert {column for column, _ in found} == set(columns)
  assert set(rows) - {method for _, method in found} <= {"dkd"}
  report.report([tmp_path], list(FORMATS))
  files = tmp_path / "report"
  assert _OWN[case] in (files / "table.md").read_text()
  assert "SMOKE TEST" in (files / "report.html").read_text()
  for picture in re.findall(r"\]\((.*?)\)", (files / "table.md").read_text()):
    assert (files / picture).stat().st_size > 10_000
