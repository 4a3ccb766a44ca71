r"""Table 1: clusterings that define pseudo-subclasses (section 4.2).

Six pairs on the parity of CIFAR's labels. Hard targets from agglomerative,
k-means and t-SNE & k-means clusters of the teacher's embeddings are compared
with LELP, vanilla KD and the oracle. The paper's accuracies in percent, with
their spread over three trials (A-28):

    Teacher  Oracle        Vanilla KD    LELP
  cifar10_bin-resnet92-resnet56
    96.70    97.17 ± 0.02  95.75 ± 0.21  96.71 ± 0.04
  cifar10_bin-resnet92-mobilenet
    96.70    93.23 ± 0.28  92.91 ± 0.17  93.99 ± 0.17
  cifar10_bin-mobilenet_wd2-mobilenet
    93.90    93.48 ± 0.05  92.79 ± 0.3   93.03 ± 0.10
  cifar100_bin-resnet92-resnet56
    78.69    86.42 ± 0.11  72.87 ± 0.27  79.91 ± 0.15
  cifar100_bin-resnet92-mobilenet
    78.69    76.59 ± 0.60  72.16 ± 0.39  75.21 ± 0.12
  cifar100_bin-mobilenet_wd2-mobilenet
    72.63    77.03 ± 0.1   71.45 ± 0.59  72.38 ± 0.24

Cost: 4,716 trainings of a student, 4 of a teacher, 200 epochs of 45,000 images
each; 4e10 examples or 4e19 FLOP.

  python -m experiments.sweep --workdir=runs/table1 \
    --config=experiments/configs/table1.py

Table 3 has the same columns with other rows. With `:smoke=True` it runs on
made-up data in minutes.
"""

from experiments.configs import paper_table

get_config = paper_table.of_table(1)
