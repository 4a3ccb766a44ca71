"""A sweep of seconds on the digits, for tests of everything above the core."""

from typing import Any

from ml_collections import ConfigDict

from experiments import specs
from experiments.configs import quickstart
from experiments.configs import validate


def config(method: str = "lelp", trial: int = 0) -> ConfigDict:
  """The quickstart's config with the smallest models and few steps."""
  config = quickstart.get_config(f"method={method},trial={trial}")
  for fields in (config.teacher, config.student):
    fields.num_steps = 12
    fields.steps_per_chunk = 4
    fields.options.features = (8,)
  config.teacher.options.features = (16,)
  config.teacher.outputs = "inline"  # One compilation less.
  config.subspace.num_subclasses = 3
  config.sweep.num_trials = 2
  for split in range(2, 20):
    del config.sweep.columns[f"split{split}"]
  del config.sweep.methods.kmeans
  config.sweep.methods.vanilla.loss.temperature = (1.0, 2.0)
  config.sweep.methods.lelp.loss.temperature = (1.0,)
  config.sweep.methods.lelp.loss.subclass_temperature = (4.0,)
  config.sweep.methods.lelp.subspace.num_subclasses = (2, 3)
  return config


def cell(
  method: str = "lelp", trial: int = 0, **changes: Any
) -> specs.CellSpec:
  """A cell of this config, with changes such as `student__num_steps=1`.

  A double underscore stands for the dot of a field's name.
  """
  made = validate.cell_spec(config(method, trial))
  named = {name.replace("__", "."): x for name, x in changes.items()}
  return specs.replace(made, named)
