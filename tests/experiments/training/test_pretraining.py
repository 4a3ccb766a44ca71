"""Pre-training of projections: once for all that may share it (A-24)."""

import dataclasses

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments.distributed.signals import Interrupts
from experiments.io.json_files import read_json
from experiments.training import pretraining
from experiments.training import runs
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny


def _config(method: str, trial: int = 0):
  config = tiny.config(method, trial)
  config.pretraining.num_steps = 4
  config.pretraining.steps_per_chunk = 4
  return config


@pytest.mark.parametrize("method", ["fitnet", "crd"])
def test_trials_and_weights_share_one(tmp_path, method):
  configs = [_config(method, trial) for trial in (0, 1)]
  configs.append(_config(method))
  configs[-1].loss.feature_weight = 3.0
  folders = runs.run_cells(configs, tmp_path)
  assert all(read_json(f / "result.json") for f in folders)
  assert len(list(tmp_path.glob("pretraining/*/parameters"))) == 1


def test_another_student_has_its_own(tmp_path):
  configs = [_config("fitnet"), _config("fitnet")]
  configs[1].student.options.features = (9,)
  runs.run_cells(configs, tmp_path)
  assert len(list(tmp_path.glob("pretraining/*/parameters"))) == 2


def test_what_was_trained_is_what_cells_start_from(tmp_path):
  config = _config("fitnet")
  splits = runs.load_splits(config)
  teacher = teacher_lib.load_or_train(config, splits, tmp_path / "teachers")

  def learned():
    return pretraining.load_or_train(
      config, splits, teacher, tmp_path / "pretraining", Interrupts()
    )

  first, again = learned(), learned()
  jax.tree.map(np.testing.assert_array_equal, first, again)
  config.pretraining.num_steps = 0
  assert learned() is None


def test_a_teacher_trained_again_has_its_own(tmp_path):
  config = _config("fitnet")
  splits = runs.load_splits(config)
  teacher = teacher_lib.load_or_train(config, splits, tmp_path / "teachers")
  other = jax.tree.map(lambda x: x + 0.1, teacher.params)
  for found in (teacher, dataclasses.replace(teacher, params=other)):
    pretraining.load_or_train(config, splits, found, tmp_path, Interrupts())
  assert len(list(tmp_path.glob("*/parameters"))) == 2


@pytest.mark.parametrize("method", ["fitnet", "kmeans"])
def test_each_share_of_the_examples_has_its_own(tmp_path, method):
  """What is made of a teacher's outputs is of the examples students see."""
  configs = [_config(method), _config(method)]
  for config in configs:
    config.data.dataset, config.student.batch_size = "stand_in", 10
    config.data.options = ConfigDict({"like": "cifar10_bin"})
    config.clustering.num_clusters = 2
  configs[1].data.transfer_fraction = 0.5
  folders = runs.run_cells(configs, tmp_path)
  for folder, size in zip(folders, (360, 180), strict=True):
    result = read_json(folder / "result.json")
    assert result["num_train_examples"] == size
    if method == "kmeans":
      assert np.sum(result["clustering"]["sizes"]) == size
  made = 2 if method == "fitnet" else 0
  assert len(list(tmp_path.glob("pretraining/*/parameters"))) == made
