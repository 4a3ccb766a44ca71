r"""Figure 6: data efficiency, convergence and few labels (appendix F).

Left: accuracy over the size of the distillation set, CIFAR-100-bin, ResNet-92
to ResNet-56, with a teacher that has seen all examples. In the paper LELP on
25 % is as good as standard training on 100 %. Middle: validation accuracy after
each epoch on all examples, from each cell's metrics.jsonl. Right: Table 5 as
curves over the number of labels. For the first two panels the paper prints no
numbers, sizes or settings (A-31): the settings are the paper's choices for this
pair where they are legible, and its grid elsewhere.

Cost of the left panel: 120 trainings of a student, 1 of a teacher; 6e8 examples
or 1e18 FLOP. The middle panel is the last column of the left one; the right
panel costs the same as Table 5.

  python -m experiments.sweep --workdir=runs/figure6 \
    --config=experiments/configs/figure6.py:panel=left

With `:smoke=True` it runs on made-up data in minutes.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs import paper_table
from experiments.configs import table5

_BINARY = "cifar100_bin-resnet92-resnet56"
_SHARES = (10, 25, 50, 75, 100)  # Percent; the paper does not list them.
_PANELS = ("left", "middle", "right")


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config that `paper_table.parse` describes.

  In addition ``panel=left``, ``middle`` or ``right`` chooses the panel. The
  first two have ``grid=chosen`` by default.
  """
  given = paper_table.parse(arg, panel="left", grid="chosen")
  base.one_of("panel", given.panel, _PANELS)
  if given.panel == "right":
    config = table5.get_config(_without_panel(arg))
    config.name = "figure6_right"
    config.title = config.title.replace("Table 5", "Figure 6, right")
    return config
  shares = _SHARES if given.panel == "left" else (100,)
  columns = [f"{_BINARY}-transfer{share}" for share in shares]
  return paper_table.make_config(
    given,
    name=f"figure6_{given.panel}",
    title=f"Figure 6, {given.panel}: CIFAR-100-bin",
    columns=columns,
    rows={"standard": {}, "vanilla": {}, "lelp": {}},
    grid=lambda row, _, which: paper_table.axes(row, _BINARY, which),
  )


def _without_panel(arg: str | None) -> str:
  items = (arg or "").split(",")
  return ",".join(item for item in items if not item.startswith("panel="))
