"""Whole runs: results that are kept and shared, and checkpoints refused."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import cells
from experiments import results
from experiments import specs
from experiments import stacks
from experiments.configs import validate
from experiments.distributed import processes
from experiments.distributed.signals import Interrupted
from experiments.io import json_files
from experiments.io import storage
from experiments.training import claims
from experiments.training import data
from experiments.training import description
from experiments.training import sweep
from experiments.training import teacher as teacher_lib
from experiments.training.build import build_run
from tests.experiments import tiny
from tests.experiments.training_runs import interrupt


def _read(folder):
  return results.read(folder, results.CellResult)


def _load_or_train(cell, directory):
  return teacher_lib.load_or_train(cell, data.load_splits(cell), directory)


def test_exchanges_before_training_do_not_grow_with_the_stacks(
  tmp_path, monkeypatch
):
  asked = []
  monkeypatch.setattr(claims, "run_unfinished", lambda *_: None)
  monkeypatch.setattr(
    processes, "from_main", lambda make: asked.append(make) or make()
  )

  def exchanges(*methods):
    asked.clear()
    sweep.run_cells([tiny.cell(method) for method in methods], tmp_path)
    return len(asked)

  exchanges("standard")  # Loads the data.
  assert exchanges("standard") == exchanges("standard", "vanilla", "lelp")


def test_an_interrupt_in_the_last_chunk_stops_before_the_next_stack(
  tmp_path, monkeypatch
):
  found = [tiny.cell("standard"), tiny.cell("vanilla")]
  _load_or_train(found[0], tmp_path / "teachers")
  with monkeypatch.context() as patch:
    interrupt(patch, lambda step: step == found[0].student.num_steps)
    message = r"\[1/2\] split0 standard is finished"
    with pytest.raises(Interrupted, match=message):
      sweep.run_cells(found, tmp_path)
  assert len(list(tmp_path.glob("cells/**/result.json"))) == 1
  sweep.run_cells(found, tmp_path)
  assert len(list(tmp_path.glob("cells/**/result.json"))) == 2


def test_checkpoints_elsewhere_are_continued_there_alone(tmp_path, monkeypatch):
  cell, far = tiny.cell("standard"), storage.folder(tmp_path / "far")
  work = tmp_path / "work"
  _load_or_train(cell, work / "teachers")
  with monkeypatch.context() as patch:
    interrupt(patch, lambda step: step == 8)
    with pytest.raises(Interrupted, match="step 8"):
      sweep.run_cells([cell], work, checkpoint_directory=far)
  with pytest.raises(ValueError, match=f"--checkpoint_dir={far}"):
    sweep.run_cells([cell], work)
  (folder,) = sweep.run_cells([cell], work, checkpoint_directory=far)
  assert _read(folder).stack.seconds is None
  assert not list(far.iterdir())
  assert not (work / "checkpoints").exists()


def test_a_half_trained_teacher_is_continued_by_another_cell(
  tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    interrupt(patch, lambda step: step == 4)
    with pytest.raises(Interrupted, match="step 4"):
      sweep.run_cells([tiny.cell("vanilla")], tmp_path)
  other = tiny.cell("standard", trial=1)
  (folder,) = sweep.run_cells([other], tmp_path)
  assert _read(folder).seconds.teacher is None
  assert len(list(tmp_path.glob("teachers/*"))) == 1


def test_a_damaged_teacher_is_trained_again_once_deleted(tmp_path):
  cell = tiny.cell()
  _load_or_train(cell, tmp_path)
  (parameters,) = tmp_path.glob("*/parameters")
  shutil.rmtree(parameters)
  _load_or_train(cell, tmp_path)
  assert parameters.exists()


def test_a_teacher_does_not_start_as_a_student_of_its_seed(tmp_path):
  cell = tiny.cell("standard", student__options__features=(16,))
  teacher = _load_or_train(cell, tmp_path)
  starts = []
  for own in (teacher, None):
    run = build_run([cell], data.load_splits(cell), teacher=own, names=["s"])
    states = run.program.init(run.trials, sizes=run.sizes)
    starts.append(np.asarray(states.params["head"]["kernel"]))
  assert np.abs(starts[0] - starts[1]).max() > 0.1


def _sweep(**methods):
  config = tiny.config()
  config.sweep.num_trials = 1
  del config.sweep.columns["split1"]
  config.sweep.methods = ConfigDict(methods)
  return config


def _described(config):
  return description.described(
    validate.sweep_spec(config),
    cells.expand(config),
    lambda cell: data.load_splits(cell).task,
  )


def test_rows_of_one_method_stay_apart(tmp_path):
  config = _sweep(
    lelp_norot={"method": "lelp", "subspace": {"rotation": "none"}},
    vanilla={},
    vanilla_alpha={
      "method": "vanilla",
      "loss": {"hard_label_weight": (0.3, 0.6)},
    },
  )
  needed, described = _described(config)
  titles = {method.id: method.title for method in described.methods}
  assert titles["lelp_norot"] == "LELP: lelp_norot"
  chosen = stacks.selected(needed, only=["vanilla*"])
  folders = sweep.run_cells(chosen, tmp_path)
  rows = [folder.parts[-3] for folder in folders]
  assert rows == ["vanilla", "vanilla_alpha", "vanilla_alpha"]
  found = [_read(folder).hyperparameters for folder in folders]
  assert found == [
    {"temperature": 2.0},
    {"temperature": 2.0, "hard_label_weight": 0.3},
    {"temperature": 2.0, "hard_label_weight": 0.6},
  ]
  # The settings of a finished cell are those that it was trained with.
  for cell, folder in zip(chosen, folders, strict=True):
    plain = json_files.read_json(folder / "config.json")
    assert specs.from_plain(plain) == cell


def test_a_method_that_repeats_another_is_not_trained():
  config = tiny.config()
  config.sweep.methods = ConfigDict(
    {"vanilla": {}, "dkd": {}, "standardized_kd": {}}
  )
  needed, described = _described(config)
  assert {cell.method for cell in needed} == {"vanilla", "standardized_kd"}
  assert described.num_cells == len(needed) == 2 * 2 * 2
  assert [method.id for method in described.methods] == [
    "vanilla",
    "dkd",
    "standardized_kd",
  ]
  assert described.same_as == tuple(
    results.SameAs(column, "dkd", "vanilla") for column in ("split0", "split1")
  )
  (note,) = set(described.notes) - set(config.sweep.notes)
  assert note.startswith("Logit standardization: ")


def test_another_teacher_setting_seed_or_data_refuses_to_resume(tmp_path):
  """Checkpoints of another fingerprint are refused: test_checkpoints.py."""
  cell = tiny.cell("vanilla")
  splits, teacher = data.load_splits(cell), _load_or_train(cell, tmp_path)

  def fingerprint(changes, splits=splits, teacher=teacher):
    changed = specs.replace(cell, changes)
    (stack,) = stacks.stacks([changed])
    run = build_run([changed], splits, teacher=teacher, names=stack.names)
    return run.fingerprint

  saved = fingerprint({})
  same = dataclasses.replace(teacher, statistics=teacher.statistics)
  assert fingerprint({}, teacher=same) == saved
  weights = jax.tree.map(lambda x: x * np.float32(1.5), teacher.weights)
  retrained = dataclasses.replace(teacher, weights=weights)
  other_data = dataclasses.replace(splits, digest="other")
  for other, message in (
    (fingerprint({}, teacher=retrained), "teacher.parameters: "),
    (fingerprint({}, splits=other_data), "data: saved '', now 'other'"),
    (fingerprint({"student.batch_size": 24}), "batch_size: saved 25, now 24"),
    (fingerprint({"student.learning_rate": 0.5}), "learning_rate: "),
    (fingerprint({"trial": 1}), "names"),
  ):
    assert message in "; ".join(json_files.differences(saved, other))
