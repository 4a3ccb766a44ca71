"""The table of what each method costs."""

import dataclasses

import pytest

from experiments import results as results_lib
from experiments.reporting import costs
from experiments.reporting import tables
from experiments.reporting import workdirs
from experiments.results import CellSeconds
from experiments.results import Evaluation
from experiments.results import PretrainingResult
from experiments.results import TeacherResult
from experiments.results import TeacherSeconds
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import teacher
from tests.experiments.reporting_workdirs import texts
from tests.experiments.reporting_workdirs import write_cell

SECONDS = CellSeconds(preparation=3.0, step=0.008)
PRETRAINING = PretrainingResult(
  digest="p", num_steps=20, batch_size=5, seconds=1.0
)


def write_teacher(root, digest, *, steps, seconds=None):
  folder = root / "teachers" / digest
  result = TeacherResult(
    validation=Evaluation(0.9),
    test=Evaluation(0.9),
    train={},
    num_parameters=50,
    num_extra_parameters=0,
    num_steps=steps,
    num_train_examples=100,
    variance_share=None,
    versions={},
    origin={},
    seconds=TeacherSeconds(seconds),
  )
  results_lib.write(folder, result)


@pytest.fixture
def root(tmp_path):
  """Vanilla, FitNet and two settings of Subclass Distillation."""
  for method, digest, taught_by, changes in (
    ("vanilla", "d0", "plain", {}),
    (
      "fitnet",
      "d0",
      "plain",
      {"num_extra_parameters": 12, "pretraining": PRETRAINING},
    ),
    ("subclass", "d0", "own0", {}),
    ("subclass", "d1", "own1", {"seconds": CellSeconds(step=0.016)}),
  ):
    fields = {
      "digest": digest,
      "seconds": SECONDS,
      "teacher": teacher(taught_by, 0.9, 50),
    }
    cell = make_cell("a", method, 0, 0.9, **fields | changes)
    write_cell(tmp_path, cell, teacher__batch_size=10)
  write_teacher(tmp_path, "plain", steps=100, seconds=7.0)
  write_teacher(tmp_path, "own0", steps=200, seconds=8.0)
  write_teacher(tmp_path, "own1", steps=300, seconds=9.0)
  return tmp_path


def table_of(root):
  return costs.cost_table(workdirs.load(root, root))


def test_costs_by_hand(root):
  table = table_of(root)
  assert table.header == costs.HEADER
  assert texts(table) == {
    # Settings, teachers, their parameters, examples, seconds, extra
    # parameters, examples of pre-training, preparation, step.
    "Teacher": ["", "1", "50", "1,000", "7", "", "", "", ""],
    "Vanilla distillation": ["1", "0", "", "", "", "0", "", "3.0", "2.00"],
    "FitNet": ["1", "0", "", "", "", "12", "100", "3.0", "2.00"],
    "Subclass distillation": [
      *("2", "2", "50", "5,000", "17", "0", "", "3.0", "3.00")
    ],
  }


def test_what_was_not_recorded_is_empty(root):
  (root / "teachers" / "own1" / "result.json").unlink()
  write_teacher(root, "plain", steps=100)
  cell = make_cell("a", "vanilla", 0, 0.9, teacher=teacher("plain", 0.9, 50))
  write_cell(root, cell, teacher__batch_size=10)
  found = texts(table_of(root))
  # A sum over one of two teachers would be too small.
  assert found["Subclass distillation"][1:5] == ["2", "50", "", ""]
  assert found["Vanilla distillation"][1:] == ["0", *[""] * 3, "0", *[""] * 3]
  assert found["Teacher"][1:5] == ["1", "50", "1,000", ""]


def test_costs_of_a_distillation(root):
  """An earlier stage tried settings, and the teacher was trained elsewhere."""
  results = workdirs.load(root, root)
  results = dataclasses.replace(results, num_tried={"vanilla": 8})
  found = texts(costs.cost_table(results, teacher_is_ours=False))
  assert "Teacher" not in found
  assert found["Vanilla distillation"][0] == "8"
  assert found["FitNet"][0] == "1"
  diagnostics = tables.diagnostics_table(results, teacher_is_ours=False)
  assert "Teacher" not in texts(diagnostics)


def test_costs_of_settings_are_those_of_each_column(root):
  write_cell(root, make_cell("b", "vanilla", 0, 0.9))
  # Two settings of FitNet, one pre-training.
  fields = {"pretraining": PRETRAINING, "teacher": teacher("plain", 0.9, 50)}
  for digest in "xy":
    write_cell(root, make_cell("b", "fitnet", 0, 0.9, digest=digest, **fields))
  table = table_of(root)
  labels = [row.label for row in table.rows]
  at = labels.index("b")
  assert labels[0] == "a"
  assert labels[at:] == ["b", "Teacher", "Vanilla distillation", "FitNet"]
  assert not any(cell.text for cell in table.rows[at].cells)
  rows = [[cell.text for cell in row.cells] for row in table.rows[at + 1 :]]
  # One of the two teachers is in another folder, of --teacher_dir.
  assert rows[0][1:5] == ["2", "50 to 1,234", "", ""]
  assert rows[2][0] == "2"
  assert rows[2][6] == "100"
