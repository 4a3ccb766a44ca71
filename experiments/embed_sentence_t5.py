r"""Embeds texts with Sentence-T5, once: the frozen teacher of spec A-33.

  pip install -e '.[t5]'
  python -m experiments.embed_sentence_t5 \
    --texts=data/imdb --output=data/imdb_sentence_t5

`--texts` is a prepared dataset, of which every split is embedded, or a table
(TSV, CSV, JSON lines, Parquet) with `--text_column`. Stopped and started again
it continues; the files are the same. `experiments.data.embeddings` says what
is in them. The default model has 4.9 billion parameters, T5-11B's encoder: in
bfloat16 a GPU of 24 GB holds it.
"""

from absl import flags

from experiments import cli
from experiments.data import sentence_t5
from experiments.data.embeddings_writer import write_embeddings
from experiments.distributed.signals import interrupts

_TEXTS = flags.DEFINE_string(
  "texts", None, "A prepared dataset or a table of texts.", required=True
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "Folder of the embeddings.", required=True
)
_TEXT_COLUMN = flags.DEFINE_string("text_column", None, "Of a table.")
_ID_COLUMN = flags.DEFINE_string(
  "id_column", None, "Of a table; by default an id is the row's number."
)
_MODEL = flags.DEFINE_string(
  "model",
  "sentence-transformers/sentence-t5-xxl",
  "A model of sentence-transformers: a hub id, or a folder.",
)
_REVISION = flags.DEFINE_string(
  "revision", None, "Branch, tag or commit of a model on the hub."
)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 64, "Texts at a time.", lower_bound=1
)
_MAX_LENGTH = flags.DEFINE_integer(
  "max_length",
  None,
  "Tokens a text is cut to; by default what the model says, 256.",
  lower_bound=1,
)
_DTYPE = flags.DEFINE_enum(
  "dtype",
  "bfloat16",
  ["bfloat16", "float32"],
  "What the encoder computes in; pooling and all behind it is in float32.",
)
_STORED_DTYPE = flags.DEFINE_enum(
  "stored_dtype", "float32", ["float32", "float16"], "What is written."
)
_DEVICE = flags.DEFINE_string(
  "device", None, 'Such as "cuda" or "cpu"; by default the best there is.'
)
flags.adopt_module_key_flags(cli)


def main(argv: list[str]) -> None:
  """Embeds the texts that the flags name."""
  cli.no_arguments(argv)
  with cli.reported():
    corpus = sentence_t5.read_corpus(
      cli.folder(_TEXTS.value), _TEXT_COLUMN.value, _ID_COLUMN.value
    )
    encoder = sentence_t5.sentence_transformer(
      _MODEL.value,
      revision=_REVISION.value,
      batch_size=_BATCH_SIZE.value,
      max_length=_MAX_LENGTH.value,
      dtype=_DTYPE.value,
      device=_DEVICE.value,
    )
    output = cli.folder(_OUTPUT.value)
    with interrupts() as signals:
      write_embeddings(
        output, corpus, encoder, dtype=_STORED_DTYPE.value, signals=signals
      )
    number, width = len(corpus.texts), encoder.width
    print(f"{number} embeddings of width {width} are in {output}.")


if __name__ == "__main__":
  cli.run(main)
