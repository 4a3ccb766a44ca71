"""DOC figure4."""

from ml_collections import ConfigDict

from experiments.configs import paper_table

_COLUMN = "cifar10_bin-resnet92-resnet56"


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: See `experiments.configs.paper_table.parse`; by default
      ``grid=chosen`` and ``trials=1``.
  """
  given = paper_table.parse(arg, grid="chosen", trials=1)
  return paper_table.make_config(
    given,
    name="figure4",
    title="Figure 4: embeddings of students on CIFAR-10-bin",
    columns={_COLUMN: paper_table.column(_COLUMN, given)},
    rows={"vanilla": {}, "lelp": {}, "oracle": {}},
    grid=paper_table.axes,
  )
