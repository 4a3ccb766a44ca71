"""Teachers: trained once, read back, moments of their embeddings."""

import numpy as np

import lelp_jax
from experiments.training import data
from experiments.training import teacher as teacher_lib
from experiments.training.inference import FrozenModel
from tests.experiments import tiny
from tests.experiments.training_runs import vector


def test_teacher_is_trained_once_and_read_back(tmp_path):
  cell = tiny.cell()
  splits = data.load_splits(cell)
  first = teacher_lib.load_or_train(cell, splits, tmp_path)
  again = teacher_lib.load_or_train(cell, splits, tmp_path)
  assert len(list(tmp_path.iterdir())) == 1
  np.testing.assert_array_equal(vector(first.weights), vector(again.weights))
  # One pass in batches: the moments of all embeddings at once.
  model = FrozenModel(cell.teacher, first.weights, splits.task.scale)
  expected = lelp_jax.class_moments(
    model.outputs(splits.train).embeddings,
    splits.train["labels"],
    num_classes=2,
  )
  found = first.statistics.moments
  assert found.count.sum() == len(splits.train["labels"])
  np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    found.scatter, expected.scatter, rtol=1e-4, atol=1e-4
  )
