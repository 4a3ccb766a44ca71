"""The config that every other config starts from.

A config describes one cell: a column of a table (data, teacher, student), a
method, its hyperparameters and a trial. `config.sweep` describes the table:
its columns, its rows and the grid of each row. The sweep is plain data, nested
like the config itself; a tuple in a row or in a grid is an axis.
`experiments.specs` explains the fields, and `experiments.configs.validate`
checks their values.
"""

from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from experiments import specs
from lelp_jax.models import MODELS

# Types that flags parse. Values of all other types are Python literals.
_PARSED = (bool, int, float, str, tuple)


def parse_arg(arg: str | None, **defaults: Any) -> ConfigDict:
  """Parses the arguments of a config file: --config=file.py:key=value,...

  A value has the type of its default; a key without a value means ``True``.
  """
  values = ConfigDict(defaults)
  for item in filter(None, (arg or "").split(",")):
    name, _, text = item.partition("=")
    if name not in defaults:
      raise ValueError(
        f"config argument {name!r} is unknown; the arguments are "
        f"{sorted(defaults)}."
      )
    values[name] = _parse(name, text or "True", type(defaults[name]))
  return values


def _parse(name: str, text: str, kind: type) -> Any:
  switches = {"True": True, "1": True, "False": False, "0": False}
  try:
    return switches[text] if kind is bool else kind(text)
  except (KeyError, ValueError) as error:
    expected = "True or False" if kind is bool else f"of type {kind.__name__}"
    raise ValueError(
      f"config argument {name} must be {expected}, got {text!r}."
    ) from error


def one_of(argument: str, value: str, known: Iterable[str]) -> str:
  """Returns the value of an argument; raises ValueError if it is not known."""
  if value not in known:
    raise ValueError(
      f"config argument {argument} must be one of {sorted(known)}, got "
      f"{value!r}."
    )
  return value


def base_config() -> ConfigDict:
  """Returns a config that has every field, with its default.

  The fields are those of `specs.CellSpec`, a few of them in another form.
  `config.sweep` has those of `specs.SweepSpec`, and the columns, the rows and
  the grids that the cells of the sweep are made of.
  """
  config = _section(specs.CellSpec())
  del config.varied, config.split_teacher, config.loggers, config.profile
  del config.data.contents
  for model in (config.teacher, config.student):
    model.options = _options()

  # "fsdp" divides the arrays of a teacher that does not fit on one device
  # among the devices that share a batch. Results are the same up to rounding.
  config.mesh = ConfigDict({"teacher": "replicated"})
  # Where metrics go in addition to metrics.jsonl: "tensorboard", "wandb"
  # (extras of these names), or both, separated by a comma.
  config.loggers = ""
  # "FIRST_STEP:LAST_STEP" traces the chunks with these steps with JAX's
  # profiler, into `profile/` next to the metrics. Each of several processes has
  # its own folder there.
  config.profile = ""

  config.sweep = _section(specs.SweepSpec())
  del config.sweep.name, config.sweep.title, config.sweep.selection
  # Column -> fields that it sets. A tuple is a value.
  config.sweep.columns = ConfigDict()
  # Row -> fields that it sets. A tuple is an axis. A row whose name is not a
  # method names its method, as {"method": "lelp", "subspace": {"kind": "pca"}}.
  # The name of a row should start with that of its method, such as "lelp_pca":
  # reports tell LELP, its ablations, clusterings and baselines apart by names.
  config.sweep.methods = ConfigDict()
  # Column -> row -> fields and axes of that row in that column. They are added
  # to those of the row, or replace them.
  config.sweep.grids = ConfigDict()
  # The `clustering.scope` that the numbers of clusters in the grids are meant
  # for, and that flags must not change. Empty if the numbers fit either scope.
  config.sweep.cluster_scope = ""
  return config


def _section(spec: specs.ConfigSection) -> ConfigDict:
  """Returns the fields of a spec with their values; tuples stay tuples."""
  section = ConfigDict()
  for name, value in vars(spec).items():
    if isinstance(value, specs.ConfigSection):
      value = _section(value)
    section[name] = ConfigDict() if value == specs.NO_OPTIONS else value
  return section


def _options() -> ConfigDict:
  """Returns every option of a model: None, with the type of its default."""
  defaults: dict[str, list[Any]] = {}
  for architecture in MODELS.values():
    for name, value in architecture.attributes().items():
      if name not in architecture.fixed:
        defaults.setdefault(name, []).append(value)
  options = ConfigDict()
  for name, values in sorted(defaults.items()):
    kinds = {type(value) for value in values}
    kind = kinds.pop() if len(kinds) == 1 else object
    options[name] = placeholder(kind if kind in _PARSED else object)
  return options
