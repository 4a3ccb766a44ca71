"""The Large Movie Review Dataset: positive and negative reviews of films.

Maas et al. 2011. Its 50,000 reviews without labels are not used.

A film has up to 30 reviews, and no film has both training and test reviews. The
examples do not name the film, but within a class the published reviews are
numbered film by film. Reviews are therefore held out in parts of consecutive
reviews, so that few films have both held-out and training reviews of the same
class (A-37). TFDS shuffles the reviews, so that parts of its reviews are
random.
"""

import pathlib
from collections.abc import Mapping
from collections.abc import Sequence

from experiments.data import originals
from experiments.data import tables
from experiments.data.dataset import Task
from experiments.io.progress import tracked

_CLASSES = ("neg", "pos")
_SPLITS = ("train", "test")
_NUM_PARTS = 500  # Each part has 50 consecutive reviews of one class.


def _read_folders(paths: Mapping[str, pathlib.Path]) -> originals.Raw:
  """Reads one file per review: negative reviews first, sorted by number."""
  splits = {}
  for split in _SPLITS:
    files = [
      (path, label)
      for label, folder in enumerate(_CLASSES)
      for path in sorted(paths[f"{split}/{folder}"].glob("*.txt"), key=_number)
    ]
    texts = []
    for path, _ in tracked(files, label=f"reading {split}", unit="review"):
      with tables.reading(path):
        texts.append(path.read_bytes().decode())
    splits[split] = {"text": texts, "label": [label for _, label in files]}
  return originals.Raw(splits)


def _number(path: pathlib.Path) -> tuple[int, str]:
  """Returns the key to sort files by: for "12_8.txt" the number 12."""
  number = path.name.partition("_")[0]
  return (int(number) if number.isdecimal() else -1, path.name)


def parts(texts: Sequence[str]) -> list[int]:
  """Returns the number of the part to which each review belongs."""
  return [i * _NUM_PARTS // len(texts) for i in range(len(texts))]


LMRD = originals.Dataset(
  task=Task(name="lmrd", num_classes=2, class_names=("negative", "positive")),
  forms=(
    originals.Form(
      name="the Large Movie Review Dataset",
      files=tuple(f"{split}/{name}" for split in _SPLITS for name in _CLASSES),
      read=_read_folders,
      folders=("", "aclImdb"),
      archive="aclImdb_v1.tar.gz",
    ),
    originals.table_form(
      "its reviews as JSON lines with text and label",
      {split: (f"{split}.jsonl",) for split in _SPLITS},
      ("0", "1"),
      {"text_column": "text", "label_column": "label"},
    ),
  ),
  tfds=("imdb_reviews",),
  read_tfds=originals.tfds_reader("imdb_reviews", content={"text": "text"}),
  published={"train": (12_500, 12_500), "test": (12_500, 12_500)},
  where="they are at https://ai.stanford.edu/~amaas/data/sentiment/",
  max_length=256,
  groups=parts,
)
