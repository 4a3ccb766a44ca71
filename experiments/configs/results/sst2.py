r"""SST-2: MiniLM, fine-tuned for one epoch, into small text students.

The data are prepared, and the encoder is reduced, as for `clinc.py`:

  python -m experiments.sweep --workdir=runs/sst2-10 \
    --config=experiments/configs/results/sst2.py:share=10
"""

from ml_collections import ConfigDict

from experiments.configs.results import common


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of a sweep; the arguments are those of `parse_text`."""
  given = common.parse_text(arg, share=10, encoder="minilm_sst2")
  return common.text_config(
    given,
    "glue_sst2",
    "SST-2",
    num_train=62_349,
    vocab_size=13_486,
    max_length=128,
    num_epochs=1.0,
  )
