r"""LELP with and without the projection off the head's weights.

Three variants of LELP: its directions are orthogonal to all weights of the head
(the paper), to the differences of the weights, which alone affect a softmax
(A-3), or to nothing. In each result `null_space_share` is the fraction of each
class's variance that remains after the projection, and `variance_share` the
fraction along the directions.

Cost: 54 trainings of a student, 4 of a teacher; 5e8 examples or 5e17 FLOP.

  python -m experiments.sweep --workdir=runs/null_space \
    --config=experiments/configs/null_space.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import paper_table
from experiments.paper import tables


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config that `paper_table.parse` describes.

  By default ``grid=one``; any ``column=`` of the paper works.
  """
  given = paper_table.parse(arg, grid="one")
  table = tables.paper_table(3).columns
  columns = (given.column,) if given.column else [c.id for c in table]
  return paper_table.make_config(
    given,
    name="null_space",
    title="LELP with and without the projection off the head's span",
    columns=columns,
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
  own = row.startswith("lelp")
  return paper_table.axes("lelp" if own else row, column, which)
