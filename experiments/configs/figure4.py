r"""Figure 4: t-SNE maps of the students' embeddings, CIFAR-10-bin.

Vanilla KD, LELP and the oracle distil a ResNet-92 into a ResNet-56, with the
hyperparameters that Tables 6 and 12 choose, one trial each. The first row of
maps is coloured by the two classes, the second by the ten original classes. The
paper's students reach 95.75, 96.71 and 97.17 % (Table 1).

Cost: 3 trainings of a student, 1 of a teacher; 3e7 examples or 7e16 FLOP.

  python -m experiments.sweep --workdir=runs/figure4 \
    --config=experiments/configs/figure4.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from ml_collections import ConfigDict

from experiments.configs import paper_table

_COLUMN = "cifar10_bin-resnet92-resnet56"


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config that `paper_table.parse` describes.

  By default ``grid=chosen`` and ``trials=1``.
  """
  given = paper_table.parse(arg, grid="chosen", trials=1)
  return paper_table.make_config(
    given,
    name="figure4",
    title="Figure 4: embeddings of students on CIFAR-10-bin",
    columns=[_COLUMN],
    rows={"vanilla": {}, "lelp": {}, "oracle": {}},
    maps=True,
  )
