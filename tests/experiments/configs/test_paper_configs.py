"""The configs of tables, figures and questions: whole, exact, and to be run."""

import collections
import importlib
import math
import pathlib

import pytest

from experiments import cells
from experiments import identity
from experiments import specs
from experiments.configs import validate
from experiments.configs.dotted import flatten
from experiments.methods import METHODS
from experiments.methods.clustering import CLUSTERINGS
from experiments.paper import grids
from experiments.paper import recipes
from experiments.paper import tables
from experiments.paper.names import parse_column
from experiments.training import sweep

TABLES = {f"table{n}": tables.paper_table(n) for n in range(1, 6)}
PARTS = {  # Whose columns and rows are those of a table.
  "figure1a": TABLES["table2"],
  "figure3": TABLES["table1"],
}
OTHERS = (
  *("figure4", "figure5", "figure6", "sensitivity", "null_space"),
  *("num_classes", "cost", "random_ensembles"),
)
ALL = (*TABLES, *PARTS, *OTHERS)


def config_of(name, arg=""):
  return importlib.import_module(f"experiments.configs.{name}").get_config(arg)


def documentation(name):
  module = importlib.import_module(f"experiments.configs.{name}")
  return " ".join((module.__doc__ or "").split())


def expanded(name, arg=""):
  return cells.expand(config_of(name, arg))


def cell_of(name, arg=""):
  return validate.cell_spec(config_of(name, arg))


@pytest.mark.parametrize("name", ALL)
def test_every_cell_is_valid_and_counted(name):
  # One trial: the others have the same settings, and so the same digest.
  config = config_of(name, "trials=1")
  found = cells.expand(config)
  size = 0
  for column in config.sweep.columns:
    for row in config.sweep.methods:
      axes = flatten(config.sweep.grids[column].get(row, {}))
      size += math.prod(len(axis) for axis in axes.values())
  assert len(found) == size
  teachers = {(cell.data, cell.teacher): cell for cell in found}
  teachers = {identity.teacher_digest(cell) for cell in teachers.values()}
  trials = config_of(name).sweep.num_trials
  text = documentation(name)
  assert f"{len(found) * trials:,} trainings of a student" in text
  assert f"{len(teachers):,} of a teacher" in text


@pytest.mark.parametrize("name", [*TABLES, *PARTS])
def test_columns_and_rows_are_those_of_the_table(name):
  table = TABLES.get(name) or PARTS[name]
  config = config_of(name)
  columns = {column.id for column in table.columns}
  assert set(config.sweep.columns) <= columns
  if name in TABLES:
    assert set(config.sweep.columns) == columns
  rows = {row.method for row in table.rows} - {"teacher", "subclass_teacher"}
  assert set(config.sweep.methods) == rows
  assert config.sweep.num_trials == 3
  assert config.selection == "heldout"


@pytest.mark.parametrize("name", TABLES)
def test_grids_are_those_of_the_paper(name):
  config = config_of(name)
  for column in config.sweep.columns:
    for row in config.sweep.methods:
      found = flatten(config.sweep.grids[column].get(row, {}))
      expected = grids.grid(row, column)
      if row in ("agglomerative", "kmeans"):
        expected = {k: tuple(n / 2 for n in v) for k, v in expected.items()}
      assert found == expected, (column, row)
      assert set(found) <= set(METHODS[row].hyperparameters)


@pytest.mark.parametrize("name", TABLES)
def test_columns_have_the_recipes_of_the_paper(name):
  found = {}
  for cell in cells.expand(config_of(name, "trials=1,grid=one")):
    found[cell.column, cell.row] = cell
  for (column, row), cell in found.items():
    place = parse_column(column)
    assert cell.data.dataset == place.dataset
    assert cell.data.num_labelled == place.num_labelled
    labelled = name == "table5" and row == "standard"
    assert cell.data.transfer == ("labelled" if labelled else "all")
    assert cell.data.transfer_fraction == 1.0
    for role in ("teacher", "student"):
      model = getattr(place, role)
      recipe = recipes.recipe(model, place.dataset, role)
      fields = getattr(cell, role)
      assert fields.model == model
      assert fields.num_steps == 0
      assert fields.num_epochs == recipe.pop("epochs")
      assert fields.schedule_boundaries == recipe.pop("schedule_epochs")
      assert {k: getattr(fields, k) for k in recipe} == recipe
      assert (fields.input_field == "embeddings") == (model == "mlp")
      published = f"albert/{model.replace('_', '-')}-v2"
      assert fields.init == (published if "albert" in model else "random")
    pretraining = recipes.pretraining(place.dataset)
    assert cell.pretraining.num_epochs == pretraining["epochs"]
    assert cell.pretraining.learning_rate == pretraining["learning_rate"]


@pytest.mark.parametrize(
  ("name", "arg", "num_columns", "num_teachers"),
  [
    # Students that read vectors share a teacher with those that read texts.
    ("table2", "methods=lelp,grid=one", 8, 6),
    ("table3", "methods=lelp,grid=one", 6, 4),
    ("figure6", "grid=one", 5, 1),  # Of several sizes of the transfer set.
    ("table5", "methods=standard+vanilla,grid=one", 3, 3),
  ],
)
def test_columns_of_one_teacher_share_it(name, arg, num_columns, num_teachers):
  found = expanded(name, arg)
  assert len({cell.column for cell in found}) == num_columns
  assert len({identity.teacher_digest(cell) for cell in found}) == num_teachers


def test_a_cell_has_the_choices_of_the_paper():
  cell = cell_of("table3", "column=cifar10_bin-resnet92-resnet56,method=lelp")
  assert cell.column == "cifar10_bin-resnet92-resnet56"
  assert (cell.subspace.num_subclasses, cell.loss.temperature) == (20, 1.0)
  assert cell.loss.subclass_temperature == 0.25
  # One whose temperature is among the marks of other pairs.
  cell = cell_of("table3", "column=cifar100_bin-resnet92-mobilenet,method=lelp")
  assert (cell.subspace.num_subclasses, cell.loss.temperature) == (50, 4.0)
  # It is a cell of the sweep.
  (folder,) = {
    identity.cell_directory(pathlib.Path(), c)
    for c in expanded("table3", "methods=lelp")
    if c.column == cell.column
    and (c.loss.temperature, c.trial) == (4.0, 0)
    and c.loss.subclass_temperature == 0.5
    and c.subspace.num_subclasses == 50
  }
  assert identity.cell_directory(pathlib.Path(), cell) == folder


def test_chosen_grids_have_one_value_where_it_is_legible():
  config = config_of("table3", "grid=chosen,methods=lelp")
  found = flatten(config.sweep.grids["cifar100_bin-resnet92-mobilenet"].lelp)
  assert found["subspace.num_subclasses"] == (50,)
  assert found["loss.subclass_temperature"] == (0.5,)
  assert found["loss.temperature"] == (1.0, 2.0, 4.0, 8.0, 10.0)


def test_rows_can_be_added_and_left_out():
  assert set(config_of("table4", "methods=paper+dist").sweep.methods) == {
    *config_of("table4").sweep.methods,
    "dist",
  }
  assert set(config_of("table3", "methods=all").sweep.methods) == set(METHODS)
  assert list(config_of("table4", "method=rkd").sweep.methods) == ["rkd"]


_SST2 = "dataset=glue_sst2,teacher=albert_large,student=albert_base"


@pytest.mark.parametrize(
  ("name", "arg", "has_oracle"),
  [
    ("pair", "methods=all", True),
    ("pair", f"{_SST2},methods=all", False),
    ("table2", "methods=all", False),  # In one sweep rows are of all columns.
    ("table2", "methods=all,column=amazon_bin-albert_xxlarge-mlp", True),
    ("num_classes", "methods=all", True),
    ("cost", "column=glue_sst2-albert_large-albert_base", False),
  ],
)
def test_no_group_has_the_oracle_without_fine_labels(name, arg, has_oracle):
  found = set(config_of(name, arg).sweep.methods)
  expected = METHODS if name != "cost" else config_of("cost").sweep.methods
  assert ("oracle" in found) == has_oracle
  assert found | {"oracle"} == set(expected)


@pytest.mark.parametrize(
  ("name", "arg", "dataset"),
  [
    ("pair", f"{_SST2},method=oracle", "glue_sst2"),
    ("pair", "dataset=cifar10,methods=oracle+vanilla,smoke=True", "cifar10"),
    ("table2", "methods=oracle", "lmrd"),
  ],
)
def test_the_oracle_is_refused_without_fine_labels(name, arg, dataset):
  with pytest.raises(ValueError, match=f"'oracle'.*'{dataset}'"):
    config_of(name, arg)


def test_a_pair_can_be_of_models_that_the_paper_does_not_train():
  config = config_of("pair", "teacher=resnet20,student=cnn")
  assert config.column == "cifar10_bin-resnet20-cnn"


def test_numbers_of_clusters_are_those_of_their_scope():
  config = config_of("table1", "cluster_scope=global,methods=paper+kmeans_soft")
  for column in config.sweep.columns:
    for row in ("agglomerative", "kmeans", "tsne_kmeans"):
      factor = 2 if row == "tsne_kmeans" else 1
      found = flatten(config.sweep.grids[column][row])
      printed = grids.grid(row, column)["clustering.num_clusters"]
      totals = tuple(factor * number for number in printed)
      assert found == {"clustering.num_clusters": totals}
  for cell in cells.expand(config):
    scope = "global" if cell.method in CLUSTERINGS else "per_class"
    assert cell.clustering.scope == scope
  in_each, in_total = (
    cell_of("pair", f"method=kmeans{scope}")
    for scope in ("", ",cluster_scope=global")
  )
  scopes = (in_each.clustering.scope, in_total.clustering.scope)
  assert scopes == ("per_class", "global")
  number = in_total.clustering.num_clusters
  assert number == 2 * in_each.clustering.num_clusters
  # Results record the scope: a number alone could be of either.
  fields = sweep._settings(in_total, number)["hyperparameters"]
  assert fields == {"num_clusters": number, "scope": "global"}


@pytest.mark.parametrize(
  ("argument", "flag"), [("per_class", "global"), ("global", "per_class")]
)
def test_a_flag_does_not_change_the_scope_of_a_grid(argument, flag):
  column = "cifar10_bin-resnet92-resnet56"
  arg = f"trials=1,column={column},cluster_scope={argument},method"
  message = rf"config\.clustering\.scope='{flag}'.*cluster_scope={flag}"
  config = config_of("table1", f"{arg}s=vanilla")
  config.clustering.scope = flag
  assert cells.expand(config, {"clustering.scope"})
  config = config_of("table1", f"{arg}s=vanilla+kmeans")
  config.clustering.scope = flag
  with pytest.raises(ValueError, match=message):
    cells.expand(config, {"clustering.scope"})
  single = config_of("table1", f"{arg}=kmeans")
  validate.cell_spec(single)
  single.clustering.scope = flag
  with pytest.raises(ValueError, match=message):
    validate.cell_spec(single)


@pytest.mark.parametrize(
  ("name", "arg", "field"),
  [
    ("table3", "column=mnist-mlp-mlp", "column"),
    ("table3", "methods=lepl", "method"),
    ("table3", "grid=full", "grid"),
    ("table3", "cluster_scope=class", "cluster_scope"),
    ("table3", "init=zeros", "init"),
    ("table3", "resnet92_rate=low", "resnet92_rate"),
    ("figure6", "panel=top", "panel"),
    ("pair", "column=x", "column"),
    ("pair", "dataset=glue-sst2", "dataset .*'glue_sst2'"),
    ("pair", "teacher=vit", "teacher .*'cnn'.*'resnet20'"),
    ("pair", f"{_SST2},student=cnn", "student .*'albert_base'.*'mlp'"),
  ],
)
def test_arguments_that_cannot_be_are_named(name, arg, field):
  value = arg.rpartition("=")[2]
  with pytest.raises(ValueError, match=f"{field}.*{value!r}"):
    config_of(name, arg)


def test_switches_of_the_recipe():
  arg = "grid=one,methods=vanilla,selection=test,resnet92_rate=usual"
  arg += ",resnet_variant=preact_planes16_32_64"
  for cell in expanded("table4", arg):
    assert cell.selection == "test"
    assert cell.teacher.learning_rate == 0.1
    assert cell.teacher.options["variant"] == "preact_planes16_32_64"
    assert "variant" not in cell.student.options
  cells_of_texts = expanded("figure1a", "grid=one,methods=vanilla,init=random")
  assert {c.teacher.init for c in cells_of_texts} == {"random"}


def test_figure_5_is_a_surface_of_each_projection():
  found = collections.Counter()
  for cell in expanded("figure5"):
    assert cell.loss.temperature == 2.0
    assert 2**-5 <= cell.loss.subclass_temperature <= 1
    found[cell.subspace.kind] += 1
    kind = cell.subspace.kind
    assert cell.row == ("lelp" if kind == "lelp" else f"lelp_{kind}")
  surface = 8 * 6 * 3
  assert found == {"lelp": surface, "pca": surface, "random": surface} | {
    "identity": 6 * 3
  }


def test_figure_6_has_its_panels():
  shares = {
    c.column: c.data.transfer_fraction
    for c in expanded("figure6", "panel=left,grid=one")
  }
  assert sorted(shares.values()) == [0.1, 0.25, 0.5, 0.75, 1.0]
  middle = expanded("figure6", "panel=middle,grid=one,trials=1")
  assert {c.method for c in middle} == {"standard", "vanilla", "lelp"}
  assert {c.student.steps_per_chunk for c in middle} == {0}  # Each epoch.
  right = config_of("figure6", "panel=right")
  assert right.name == "figure6_right"
  assert right.sweep.grids == config_of("table5").sweep.grids


def test_sensitivity_varies_one_thing_a_row():
  axes = {
    "lelp_num_subclasses": "subspace.num_subclasses",
    "lelp_subclass_temperature": "loss.subclass_temperature",
    "lelp_temperature": "loss.temperature",
    "lelp_rotation": "subspace.seed",
    "lelp_subclass_weight": "loss.subclass_weight",
  }
  found = collections.defaultdict(set)
  for cell in expanded("sensitivity", "column=cifar100_bin-resnet92-mobilenet"):
    values = dict(specs.flat(cell))
    found[cell.row].add(tuple(values[name] for name in axes.values()))
  assert set(found) == set(axes)
  for place, row in enumerate(axes):
    varied = [len(set(axis)) for axis in zip(*found[row], strict=True)]
    assert varied[place] == len(found[row]) > 4
    assert varied[:place] + varied[place + 1 :] == [1, 1, 1, 1]


def test_heads_are_equally_wide_for_any_number_of_classes():
  widths = collections.defaultdict(set)
  for cell in expanded("num_classes", "methods=lelp,trials=1"):
    number = cell.data.merge_classes
    widths[number].add(number * cell.subspace.num_subclasses)
  assert dict(widths) == {n: {100, 200} for n in (2, 5, 10, 20, 100)}


@pytest.mark.parametrize("name", ALL)
def test_smoke_shrinks_every_column(name):
  whole, small = config_of(name), config_of(name, "smoke=True")
  assert set(small.sweep.columns) == set(whole.sweep.columns)
  assert set(small.sweep.methods) == set(whole.sweep.methods)
  assert small.title.startswith("SMOKE TEST")
  assert validate.sweep_spec(small).is_smoke
  for cell in cells.expand(small):
    assert cell.data.dataset == "stand_in"
    assert max(cell.teacher.num_steps, cell.student.num_steps) <= 4
    assert cell.teacher.num_epochs == cell.student.num_epochs == 0


@pytest.mark.parametrize("name", [*TABLES, *PARTS])
def test_the_docstring_has_the_numbers_of_the_paper(name):
  table = TABLES.get(name) or PARTS[name]
  text = documentation(name)
  for column in config_of(name).sweep.columns:
    for row in ("teacher", "vanilla", "lelp"):
      cell = table.cell(row, column)
      assert cell is not None
      assert cell.printed in text, (column, row)
