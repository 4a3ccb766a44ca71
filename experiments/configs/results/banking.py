r"""Banking77: MiniLM, fine-tuned to two classes, into small text students.

The classes are the parity of 77 intents, which no method but the oracle sees.
The data are prepared, and the encoder is reduced, as for `clinc.py`:

  python -m experiments.sweep --workdir=runs/banking-15 \
    --config=experiments/configs/results/banking.py:share=15
"""

from ml_collections import ConfigDict

from experiments.configs.results import common


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of a sweep; the arguments are those of `parse_text`."""
  given = common.parse_text(arg, encoder="minilm_banking")
  return common.text_config(
    given,
    "banking_parity",
    "Banking77 parity",
    num_train=9_003,
    vocab_size=4_354,
    max_length=128,
    num_epochs=3.0,
  )
