r"""IMDb: MiniLM, fine-tuned for half an epoch, into small text students.

Reviews are cut to 256 tokens, when they are prepared. The teacher and its
outputs take two hours on two cores. The encoder keeps its whole vocabulary,
which reviews use. The data are prepared as for `clinc.py`:

  python -m experiments.sweep --workdir=runs/imdb-10 \
    --teacher_dir=runs/teachers \
    --config=experiments/configs/results/imdb.py:share=10

The student `mlp` is a small version of the paper's MLP over Sentence-T5: it
reads embeddings of the published MiniLM, without fine-tuning. These are means
over the tokens, scaled to unit length. With the extra `t5` they are computed
once, in half an hour:

  python -m experiments.embed_sentence_t5 --texts=data/lmrd --model=MINILM \
    --dtype=float32 --output=data/lmrd_minilm
  python -m experiments.sweep --workdir=runs/imdb-10-mlp \
    --teacher_dir=runs/teachers \
    --config=experiments/configs/results/imdb.py:share=10,student=mlp
"""

from ml_collections import ConfigDict

from experiments.configs.results import common


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of a sweep.

  Args:
    arg: The arguments of `common.parse_text`.
  """
  given = common.parse_text(arg, share=10, encoder="minilm")
  config = common.text_config(
    given,
    "lmrd",
    "IMDb",
    num_train=22_500,
    vocab_size=30_522,
    max_length=256,
    num_epochs=0.5,
  )
  # A step takes seconds on two cores, so there is a checkpoint halfway.
  config.teacher.steps_per_chunk = 176
  # The attention over long texts is faster in batches that fit into the cache.
  config.teacher.eval_batch_size = 16
  return config
