r"""Figure 3: clustering techniques on CIFAR-100-bin, as bars.

These are two columns of Table 1: (a) ResNet-56 and (b) MobileNet as the
student, with the oracle at the left and the teacher as a line. The paper's
accuracies in percent:

    Teacher  Oracle        Vanilla KD    LELP
  cifar100_bin-resnet92-resnet56
    78.69    86.42 ± 0.11  72.87 ± 0.27  79.91 ± 0.15
  cifar100_bin-resnet92-mobilenet
    78.69    76.59 ± 0.60  72.16 ± 0.39  75.21 ± 0.12

Cost: 2,418 trainings of a student, 1 of a teacher; 2e10 examples or 3e19 FLOP.

  python -m experiments.sweep --workdir=runs/figure3 \
    --config=experiments/configs/figure3.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from experiments.configs import paper_table

get_config = paper_table.of_table(
  1,
  name="figure3",
  title="Figure 3: clustering techniques on CIFAR-100-bin",
  columns=(
    "cifar100_bin-resnet92-resnet56",
    "cifar100_bin-resnet92-mobilenet",
  ),
)
