"""Pages that name configs, switches and numbers name what there is."""

import importlib
import inspect
import pathlib
import re

import pytest

from experiments.configs import base
from experiments.configs import paper_table
from experiments.configs.dotted import flatten
from experiments.data.datasets import DATASETS
from experiments.paper import tables
from lelp_jax.models import Mlp
from lelp_jax.models.albert import albert_config
from lelp_jax.models.albert import AlbertConfig

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs/ambiguities.md").read_text()
README = (ROOT / "experiments/README.md").read_text()
ROWS = [
  [cell.strip() for cell in line.split("|")[1:-1]]
  for line in PAGE.splitlines()
  if line.startswith("| A-")
]
WITHOUT_SWITCH = ("fixed", "not built", "notes")
PREPARED = {  # The data set and its option that a flag sets.
  "amazon_sampling": ("amazon", "sampling"),
  "amazon_text": ("amazon", "text"),
  "max_length": ("amazon", "max_length"),
  "seed": ("sentiment140_bin", "seed"),
}
OPTIONS = {
  "version": inspect.signature(albert_config).parameters["version"].default,
  "pooling": AlbertConfig.pooling,
  "features": Mlp.features,
}


def names(text):
  return re.findall(r"`([^`]+)`", text)


def test_every_item_is_there_once_and_in_order():
  items = [f"A-{n}" for n in range(1, 43)]
  items.insert(items.index("A-21") + 1, "A-21b")
  assert [row[0] for row in ROWS] == items


def default_of(name):
  """The default value of a switch, as text."""
  kind, _, rest = name.replace("config.", "config ", 1).partition(" ")
  if kind == "config":
    return str(flatten(base.base_config())[rest])
  if kind == "argument":
    return str(paper_table.parse(None)[rest])
  if kind == "prepare":
    flag = rest.removeprefix("--")
    assert f'"{flag}"' in (ROOT / "experiments/prepare.py").read_text()
    dataset, option = PREPARED[flag]
    return str(DATASETS[dataset].options.get(option))
  assert kind == "option", name
  return str(OPTIONS[rest])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_switches_exist_and_have_their_defaults(row):
  _, _, where, default, _ = row
  if where in WITHOUT_SWITCH:
    assert default or where != "not built"
    return
  assert names(where)
  for name, value in zip(names(where), default.split(", "), strict=True):
    found = default_of(name)
    assert names(value) in ([found], []), name


def test_config_fields_that_pages_name_exist():
  fields = flatten(base.base_config())
  sections = {name.rpartition(".")[0] for name in fields}
  known = {*fields, *sections, "student.options", "data.options"}
  found = re.findall(r"config\.([a-z_]+(?:\.[a-z_]+)*)", PAGE + README)
  assert len(found) > 30
  for name in found:
    # Files of that name, and what a sweep's own columns and rows are called.
    assert name in known or name == "json" or name.startswith("sweep."), name


def test_configs_that_the_readme_names_exist_and_all_are_named():
  named = set(re.findall(r"`configs/(\w+)\.py`", README))
  for name in named:
    assert importlib.import_module(f"experiments.configs.{name}")
  folder = ROOT / "experiments/configs"
  there = {path.stem for path in folder.glob("[a-z]*.py")}
  others = {"base", "candidates", "dotted", "own", "pair", "smoke", "validate"}
  assert there - named <= others


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_the_readme_has_the_accuracies_of_the_paper(number):
  table = tables.paper_table(number)
  (line,) = re.findall(rf"^\| Table {number}, .*", README, re.MULTILINE)
  cells_of_lelp = [table.cell("lelp", column.id) for column in table.columns]
  expected = [cell.printed.split(" ")[0] for cell in cells_of_lelp]
  assert f"LELP {', '.join(expected)} |" in line


def test_the_readme_has_the_number_of_trainings():
  for line in re.findall(r"^\| .*`configs/.*", README, re.MULTILINE):
    name = re.findall(r"`configs/(\w+)\.py`", line)[0]
    count = re.search(r"([\d,]*\d) \+ ([\d,]*\d)", line)
    if count is None or "middle" in line:
      continue
    module = importlib.import_module(f"experiments.configs.{name}")
    text = " ".join((module.__doc__ or "").split())
    assert f"{count[1]} trainings of a student" in text, name
    assert f"{count[2]} of a teacher" in text, name


def test_the_misprints_are_those_of_the_tables():
  """Items, printed and recomputed gains of docs/ambiguities.md, "Misprints"."""
  gains = ("gain_best", "gain_non_subclass", "gain_vanilla")
  noted = {}
  for number in (2, 3):
    table = tables.paper_table(number)
    for gain in gains:
      for column in table.columns:
        cell = table.cell(gain, column.id)
        for note in cell.notes:
          noted.setdefault(note.item, []).append(cell.mean)
  rows = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("| M-")
  ]
  printed = {row[0]: [float(x) for x in row[3].split(", ")] for row in rows}
  assert printed == noted
