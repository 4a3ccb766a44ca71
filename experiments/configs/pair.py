r"""Any pair of the paper's models with any method, trained as in the paper.

  python -m experiments.main --workdir=runs/sst2 --config=experiments/\
configs/pair.py:dataset=glue_sst2,teacher=albert_large,student=albert_base

The recipes of appendix H set the optimizer, learning rate, schedule, epochs,
batch size and augmentation of each model on each data set. Models that the
paper does not train have the recipe of a similar model. The data must have been
prepared (`python -m experiments.prepare`).

The cell has the paper's hyperparameters where they are legible. The sweep of
the same config (`experiments.sweep`) trains the method's grid of appendix H for
this column if the paper has one, and otherwise the values of the config.
`methods=all` runs every method, including the oracle if there are fine labels.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs import paper_table
from experiments.methods import METHODS
from experiments.paper import recipes


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config that `paper_table.parse` describes.

  ``dataset=``, ``teacher=`` and ``student=`` replace ``column=``.
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
      "config argument column follows from dataset, teacher and student: set "
      f"these instead, got {given.column!r}."
    )
  base.one_of("dataset", given.dataset, recipes.datasets())
  models = paper_table.models(given.dataset)
  for role in ("teacher", "student"):
    base.one_of(role, given[role], models)
  given.column = f"{given.dataset}-{given.teacher}-{given.student}"
  return paper_table.make_config(
    given,
    name="pair",
    title=given.column,
    columns=[given.column],
    rows={method: {} for method in METHODS},
    maps=True,
  )
