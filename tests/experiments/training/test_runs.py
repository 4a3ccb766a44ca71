"""Whole runs: what is kept, shared, refused, and named."""

import dataclasses
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import cells
from experiments.distributed.signals import Interrupted
from experiments.io import checkpoints
from experiments.io import json_files
from experiments.io import storage
from experiments.io.json_files import read_json
from experiments.training import jobs
from experiments.training import resuming
from experiments.training import runs
from experiments.training import table
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny


def _interrupted_at(monkeypatch, step):
  """Sends SIGTERM as that step is saved, wherever it is."""
  save = checkpoints.Checkpoints.save

  def save_and_interrupt(self, at, state):
    save(self, at, state)
    if at == step:
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(checkpoints.Checkpoints, "save", save_and_interrupt)


def test_an_interrupt_in_the_last_chunk_stops_before_the_next_stack(
  tmp_path, monkeypatch
):
  configs = [tiny.config("standard"), tiny.config("vanilla")]
  teacher_lib.load_or_train(
    configs[0], runs.load_splits(configs[0]), tmp_path / "teachers"
  )
  with monkeypatch.context() as patch:
    _interrupted_at(patch, configs[0].student.num_steps)
    with pytest.raises(
      Interrupted, match=r"\[1/2\] split0 standard is finished"
    ):
      runs.run_cells(configs, tmp_path)
  assert len(list(tmp_path.glob("cells/**/result.json"))) == 1
  runs.run_cells(configs, tmp_path)
  assert len(list(tmp_path.glob("cells/**/result.json"))) == 2


def test_states_elsewhere_are_continued_there_alone(tmp_path, monkeypatch):
  config, far = tiny.config("standard"), storage.folder(tmp_path / "far")
  work = tmp_path / "work"
  teacher_lib.load_or_train(config, runs.load_splits(config), work / "teachers")
  with monkeypatch.context() as patch:
    _interrupted_at(patch, 8)
    with pytest.raises(Interrupted, match="step 8"):
      runs.run_cells([config], work, checkpoint_directory=far)
  with pytest.raises(ValueError, match=f"--checkpoint_dir={far} to continue"):
    runs.run_cells([config], work)
  (folder,) = runs.run_cells([config], work, checkpoint_directory=far)
  assert read_json(folder / "result.json")["stack"]["seconds"] is None
  assert not list(far.iterdir())
  assert not (work / "checkpoints").exists()


def test_a_half_trained_teacher_is_continued_by_another_cell(
  tmp_path, monkeypatch
):
  config = tiny.config("vanilla")
  with monkeypatch.context() as patch:
    _interrupted_at(patch, 4)
    with pytest.raises(Interrupted, match="step 4"):
      runs.run_cells([config], tmp_path)
  # The teacher is a part of the run, and nothing of the student is saved yet.
  config.student.batch_size, config.trial = 32, 1
  resuming.check(config, tmp_path)
  config.teacher.batch_size = 32
  message = r"step 4: teacher\.batch_size: saved 100, now 32\. "
  with pytest.raises(ValueError, match=message):
    resuming.check(config, tmp_path)
  config.method = "lelp"
  resuming.check(config, tmp_path)
  other = tiny.config("lelp")
  other.loss.temperature = 4.0
  (folder,) = runs.run_cells([other], tmp_path)
  assert (folder / "result.json").exists()
  assert len(list(tmp_path.glob("teachers/*"))) == 1


def test_a_damaged_teacher_is_trained_again_once_deleted(tmp_path):
  config = tiny.config()
  splits = runs.load_splits(config)
  teacher_lib.load_or_train(config, splits, tmp_path)
  (parameters,) = tmp_path.glob("*/parameters")
  shutil.rmtree(parameters)
  teacher_lib.load_or_train(config, splits, tmp_path)
  assert parameters.exists()


def test_states_of_a_finished_teacher_are_no_unfinished_run(
  tmp_path, monkeypatch
):
  config = tiny.config()
  splits = runs.load_splits(config)
  with monkeypatch.context() as patch:  # Killed just before.
    patch.setattr(storage, "delete", lambda folder: None)
    teacher_lib.load_or_train(config, splits, tmp_path / "teachers")
  (states,) = tmp_path.glob("teachers/*/checkpoints")
  other = tiny.config()
  other.teacher.batch_size = 32
  resuming.check(other, tmp_path)
  teacher_lib.load_or_train(config, splits, tmp_path / "teachers")
  assert not states.exists()


def test_data_without_fine_labels_can_be_trained_on(tmp_path, monkeypatch):
  load = runs.load_splits

  def without(config, workdir):
    splits = load(config)
    parts = {
      name: {k: v for k, v in getattr(splits, name).items() if k[:4] != "fine"}
      for name in ("train", "transfer", "validation", "test")
    }
    task = dataclasses.replace(splits.task, fine_to_class=None)
    return dataclasses.replace(splits, task=task, **parts)

  monkeypatch.setattr(runs, "load_splits", without)
  (folder,) = runs.run_cells([tiny.config("standard")], tmp_path)
  assert (folder / "result.json").exists()
  with pytest.raises(ValueError, match="fine labels"):
    runs.run_cells([tiny.config("oracle")], tmp_path)


def test_a_teacher_does_not_start_as_a_student_of_its_seed(tmp_path):
  config = tiny.config("standard")
  config.student.options = config.teacher.options
  splits = runs.load_splits(config)
  teacher = teacher_lib.load_or_train(config, splits, tmp_path)
  student = jobs.make_job(
    [config], splits, train=splits.transfer, teacher=teacher, names=["s"]
  )
  own = jobs.make_job(
    [config], splits, train=splits.transfer, teacher=None, names=["t"]
  )
  starts = [
    np.asarray(
      job.program.init(job.trials, sizes=job.sizes).params["head"]["kernel"]
    )
    for job in (student, own)
  ]
  assert np.abs(starts[0] - starts[1]).max() > 0.1


def _sweep(**methods):
  config = tiny.config()
  config.sweep.num_trials = 1
  del config.sweep.columns["split1"]
  config.sweep.methods = ConfigDict(methods)
  return config


def test_rows_of_one_method_stay_apart(tmp_path):
  config = _sweep(
    lelp={},
    lelp_norot={"method": "lelp", "subspace": {"rotation": "none"}},
    lelp_alpha={"method": "lelp", "loss": {"hard_label_weight": (0.3, 0.6)}},
    lelp_pca={"method": "lelp", "subspace": {"kind": "pca"}},
  )
  configs = list(cells.expand(config))
  folders = runs.run_cells(configs, tmp_path)
  rows = [folder.parts[-3] for folder in folders]
  assert sorted(rows) == [
    "lelp",
    "lelp_alpha",
    "lelp_alpha",
    "lelp_norot",
    "lelp_pca",
  ]
  weights = {
    read_json(folder / "result.json")["hyperparameters"]["hard_label_weight"]
    for folder, row in zip(folders, rows, strict=True)
    if row == "lelp_alpha"
  }
  assert weights == {0.3, 0.6}
  titles = {
    m["id"]: m["title"] for m in table.describe(config, configs, {})["methods"]
  }
  assert titles["lelp_norot"] == "LELP: lelp_norot"


def test_a_row_without_a_method_is_named():
  config = _sweep(lelp_pca={"subspace": {"kind": "pca"}})
  with pytest.raises(ValueError, match="unknown method 'lelp_pca'"):
    runs.check(list(cells.expand(config)))


def test_a_grid_that_names_a_value_twice_is_refused():
  config = _sweep(vanilla={"loss": {"temperature": (1.0, 1.0)}})
  with pytest.raises(ValueError, match="twice"):
    runs.check(list(cells.expand(config)))


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_convolutional_models_train_from_a_config(tmp_path, role):
  config = tiny.config("lelp")
  config[role].model = "cnn"
  config[role].options = ConfigDict({"features": (4,), "width": 8})
  config[role].num_steps = config[role].steps_per_chunk = 2
  (folder,) = runs.run_cells([config], tmp_path)
  result = read_json(folder / "result.json")
  assert np.isfinite(result["train"]["loss"])
  assert jax.default_backend() == "cpu"


def test_what_repeats_another_method_is_not_trained():
  config = tiny.config()
  config.sweep.methods = ConfigDict(
    {"vanilla": {}, "dkd": {}, "standardized_kd": {}}
  )
  configs = list(cells.expand(config))
  task = runs.load_splits(config).task
  said = table.remarks(configs, lambda config: task)
  assert said["split0", "dkd"] == "= vanilla KD"
  assert {c.method for c in table.needed(configs, said)} == {
    "vanilla",
    "standardized_kd",
  }
  described = table.describe(config, configs, said)
  assert described["num_cells"] == 2 * 2 * 2
  assert [m["id"] for m in described["methods"]] == [
    "vanilla",
    "dkd",
    "standardized_kd",
  ]
  assert len(described["same_as"]) == 2
  assert any("a sign" in note for note in described["notes"])


def test_another_teacher_of_the_same_config_refuses_to_resume(tmp_path):
  config = tiny.config("vanilla")
  splits = runs.load_splits(config)
  teacher = teacher_lib.load_or_train(config, splits, tmp_path)
  retrained = jax.tree.map(lambda x: x * np.float32(1.5), teacher.params)
  fingerprints = [
    jobs.make_job(
      [config], splits, train=splits.transfer, teacher=one, names=["s"]
    ).fingerprint
    for one in (
      teacher,
      dataclasses.replace(teacher, statistics=teacher.statistics),
      dataclasses.replace(teacher, params=retrained),
    )
  ]
  assert fingerprints[1] == fingerprints[0]
  first, _, third = fingerprints
  (difference,) = json_files.differences(first, third)
  assert difference.startswith("teacher.parameters: ")


def test_another_batch_size_seed_or_data_refuses_to_resume(tmp_path):
  config = tiny.config("standard")
  splits = runs.load_splits(config)

  def saved_by(config, splits):
    (stack,) = cells.stacks([config])
    job = jobs.make_job(
      [config],
      splits,
      train=splits.transfer,
      teacher=None,
      names=stack.names,
    )
    return checkpoints.Checkpoints(tmp_path, fingerprint=job.fingerprint)

  state = {"a": np.zeros(3)}
  with saved_by(config, splits) as saved:
    saved.save(1, state)
  changed = dataclasses.replace(splits, digest="other")
  with pytest.raises(ValueError, match="data: saved '', now 'other'"):
    saved_by(config, changed).restore(state)
  for section, field, value, said in (
    (
      "student",
      "batch_size",
      24,
      r"names: .*; spec\.student\.batch_size: saved 25, now 24\. Use",
    ),
    ("student", "learning_rate", 0.5, "learning_rate: "),
    (None, "trial", 1, "names: "),
  ):
    other = config.copy_and_resolve_references()
    (other[section] if section else other)[field] = value
    with pytest.raises(ValueError, match=f"belongs to another .*{said}"):
      saved_by(other, splits).restore(state)
  assert saved_by(config, splits).restore(state)[0] == 1
