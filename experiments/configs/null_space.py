"""DOC null_space."""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import paper_table
from experiments.paper import tables


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: See `experiments.configs.paper_table.parse`; by default
      ``grid=one``; any ``column=`` of the paper will do.
  """
  given = paper_table.parse(arg, grid="one")
  table = tables.paper_table(3).columns
  columns = (given.column,) if given.column else [c.id for c in table]
  return paper_table.make_config(
    given,
    name="null_space",
    title="LELP with and without the projection off the head's span",
    columns={name: paper_table.column(name, given) for name in columns},
    rows={
      "lelp": {},
      "lelp_differences": {
        "method": "lelp",
        "subspace.null_space": "weight_differences",
      },
      "lelp_unprojected": {"method": "lelp", "subspace.null_space": "none"},
    },
    grid=_axes,
  )


def _axes(row: str, column: str, which: str) -> dict[str, tuple[Any, ...]]:
  del row
  return paper_table.axes("lelp", column, which)
