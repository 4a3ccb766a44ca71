"""Smoke tests of tables and figures from the config to the result."""

import importlib
import re

import jax
import pytest

from experiments import cells
from experiments import report
from experiments import results
from experiments import specs
from experiments import stacks
from experiments.configs import validate
from experiments.io.metrics import read_metrics
from experiments.methods.base import Setup
from experiments.reporting.render import FORMATS
from experiments.training import data
from experiments.training import description
from experiments.training import sweep

slow = pytest.mark.slow


def config_of(name, arg):
  module = importlib.import_module(f"experiments.configs.{name}")
  return module.get_config(f"smoke=True,{arg}")


def run(config, workdir, only=()):
  """Results of a sweep by column and row, one of each."""
  needed, described = description.described(
    validate.sweep_spec(config),
    cells.expand(config),
    lambda cell: data.load_splits(cell).task,
  )
  results.write(workdir, described)
  found = {}
  chosen = stacks.selected(needed, only=only)
  for folder in sweep.run_cells(chosen, workdir):
    result = results.read(folder, results.CellResult)
    assert read_metrics(folder / "metrics.jsonl")[-1]["step"] == 4
    found[result.column, result.method] = result
  return found


@slow
def test_a_cell_of_table_3(tmp_path):
  pair = "cifar100_bin-resnet92-mobilenet"
  config = config_of("table3", f"column={pair},methods=lelp")
  (result,) = run(config, tmp_path).values()
  assert (result.column, result.method) == (pair, "lelp")
  assert result.hyperparameters == {
    "temperature": 1.0,
    "subclass_temperature": 1 / 32,
    "num_subclasses": 2,
  }
  assert len(result.null_space_share) == 2
  # The second of two chunks of two steps was timed.
  seconds = result.seconds
  assert seconds.teacher > 0
  assert seconds.moments > 0
  assert seconds.preparation > 0
  assert seconds.step > 0


def test_a_student_of_labels_sees_those_that_there_are():
  (cell, other) = cells.expand(
    config_of(
      "table5",
      "column=cifar100-resnet92-mobilenet-15000,methods=standard+vanilla",
    )
  )
  sizes = {
    c.row: len(data.load_splits(c).transfer["labels"]) for c in (cell, other)
  }
  assert sizes == {"standard": 150, "vanilla": 360}


def test_a_rotation_has_a_seed_of_its_own():
  column = "cifar100_bin-resnet92-resnet56"
  arg = f"column={column},methods=lelp_rotation,trials=2"
  expanded = cells.expand(config_of("sensitivity", arg))
  assert [(c.subspace.seed, c.trial) for c in expanded] == [
    (seed, trial) for seed in (0, 1) for trial in (0, 1)
  ]
  task = data.load_splits(expanded[0]).task

  def key(cell):
    return tuple(jax.random.key_data(Setup(cell, task).key).tolist())

  keys = [key(cell) for cell in expanded]
  assert keys[0] == keys[1] != keys[2] == keys[3]
  # Cells with other seeds are stacked. By default the seed is the trial's.
  grouped = stacks.stacks(expanded)
  assert sorted(len(stack.cells) for stack in grouped) == [2, 2]
  own = specs.replace(expanded[1], {"subspace.seed": -1})
  assert key(own) == keys[3]


@slow
def test_students_of_vectors_and_of_texts_share_a_teacher(tmp_path):
  config = config_of("table2", "methods=vanilla")
  for column in list(config.sweep.columns):
    if not column.startswith("amazon-"):
      del config.sweep.columns[column]
      del config.sweep.grids[column]
  found = run(config, tmp_path)
  assert len(found) == 2
  (digest,) = {result.teacher.digest for result in found.values()}
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
