"""CoLA (acceptable sentences) and SST-2 (positive sentences) of GLUE.

GLUE's test splits have no labels. The test examples are therefore GLUE's
validation splits, as they most likely were in the paper (A-27).

The training examples of SST-2 are sentences and phrases of these sentences. A
sentence and its phrases are held out together (A-37).
"""

from collections.abc import Sequence

from experiments.data import originals
from experiments.data.dataset import Task

_WHERE = "they are at https://gluebenchmark.com/tasks"
_NOTES = (
  "the test split is GLUE's validation split, as its test split has no labels "
  "(A-27)",
)
_LABELS = ("0", "1")
_SPLITS = {"train": ("train.tsv",), "test": ("dev.tsv",)}
_COLA_COLUMNS = {"text_column": 3, "label_column": 1, "header": False}


def sentences(texts: Sequence[str]) -> list[int]:
  """Returns the number of the sentence to which each phrase belongs.

  A phrase belongs to the longest text (in words) that contains its words in a
  row, and to the first such text if several are equally long. If a sentence is
  not one of the texts, each of its phrases that no other text contains counts
  as a sentence.

  >>> sentences(["a dull", "a dull film", "film", "a fine film", "a dull"])
  [0, 0, 0, 1, 0]
  """
  words = [tuple(text.split()) for text in texts]
  phrases = set(words)
  sentence_of: dict[tuple[str, ...], int] = {}
  num_sentences = 0
  # From the longest text to the shortest: a text without a sentence is a new
  # sentence, and all texts that it contains belong to it.
  for phrase in sorted(dict.fromkeys(words), key=len, reverse=True):
    if phrase in sentence_of:
      continue
    for start in range(len(phrase)):
      for end in range(start + 1, len(phrase) + 1):
        if (part := phrase[start:end]) in phrases:
          sentence_of.setdefault(part, num_sentences)
    sentence_of.setdefault(phrase, num_sentences)  # For a text without words.
    num_sentences += 1
  return [sentence_of[phrase] for phrase in words]


COLA = originals.Dataset(
  task=Task(
    name="glue_cola",
    num_classes=2,
    class_names=("unacceptable", "acceptable"),
  ),
  forms=(
    originals.table_form(
      "CoLA of GLUE",
      _SPLITS,
      _LABELS,
      _COLA_COLUMNS,
      folders=("", "CoLA"),
      archive="CoLA.zip",
      notes=_NOTES,
    ),
    # The authors' two validation files together are GLUE's validation split.
    originals.table_form(
      "CoLA as its authors published it",
      {
        "train": ("in_domain_train.tsv",),
        "test": ("in_domain_dev.tsv", "out_of_domain_dev.tsv"),
      },
      _LABELS,
      _COLA_COLUMNS,
      folders=("", "raw", "cola_public/raw"),
      archive="cola_public_1.1.zip",
      notes=_NOTES,
    ),
  ),
  tfds=("glue/cola",),
  read_tfds=originals.tfds_reader(
    "glue/cola", content={"text": "sentence"}, test="validation", notes=_NOTES
  ),
  published={"train": (2528, 6023), "test": (324, 719)},
  where=_WHERE,
  max_length=128,
)

SST2 = originals.Dataset(
  task=Task(
    name="glue_sst2", num_classes=2, class_names=("negative", "positive")
  ),
  forms=(
    originals.table_form(
      "SST-2 of GLUE",
      _SPLITS,
      _LABELS,
      {"text_column": "sentence", "label_column": "label"},
      folders=("", "SST-2"),
      archive="SST-2.zip",
      notes=_NOTES,
    ),
  ),
  tfds=("glue/sst2",),
  read_tfds=originals.tfds_reader(
    "glue/sst2", content={"text": "sentence"}, test="validation", notes=_NOTES
  ),
  published={"train": (29_780, 37_569), "test": (428, 444)},
  where=_WHERE,
  max_length=128,
  groups=sentences,
)
