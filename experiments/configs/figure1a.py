"""DOC figure1a."""

from ml_collections import ConfigDict

from experiments.configs import paper_table

_COLUMNS = (
  "amazon-albert_xxlarge-albert_base",
  "sentiment140_bin-albert_xlarge-albert_base",
)


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: See `experiments.configs.paper_table.parse`.
  """
  given = paper_table.parse(arg)
  return paper_table.make_config(
    given,
    name="figure1a",
    title="Figure 1a: Amazon Reviews and Sentiment140",
    columns={name: paper_table.column(name, given) for name in _COLUMNS},
    rows=paper_table.paper_rows(2),
    grid=paper_table.axes,
  )
