r"""Converts a published data set into the form that training reads.

  python -m experiments.prepare \
    --dataset=glue_sst2 --source=downloads/SST-2.zip --data_dir=data \
    --tokenizer=albert/albert-base-v2

An interrupted preparation leaves nothing behind, and the same command begins
again. If the data set is already prepared, the command verifies the checksum of
every file.
"""

from absl import flags

from experiments import cli
from experiments.data.datasets import DATASETS
from experiments.data.prepare import prepare
from experiments.data.prepared import describe
from experiments.data.tokenizer import load_tokenizer
from experiments.data.tokenizer import Tokenization

_DATASET = flags.DEFINE_string(
  "dataset",
  None,
  f"The data set to prepare: {', '.join(DATASETS)}.",
  required=True,
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of prepared data sets.", required=True
)
_SOURCE = flags.DEFINE_string(
  "source",
  None,
  "The original files, their folder or archive, or a folder of TFDS; by "
  "default the data set that TFDS prepared in --data_dir or its own folder.",
)
_PARTIAL = flags.DEFINE_bool(
  "partial", False, "Accept fewer examples than the published number."
)
_TOKENIZER = flags.DEFINE_string(
  "tokenizer",
  None,
  "Tokenizer of texts: a tokenizer.json, a spiece.model, a folder with one of "
  "them, or the id of a model on the Hugging Face hub. By default texts are "
  "stored without tokens.",
)
_MAX_LENGTH = flags.DEFINE_integer(
  "max_length",
  None,
  "Maximum number of tokens of a text; by default that of the data set.",
)
_OPTIONS = {
  "seed": flags.DEFINE_integer(
    "seed", None, "Seed of sentiment140_bin's split and Amazon's shuffling."
  ),
  "sampling": flags.DEFINE_enum(
    "amazon_sampling",
    None,
    ["paper", "shuffled"],
    "Order in which Amazon's quotas are filled (A-29).",
  ),
  "text": flags.DEFINE_enum(
    "amazon_text",
    None,
    ["headline_and_body", "body"],
    "Part of an Amazon review that models read (A-32).",
  ),
}


def main() -> None:
  """Prepares the data set that the flags describe."""
  with cli.reported():
    tokenization = None
    if _TOKENIZER.value is not None:
      tokenizer = load_tokenizer(_TOKENIZER.value)
      tokenization = Tokenization(tokenizer, _MAX_LENGTH.value)
    elif _MAX_LENGTH.value is not None:
      raise ValueError("--max_length needs --tokenizer.")
    given = {name: holder.value for name, holder in _OPTIONS.items()}
    prepared = prepare(
      _DATASET.value,
      data_dir=_DATA_DIR.value,
      source=_SOURCE.value,
      tokenization=tokenization,
      partial=_PARTIAL.value,
      options={k: value for k, value in given.items() if value is not None},
    )
    print(describe(prepared, DATASETS[_DATASET.value].published))


if __name__ == "__main__":
  cli.run(main)
