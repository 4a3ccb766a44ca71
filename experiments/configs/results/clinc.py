r"""CLINC150: MiniLM, fine-tuned to a few classes, into small text students.

The classes are made of 150 intents, which no method but the oracle sees. The
columns are teachers that differ in their seed. Each sweep has one task, one
student, and one share of the teacher's training examples that students see.

  python -m experiments.reduce_vocabulary --model=MINILM \
    --texts=data_minilm/clinc_parity --output=minilm_clinc
  python -m experiments.prepare --dataset=clinc_parity --source=clinc150 \
    --tokenizer=minilm_clinc
  python -m experiments.sweep --workdir=runs/clinc/parity-15 \
    --teacher_dir=runs/clinc/teachers \
    --config=experiments/configs/results/clinc.py:task=parity,share=15

MINILM is sentence-transformers/all-MiniLM-L6-v2. RESULTS.md has the numbers.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.results import common

_TASKS = ("parity", "domain2", "domain5")
_NUM_TRAIN = 16_200  # Without the held-out examples.
_VOCABULARY = 7_529  # Size after reduce_vocabulary.


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of a sweep.

  Args:
    arg: ``task=`` parity, domain2 or domain5, and the arguments of
      `common.parse_text`.
  """
  given = common.parse_text(arg, task="parity", encoder="minilm_clinc")
  base.one_of("task", given.task, _TASKS)
  return common.text_config(
    given,
    f"clinc_{given.task}",
    f"CLINC150 {given.task}",
    num_train=_NUM_TRAIN,
    vocab_size=_VOCABULARY,
    max_length=40,
    num_epochs=2.0,
  )
