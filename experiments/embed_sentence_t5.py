r"""Computes Sentence-T5 embeddings of texts, once.

  pip install -e '.[t5]'
  python -m experiments.embed_sentence_t5 \
    --texts=data/amazon --output=data/amazon_sentence_t5

Students that read embeddings, such as the MLP on Sentence-T5 in the paper's
tables, train on them with `--config.data.embeddings=data/amazon_sentence_t5`.

`--texts` is a prepared data set, all splits of which are embedded, or a table
(TSV, CSV, JSON lines, Parquet) with `--text_column`. An interrupted computation
continues when the command is run again. If the embeddings are finished, the
command verifies them. `experiments.data.embeddings` describes the files.

The default model is the encoder of T5-11B with 4.9 billion parameters (A-33).
In bfloat16 it fits on a GPU with 24 GB. `--model` takes any other model of
sentence-transformers. all-MiniLM-L6-v2, for example, is small enough for a CPU
(`--dtype=float32`).
"""

from absl import flags

from experiments import cli
from experiments.data import embeddings
from experiments.distributed import signals

_TEXTS = flags.DEFINE_string(
  "texts", None, "A prepared data set or a table of texts.", required=True
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "Folder of the embeddings.", required=True
)
_TEXT_COLUMN = flags.DEFINE_string(
  "text_column", None, "The table's column of texts."
)
_ID_COLUMN = flags.DEFINE_string(
  "id_column",
  None,
  "The table's column of ids. By default the id is the row number.",
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
  "batch_size", 64, "Number of texts in a batch.", lower_bound=1
)
_MAX_LENGTH = flags.DEFINE_integer(
  "max_length",
  None,
  "Maximum number of tokens of a text; by default the model's setting.",
  lower_bound=1,
)
_DTYPE = flags.DEFINE_enum(
  "dtype",
  "bfloat16",
  ["bfloat16", "float32"],
  "Dtype of the encoder. Pooling and later layers run in float32.",
)
_STORED_DTYPE = flags.DEFINE_enum(
  "stored_dtype", "float32", ["float32", "float16"], "Dtype on disk."
)
_DEVICE = flags.DEFINE_string(
  "device", None, 'Device such as "cuda" or "cpu"; by default the fastest one.'
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  """Embeds the texts that the flags name."""
  with cli.reported():
    corpus = embeddings.read_corpus(
      cli.folder(_TEXTS.value), _TEXT_COLUMN.value, _ID_COLUMN.value
    )
    encoder = embeddings.sentence_transformer(
      _MODEL.value,
      revision=_REVISION.value,
      batch_size=_BATCH_SIZE.value,
      max_length=_MAX_LENGTH.value,
      dtype=_DTYPE.value,
      device=_DEVICE.value,
    )
    output = cli.folder(_OUTPUT.value)
    with signals.deferred():
      embeddings.compute_embeddings(
        output, corpus, encoder, dtype=_STORED_DTYPE.value
      )
    number, width = len(corpus.texts), encoder.width
    print(f"{number} embeddings of width {width} are in {output}.")


if __name__ == "__main__":
  cli.run(main)
