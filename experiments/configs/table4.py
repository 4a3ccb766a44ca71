"""DOC table4."""

from ml_collections import ConfigDict

from experiments.configs import paper_table


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: See `experiments.configs.paper_table.parse`.
  """
  return paper_table.paper_config(4, arg)
