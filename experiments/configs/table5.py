"""DOC table5."""

from ml_collections import ConfigDict

from experiments.configs import paper_table


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: See `experiments.configs.paper_table.parse`.
  """
  # from the labels that there are.
  own = {"standard": {"data.transfer": "labelled"}}
  return paper_table.paper_config(5, arg, own)
