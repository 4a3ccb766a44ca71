r"""Ensembles of random projections, compared with principal directions.

LELP, S random directions, and an ensemble in which the S directions form M
independent sets, each with a softmax of its own and 1/M of the class's
probability. The setting is that of Figure 5: CIFAR-100-bin, from ResNet-92 to
ResNet-56, tau = 2.

Cost: 90 trainings of a student, 1 of a teacher; 8e8 examples or 1e18 FLOP.

  python -m experiments.sweep --workdir=runs/random_ensembles \
    --config=experiments/configs/random_ensembles.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import paper_table

_COLUMN = "cifar100_bin-resnet92-resnet56"
_TEMPERATURE = 2.0  # That of Table 12 for this column.
_AXES: dict[str, tuple[Any, ...]] = {
  "loss.subclass_temperature": (0.25, 0.5, 1.0),
  "subspace.num_subclasses": (32, 64),
}
_NUM_PROJECTIONS = (2, 4, 8)


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config that `paper_table.parse` describes."""
  given = paper_table.parse(arg)
  lelp = {"method": "lelp", "loss.temperature": _TEMPERATURE}
  return paper_table.make_config(
    given,
    name="random_ensembles",
    title="LELP, a random projection, and ensembles of random projections",
    columns=[_COLUMN],
    rows={
      "lelp": lelp,
      "lelp_random": {**lelp, "subspace.kind": "random"},
      "lelp_random_ensemble": {**lelp, "method": "random_ensemble"},
    },
    grid=_axes,
  )


def _axes(row: str, column: str, which: str) -> dict[str, tuple[Any, ...]]:
  if not row.startswith("lelp"):
    return paper_table.axes(row, column, which)
  axes = dict(_AXES)
  if row == "lelp_random_ensemble":
    axes["subspace.num_projections"] = _NUM_PROJECTIONS
  if which == "one":
    axes = {name: values[:1] for name, values in axes.items()}
  return axes
