r"""CoLA: MiniLM, fine-tuned, into small text students.

MiniLM is a weak teacher here: it was trained to know what a sentence means, not
whether it is grammatical. The data are prepared, and the encoder is reduced, as
for `clinc.py`:

  python -m experiments.sweep --workdir=runs/cola \
    --config=experiments/configs/results/cola.py
"""

from ml_collections import ConfigDict

from experiments.configs.results import common


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of a sweep; the arguments are those of `common`."""
  given = common.parse(arg, share=100, encoder="minilm_cola")
  config = common.text_config(
    given, "glue_cola", num_train=7_696, vocab_size=7_519
  )
  config.title = (
    f"CoLA, {given.share} % of the data, {common.STUDENTS[given.student]}"
  )
  config.data.max_length = 128
  config.teacher.num_epochs = 3.0
  return config
