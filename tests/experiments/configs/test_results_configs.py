"""The configs of our own results: their grids, and what was chosen."""

import collections
import importlib
import pathlib

import pytest

from experiments import cells
from experiments import identity
from experiments import search
from experiments.configs import validate

_FOLDER = pathlib.Path(__file__).parents[3] / "experiments/configs/results"
_CONFIGS = sorted(
  path.stem for path in _FOLDER.glob("*.py") if path.stem[0] != "_"
)
_CONFIGS.remove("common")
_SEARCHES = (
  ("banking", ""),
  ("cifar10_bin", ""),
  ("clinc", ""),
  ("cola", ""),
  ("imdb", "student=mlp"),
  ("sst2", ""),
)


def _config(name, arg=""):
  module = importlib.import_module(f"experiments.configs.results.{name}")
  return module.get_config(arg)


@pytest.mark.parametrize("name", _CONFIGS)
def test_all_cells_are_valid(name):
  assert cells.expand(_config(name))


@pytest.mark.parametrize(("name", "arg"), _SEARCHES)
@pytest.mark.parametrize("methods", ["main", "all"])
def test_every_method_with_a_choice_has_eight_grid_points(name, arg, methods):
  config = _config(name, f"methods={methods},teachers=2,{arg}")
  assert config.title.endswith(", every method") == (methods == "all")
  first = search.first_stage(validate.sweep_spec(config), cells.expand(config))
  counts = collections.Counter((cell.column, cell.row) for cell in first)
  assert {column for column, _ in counts} == {"t0", "t1"}
  assert set(counts.values()) == {1, 8}


def test_the_oracle_is_a_row_where_the_data_have_hidden_classes():
  names = {name for name, _ in _SEARCHES}
  have = {name for name in names if "oracle" in _config(name).sweep.methods}
  assert have == {"banking", "cifar10_bin", "clinc"}


def test_students_of_embeddings_and_of_texts_share_their_teacher():
  def teachers(arg):
    return {
      identity.teacher_digest(c) for c in cells.expand(_config("imdb", arg))
    }

  assert teachers("student=static") == teachers("student=mlp")


def test_labels_of_the_others_are_hidden_where_the_teacher_labels_them():
  found = cells.expand(_config("clinc", "share=100,labelled=15,teachers=1"))
  for cell in found:
    assert cell.data.num_labelled == 2430
    assert cell.subspace.membership == "teacher"
    assert (cell.data.transfer == "labelled") == (cell.row == "standard")


@pytest.mark.parametrize("share", [15, 100])
def test_chosen_cells_are_points_of_the_grid(share):
  whole = cells.expand(_config("clinc", f"share={share},teachers=1"))
  chosen = cells.expand(
    _config("clinc", f"share={share},teachers=1,grid=chosen")
  )
  assert {_settings(c) for c in chosen} <= {_settings(c) for c in whole}
  counts = collections.Counter(cell.row for cell in chosen)
  assert set(counts.values()) == {5}
  assert counts.keys() == {cell.row for cell in whole}


def _settings(cell):
  """Returns the fields in which the cells of a sweep may differ."""
  return cell.row, cell.trial, cell.loss, cell.subspace, cell.clustering


def test_a_setting_without_a_choice_is_an_error():
  with pytest.raises(ValueError, match="clinc_parity-50-static"):
    _config("clinc", "share=50,grid=chosen")
