r"""CoLA: MiniLM, fine-tuned, into small text students.

MiniLM is a weak teacher here: it was trained on what sentences mean, not on
whether they are grammatical. The data are prepared, and the encoder is reduced,
as for `clinc.py`:

  python -m experiments.sweep --workdir=runs/cola \
    --config=experiments/configs/results/cola.py
"""

from ml_collections import ConfigDict

from experiments.configs.results import common


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of a sweep; the arguments are those of `parse_text`."""
  given = common.parse_text(arg, share=100, encoder="minilm_cola")
  return common.text_config(
    given,
    "glue_cola",
    "CoLA",
    num_train=7_696,
    vocab_size=7_519,
    max_length=128,
    num_epochs=3.0,
  )
