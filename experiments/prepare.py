r"""Brings a dataset into the form that training reads, once.

  python -m experiments.prepare \
    --dataset=glue_sst2 --source=downloads/SST-2.zip --data_dir=data \
    --tokenizer=albert/albert-base-v2

Started again it continues where it was interrupted; what is prepared is kept.
"""

from absl import flags

from experiments import cli
from experiments.data import preparation
from experiments.data.datasets import DATASETS
from experiments.data.summary import summary
from experiments.data.tokenizer import load_tokenizer

_DATASET = flags.DEFINE_string(
  "dataset",
  None,
  f"What to prepare: {', '.join(DATASETS)}.",
  required=True,
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of prepared datasets.", required=True
)
_SOURCE = flags.DEFINE_string(
  "source",
  None,
  "The original files, their archive, the folder they are in, or TFDS's; by "
  "default what TFDS prepared in --data_dir or its own folder.",
)
_PARTIAL = flags.DEFINE_bool(
  "partial", False, "Accept a part of the published examples."
)
_TOKENIZER = flags.DEFINE_string(
  "tokenizer",
  None,
  "Of texts: a tokenizer.json, a spiece.model, the folder of one, or a model "
  "of the Hugging Face hub. Without it the texts are kept as they are.",
)
_MAX_LENGTH = flags.DEFINE_integer(
  "max_length", None, "Most tokens of a text; by default the dataset's."
)
_OPTIONS = {
  "seed": flags.DEFINE_integer(
    "seed", None, "Of sentiment140_bin's split and Amazon's shuffling."
  ),
  "sampling": flags.DEFINE_enum(
    "amazon_sampling",
    None,
    ["paper", "shuffled"],
    "In which order Amazon's quotas are filled (A-29).",
  ),
  "text": flags.DEFINE_enum(
    "amazon_text",
    None,
    ["headline_and_body", "body"],
    "What is read of an Amazon review (A-32).",
  ),
}


def main(argv: list[str]) -> None:
  """Prepares the dataset that the flags describe."""
  cli.no_arguments(argv)
  with cli.reported():
    tokenization = None
    if _TOKENIZER.value is not None:
      tokenizer = load_tokenizer(_TOKENIZER.value)
      tokenization = preparation.Tokenization(tokenizer, _MAX_LENGTH.value)
    elif _MAX_LENGTH.value is not None:
      raise ValueError("--max_length needs a --tokenizer.")
    given = {name: holder.value for name, holder in _OPTIONS.items()}
    options = {k: value for k, value in given.items() if value is not None}
    found = preparation.prepare(
      _DATASET.value,
      data_dir=_DATA_DIR.value,
      source=_SOURCE.value,
      tokenization=tokenization,
      partial=_PARTIAL.value,
      options=options,
    )
    print(summary(found, DATASETS[_DATASET.value].published))


if __name__ == "__main__":
  cli.run(main)
