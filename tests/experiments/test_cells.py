"""Cells: expansion, names, stacks."""

import pytest
from ml_collections import ConfigDict

from experiments import cells
from experiments.configs import base
from experiments.configs import quickstart


@pytest.fixture
def config() -> ConfigDict:
  config = base.base_config()
  config.data.dataset = "digits"
  config.data.shared_batch_order = True
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
  expanded = list(cells.expand(config))
  assert len(expanded) == 2 * 2 + 4 * 2
  lelp = [c for c in expanded if c.method == "lelp"]
  found = [
    (c.loss.temperature, c.subspace.num_subclasses, c.trial) for c in lelp
  ]
  assert sorted(found) == [
    (t, s, trial) for t in (1.0, 2.0) for s in (2, 5) for trial in (0, 1)
  ]
  assert {c.column for c in expanded} == {"a"}


def test_expand_names_a_field_that_does_not_exist(config):
  config.sweep.methods.vanilla = ConfigDict({"loss": {"tempersture": (1.0,)}})
  with pytest.raises(ValueError, match=r"config\.loss\.tempersture: no such"):
    list(cells.expand(config))
  config.sweep.methods.vanilla = ConfigDict({"loss": {"temperature": ("a",)}})
  with pytest.raises(ValueError, match=r"config\.loss\.temperature"):
    list(cells.expand(config))


def test_a_column_has_its_own_grid_of_a_row(config):
  config.sweep.columns.b = ConfigDict({"student": {"num_steps": 7}})
  config.sweep.grids.b = ConfigDict(
    {"lelp": {"loss": {"temperature": (3.0,), "feature_weight": (1.0, 5.0)}}}
  )
  expanded = list(cells.expand(config))
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
  assert config.sweep.grids.b.lelp.loss.temperature == (3.0,)
  # What a cell keeps of the sweep is its own row.
  (axes,) = {
    tuple(cells.flatten(c.sweep.methods))
    for c in expanded
    if (c.column, c.row) == ("b", "lelp")
  }
  assert axes == (
    "lelp.loss.feature_weight",
    "lelp.loss.temperature",
    "lelp.subspace.num_subclasses",
  )


@pytest.mark.parametrize(("column", "row"), [("c", "lelp"), ("a", "lepl")])
def test_a_grid_of_nothing_is_named(config, column, row):
  config.sweep.grids[column] = ConfigDict({row: {"loss": {"temperature": 1.0}}})
  with pytest.raises(ValueError, match=f"'{row}' in '{column}': the sweep has"):
    list(cells.expand(config))


def test_a_tuple_in_a_column_is_a_value(config):
  fields = {"student": {"schedule_boundaries": (3, 5)}}
  config.sweep.columns.a = ConfigDict(fields)
  found = {c.student.schedule_boundaries for c in cells.expand(config)}
  assert found == {(3, 5)}


def test_what_flags_set_wins_over_columns_and_grids(config):
  config.sweep.columns.a = ConfigDict({"student": {"num_steps": 7}})
  config.student.num_steps, config.loss.temperature = 3, 9.0
  given = {"student.num_steps", "loss.temperature"}
  expanded = list(cells.expand(config, given))
  assert {c.student.num_steps for c in expanded} == {3}
  assert {c.loss.temperature for c in expanded} == {9.0}
  assert len(expanded) == 2 * (1 + 2)


def test_cells_of_a_grid_do_not_touch_each_other_or_the_config(config):
  first, second, *_ = cells.expand(config)
  before = cells.plain(config)
  assert first.loss is not second.loss
  assert cells.plain(config) == before


def test_a_teacher_does_not_depend_on_what_students_see(config):
  digest = cells.teacher_digest(config)
  config.data.transfer, config.data.transfer_fraction = "labelled", 0.5
  config.data.embeddings = "vectors"
  assert cells.teacher_digest(config) == digest
  config.teacher.reads = "embeddings"
  vectors = cells.teacher_digest(config)
  config.data.embeddings = "others"
  assert cells.teacher_digest(config) != vectors
  config.data.merge_classes = 5
  assert cells.teacher_digest(config) not in (digest, vectors)


def test_expand_needs_a_sweep():
  with pytest.raises(ValueError, match=r"config\.sweep"):
    list(cells.expand(base.base_config()))


def test_digest_is_of_the_settings_alone(config):
  first = cells.cell_digest(config)
  other = config.copy_and_resolve_references()
  other.trial = 7
  other.sweep.num_trials = 9
  other.mesh.teacher = "fsdp"
  assert cells.cell_digest(other) == first
  other.loss.temperature = 3.0
  assert cells.cell_digest(other) != first
  assert cells.teacher_digest(other) == cells.teacher_digest(config)
  other.teacher.seed = 1
  assert cells.teacher_digest(other) != cells.teacher_digest(config)


def test_stacks_hold_cells_that_differ_in_arrays_alone(config):
  expanded = list(cells.expand(config))
  stacks = cells.stacks(expanded)
  assert sorted(len(stack.configs) for stack in stacks) == [4, 8]
  # Trials that see other batches cannot share one program's batches.
  for cell in expanded:
    cell.data.shared_batch_order = False
  assert sorted(len(s.configs) for s in cells.stacks(expanded)) == [2, 2, 4, 4]


def test_stacks_follow_from_the_configs_and_are_cut_at_the_largest(config):
  config.stack.max_cells = 3
  expanded = list(cells.expand(config))
  stacks = cells.stacks(expanded)
  assert [len(stack.configs) for stack in stacks] == [3, 3, 2, 3, 1]
  assert [s.digest for s in cells.stacks(expanded)] == [
    s.digest for s in stacks
  ]
  assert len({stack.digest for stack in stacks}) == len(stacks)


def test_row_name_tells_ablations_apart(config):
  assert cells.row_name(config) == "lelp"
  config.subspace.kind = "random"
  assert cells.row_name(config) == "lelp_random"


def test_quickstart_has_the_cells_it_announces():
  expanded = list(cells.expand(quickstart.get_config()))
  per_split = 1 + 2 + 2 * 4 * 2 + 1
  assert len(expanded) == 5 * 10 * per_split
  assert len(list(cells.expand(quickstart.get_config("smoke=True")))) == 32


def test_parse_arg_is_strict():
  with pytest.raises(ValueError, match="unknown config argument 'methd'"):
    quickstart.get_config("methd=lelp")
  with pytest.raises(ValueError, match="trial must be int"):
    quickstart.get_config("trial=x")
  with pytest.raises(ValueError, match="smoke must be True or False"):
    quickstart.get_config("smoke=maybe")
  assert quickstart.get_config("method=oracle,split=3").column == "split3"
