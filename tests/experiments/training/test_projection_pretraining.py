"""Pre-training of projections: once for all that may share it (A-24)."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import results
from experiments.training import data
from experiments.training import loop
from experiments.training import projection_pretraining
from experiments.training import sweep
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny


def _cell(method, trial=0, **changes):
  steps = {"pretraining__num_steps": 4, "pretraining__steps_per_chunk": 4}
  return tiny.cell(method, trial, **steps | changes)


def _read(folder):
  return results.read(folder, results.CellResult)


@pytest.mark.parametrize(
  "method", ["fitnet", pytest.param("crd", marks=pytest.mark.slow)]
)
def test_trials_and_weights_share_one(tmp_path, method):
  cells = [_cell(method, trial) for trial in (0, 1)]
  cells.append(_cell(method, loss__feature_weight=3.0))
  found = [_read(folder) for folder in sweep.run_cells(cells, tmp_path)]
  (parameters,) = tmp_path.glob("pretraining/*/parameters")
  # The results say which one they used, and what it cost.
  record = results.read(parameters.parent, results.PretrainingResult)
  assert record.digest == parameters.parent.name
  assert (record.num_steps, record.batch_size) == (4, 25)
  assert [result.pretraining for result in found] == [record] * 3


def test_students_start_from_what_was_trained(tmp_path, monkeypatch):
  cell = _cell("fitnet")
  splits = data.load_splits(cell)
  teacher = teacher_lib.load_or_train(cell, splits, tmp_path / "teachers")

  def learned(cell, teacher=teacher):
    return projection_pretraining.load_or_train(
      cell, splits, teacher, tmp_path / "pretraining"
    )

  params, _ = learned(cell)
  # As if the process had been killed before it deleted them.
  (folder,) = (tmp_path / "pretraining").iterdir()
  (folder / "checkpoints" / "4").mkdir(parents=True)
  again, _ = learned(cell)
  jax.tree.map(np.testing.assert_array_equal, params, again)
  assert not (folder / "checkpoints").exists()
  assert learned(_cell("fitnet", pretraining__num_steps=0)) == (None, None)
  # Another student, other examples and a teacher of the same settings that was
  # trained again each have their own.
  monkeypatch.setattr(
    loop, "train_once", lambda *_, folder, **__: ({}, folder.name)
  )
  weights = jax.tree.map(lambda x: x + 0.1, teacher.weights)
  others = [
    learned(_cell("fitnet", student__options__features=(9,))),
    learned(_cell("fitnet", data__transfer_fraction=0.5)),
    learned(cell, dataclasses.replace(teacher, weights=weights)),
  ]
  assert len({folder.name, *(name for _, name in others)}) == 4


@pytest.mark.slow
def test_each_share_of_the_examples_has_its_own_clusters(tmp_path):
  cells = [
    _cell(
      "kmeans",
      data__dataset="stand_in",
      data__options={"like": "cifar10_bin"},
      student__batch_size=10,
      clustering__num_clusters=2,
      data__transfer_fraction=share,
    )
    for share in (1.0, 0.5)
  ]
  folders = sweep.run_cells(cells, tmp_path)
  for folder, size in zip(folders, (360, 180), strict=True):
    result = _read(folder)
    assert result.num_train_examples == size
    assert np.sum(result.clustering["sizes"]) == size
