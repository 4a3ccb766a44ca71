"""Configs of the paper's tables and figures from their columns and rows.

A config file names its columns, its rows and the grid of each row in each
column; `make_config` turns them into a config with a sweep. Columns, rows and
grids are flat: they name config fields by dotted name.
"""

import types
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
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
from experiments.paper.names import parse_column
from lelp_jax.models import MODELS

Fields = Mapping[str, Any]
Axes = Mapping[str, tuple[Any, ...]]

# Models that the paper does not train have the recipe of a similar model.
_RELATIVES = {"resnet20": "resnet56", "cnn": "mobilenet"}
# Tables 13 and 14 count the clusters of both classes together, Table 15 those
# of each class. All three have data sets with two classes.
_COUNTED_IN_TOTAL = ("agglomerative", "kmeans")
_NUM_CLASSES = 2


def parse(arg: str | None, **more: Any) -> ConfigDict:
  """Parses the arguments that the configs of all tables and figures have.

  * ``column=``: one of the columns; by default all of them.
  * ``method=``: one row. `experiments.main` trains it with the paper's
    hyperparameters where they are legible (A-38), a sweep trains its grid.
  * ``methods=``: the rows of a sweep, joined by ``+``: ``paper`` for the rows
    of the table, ``all`` for every method, or names. ``all`` does not include
    the oracle if a column's data set has no fine labels.
  * ``trial=``: number of the trial of a single cell.
  * ``trials=``: number of trials of a sweep; by default 3, in a smoke test 1.
  * ``grid=paper`` for every value that the paper tried (Tables 6 to 15),
    ``grid=chosen`` for the values that it chose, where they are legible,
    ``grid=one`` for one value of each axis.
  * ``cluster_scope=per_class``, or ``global`` for clusters of all classes
    together. The grids then have total numbers of clusters (A-17).
  * ``selection=heldout`` or ``test``, as in the paper (A-37).
  * ``init=pretrained`` or ``random`` for texts.
  * ``resnet92_rate=printed``, ``as_resnet56`` or ``usual`` (A-21).
  * ``resnet_variant=``: variant of `lelp_jax.models.ResNet` (A-20).
  * ``smoke=True``: tiny models on made-up data, as an end-to-end check.
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


def of_table(
  number: int,
  *,
  name: str = "",
  title: str = "",
  columns: Sequence[str] = (),
  own: Mapping[str, Fields] = types.MappingProxyType({}),
) -> Callable[[str | None], ConfigDict]:
  """Returns the `get_config` of one of Tables 1 to 5, or of a part of it.

  A part has another name, a title and some of the columns. `own` adds fields to
  rows. The returned function takes the arguments that `parse` describes.
  """
  table = tables.paper_table(number)

  def get_config(arg: str | None = None) -> ConfigDict:
    return make_config(
      parse(arg),
      name=name or f"table{number}",
      title=title or f"Table {number}: {table.title}",
      columns=columns or [column.id for column in table.columns],
      rows=paper_rows(number) | dict(own),
    )

  return get_config


def paper_rows(number: int) -> dict[str, Fields]:
  """Returns the rows of one of Tables 1 to 5 that train a student."""
  rows = tables.paper_table(number).rows
  return {row.method: {} for row in rows if row.method in METHODS}


def make_config(
  given: ConfigDict,
  *,
  name: str,
  title: str,
  columns: Iterable[str],
  rows: Mapping[str, Fields],
  grid: Callable[[str, str, str], Axes] | None = None,
  smoke_values: int = 1,
  maps: bool = False,
) -> ConfigDict:
  """Makes the config of a table or figure.

  The fields of a row whose name is not a method must set the method. `grid`
  returns the axes of a row in a column, as its default `axes` does. In a smoke
  test an axis has at most `smoke_values` values. With `maps` the report draws
  maps of the students' embeddings. If `given` names a column and a method, the
  config also describes that cell.
  """
  chosen = [given.column] if given.column else []
  for place in chosen:
    base.one_of("column", place, columns)
  fields = {place: column(place, given) for place in chosen or columns}
  known = {**{name: {} for name in METHODS}, **rows}
  if given.cluster_scope == "global":
    scope = {"clustering.scope": "global"}
    known |= {name: {**known[name], **scope} for name in CLUSTERINGS}
  selected = _rows(given, rows, known, fields.values())

  def axes_of(row: str, place: str, which: str, most: int) -> Axes:
    values = _counted((grid or axes)(row, place, which), given.cluster_scope)
    return smoke.axes(values, most) if given.smoke else values

  config = base.base_config()
  config.name, config.title = name, title
  if given.smoke:
    config.title = f"{smoke.TITLE}: {title}"
    config.sweep.notes = (smoke.NOTE,)
    fields = {place: smoke.column(values) for place, values in fields.items()}
  config.selection, config.trial = given.selection, given.trial
  config.sweep.num_trials = given.trials
  config.sweep.cluster_scope = given.cluster_scope
  config.sweep.is_smoke, config.sweep.maps = given.smoke, maps
  for row in selected:
    config.sweep.methods[row] = dotted.nested(known[row])
  for place, values in fields.items():
    config.sweep.columns[place] = dotted.nested({} if chosen else values)
    config.sweep.grids[place] = ConfigDict()
    for row in selected:
      if varied := axes_of(row, place, given.grid, smoke_values):
        config.sweep.grids[place][row] = dotted.nested(varied)
  for place in chosen:  # Set outside of the sweep, so that flags can change it.
    config.column = place
    dotted.override(config, fields[place])
  if given.method:
    row = config.row = given.method
    dotted.override(config, {"method": row, **known[row]})
    for place in chosen:
      one = axes_of(row, place, "one", 1)
      dotted.override(config, {name: v[0] for name, v in one.items()})
  return config


def _rows(
  given: ConfigDict,
  rows: Iterable[str],
  known: Iterable[str],
  columns: Iterable[Fields],
) -> list[str]:
  """Returns the names of the requested rows, by default those of the table.

  The oracle learns fine labels. If a column has none, the groups "paper" and
  "all" leave the oracle out, and naming it raises ValueError.
  """
  groups = {"paper": rows, "all": METHODS}
  names = (given.methods or given.method or "paper").split("+")
  selected = [row for name in names for row in groups.get(name, [name])]
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
        f"data set {coarse[0]!r} has none: leave the oracle out."
      )
  return [row for row in selected if row != "oracle" or not coarse]


def _counted(values: Axes, cluster_scope: str) -> Axes:
  """Converts numbers of clusters per class to the numbers for a scope."""
  name = "clustering.num_clusters"
  if cluster_scope == "per_class" or name not in values:
    return values
  return {**values, name: tuple(_NUM_CLASSES * n for n in values[name])}


def models(dataset: str) -> list[str]:
  """Returns the models that have a recipe for a data set."""
  own = recipes.models(dataset)
  return [*own, *(name for name, of in _RELATIVES.items() if of in own)]


def column(name: str, given: ConfigDict) -> dict[str, Any]:
  """Returns the fields of a column: data, models and recipes (appendix H)."""
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
  if place.transfer:
    fields["data.transfer_fraction"] = place.transfer / 100
  if place.num_merged:
    fields["data.merge_classes"] = place.num_merged
  for role, model in (("teacher", place.teacher), ("student", place.student)):
    trained = _training(model, place.dataset, role, given)
    fields |= {f"{role}.{k}": v for k, v in trained.items()}
    if MODELS[model].reads == "array":  # It reads Sentence-T5 embeddings.
      fields["data.embeddings"] = f"data/{place.dataset}_sentence_t5"
  return fields


def _training(
  model: str, dataset: str, role: str, given: ConfigDict
) -> dict[str, Any]:
  """Returns the model and the training of a teacher or student, as fields."""
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
    "steps_per_chunk": 0,  # Evaluation after each epoch, as in Figure 6.
    "eval_batch_size": 512,
  }
  has_variants = "variant" in MODELS[model].attributes()
  if has_variants and given.resnet_variant != "keras_v2":
    fields["options.variant"] = given.resnet_variant
  if MODELS[model].reads == "tokens":
    fields |= {"steps_per_chunk": 500, "eval_batch_size": 64}
    if given.init == "pretrained":
      fields["init"] = MODELS[model].hub_id
  if MODELS[model].reads == "array":
    fields |= {"input_field": "embeddings", "options.features": (4096, 4096)}
  return fields


def axes(method: str, column: str, which: str) -> dict[str, tuple[Any, ...]]:
  """Returns the paper's grid of a method; empty if the paper has none.

  Numbers of clusters are per class. `which` is "paper" for all values; "chosen"
  for the value that the paper chose, where it is legible (A-38); or "one" for a
  single value: the chosen one, one of its candidates, or the middle one.
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
