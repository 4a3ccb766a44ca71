import json

import pytest

from experiments import cells
from experiments.methods import METHODS
from experiments.reporting import results
from experiments.reporting import settings
from experiments.reporting import tables
from experiments.reporting.records import METHOD_TITLES
from experiments.training import table
from tests.experiments.configs.test_paper_smoke import config_of
from tests.experiments.configs.test_paper_smoke import CONFIGS
from tests.experiments.reporting_workdirs import BY_HAND
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import record
from tests.experiments.reporting_workdirs import write_record
from tests.experiments.reporting_workdirs import write_workdir


def test_load_reads_what_the_sweep_wrote(tmp_path):
  write_workdir(tmp_path)
  write_record(
    tmp_path,
    record(
      "split0",
      "lelp",
      0,
      0.95,
      hyperparameters={"temperature": 1.0},
      variance_share=[0.8, 0.6, None],
    ),
  )
  loaded = results.load(tmp_path)
  assert (loaded.name, loaded.title) == ("made-up", "Made-up digits")
  assert [column.title for column in loaded.columns] == ["SPLIT0", "SPLIT1"]
  assert [method.id for method in loaded.methods] == [
    "oracle",
    "standard",
    "vanilla",
    "lelp",
  ]
  assert loaded.num_trials == 3
  assert len(loaded.cells) == loaded.num_expected == 24
  assert loaded.num_missing == 0
  assert loaded.notes == ("Made up.",)
  cell = next(c for c in loaded.cells if (c.method, c.trial) == ("lelp", 0))
  assert cell.hyperparameters == {"temperature": 1.0}
  assert cell.variance_share == (0.8, 0.6)
  assert cell.test.accuracy == 0.95
  assert cell.test.agreement == 0.9
  assert cell.train["class_term"] == 0.1
  assert cell.teacher is not None
  assert cell.teacher.test.accuracy == 0.97
  assert cell.num_parameters == 99


def test_load_gives_the_same_tables_as_the_runs_themselves(tmp_path):
  write_workdir(
    tmp_path,
    title="Made-up digits",
    columns=[{"id": "split0", "title": "split0"}, {"id": "split1"}],
    notes=[],
  )
  assert tables.accuracy_table(results.load(tmp_path)) == (
    tables.accuracy_table(make_results())
  )


def test_load_without_sweep_derives_columns_and_methods(tmp_path):
  write_workdir(tmp_path)
  (tmp_path / "sweep.json").unlink()
  write_record(tmp_path, record("split0", "mine", 0, 0.5))
  loaded = results.load(tmp_path)
  assert [column.id for column in loaded.columns] == ["split0", "split1"]
  # Known methods in the order of the paper, then the others.
  assert [(method.id, method.title) for method in loaded.methods] == [
    ("oracle", "Oracle clustering"),
    ("standard", "Standard training"),
    ("vanilla", "Vanilla distillation"),
    ("lelp", "LELP"),
    ("mine", "mine"),
  ]
  assert loaded.columns_are == "settings"
  assert loaded.num_missing == 0


def test_runs_of_main_belong_to_their_config(tmp_path):
  for column in ("a", "b"):
    path = write_record(tmp_path, record(column, "lelp", 0, 0.5))
    config = {"name": "table3", "title": "Table 3: binary.", "data": {}}
    path.with_name("config.json").write_text(json.dumps(config))
  loaded = results.load(tmp_path)
  assert (loaded.name, loaded.title) == ("table3", "Table 3: binary")
  # Runs of several configs in one workdir belong to none of them.
  path.with_name("config.json").write_text('{"name": "table4", "title": "T"}')
  loaded = results.load(tmp_path)
  assert (loaded.name, loaded.title) == (tmp_path.name, tmp_path.name)


def test_a_teacher_that_was_trained_twice_is_told_of(tmp_path):
  for trial, accuracy in enumerate((0.9, 0.9, 0.92)):
    content = record("a", "lelp", trial, 0.5)
    content["teacher"] |= {"digest": "t", "test": {"accuracy": accuracy}}
    write_record(tmp_path, content)
    notes = results.load(tmp_path).notes
    assert any("trained more than once" in n for n in notes) == (trial == 2)
  assert "Teacher t was" in notes[-1]
  assert "test accuracy 90.00, 92.00 %" in notes[-1]


def test_tuples_of_a_config_are_tuples_again(tmp_path):
  for digest, features in (("a", ((32,), (8, 8))), ("b", ((64,), (8, 8)))):
    content = record(
      "a", "lelp", 0, 0.5, hyperparameters={"features": features}
    )
    write_record(tmp_path, content | {"digest": digest})
  loaded = results.load(tmp_path)
  assert settings.varied(loaded, "lelp") == ["features"]
  found = settings.along(loaded, "lelp", "a", "features")
  assert list(found) == [(((32,), (8, 8)),), (((64,), (8, 8)),)]


def test_load_counts_missing_cells(tmp_path):
  write_workdir(tmp_path)
  for trial in range(2):
    path = tmp_path / f"cells/split1/lelp/d0/trial{trial}/result.json"
    path.unlink()
  loaded = results.load(tmp_path)
  assert loaded.num_missing == 2
  assert loaded.notes[-1] == (
    "2 of 24 cells are not there yet: run experiments.sweep again."
  )


def test_load_leaves_out_what_the_sweep_does_not_name(tmp_path):
  write_workdir(tmp_path)
  write_record(tmp_path, record("split9", "lelp", 0, 0.1))
  write_record(tmp_path, record("split0", "mine", 0, 0.1))
  write_record(tmp_path, record("split0", "lelp", 3, 0.1))
  # Of an earlier sweep with another grid, and better: not to be chosen.
  write_record(tmp_path, record("split0", "lelp", 0, 1.0) | {"digest": "old"})
  loaded = results.load(tmp_path)
  assert len(loaded.cells) == 24
  assert loaded.notes[-1].startswith("4 finished cells are left out")


def test_load_keeps_no_diverged_loss(tmp_path):
  content = record("a", "lelp", 0, 0.5)
  content["validation"]["loss"] = float("nan")
  content["train"]["loss"] = None
  write_record(tmp_path, content)
  cell = results.load(tmp_path).cells[0]
  assert cell.validation is not None
  assert cell.validation.loss is None
  assert "loss" not in cell.train


def test_load_names_a_run_without_column_after_its_folder(tmp_path):
  path = write_record(tmp_path, record("cell", "lelp", 0, 0.5))
  path.write_text(json.dumps(record("", "lelp", 0, 0.5)))
  assert results.load(tmp_path).cells[0].column == "cell"


def test_load_needs_no_teacher_and_no_validation(tmp_path):
  content = record("a", "standard", 0, 0.5, teacher=None, validation=None)
  write_record(tmp_path, content)
  loaded = results.load(tmp_path)
  assert loaded.cells[0].teacher is None
  assert loaded.selection == "test"


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"test": {"accuracy": 96.5}}, "fraction from 0 to 1, got 96.5"),
    ({"test": {}}, "test accuracy must be .* got None"),
    ({"trial": "0"}, "'trial' must be of type int, got '0'"),
    ({"hyperparameters": None}, "'hyperparameters' must be of type dict"),
    ({"column": "other"}, "says other/lelp/trial0: it was moved"),
    ({"teacher": {"digest": "t", "test": {"accuracy": 2}}}, "teacher test"),
  ],
)
def test_load_refuses_invalid_results(tmp_path, changes, message):
  path = write_record(tmp_path, record("a", "lelp", 0, 0.5))
  path.write_text(json.dumps(record("a", "lelp", 0, 0.5) | changes))
  with pytest.raises(ValueError, match=message) as error:
    results.load(tmp_path)
  assert "\n" not in str(error.value)
  assert "run experiments.sweep again" in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_load_refuses_what_is_no_json_object(tmp_path, text):
  write_record(tmp_path, record("a", "lelp", 0, 0.5)).write_text(text)
  with pytest.raises(ValueError, match=r"result\.json .*JSON"):
    results.load(tmp_path)


def test_load_refuses_the_same_trial_twice(tmp_path):
  content = record("a", "lelp", 0, 0.5)
  path = write_record(tmp_path, content)
  copy = tmp_path / "cells/a/lelp/copy/trial0/result.json"
  copy.parent.mkdir(parents=True)
  copy.write_text(path.read_text())
  with pytest.raises(ValueError, match="trial 0 of a/lelp/d0 twice"):
    results.load(tmp_path)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"selection": "best"}, r"selection must be in .* got 'best'"),
    ({"columns_are": "rows"}, "columns_are must be in"),
    ({"num_cells": None}, "'num_cells' must be of type int, got None"),
    ({"columns": [{"title": "x"}]}, "'id' must be of type str"),
  ],
)
def test_load_refuses_an_invalid_sweep(tmp_path, changes, message):
  write_workdir(tmp_path, **changes)
  with pytest.raises(ValueError, match=message):
    results.load(tmp_path)


def test_load_says_what_to_do_without_results(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"run experiments\.sweep"):
    results.load(tmp_path)
  with pytest.raises(FileNotFoundError, match="is no folder"):
    results.load(tmp_path / "nowhere")


def test_cells_that_repeat_another_method_say_so(tmp_path):
  accuracies = {
    column: {m: t for m, t in methods.items() if m != "standard"}
    for column, methods in BY_HAND.items()
  }
  write_workdir(
    tmp_path,
    accuracies,
    methods=[
      {"id": m, "title": m} for m in ("dkd", "vanilla", "oracle", "lelp")
    ],
    same_as=[
      {"column": "split0", "method": "dkd", "text": "= vanilla KD"},
      {"column": "split1", "method": "dkd", "text": "= vanilla KD"},
    ],
  )
  found = results.load(tmp_path)
  assert found.num_missing == 0
  (row,) = [
    row for row in tables.accuracy_table(found).rows if row.label == "dkd"
  ]
  assert [cell.text for cell in row.cells] == ["= vanilla KD"] * 2 + [""]


def test_a_report_knows_the_title_of_every_method():
  titles = {name: method.title for name, method in METHODS.items()}
  assert {n: METHOD_TITLES.get(n) for n in titles} == titles


@pytest.mark.parametrize("name", CONFIGS)
def test_a_report_knows_the_title_of_every_row(name):
  config = config_of(name, "")
  described = table.describe(config, list(cells.expand(config)), {})
  titles = {method["id"]: method["title"] for method in described["methods"]}
  assert set(titles) == set(config.sweep.methods)
  assert titles == {row: METHOD_TITLES.get(row) for row in titles}
