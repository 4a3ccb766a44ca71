r"""Figure 1a: all methods on Amazon Reviews and Sentiment140, as bars.

These are two columns of Table 2. The paper's accuracies in percent:

    Teacher  Standard      Vanilla KD    LELP
  amazon-albert_xxlarge-albert_base
    77.58    74.51 ± 0.32  75.13 ± 0.12  78.08 ± 0.81
  sentiment140_bin-albert_xlarge-albert_base
    87.29    85.82 ± 0.15  85.95 ± 0.17  87.00 ± 0.25

Cost: 8,142 trainings of a student, 272 of a teacher; 1e10 examples or, at 128
tokens each, 1e21 FLOP.

  python -m experiments.sweep --workdir=runs/figure1a \
    --config=experiments/configs/figure1a.py

With `:smoke=True` it runs on made-up data in minutes.
"""

from experiments.configs import paper_table

get_config = paper_table.of_table(
  2,
  name="figure1a",
  title="Figure 1a: Amazon Reviews and Sentiment140",
  columns=(
    "amazon-albert_xxlarge-albert_base",
    "sentiment140_bin-albert_xlarge-albert_base",
  ),
)
