r"""Number of classes: CIFAR-100 merged into 2, 5, 10, 20 and 100 classes.

Standard training, vanilla KD and LELP, from ResNet-92 to ResNet-56. The twenty
classes are the published superclasses, and fewer classes are unions of these
(`experiments.data.load`). LELP's head has 100 or 200 outputs for every number
of classes.

Cost: 330 trainings of a student, 5 of a teacher; 3e9 examples or 5e18 FLOP.

  python -m experiments.sweep --workdir=runs/num_classes \
    --config=experiments/configs/num_classes.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import paper_table
from experiments.paper.names import parse_column

_COLUMN = "cifar100-resnet92-resnet56"
_NUM_CLASSES = (2, 5, 10, 20, 100)
_OUTPUTS = (100, 200)  # LELP's S * C.
_TEMPERATURES = (1.0, 2.0, 4.0)
_SUBCLASS_TEMPERATURES = (0.25, 0.5, 1.0)


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config that `paper_table.parse` describes."""
  given = paper_table.parse(arg)
  columns = [f"{_COLUMN}-merged{number}" for number in _NUM_CLASSES]
  return paper_table.make_config(
    given,
    name="num_classes",
    title="CIFAR-100 merged into fewer classes",
    columns=columns,
    rows={"standard": {}, "vanilla": {}, "lelp": {}},
    grid=_axes,
  )


def _axes(row: str, column: str, which: str) -> dict[str, tuple[Any, ...]]:
  """Returns temperatures, and S such that heads are equally wide for all C."""
  number = parse_column(column).num_merged
  axes: dict[str, tuple[Any, ...]] = {}
  if row != "standard":
    axes["loss.temperature"] = _TEMPERATURES
  if row == "lelp":
    axes["loss.subclass_temperature"] = _SUBCLASS_TEMPERATURES
    sizes = tuple(outputs // number for outputs in _OUTPUTS)
    axes["subspace.num_subclasses"] = sizes
  if which == "one":
    axes = {name: values[-1:] for name, values in axes.items()}
  return axes
