r"""Table 2: classification without subclass structure (section 4.3.2).

Sentiment and acceptability of texts. Teachers are ALBERTs; students are
ALBERT-Base or an MLP on Sentence-T5 embeddings. The paper's accuracies in
percent:

    Teacher  Standard      Vanilla KD    LELP
  lmrd-albert_large-albert_base
    90.19    87.68 ± 0.46  88.70 ± 0.17  89.22 ± 0.06
  glue_cola-albert_large-albert_base
    81.87    79.13 ± 0.79  80.50 ± 0.05  81.43 ± 0.47
  glue_sst2-albert_large-albert_base
    94.09    91.32 ± 0.12  92.39 ± 0.24  92.81 ± 0.36
  amazon_bin-albert_xxlarge-albert_base
    87.82    85.95 ± 0.09  86.76 ± 0.23  88.49 ± 0.36
  amazon_bin-albert_xxlarge-mlp
    87.82    87.83 ± 1.48  88.60 ± 0.1   91.76 ± 0.17
  amazon-albert_xxlarge-albert_base
    77.58    74.51 ± 0.32  75.13 ± 0.12  78.08 ± 0.81
  amazon-albert_xxlarge-mlp
    77.58    66.44 ± 0.23  72.30 ± 1.19  77.48 ± 0.43
  sentiment140_bin-albert_xlarge-albert_base
    87.29    85.82 ± 0.15  85.95 ± 0.17  87.00 ± 0.25

Cost: 29,112 trainings of a student, 702 of a teacher (Subclass Distillation
trains 696 of them); 3e10 examples or, at 128 tokens each, 2e21 FLOP. Run
one column at a time, and begin with `grid=chosen`.

  python -m experiments.sweep --workdir=runs/table2 --config=experiments/\
configs/table2.py:column=glue_cola-albert_large-albert_base

The MLP's columns read `config.data.embeddings`, by default
data/amazon_sentence_t5 and data/amazon_bin_sentence_t5, which `python -m
experiments.embed_sentence_t5` writes. With `:smoke=True` it runs on made-up
data in minutes.
"""

from experiments.configs import paper_table

get_config = paper_table.of_table(2)
