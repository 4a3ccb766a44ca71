r"""Table 3: binary classification with subclass structure (section 4.3.1).

All methods on the parity of CIFAR's labels. The paper's accuracies in percent:

    Teacher  Standard      Vanilla KD    LELP
  cifar10_bin-resnet92-resnet56
    96.70    95.43 ± 0.07  95.75 ± 0.21  96.71 ± 0.04
  cifar10_bin-resnet92-mobilenet
    96.70    92.04 ± 0.26  92.91 ± 0.17  93.99 ± 0.17
  cifar10_bin-mobilenet_wd2-mobilenet
    93.90    92.13 ± 0.17  92.79 ± 0.3   93.03 ± 0.1
  cifar100_bin-resnet92-resnet56
    78.69    74.80 ± 0.52  72.87 ± 0.27  79.91 ± 0.15
  cifar100_bin-resnet92-mobilenet
    78.69    69.13 ± 0.32  72.16 ± 0.39  75.21 ± 0.12
  cifar100_bin-mobilenet_wd2-mobilenet
    72.63    68.84 ± 0.97  71.45 ± 0.59  72.38 ± 0.24

Cost: 25,254 trainings of a student (648 of DKD do not run: with two classes
it is vanilla KD), 616 of a teacher (Subclass Distillation trains 612 of them),
200 epochs of 45,000 images each; 2e11 examples or 2e20 FLOP.

  python -m experiments.sweep --workdir=runs/table3 \
    --config=experiments/configs/table3.py

One cell, with the paper's choice of hyperparameters where that is legible
(A-38):

  python -m experiments.main --workdir=runs/one --config=experiments/configs/\
table3.py:column=cifar100_bin-resnet92-mobilenet,method=lelp

With `:smoke=True` it runs on made-up data in minutes.
"""

from experiments.configs import paper_table

get_config = paper_table.of_table(3)
