r"""Any of the paper's pairs with any method, in the paper's own recipe.

  python -m experiments.main --workdir=runs/sst2 --config=experiments/\
configs/pair.py:dataset=glue_sst2,teacher=albert_large,student=albert_base

Recipes are those of appendix H (spec 5): optimizer, rate, schedule, epochs,
batch size and augmentation of each model on each dataset. The data must have
been prepared (`python -m experiments.prepare`). Models and datasets that the
paper does not pair take the recipe of their architecture.

The sweep, `experiments.sweep` with the same config, is the method's grid of
appendix H for this column where the paper has one, else the config's values;
`methods=all` runs every method.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import common
from experiments.paper import grids
from experiments.paper import recipes
from experiments.training.methods import METHODS

# Version 2 of the published weights.
_WEIGHTS = "albert/albert-{}-v2"
# Models that the paper does not train have the recipe of a relative.
_RELATIVES = {"resnet20": "resnet56", "cnn": "mobilenet"}
# Tables 13 and 14 count the clusters of both classes together.
_COUNTED_IN_TOTAL = ("agglomerative", "kmeans")
_TINY = {
  "albert": {
    "num_layers": 2,
    "hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 64,
  },
  "mobilenet": {"width_multiplier": 0.25},
  "mlp": {"features": (32, 32)},
}


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: ``dataset=``, ``teacher=``, ``student=``, ``method=``, ``trial=``,
      ``methods=`` (names joined by ``+``, or ``all``), ``init=pretrained`` or
      ``init=random`` for texts, ``resnet92_rate=`` (A-21), and ``smoke=True``
      for a run of seconds.
  """
  given = common.parse_arg(
    arg,
    dataset="cifar10_bin",
    teacher="resnet92",
    student="resnet56",
    method="lelp",
    methods="",
    trial=0,
    init="pretrained",
    resnet92_rate="printed",
    smoke=False,
  )
  config = common.base_config()
  config.name = "pair"
  config.column = f"{given.dataset}-{given.teacher}-{given.student}"
  config.title = config.column
  config.method = given.method
  config.trial = given.trial
  config.data.dataset = given.dataset
  for role in ("teacher", "student"):
    _fill(config[role], given, role)
  pretraining = recipes.pretraining(given.dataset)
  config.pretraining.num_steps = 0
  config.pretraining.num_epochs = float(pretraining["epochs"])
  config.pretraining.learning_rate = pretraining["learning_rate"]
  config.sweep.columns[config.column] = ConfigDict()
  names = given.methods or given.method
  for name in METHODS if names == "all" else names.split("+"):
    config.sweep.methods[name] = _nested(_grid(name, config.column))
  return _smoke(config) if given.smoke else config


def _fill(fields: ConfigDict, given: ConfigDict, role: str) -> None:
  """Sets model and training of a teacher or student."""
  name = fields.model = given[role]
  recipe = recipes.recipe(
    _RELATIVES.get(name, name),
    given.dataset,
    role,
    resnet92_rate=given.resnet92_rate,
  )
  fields.num_steps, fields.num_epochs = 0, float(recipe.pop("epochs"))
  fields.schedule_boundaries = recipe.pop("schedule_epochs")
  fields.steps_per_chunk = 0  # Evaluated after each epoch, as Figure 6 is.
  fields.update(recipe)
  if name.startswith("albert"):
    fields.steps_per_chunk = 500
    fields.eval_batch_size = 64
    if given.init == "pretrained":
      fields.init = _WEIGHTS.format(name.removeprefix("albert_"))
  if name == "mlp":  # Over Sentence-T5: set config.data.embeddings.
    fields.reads = "embeddings"
    fields.options.features = (4096, 4096)


def _grid(method: str, column: str) -> dict[str, tuple[Any, ...]]:
  """The paper's grid of a method, nothing where it has none."""
  try:
    grid = grids.grid(method, column)
  except ValueError:
    return {}
  if method in _COUNTED_IN_TOTAL:
    return {name: tuple(n // 2 for n in v) for name, v in grid.items()}
  return grid


def _nested(axes: dict[str, tuple[Any, ...]]) -> ConfigDict:
  """Axes by dotted name as the sweep has them."""
  nested: dict[str, Any] = {}
  for name, values in axes.items():
    *path, field = name.split(".")
    section = nested
    for part in path:
      section = section.setdefault(part, {})
    section[field] = tuple(values)
  return ConfigDict(nested)


def _smoke(config: ConfigDict) -> ConfigDict:
  """Shrinks models, training and grid to seconds, to see that all runs."""
  for fields in (config.teacher, config.student):
    family = fields.model.split("_")[0]
    fields.options.update(_TINY.get(family, {}))
    if family.startswith("resnet"):
      fields.model = "resnet20"
    fields.init = "random"
    fields.num_epochs, fields.num_steps = 0.0, 4
    fields.schedule_boundaries = ()
    fields.schedule_factors = ()
    fields.schedule = "constant"
    fields.steps_per_chunk, fields.batch_size = 2, 8
  config.pretraining.num_epochs, config.pretraining.num_steps = 0.0, 2
  config.subspace.num_subclasses = 3
  config.teacher.subclass.num_subclasses = 1
  config.sweep.num_trials = 1
  for row in config.sweep.methods.values():
    for section in row.values():
      _keep_first(section)
  return config


def _keep_first(section: ConfigDict) -> None:
  for name, value in section.items():
    if isinstance(value, ConfigDict):
      _keep_first(value)
    else:
      section[name] = value[:1]
