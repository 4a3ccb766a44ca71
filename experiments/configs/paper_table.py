"""What the configs of the paper's tables and figures are made of.

A config file names its columns, its rows and the grid of each row in each
column; here they become a config and its sweep. Overrides and axes are flat:
config fields by dotted name.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs import dotted
from experiments.configs import smoke
from experiments.data.datasets import DATASETS
from experiments.methods import METHODS
from experiments.methods.clustering import CLUSTERINGS
from experiments.paper import grids
from experiments.paper import recipes
from experiments.paper import tables
from experiments.paper.columns import parse_column
from lelp_jax.models import MODELS

Fields = Mapping[str, Any]
Axes = Mapping[str, tuple[Any, ...]]

# Version 2 of the published weights.
# Models that the paper does not train have the recipe of a relative.
_RELATIVES = {"resnet20": "resnet56", "cnn": "mobilenet"}
# Tables 13 and 14 count the clusters of both classes together, and Table 15
# those of each; all three are of datasets with two classes.
_COUNTED_IN_TOTAL = ("agglomerative", "kmeans")
_NUM_CLASSES = 2


def parse(arg: str | None, **more: Any) -> ConfigDict:
  """Parses the arguments that all tables and figures have.

  * ``column=``: one of the columns; by default all.
  * ``method=``: one row, with the paper's hyperparameters where these are
    legible (A-38), for `experiments.main`; in a sweep, its grid.
  * ``methods=``: the rows of a sweep, joined by ``+``: ``paper`` for those of
    the table, ``all`` for every method that there is, or names. The oracle
    is none of ``all`` where a column's dataset has no fine labels.
  * ``trial=``, ``trials=``: which one, and how many in a sweep; by default 3,
    in a smoke test 1.
  * ``grid=paper`` for every value that the paper tried (Tables 6 to 15),
    ``grid=chosen`` for what it chose, where that is legible, ``grid=one`` for
    one value of each axis.
  * ``cluster_scope=per_class``, or ``global``: clusters are those of all
    classes together, and so are their numbers in the paper's grids (A-17).
  * ``selection=heldout`` or ``test``, as the paper did (A-37).
  * ``init=pretrained`` or ``random`` for texts.
  * ``resnet92_rate=printed``, ``as_resnet56`` or ``usual`` (A-21).
  * ``resnet_variant=``: of `lelp_jax.models.ResNet` (A-20).
  * ``smoke=True``: tiny models on made-up data, to see that all runs.

  Args:
    arg: The text after the colon of ``--config=file.py:key=value,...``.
    **more: Further arguments, or other defaults.

  Returns:
    The arguments.

  Raises:
    ValueError: If one is unknown or its value cannot be.
  """
  defaults = {
    "column": "",
    "method": "",
    "methods": "",
    "trial": 0,
    "trials": 0,
    "grid": "paper",
    "cluster_scope": "per_class",
    "selection": "heldout",
    "init": "pretrained",
    "resnet92_rate": "printed",
    "resnet_variant": "keras_v2",
    "smoke": False,
  }
  given = base.parse_arg(arg, **(defaults | more))
  for name, options in (
    ("grid", ("paper", "chosen", "one")),
    ("cluster_scope", ("per_class", "global")),
    ("init", ("pretrained", "random")),
  ):
    base.one_of(name, given[name], options)
  given.trials = given.trials or (1 if given.smoke else 3)
  return given


def paper_config(
  number: int, arg: str | None, own: Mapping[str, Fields] | None = None
) -> ConfigDict:
  """Returns the config of one of Tables 1 to 5.

  Args:
    number: Of the table.
    arg: See `parse`.
    own: Overrides of some of its rows.
  """
  table, given = tables.paper_table(number), parse(arg)
  return make_config(
    given,
    name=f"table{number}",
    title=f"Table {number}: {table.title}",
    columns={c.id: column(c.id, given) for c in table.columns},
    rows=paper_rows(number) | dict(own or {}),
    grid=axes,
  )


def paper_rows(number: int) -> dict[str, Fields]:
  """Returns the rows of one of Tables 1 to 5 that are trained."""
  rows = tables.paper_table(number).rows
  return {row.method: {} for row in rows if row.method in METHODS}


def make_config(
  given: ConfigDict,
  *,
  name: str,
  title: str,
  columns: Mapping[str, Fields],
  rows: Mapping[str, Fields],
  grid: Callable[[str, str, str], Axes],
  notes: Iterable[str] = (),
  smoke_values: int = 1,
) -> ConfigDict:
  """Makes the config of a table or figure.

  Args:
    given: What `parse` returned.
    name: Of the table or figure.
    title: What stands above it.
    columns: Overrides of each column, from `column`.
    rows: Overrides of each row; a row that is no method says which it is of.
    grid: ``(row, column, which) -> axes``, see `axes`.
    notes: What a reader has to know.
    smoke_values: How many values of each axis a smoke test tries.

  Returns:
    The config of one cell where column and method are given, and the sweep.

  Raises:
    ValueError: If there is no such column or row, or the oracle is named where
      there are no fine labels.
  """
  chosen = [given.column] if given.column else []
  for place in chosen:
    base.one_of("column", place, columns)
  known = {**{name: {} for name in METHODS}, **rows}
  if given.cluster_scope == "global":
    scope = {"clustering.scope": "global"}
    known |= {name: {**known[name], **scope} for name in CLUSTERINGS}
  asked = _rows(given, rows, known, [columns[c] for c in chosen or columns])

  def axes_of(row: str, place: str, which: str, most: int) -> Axes:
    values = _counted(grid(row, place, which), given.cluster_scope)
    return smoke.axes(values, most) if given.smoke else values

  if given.smoke:
    title, notes = f"{smoke.TITLE}: {title}", (*notes, smoke.NOTE)
    columns = {k: smoke.column(fields) for k, fields in columns.items()}
  config = base.base_config()
  config.name, config.title = name, title
  config.selection, config.trial = given.selection, given.trial
  config.sweep.num_trials, config.sweep.notes = given.trials, tuple(notes)
  config.sweep.cluster_scope = given.cluster_scope
  for row in asked:
    config.sweep.methods[row] = dotted.nested(known[row])
  for place in chosen or columns:
    config.sweep.columns[place] = dotted.nested(
      {} if chosen else columns[place]
    )
    config.sweep.grids[place] = ConfigDict()
    for row in asked:
      if values := axes_of(row, place, given.grid, smoke_values):
        config.sweep.grids[place][row] = dotted.nested(values)
  if chosen:  # In the config itself, so that flags can change it.
    (config.column,) = chosen
    dotted.override(config, columns[config.column])
  if given.method:
    row = config.row = given.method
    dotted.override(config, {"method": row, **known[row]})
  if given.method and chosen:
    values = axes_of(row, config.column, "one", 1)
    dotted.override(config, {name: v[0] for name, v in values.items()})
  return config


def _rows(
  given: ConfigDict,
  rows: Iterable[str],
  known: Iterable[str],
  columns: Iterable[Fields],
) -> list[str]:
  """Names of the rows that are asked for, by default the table's.

  The oracle learns fine labels: where a column has none, no group of rows has
  it, and a ValueError is raised if it is named.
  """
  groups = {"paper": rows, "all": METHODS}
  names = (given.methods or given.method or "paper").split("+")
  asked = [row for name in names for row in groups.get(name, [name])]
  coarse = [
    fields["data.dataset"]
    for fields in columns
    if not fields.get("data.merge_classes")
    and DATASETS[fields["data.dataset"]].task.fine_to_class is None
  ]
  named = [name for name in names if name not in groups]
  for name in (*named, *filter(None, [given.method])):
    if base.one_of("method", name, known) == "oracle" and coarse:
      raise ValueError(
        "config argument method names 'oracle', which learns fine labels, and "
        f"dataset {coarse[0]!r} has none: leave it out."
      )
  return [row for row in asked if row != "oracle" or not coarse]


def _counted(values: Axes, cluster_scope: str) -> Axes:
  """A grid of clusters of each class, in the numbers that the scope counts."""
  name = "clustering.num_clusters"
  if cluster_scope == "per_class" or name not in values:
    return values
  return {**values, name: tuple(_NUM_CLASSES * n for n in values[name])}


def models(dataset: str) -> list[str]:
  """Returns the models that there is a recipe of for a dataset.

  Args:
    dataset: One of the paper's.

  Raises:
    ValueError: If it is not.
  """
  own = recipes.models(dataset)
  return [*own, *(name for name, of in _RELATIVES.items() if of in own)]


def column(name: str, given: ConfigDict) -> dict[str, Any]:
  """Returns data, models and recipes of a column: appendix H (spec 5).

  Args:
    name: ``dataset-teacher-student``, and ``-n`` for ``n`` labels. What the
      paper does not train has the recipe of its architecture.
    given: What `parse` returned.

  Raises:
    ValueError: If there is no recipe for it.
  """
  place = parse_column(name)
  pretraining = recipes.pretraining(place.dataset)
  fields = {
    "data.dataset": place.dataset,
    "data.num_labelled": place.num_labelled,
    "data.embeddings": "",
    "pretraining.num_steps": 0,
    "pretraining.num_epochs": float(pretraining["epochs"]),
    "pretraining.learning_rate": pretraining["learning_rate"],
  }
  for role, model in (("teacher", place.teacher), ("student", place.student)):
    trained = _training(model, place.dataset, role, given)
    fields |= {f"{role}.{k}": v for k, v in trained.items()}
    if model == "mlp":  # Over Sentence-T5.
      fields["data.embeddings"] = f"data/{place.dataset}_sentence_t5"
  return fields


def _training(
  model: str, dataset: str, role: str, given: ConfigDict
) -> dict[str, Any]:
  """Model and training of a teacher or student."""
  fields = recipes.recipe(
    _RELATIVES.get(model, model),
    dataset,
    role,
    resnet92_rate=given.resnet92_rate,
  )
  fields |= {
    "model": model,
    "init": "random",
    "input_field": "inputs",
    "num_steps": 0,
    "num_epochs": float(fields.pop("epochs")),
    "schedule_boundaries": fields.pop("schedule_epochs"),
    "steps_per_chunk": 0,  # Evaluated after each epoch, as Figure 6 is.
    "eval_batch_size": 512,
  }
  if model.startswith("resnet") and given.resnet_variant != "keras_v2":
    fields["options.variant"] = given.resnet_variant
  if MODELS[model].reads == "tokens":
    fields |= {"steps_per_chunk": 500, "eval_batch_size": 64}
    if given.init == "pretrained":
      fields["init"] = MODELS[model].hub_id
  if model == "mlp":
    fields |= {"input_field": "embeddings", "options.features": (4096, 4096)}
  return fields


def axes(method: str, column: str, which: str) -> dict[str, tuple[Any, ...]]:
  """Returns the paper's grid of a method, nothing where it has none.

  Numbers of clusters are those of each class.

  Args:
    method: Name of the method.
    column: Id of a column; its dataset decides.
    which: "paper" for all values, "chosen" for the one that the paper chose,
      where it is legible (A-38), or "one" for a single value: that, else one
      of those that it may be, else the middle of the grid.
  """
  try:
    grid = grids.grid(method, column)
  except ValueError:
    return {}
  choices = grids.choices(method, column)
  found: dict[str, tuple[Any, ...]] = {}
  for name, values in grid.items():
    choice = choices[name]
    if which != "paper" and choice.value is not None:
      values = (choice.value,)
    elif which == "one":
      candidates = choice.candidates or values
      values = (candidates[len(candidates) // 2],)
    if method in _COUNTED_IN_TOTAL:
      values = tuple(int(n) // _NUM_CLASSES for n in values)
    found[name] = tuple(values)
  return found
