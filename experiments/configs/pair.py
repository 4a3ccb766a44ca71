r"""Any of the paper's pairs with any method, in the paper's own recipe.

  python -m experiments.main --workdir=runs/sst2 --config=experiments/\
configs/pair.py:dataset=glue_sst2,teacher=albert_large,student=albert_base

Recipes are those of appendix H (spec 5): optimizer, rate, schedule, epochs,
batch size and augmentation of each model on each dataset. The data must have
been prepared (`python -m experiments.prepare`). Models and datasets that the
paper does not pair take the recipe of their architecture.

The cell has the paper's hyperparameters where they are legible. The sweep,
`experiments.sweep` with the same config, is the method's grid of appendix H
for this column where the paper has one, else the config's values;
`methods=all` runs every method, the oracle where there are fine labels.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs import paper_table
from experiments.data.datasets import DATASETS
from experiments.methods import METHODS


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of one cell, with the sweep in `config.sweep`.

  Args:
    arg: ``dataset=``, ``teacher=``, ``student=``, and what
      `experiments.configs.paper_table.parse` says, without ``column=``.

  Raises:
    ValueError: If an argument cannot be.
  """
  given = paper_table.parse(
    arg,
    dataset="cifar10_bin",
    teacher="resnet92",
    student="resnet56",
    method="lelp",
  )
  if given.column:
    raise ValueError(
      "config argument column is made of dataset, teacher and student: set "
      f"these, got {given.column!r}."
    )
  base.one_of("dataset", given.dataset, DATASETS)
  models = paper_table.models(given.dataset)
  for role in ("teacher", "student"):
    base.one_of(role, given[role], models)
  given.column = f"{given.dataset}-{given.teacher}-{given.student}"
  return paper_table.make_config(
    given,
    name="pair",
    title=given.column,
    columns={given.column: paper_table.column(given.column, given)},
    rows={method: {} for method in METHODS},
    grid=paper_table.axes,
  )
