"""A sweep of seconds on the digits, for tests of everything above the core."""

from ml_collections import ConfigDict

from experiments.configs import quickstart


def config(method: str = "lelp", trial: int = 0) -> ConfigDict:
  """The quickstart's config with models and steps cut to the bone."""
  config = quickstart.get_config(f"method={method},trial={trial}")
  for fields in (config.teacher, config.student):
    fields.num_steps = 12
    fields.steps_per_chunk = 4
    fields.options.features = (8,)
  config.teacher.options.features = (16,)
  config.subspace.num_subclasses = 3
  config.sweep.num_trials = 2
  for split in range(2, 5):
    del config.sweep.columns[f"split{split}"]
  config.sweep.methods.vanilla.loss.temperature = (1.0, 2.0)
  config.sweep.methods.lelp.loss.temperature = (1.0,)
  config.sweep.methods.lelp.loss.subclass_temperature = (4.0,)
  config.sweep.methods.lelp.subspace.num_subclasses = (2, 3)
  return config
