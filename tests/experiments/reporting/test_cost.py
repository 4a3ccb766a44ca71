"""The table of what each method costs."""

import json

import pytest

from experiments.reporting import cost
from experiments.reporting import results
from tests.experiments.reporting_workdirs import record
from tests.experiments.reporting_workdirs import write_record
from tests.experiments.reporting_workdirs import write_workdir

STACK = {"digest": "s", "num_cells": 4, "seconds": 100.0}
SECONDS = {"preparation": 3.0, "step": 0.008}


def write_json(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def write_teacher(root, digest, *, steps, seconds=None):
  folder = root / "teachers" / digest
  result = {"num_steps": steps} | (
    {"seconds": {"training": seconds}} if seconds else {}
  )
  write_json(folder / "result.json", result)
  write_json(folder / "config.json", {"teacher": {"batch_size": 10}})


def config_of(method, **student):
  return {
    "method": method,
    "student": {"model": "mlp", "batch_size": 5, "num_steps": 9} | student,
    "data": {"dataset": "digits", "data_dir": "somewhere"},
  }


def write_pretraining(root, name, *, steps, **student):
  folder = root / "pretraining" / name
  config = config_of("fitnet_pretraining", num_steps=steps, **student)
  write_json(folder / "config.json", config | {"teacher": ["plain", {}]})
  lines = '{"step": 10, "wall_time": 0}\n{"step": %d, "wall_time": 1}\n'
  (folder / "metrics.jsonl").write_text(lines % steps)


@pytest.fixture
def root(tmp_path):
  """Vanilla, FitNet and two settings of Subclass Distillation."""
  write_workdir(tmp_path, {"a": {"vanilla": (0.9,), "fitnet": (0.9,)}})
  teacher = {"test": {"accuracy": 0.9}, "num_parameters": 50}
  runs = [
    ("vanilla", "d0", "plain", {}),
    ("fitnet", "d0", "plain", {"num_extra_parameters": 12}),
    ("subclass", "d0", "own0", {}),
    ("subclass", "d1", "own1", {"seconds": SECONDS | {"step": 0.016}}),
  ]
  for method, digest, taught_by, changes in runs:
    content = record(
      "a", method, 0, 0.9, digest=digest, stack=STACK, seconds=SECONDS
    )
    content["teacher"] = teacher | {"digest": taught_by}
    path = write_record(tmp_path, content | changes)
    write_json(path.with_name("config.json"), config_of(method))
  (tmp_path / "sweep.json").unlink()
  write_teacher(tmp_path, "plain", steps=100, seconds=7.0)
  write_teacher(tmp_path, "own0", steps=200, seconds=8.0)
  write_teacher(tmp_path, "own1", steps=300, seconds=9.0)
  write_pretraining(tmp_path, "p", steps=20)
  return tmp_path


def rows(root):
  table = cost.cost_table(results.load(root), root)
  assert table.header == cost.HEADER
  return {row.label: [cell.text for cell in row.cells] for row in table.rows}


def test_cost_by_hand(root):
  assert rows(root) == {
    # Settings, teachers, their parameters, examples, seconds, extra
    # parameters, examples of pre-training, preparation, step.
    "Teacher": ["", "1", "50", "1,000", "7", "", "", "", ""],
    "Vanilla distillation": ["1", "0", *[""] * 5, "3.0", "2.00"],
    "FitNet": ["1", "0", "", "", "", "12", "100", "3.0", "2.00"],
    "Subclass distillation": [
      *("2", "2", "50", "5,000", "17", "", ""),
      *("3.0", "3.00"),
    ],
  }


def test_cost_leaves_what_was_not_recorded_empty(root):
  (root / "teachers" / "own1" / "result.json").unlink()
  write_teacher(root, "plain", steps=100)
  content = record("a", "vanilla", 0, 0.9)
  content["teacher"] |= {"digest": "plain", "num_parameters": 50}
  write_record(root, content)
  found = rows(root)
  # A sum over one of two teachers would be too small.
  assert found["Subclass distillation"][1:5] == ["2", "50", "", ""]
  assert found["Vanilla distillation"] == ["1", "0", *[""] * 7]
  assert found["Teacher"][1:5] == ["1", "50", "1,000", ""]


def test_cost_of_settings_is_of_each_column(root):
  write_record(root, record("b", "vanilla", 0, 0.9))
  table = cost.cost_table(results.load(root), root)
  labels = [row.label for row in table.rows]
  at = labels.index("b")
  assert labels[0] == "a"
  assert labels[at:] == ["b", "Teacher", "Vanilla distillation"]
  assert not any(cell.text for cell in table.rows[at].cells)
  # It is in another folder, of --teacher_dir.
  texts = [cell.text for cell in table.rows[at + 1].cells]
  assert texts[1:5] == ["1", "1,234", "", ""]
  assert table.rows[at + 2].cells[0].text == "1"


def test_two_students_of_one_teacher_have_a_pretraining_each(root):
  content = record("b", "fitnet", 0, 0.9)
  content["teacher"] |= {"digest": "plain", "num_parameters": 50}
  path = write_record(root, content)
  config = config_of("fitnet", model="cnn")
  write_json(path.with_name("config.json"), config)
  write_pretraining(root, "q", steps=70, model="cnn")
  # Of other data: the column of a share of them.
  write_pretraining(root, "r", steps=900)
  other = json.loads((root / "pretraining/r/config.json").read_text())
  other["data"]["transfer_fraction"] = 0.1
  write_json(root / "pretraining/r/config.json", other)
  table = cost.cost_table(results.load(root), root)
  examples = [row.cells[6].text for row in table.rows if row.label == "FitNet"]
  assert examples == ["100", "350"]
