r"""Cost of each method, next to its accuracy.

One cell of each method of Table 3, each trained on its own. The field `seconds`
of `result.json` holds the times of the teacher's training, of the moments of
its embeddings, of the preparation before the first step (clusters, subspaces,
projections) and of one step. The report adds the numbers of parameters of the
student and of the loss. All methods share one teacher, except Subclass
Distillation, which trains one per setting.

Cost: 14 trainings of a student, 2 of a teacher; 1e8 examples or 3e17 FLOP.

  python -m experiments.sweep --workdir=runs/cost \
    --config=experiments/configs/cost.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from ml_collections import ConfigDict

from experiments.configs import paper_table

_COLUMN = "cifar100_bin-resnet92-resnet56"


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config that `paper_table.parse` describes.

  By default ``grid=one`` and ``trials=1``; any ``column=`` of the paper works.
  """
  given = paper_table.parse(arg, grid="one", trials=1)
  name = given.column or _COLUMN
  config = paper_table.make_config(
    given,
    name="cost",
    title="Cost of each method",
    columns=[name],
    rows=paper_table.paper_rows(3),
  )
  config.stack.max_cells = 1  # Each cell is measured on its own.
  return config
