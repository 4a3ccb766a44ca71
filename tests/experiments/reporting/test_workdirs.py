"""Finished cells and descriptions of sweeps are read, counted and checked."""

import dataclasses
import json
import os
import pathlib

import pytest

from experiments.data.dataset import LeftOut
from experiments.methods import METHODS
from experiments.reporting import tables
from experiments.reporting import workdirs
from experiments.results import Evaluation
from experiments.results import Heading
from experiments.results import SameAs
from tests.experiments.reporting_workdirs import BY_HAND
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import teacher
from tests.experiments.reporting_workdirs import texts
from tests.experiments.reporting_workdirs import write_cell
from tests.experiments.reporting_workdirs import write_workdir


def load(root):
  return workdirs.load(root, root)


def test_a_workdir_is_read_as_the_sweep_wrote_it(tmp_path):
  write_workdir(tmp_path, columns=tuple(Heading(c, c) for c in BY_HAND))
  (tmp_path / "teachers/teacher-split0").mkdir(parents=True)
  loaded = load(tmp_path)
  made = make_results(notes=("Made up.",))
  in_workdir = "teachers/teacher-split0"
  cells = (
    dataclasses.replace(
      c, teacher_folder=in_workdir if c.column == "split0" else ""
    )
    for c in made.cells
  )
  key = lambda cell: cell.folder  # noqa: E731
  assert sorted(loaded.cells, key=key) == sorted(cells, key=key)
  assert loaded == dataclasses.replace(made, cells=loaded.cells)
  assert loaded.cells[0].config == f"{loaded.cells[0].folder}/config.json"
  assert {c.teacher_config for c in loaded.cells} == {
    f"{in_workdir}/config.json",
    "",
  }
  # Seen from another folder.
  found = workdirs.load(tmp_path, tmp_path.parent)
  assert found.folder == tmp_path.name
  assert found.cells[0].folder == f"{tmp_path.name}/{loaded.cells[0].folder}"
  assert found.cells[0].teacher_folder == f"{tmp_path.name}/{in_workdir}"


def test_without_sweep_json_columns_and_methods_are_those_of_the_cells(
  tmp_path,
):
  write_workdir(tmp_path)
  (tmp_path / "sweep.json").unlink()
  write_cell(tmp_path, make_cell("split0", "mine", 0, 0.5), data__dataset="x")
  loaded = load(tmp_path)
  assert [column.id for column in loaded.columns] == ["split0", "split1"]
  # Known methods in their order, then the others.
  expected = [m for m in METHODS if m in BY_HAND["split0"]] + ["mine"]
  assert [(m.id, m.title) for m in loaded.methods] == [
    (m, METHODS[m].title if m in METHODS else m) for m in expected
  ]
  assert (loaded.name, loaded.title) == (tmp_path.name, tmp_path.name)
  assert loaded.columns_are == "settings"
  assert loaded.selection == "heldout"
  assert loaded.num_missing == 0
  assert loaded.datasets == {}  # Only the first cell of a column is asked.
  write_cell(tmp_path, make_cell("split0", "mine", 0, 0.5, selection="test"))
  assert load(tmp_path).selection == "test"


def test_a_teacher_with_two_results_is_noted(tmp_path):
  for trial, accuracy in enumerate((0.9, 0.9, 0.92)):
    cell = make_cell("a", "lelp", trial, 0.5, teacher=teacher("t", accuracy))
    write_cell(tmp_path, cell)
    notes = load(tmp_path).notes
    assert any("Teacher t" in note for note in notes) == (trial == 2)
  assert "90.00, 92.00 %" in notes[-1]


def test_missing_cells_and_those_of_another_sweep_are_counted(tmp_path):
  write_workdir(tmp_path)
  for trial in range(2):
    folder = tmp_path / f"cells/split1/lelp/d0/trial{trial}"
    (folder / "result.json").unlink()
  loaded = load(tmp_path)
  assert loaded.num_missing == 2
  assert loaded.notes[-1].startswith("2 of 24 cells")
  write_cell(tmp_path, make_cell("split9", "lelp", 0, 0.1))
  write_cell(tmp_path, make_cell("split0", "mine", 0, 0.1))
  write_cell(tmp_path, make_cell("split0", "lelp", 3, 0.1))
  # Of an earlier sweep with another grid, and better: not to be chosen.
  write_cell(tmp_path, make_cell("split0", "lelp", 0, 1.0, digest="old"))
  loaded = load(tmp_path)
  assert len(loaded.cells) == 22
  assert loaded.notes[-1].startswith("4 finished cells are left out")


def test_held_out_scores_are_those_of_other_examples(tmp_path):
  cell = make_cell("a", "lelp", 0, 0.5, validation=Evaluation(0.25, None))
  assert cell.held_out == Evaluation(0.25, None)
  assert dataclasses.replace(cell, selection="test").held_out is None


def test_a_run_without_column_is_named_after_its_folder(tmp_path):
  folder = write_cell(tmp_path, make_cell("cell", "lelp", 0, 0.5))
  record = json.loads((folder / "result.json").read_text()) | {"column": ""}
  (folder / "result.json").write_text(json.dumps(record))
  assert load(tmp_path).cells[0].column == "cell"


def test_damaged_and_copied_files_are_named(tmp_path):
  folder = write_cell(tmp_path, make_cell("a", "lelp", 0, 0.5))
  path = folder / "result.json"
  text = path.read_text()
  copy = tmp_path / "cells/a/lelp/copy/trial0/result.json"
  copy.parent.mkdir(parents=True)
  copy.write_text(text)
  with pytest.raises(ValueError, match=r"copy.* holds .* a/lelp/d0/trial0"):
    load(tmp_path)
  copy.unlink()
  for content, named in (
    (json.dumps(json.loads(text) | {"column": "other"}), "other/lelp/d0"),
    (json.dumps(json.loads(text) | {"trial": "0"}), "trial.*'0'"),
    ("{", "JSON"),
  ):
    path.write_text(content)
    with pytest.raises(ValueError, match=named) as error:
      load(tmp_path)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_cells_that_repeat_another_method_say_so(tmp_path):
  accuracies = {
    column: {m: t for m, t in methods.items() if m != "standard"}
    for column, methods in BY_HAND.items()
  }
  ids = ("dkd", "vanilla", "oracle", "lelp")
  write_workdir(
    tmp_path,
    accuracies,
    methods=tuple(Heading(m, m) for m in ids),
    same_as=tuple(SameAs(c, "dkd", "vanilla") for c in accuracies),
  )
  found = load(tmp_path)
  assert found.num_missing == 0
  row = texts(tables.accuracy_table(found))["dkd"]
  assert row == ["= Vanilla distillation"] * 2 + [""]


ROWS = LeftOut("train", "malformed", 7, ("a.csv row 3: not utf-8",))


@pytest.mark.parametrize(
  ("fields", "start"),
  [
    ({"left_out": (ROWS,)}, f"Not all rows are used. Left out of {ROWS}."),
    ({"data_notes": ("few rows",)}, "Note on the data: few rows."),
    (
      {"num_unlabelled_examples": 1200},
      "Students also train on 1,200 examples without a label",
    ),
  ],
)
def test_what_students_train_on_is_noted_once(tmp_path, fields, start):
  write_cell(tmp_path, make_cell("a", "lelp", 0, 0.5))
  for trial in (1, 2):
    write_cell(tmp_path, make_cell("a", "lelp", trial, 0.5, **fields))
  _, note = load(tmp_path).notes
  assert note.startswith(start)


def test_workdirs_are_found_once(tmp_path):
  for name in ("a", "b"):
    write_workdir(tmp_path / name)
  (tmp_path / "teachers").mkdir()
  found = workdirs.find_workdirs([tmp_path / "b", tmp_path, tmp_path / "./a"])
  assert [path.name for path in found] == ["b", "a"]
  for path in (tmp_path / "nowhere", tmp_path / "teachers"):
    with pytest.raises(FileNotFoundError, match=f"--workdir={path}"):
      workdirs.find_workdirs([path])
  with pytest.raises(FileNotFoundError, match="teachers"):
    load(tmp_path / "teachers")


def test_paths_of_reports(tmp_path):
  text = f"{tmp_path / 'a'},{tmp_path / 'b'}"
  assert workdirs.parse_paths(text) == [tmp_path / "a", tmp_path / "b"]
  (tmp_path / "a,b").mkdir()  # A comma may be in a name.
  assert workdirs.parse_paths(str(tmp_path / "a,b")) == [tmp_path / "a,b"]
  assert workdirs.relative(tmp_path / "a", tmp_path) == "a"
  assert workdirs.relative(tmp_path, tmp_path) == ""
  assert workdirs.relative(tmp_path, tmp_path / "a") == ".."
  assert workdirs.default_output([tmp_path]) == tmp_path / "report"
  here = pathlib.Path(os.path.relpath(tmp_path))
  found = workdirs.default_output([here / "a", tmp_path / "b"])
  assert found.resolve() == tmp_path / "report"
  with pytest.raises(ValueError, match="--output"):
    workdirs.default_output([tmp_path / "a", tmp_path / "c" / "b"])
