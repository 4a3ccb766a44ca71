r"""Sensitivity of LELP to its hyperparameters.

Each row varies one hyperparameter and keeps the others at the paper's choice:
S, beta or tau over the grid of Table 12; the seed of the rotation independently
of the trial (A-9), to measure its share of the spread; or the weight of the
second term of the loss, the term within the classes (A-14).

Cost: 330 trainings of a student, 2 of a teacher; 2e9 examples or 2e19 FLOP,
most of it for SST-2.

  python -m experiments.sweep --workdir=runs/sensitivity --config=experiments/\
configs/sensitivity.py:column=cifar100_bin-resnet92-mobilenet

With `:smoke=True` it runs on made-up data in minutes.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import paper_table

_COLUMNS = (
  "cifar100_bin-resnet92-resnet56",
  "cifar100_bin-resnet92-mobilenet",
  "glue_sst2-albert_large-albert_base",
)
_AXES = {
  "lelp_num_subclasses": "subspace.num_subclasses",
  "lelp_subclass_temperature": "loss.subclass_temperature",
  "lelp_temperature": "loss.temperature",
  "lelp_rotation": "subspace.seed",
  "lelp_subclass_weight": "loss.subclass_weight",
}
_OWN: dict[str, tuple[Any, ...]] = {
  "subspace.seed": tuple(range(10)),
  "loss.subclass_weight": (0.0, 0.25, 0.5, 1.0, 2.0, 4.0),
}


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config that `paper_table.parse` describes.

  Any ``column=`` of the paper works.
  """
  given = paper_table.parse(arg)
  columns = (given.column,) if given.column else _COLUMNS
  return paper_table.make_config(
    given,
    name="sensitivity",
    title="How LELP depends on S, temperatures, rotation and the inner weight",
    columns=columns,
    rows={row: {"method": "lelp"} for row in _AXES},
    grid=_axes,
    smoke_values=2,
  )


def _axes(row: str, column: str, which: str) -> dict[str, tuple[Any, ...]]:
  """Returns all values of the axis that a row varies, and one of each other."""
  if row not in _AXES:
    return paper_table.axes(row, column, which)
  found = paper_table.axes("lelp", column, "one")
  if which != "one":
    whole = _OWN | paper_table.axes("lelp", column, "paper")
    found[_AXES[row]] = whole[_AXES[row]]
  return found
