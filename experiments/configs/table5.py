r"""Table 5: semi-supervised distillation (appendix F.1).

CIFAR-100 with 10,000, 15,000 and 20,000 labels for the teacher. Its outputs on
all training images teach the student. The paper's accuracies in percent:

    Teacher  Standard      Vanilla KD    LELP
  cifar100-resnet92-mobilenet-10000
    51.08    44.49 ± 0.82  44.49 ± 0.82  49.95 ± 0.22
  cifar100-resnet92-mobilenet-15000
    59.43    48.31 ± 0.90  48.31 ± 0.90  55.07 ± 0.09
  cifar100-resnet92-mobilenet-20000
    64.16    50.92 ± 0.04  50.92 ± 0.04  57.90 ± 0.16

The paper's Standard row repeats Vanilla KD (A-36); here standard training sees
only the labelled images. Grids are CIFAR-100's (A-31).

Cost: 6,435 trainings of a student, 219 of a teacher (Subclass Distillation
trains 216 of them), 200 epochs of 45,000 images each; 6e10 examples or 4e19
FLOP.

  python -m experiments.sweep --workdir=runs/table5 \
    --config=experiments/configs/table5.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from experiments.configs import paper_table

# Standard training sees only the labelled examples.
_OWN = {"standard": {"data.transfer": "labelled"}}
get_config = paper_table.of_table(5, own=_OWN)
