r"""Table 4: classification with ten and a hundred classes (appendix E).

CIFAR-10 and CIFAR-100 with their own labels. The paper's accuracies in
percent:

    Teacher  Standard      Vanilla KD    LELP
  cifar10-resnet92-mobilenet
    94.94    84.86 ± 0.11  86.45 ± 0.21  88.02 ± 0.19
  cifar100-resnet92-mobilenet
    75.55    53.15 ± 0.21  56.20 ± 0.11  61.98 ± 0.08

Cost: 4,290 trainings of a student, 146 of a teacher (Subclass Distillation
trains 144 of them), 200 epochs of 45,000 images each; 4e10 examples or 3e19
FLOP. CRD and DKD are not in the paper's table: `methods=paper+crd+dkd`.

  python -m experiments.sweep --workdir=runs/table4 \
    --config=experiments/configs/table4.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from experiments.configs import paper_table

get_config = paper_table.of_table(4)
