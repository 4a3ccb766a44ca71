"""Checks of configs, and their typed form."""

import importlib
import json
import math
import re
import typing

import pytest
from absl import flags
from ml_collections import config_flags

from experiments import cells
from experiments import specs
from experiments.configs import own
from experiments.configs import quickstart
from experiments.configs import validate
from experiments.io import json_files
from lelp_jax.models import MODELS
from tests.experiments import tiny

PIECEWISE = {"student.schedule": "piecewise_constant"}


def changed(values):
  config = tiny.config()
  config.update_from_flattened_dict(values)
  return config


def declared(kind=specs.CellSpec, path=""):
  """Every field that has a choice or a range, with a value outside of it."""
  for field in specs.fields_of(kind):
    name = path + field.name
    if field.is_section:
      yield from declared(field.type, f"{name}.")
    elif typing.get_origin(field.type) is typing.Literal:
      choices = typing.get_args(field.type)
      yield name, "wrong" if isinstance(choices[0], str) else 99
    elif field.ranges:
      yield name, math.nan if field.type is float else -7


@pytest.mark.parametrize(("name", "value"), list(declared()))
def test_a_value_outside_of_its_range_is_named(name, value):
  with pytest.raises(ValueError, match=rf"config\.{name} .*{value}"):
    validate.cell_spec(changed({name: value}))


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"method": "lepl"}, r"config\.method .*'lepl'"),
    ({"selection": "test"}, r"config\.selection .*'digits'.*'test'"),
    ({"data.dataset": ""}, r"config\.data\.dataset is not set"),
    ({"data.dataset": "mnist"}, r"config\.data\.dataset .*'cifar10'.*'mnist'"),
    ({"data.num_labelled": 10}, r"config\.data\.num_labelled .*'digits'.*10"),
    ({"teacher.model": "vit"}, r"config\.teacher\.model .*'mlp'.*'vit'"),
    ({"teacher.subclass.num_subclasses": 3}, r"subclass\.num_subclasses .*3"),
    (
      {"teacher.outputs": "cached", "student.flip": True},
      r"teacher\.outputs='cached'.*student\.flip",
    ),
    (
      {"teacher.outputs": "coordinates", "subspace.kind": "random"},
      r"teacher\.outputs='coordinates'.*subspace\.kind='random'",
    ),
    (
      {"teacher.outputs": "coordinates", "teacher.num_coordinates": 2},
      r"subspace\.num_subclasses=3 .*teacher\.num_coordinates=2",
    ),
    ({"student.options": {"width": 3}}, r"config\.student\.options .*width"),
    ({"student.input_field": "embeddings"}, r"needs config\.data\.embeddings"),
    (
      {"student.num_steps": 0},
      r"config\.student\.num_epochs=0 .*student\.init",
    ),
    ({"student.max_shift": 1.0}, r"config\.student\.max_shift .*1\.0"),
    (
      PIECEWISE | {"student.schedule_boundaries": (3.0,)},
      r"student\.schedule_factors .*schedule_boundaries=\(3\.0,\)",
    ),
    (
      PIECEWISE
      | {
        "student.schedule_boundaries": (3.0, 1.0),
        "student.schedule_factors": (0.1, 0.01),
      },
      r"student\.schedule_boundaries .*\(3\.0, 1\.0\)",
    ),
    ({"subspace.num_projections": 3}, r"subspace\.num_projections .*'lelp'.*3"),
    (
      {"method": "random_ensemble", "subspace.num_projections": 2},
      r"subspace\.num_projections=2 .*num_subclasses=3",
    ),
    ({"subspace.widening": math.inf}, r"config\.subspace\.widening .*inf"),
    (
      {"method": "lelp_centroids", "clustering.scope": "global"},
      r"clustering\.scope .*'lelp_centroids'.*'global'",
    ),
    (
      {"method": "lelp_centroids", "teacher.outputs": "coordinates"},
      r"teacher\.outputs='coordinates'.*'lelp_centroids'",
    ),
    ({"mesh.teacher": "sharded"}, r"config\.mesh\.teacher .*'sharded'"),
    ({"method": "subclass"}, r"subclass\.num_subclasses .*1"),
    ({"loggers": "csv"}, r"config\.loggers .*'csv'"),
    ({"profile": "9:3"}, r"config\.profile .*'9:3'"),
  ],
)
def test_a_wrong_value_is_named(values, message):
  with pytest.raises(ValueError, match=message):
    validate.cell_spec(changed(values))


@pytest.mark.parametrize(
  ("field", "value"),
  [("sweep.columns_are", "sums"), ("sweep.num_trials", 0), ("selection", "x")],
)
def test_a_wrong_field_of_a_sweep_is_named(field, value):
  with pytest.raises(ValueError, match=rf"config\.{field} .*{value}"):
    validate.sweep_spec(changed({field: value}))


def test_a_folder_of_weights_has_one_name(tmp_path, monkeypatch):
  (tmp_path / "weights").mkdir()
  (tmp_path / "link").symlink_to("weights")
  monkeypatch.chdir(tmp_path)
  spellings = ("weights", "./weights/", "link", str(tmp_path / "weights"))
  found = {
    validate.cell_spec(changed({"teacher.init": x, "student.init": x}))
    for x in spellings
  }
  assert len(found) == 1
  hub = validate.cell_spec(changed({"teacher.init": "albert/albert-base-v2"}))
  assert hub.teacher.init == "albert/albert-base-v2"


@pytest.mark.parametrize(
  ("values", "outputs"),
  [
    ({}, "cached"),
    ({"teacher.flip": True}, "cached"),  # The student's views matter.
    ({"student.max_shift": 0.1}, "inline"),
    ({"teacher.outputs": "inline"}, "inline"),
  ],
)
def test_outputs_are_cached_unless_images_are_augmented(values, outputs):
  config = changed({"teacher.outputs": "auto"} | values)
  assert validate.cell_spec(config).teacher.outputs == outputs


def test_coordinates_are_as_many_as_the_largest_cell_needs():
  config = tiny.config()
  config.teacher.outputs = "coordinates"
  assert validate.cell_spec(config).teacher.num_coordinates == 3
  config.sweep.methods.lelp.subspace.num_subclasses = (2, 5)
  assert {c.teacher.num_coordinates for c in cells.expand(config)} == {5}
  config.teacher.num_coordinates = 6
  assert {c.teacher.num_coordinates for c in cells.expand(config)} == {6}


@pytest.mark.parametrize("name", ["quickstart", "own", "table2", "figure6"])
def test_plain_and_typed_forms_are_inverses(name):
  module = importlib.import_module(f"experiments.configs.{name}")
  config = module.get_config()
  config.profile, config.sweep.num_trials = "3:7", 1
  config.data.options.nested = {"sizes": (1, (2, 3))}
  for cell in cells.expand(config)[:50]:
    assert specs.from_plain(json_files.plain(cell)) == cell
    read = specs.from_plain(json.loads(json.dumps(json_files.plain(cell))))
    assert read == cell
    assert hash(read) == hash(cell)


def test_damaged_plain_forms_name_the_field():
  plain = json_files.plain(tiny.cell())
  with pytest.raises(ValueError, match=r"config\.loss .*temperature"):
    specs.from_plain(
      plain | {"loss": {k: v for k, v in plain["loss"].items() if k[0] != "t"}}
    )
  with pytest.raises(ValueError, match="reads: unknown reads"):
    specs.from_plain(plain | {"reads": 1})
  with pytest.raises(ValueError, match=r"config\.trial .*int.*'1'"):
    specs.from_plain(plain | {"trial": "1"})


def test_replace_is_typed_and_knows_all_fields():
  cell = tiny.cell()
  values = {"loss.temperature": 3, "student.options.features": [4]}
  other = specs.replace(cell, values)
  assert other.loss.temperature == 3.0
  assert type(other.loss.temperature) is float
  assert other.student.options["features"] == (4,)
  assert cell.student.options["features"] == (8,)
  assert other.teacher is cell.teacher
  for name in ("loss.tau", "tau", "loss", "trial.seed"):
    with pytest.raises(ValueError, match=f"config.{name}"):
      specs.replace(cell, {name: 1})


def test_arguments_of_a_config_are_typed():
  for arg in ("methd=lelp", "trial=x", "smoke=maybe"):
    name, _, value = arg.partition("=")
    with pytest.raises(ValueError, match=f"{name}.*({value}|method)"):
      quickstart.get_config(arg)
  assert quickstart.get_config("method=oracle,split=3").column == "split3"


def parsed(*given):
  """The config of own.py with flags, as the command reads them."""
  argv = ["main", *(f"--config.{flag}" for flag in given)]
  values = flags.FlagValues()
  config_flags.DEFINE_config_dict(
    "config", own.get_config(), flag_values=values, sys_argv=argv
  )
  values(argv)
  return values.config


@pytest.mark.parametrize("model", MODELS)
def test_every_option_of_a_model_is_a_flag(model):
  architecture = MODELS[model]
  attributes = architecture.attributes()
  for name in sorted(set(attributes) - set(architecture.fixed)):
    config = parsed(
      f"student.model={model}", f"student.options.{name}={attributes[name]}"
    )
    cell = validate.cell_spec(config)
    assert cell.teacher.options == {}
    if attributes[name] is not None and name != "compute_dtype":
      assert cell.student.options == {name: attributes[name]}


def test_options_of_another_model_are_named():
  config = parsed("student.model=bert", "student.options.num_layers=2")
  assert validate.cell_spec(config).student.options == {"num_layers": 2}
  config = parsed("student.options.features=(3,)")
  with pytest.raises(
    ValueError, match=r"student\.options .*features.*num_layers"
  ):
    validate.cell_spec(config)
  with pytest.raises(AttributeError, match="num_layers"):
    parsed("student.options.num_layer=2")


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (["encoding=utf-9"], r"data\.encoding .*'utf-9'"),
    (["encoding=base64"], r"data\.encoding .*'base64'"),
    (['delimiter="'], r"data\.delimiter"),
    (["delimiter=;;"], r"data\.delimiter .*';;'"),
    (["text_column=a"], r"data\.tokenizer"),
    # Labels are not read as inputs.
    (["text_column=a", "label_column=a"], "text_column .*label_column .*'a'"),
    (["image_column=a", "label_column=a"], "image_column .*label_column .*'a'"),
  ],
)
def test_options_of_files_are_checked(fields, message):
  with pytest.raises(ValueError, match=message):
    validate.cell_spec(parsed(*(f"data.{field}" for field in fields)))


@pytest.mark.parametrize("field", ["column", "row"])
@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden"])
def test_what_names_a_folder_stays_in_it(field, name):
  config = tiny.config()
  config[field] = name
  with pytest.raises(ValueError, match=f"config.{field} .*{re.escape(name)}"):
    validate.cell_spec(config)
