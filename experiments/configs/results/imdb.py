r"""IMDb: MiniLM, fine-tuned for one epoch, into small text students.

Reviews are cut to 256 tokens, and the encoder keeps its whole vocabulary, which
reviews use. The data are prepared as for `clinc.py`:

  python -m experiments.sweep --workdir=runs/imdb-10 \
    --config=experiments/configs/results/imdb.py:share=10
"""

from ml_collections import ConfigDict

from experiments.configs.results import common


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of a sweep; the arguments are those of `common`."""
  given = common.parse(arg, share=10, encoder="minilm")
  return common.text_config(
    given,
    "lmrd",
    "IMDb",
    num_train=22_500,
    vocab_size=30_522,
    max_length=256,
    num_epochs=1.0,
  )
