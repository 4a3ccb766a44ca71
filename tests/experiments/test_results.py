"""Results are read as they were written, and damaged files named."""

import json
import math

import pytest

from experiments import results
from experiments.results import CellResult
from experiments.results import Evaluation
from experiments.results import SweepDescription
from experiments.results import TeacherResult

MODEL = {
  "validation": Evaluation(0.5, 0.7, 0.8, 100),
  "test": Evaluation(0.25, None, 0.75, 200),
  "train": {"loss": 0.1},
  "num_parameters": 9,
  "num_extra_parameters": 0,
  "num_steps": 10,
  "num_train_examples": 30,
  "variance_share": (0.5, 0.25),
  "versions": {"jax": "1"},
}
CELL = CellResult(
  **MODEL,
  column="a",
  method="lelp",
  digest="d0",
  trial=1,
  selection="heldout",
  hyperparameters={"num_subclasses": 4, "schedule_boundaries": (0.5, 0.75)},
  teacher=results.TeacherSummary(
    digest="t0",
    outputs="inline",
    validation=Evaluation(0.5),
    test=Evaluation(1.0),
    num_parameters=99,
    origin={"data": "", "pretrained weights": None},
  ),
  stack=results.StackResult(digest="s0", num_cells=4, seconds=None),
  seconds=results.CellSeconds(step=0.5),
  pretraining=results.PretrainingResult(
    digest="p0", num_steps=3, batch_size=8, seconds=1.5
  ),
  null_space_share=(0.75, 0.5),
)
TEACHER = TeacherResult(
  **MODEL,
  origin={"data": "abc", "pretrained weights": None},
  seconds=results.TeacherSeconds(2.0),
)
SWEEP = SweepDescription(
  name="n",
  title="N",
  columns=(results.Heading("a", "A"),),
  methods=(results.Heading("lelp", "LELP"),),
  num_trials=2,
  selection="test",
  columns_are="settings",
  num_cells=3,
  digests=("d0",),
  same_as=(results.SameAs("a", "subclass", "vanilla"),),
)


@pytest.mark.parametrize("record", [CELL, TEACHER, SWEEP])
def test_records_are_read_as_they_were_written(tmp_path, record):
  results.write(tmp_path / "new", record)
  assert results.read(tmp_path / "new", type(record)) == record


def test_a_cell_starts_with_its_name_and_nan_becomes_none(tmp_path):
  nan = Evaluation(0.5, math.nan)
  fields = vars(CELL) | {"test": nan, "train": {"loss": math.inf}}
  results.write(tmp_path, CellResult(**fields))
  names = list(json.loads((tmp_path / "result.json").read_text()))
  assert names[:4] == ["column", "method", "digest", "trial"]
  found = results.read(tmp_path, CellResult)
  assert (found.test.loss, found.train["loss"]) == (None, None)


@pytest.mark.parametrize(
  ("changes", "named"),
  [
    ({"test": None}, "test"),
    ({"other": 1}, "other"),
    ({"test": {"accuracy": "high"}}, r"test\.accuracy.*high"),
    ({"test": {"accuracy": 1.5}}, r"accuracy.*1\.5"),
    ({"trial": True}, "trial.*True"),
    ({"variance_share": [0.5, "x"]}, "variance_share.*'x'"),
    ({"hyperparameters": [1]}, "hyperparameters"),
  ],
)
def test_a_damaged_field_is_named(tmp_path, changes, named):
  results.write(tmp_path, CELL)
  path = tmp_path / "result.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))
  with pytest.raises(ValueError, match=rf"result\.json.*{named}"):
    results.read(tmp_path, CellResult)


@pytest.mark.parametrize("text", ["", "[1]"])
def test_a_file_that_is_no_record_is_named(tmp_path, text):
  (tmp_path / "sweep.json").write_text(text)
  with pytest.raises(ValueError, match=r"sweep\.json"):
    results.read(tmp_path, SweepDescription)


def test_missing_fields_and_values_out_of_range_are_named(tmp_path):
  results.write(tmp_path, SWEEP)
  path = tmp_path / "sweep.json"
  fields = json.loads(path.read_text())
  for changed, named in (
    ({k: v for k, v in fields.items() if k != "digests"}, "digests"),
    (fields | {"selection": "train"}, "selection.*'train'"),
    (fields | {"columns_are": "sums"}, "columns_are.*'sums'"),
  ):
    path.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=named):
      results.read(tmp_path, SweepDescription)
