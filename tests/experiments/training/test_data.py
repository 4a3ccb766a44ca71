"""Checks that need the data, made before a teacher is trained."""

import numpy as np
import pytest

from experiments import specs
from experiments.configs import pair
from experiments.configs import validate
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.training import data
from experiments.training import sweep
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny
from tests.experiments.training_runs import vector

_SMOKE = "dataset=glue_cola,teacher=albert_large,student=albert_base,smoke=True"


def _splits(longest=9, token=99):
  rows = [np.full(n, token) for n in (3, longest)]
  arrays = {"inputs": Ragged.concatenate(rows, np.int32)}
  arrays["labels"] = np.array([0, 1], np.int32)
  return Splits(Task("texts", 2), arrays, arrays, arrays, arrays)


def _cell(changes):
  cell = validate.cell_spec(pair.get_config(f"{_SMOKE},method=vanilla"))
  sizes = {"teacher.batch_size": 2, "student.batch_size": 2}
  return specs.replace(cell, sizes | changes)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"student.model": "mlp", "student.options": {}}, r"student\.model='mlp'"),
    (
      {"student.model": "static", "student.options": {"width": 0}},
      r"student\.model='static'",
    ),
    ({"student.input_field": "embeddings"}, r"student\.input_field='embed"),
    ({"method": "oracle"}, "'oracle'.*fine labels"),
    ({"student.flip": True}, r"config\.student\.flip"),
    ({"teacher.max_shift": 0.1}, r"config\.teacher\.max_shift"),
    ({"teacher.num_coordinates": 17}, r"teacher\.num_coordinates .*16.*17"),
    ({"teacher.batch_size": 3}, r"config\.teacher\.batch_size=3 .* 2,"),
  ],
)
def test_a_field_that_does_not_fit_is_named(changes, message):
  with pytest.raises(ValueError, match=message):
    data.check_data([_cell({}), _cell(changes)], _splits())


@pytest.mark.parametrize(
  ("texts", "message"),
  [
    ({"longest": 600}, r"config\.teacher\.model=.*512"),
    ({"token": 30_000}, r"30000 .*config\.teacher\.model=.*=30000"),
  ],
)
def test_texts_that_the_model_cannot_read_are_named(texts, message):
  with pytest.raises(ValueError, match=message):
    data.check_data([_cell({})], _splits(**texts))


def test_a_projection_that_is_needed_is_named():
  cells = [tiny.cell("embedding", loss__projection="never")]
  with pytest.raises(ValueError, match="projection"):
    data.check_data(cells, data.load_splits(cells[0]))


def test_nothing_is_written_for_cells_that_do_not_fit(tmp_path):
  cell = tiny.cell("lelp", subspace__num_subclasses=17)
  with pytest.raises(ValueError, match=r"subspace\.num_subclasses"):
    sweep.run_cells([cell], tmp_path)
  assert not list(tmp_path.glob("teachers/*"))
  assert not list(tmp_path.glob("cells/*"))


def test_a_model_that_is_not_trained_needs_a_head_that_fits(tmp_path):
  cell = tiny.cell("standard")
  splits = data.load_splits(cell)
  trained = teacher_lib.load_or_train(cell, splits, tmp_path)
  (folder,) = tmp_path.iterdir()
  again = specs.replace(
    cell, {"teacher.init": str(folder), "teacher.num_steps": 0}
  )
  taken = teacher_lib.load_or_train(again, splits, tmp_path)
  np.testing.assert_array_equal(vector(taken.weights), vector(trained.weights))
  again = specs.replace(again, {"teacher.init_head": "fresh"})
  with pytest.raises(
    ValueError, match=r"config\.teacher\.init_head=pretrained"
  ):
    teacher_lib.load_or_train(again, splits, tmp_path)
