"""Expansion of sweeps."""

import pytest
from ml_collections import ConfigDict

from experiments import cells
from experiments.configs import base
from experiments.configs import quickstart


@pytest.fixture
def config() -> ConfigDict:
  config = base.base_config()
  config.data.dataset = "digits"
  config.sweep.num_trials = 2
  config.sweep.columns.a = ConfigDict({"data": {"dataset": "digits"}})
  config.sweep.methods.vanilla = ConfigDict(
    {"loss": {"temperature": (1.0, 4.0)}}
  )
  config.sweep.methods.lelp = ConfigDict(
    {
      "loss": {"temperature": (1.0, 2.0)},
      "subspace": {"num_subclasses": (2, 5)},
    }
  )
  return config


def test_expand_is_the_product_of_columns_methods_grids_and_trials(config):
  expanded = cells.expand(config)
  assert len(expanded) == 2 * 2 + 4 * 2
  found = [
    (c.loss.temperature, c.subspace.num_subclasses, c.trial)
    for c in expanded
    if c.method == "lelp"
  ]
  assert found == [
    (t, s, trial) for t in (1.0, 2.0) for s in (2, 5) for trial in (0, 1)
  ]
  assert {c.column for c in expanded} == {"a"}
  assert len(set(expanded)) == len(expanded)


def test_expand_does_not_change_the_config(config):
  before = config.to_dict()
  cells.expand(config)
  assert config.to_dict() == before


def test_sections_are_shared_by_the_cells_of_a_row(config):
  first, *others = [c for c in cells.expand(config) if c.row == "lelp"]
  assert all(c.teacher is first.teacher for c in others)
  assert all(c.data is first.data for c in others)


@pytest.mark.parametrize(
  ("values", "name"),
  [
    ({"loss": {"tempersture": 1.0}}, r"config\.loss\.tempersture"),
    ({"loss": {"temperature": ("a",)}}, r"config\.loss\.temperature.*'a'"),
    ({"loss": {"temperature": (1.0, -1.0)}}, r"config\.loss\.temperature.*-1"),
    ({"loss": {"temperature": (1.0, 1.0)}}, "4 cells.*only 2"),
  ],
)
def test_wrong_axes_are_named(config, values, name):
  config.sweep.methods = ConfigDict({"vanilla": values})
  with pytest.raises(ValueError, match=name):
    cells.expand(config)


def test_a_row_without_a_method_is_named(config):
  config.sweep.methods = ConfigDict({"lelp_pca": {"subspace": {"kind": "pca"}}})
  with pytest.raises(ValueError, match=r"config\.method .*'lelp_pca'"):
    cells.expand(config)
  config.sweep.methods.lelp_pca.method = "lelp"
  (cell, _) = cells.expand(config)
  assert (cell.row, cell.method) == ("lelp_pca", "lelp")


def test_a_column_has_its_own_grid_of_a_row(config):
  config.sweep.columns.b = ConfigDict({"student": {"num_steps": 7}})
  config.sweep.grids.b = ConfigDict(
    {"lelp": {"loss": {"temperature": (3.0,), "feature_weight": (1.0, 5.0)}}}
  )
  expanded = cells.expand(config)
  found = {
    column: {
      (c.loss.temperature, c.loss.feature_weight, c.subspace.num_subclasses)
      for c in expanded
      if (c.column, c.row) == (column, "lelp")
    }
    for column in "ab"
  }
  weight = config.loss.feature_weight
  assert found["a"] == {(t, weight, s) for t in (1.0, 2.0) for s in (2, 5)}
  assert found["b"] == {(3.0, w, s) for w in (1.0, 5.0) for s in (2, 5)}
  vanilla = {
    c.loss.temperature
    for c in expanded
    if (c.column, c.row) == ("b", "vanilla")
  }
  assert vanilla == {1.0, 4.0}
  assert {c.student.num_steps for c in expanded if c.column == "b"} == {7}
  (varied,) = {c.varied for c in expanded if (c.column, c.row) == ("b", "lelp")}
  assert set(varied) == {
    "loss.feature_weight",
    "loss.temperature",
    "subspace.num_subclasses",
  }


@pytest.mark.parametrize(("column", "row"), [("c", "lelp"), ("a", "lepl")])
def test_a_grid_of_nothing_is_named(config, column, row):
  config.sweep.grids[column] = ConfigDict({row: {"loss": {"temperature": 1.0}}})
  with pytest.raises(ValueError, match=f"'{row}' .*'{column}'"):
    cells.expand(config)


def test_a_tuple_in_a_column_is_a_value(config):
  fields = {"schedule_boundaries": (3, 5), "schedule_factors": (0.1, 0.01)}
  config.sweep.columns.a = ConfigDict({"student": fields})
  found = {c.student.schedule_boundaries for c in cells.expand(config)}
  assert found == {(3, 5)}


def test_fields_that_flags_set_win_over_columns_and_grids(config):
  config.sweep.columns.a = ConfigDict({"student": {"num_steps": 7}})
  config.student.num_steps, config.loss.temperature = 3, 9.0
  expanded = cells.expand(config, {"student.num_steps", "loss.temperature"})
  assert {c.student.num_steps for c in expanded} == {3}
  assert {c.loss.temperature for c in expanded} == {9.0}
  assert len(expanded) == 2 * (1 + 2)


def test_options_can_be_varied(config):
  axes = {"student": {"options": {"features": ((4,), (4, 4))}}}
  config.sweep.methods = ConfigDict({"vanilla": axes})
  found = [dict(c.student.options) for c in cells.expand(config)][::2]
  assert found == [{"features": (4,)}, {"features": (4, 4)}]


def test_expand_needs_a_sweep():
  with pytest.raises(ValueError, match=r"config\.sweep"):
    cells.expand(base.base_config())


def test_quickstart_has_the_cells_it_announces():
  expanded = cells.expand(quickstart.get_config())
  per_split = 1 + 2 + 2 * 4 * 2 + 1 + 3
  assert len(expanded) == 20 * 3 * per_split
  columns = list(dict.fromkeys(cell.column for cell in expanded))
  assert columns == [f"split{number}" for number in range(20)]
  assert len(cells.expand(quickstart.get_config("smoke=True"))) == 32


def test_columns_are_in_natural_order(config):
  config.sweep.columns = ConfigDict({"split10": {}, "split2": {}})
  columns = list(dict.fromkeys(cell.column for cell in cells.expand(config)))
  assert columns == ["split2", "split10"]
