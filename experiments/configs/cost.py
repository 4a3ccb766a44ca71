"""DOC cost."""

from ml_collections import ConfigDict

from experiments.configs import paper_table

_COLUMN = "cifar100_bin-resnet92-resnet56"


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: See `experiments.configs.paper_table.parse`; by default
      ``grid=one`` and ``trials=1``; any ``column=`` of the paper will do.
  """
  given = paper_table.parse(arg, grid="one", trials=1)
  name = given.column or _COLUMN
  config = paper_table.make_config(
    given,
    name="cost",
    title="What each method costs",
    columns={name: paper_table.column(name, given)},
    rows=paper_table.paper_rows(3),
    grid=paper_table.axes,
  )
  config.stack.max_cells = 1  # Each is measured on its own.
  return config
