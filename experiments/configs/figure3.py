"""DOC figure3."""

from ml_collections import ConfigDict

from experiments.configs import paper_table

_COLUMNS = (
  "cifar100_bin-resnet92-resnet56",
  "cifar100_bin-resnet92-mobilenet",
)


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: See `experiments.configs.paper_table.parse`.
  """
  given = paper_table.parse(arg)
  return paper_table.make_config(
    given,
    name="figure3",
    title="Figure 3: clustering techniques on CIFAR-100-bin",
    columns={name: paper_table.column(name, given) for name in _COLUMNS},
    rows=paper_table.paper_rows(1),
    grid=paper_table.axes,
  )
