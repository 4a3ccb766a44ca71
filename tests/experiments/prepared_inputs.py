"""Small originals and a small tokenizer, for tests of preparing."""

import dataclasses

import numpy as np

from experiments.data.datasets import DATASETS
from tests.experiments import original_files as files

PUBLISHED = {"train": (30, 20), "test": (6, 4)}


def publish(monkeypatch, name, published):
  """Lets a data set have as many published examples as its small originals."""
  dataset = dataclasses.replace(DATASETS[name], published=published)
  monkeypatch.setitem(DATASETS, name, dataset)


def sst2(folder, *, train=PUBLISHED["train"], test=PUBLISHED["test"]):
  """SST-2 in small, with so many negative and positive examples."""
  for name, counts in (("train", train), ("dev", test)):
    rows = [
      (f"{name} sentence {i} of class {label}", label)
      for label, count in enumerate(counts)
      for i in range(count)
    ]
    table = files.tsv(rows, ("sentence", "label"))
    files.folder(folder, {f"{name}.tsv": table})
  return folder


@dataclasses.dataclass(frozen=True)
class Words:
  """A tokenizer: words are numbered by their length."""

  digest: str = "0" * 64
  name: str = "folder/words.json"
  vocab_size: int = 100
  pad_id: int = 0
  dtype: type = np.uint16

  def encode(self, texts, *, max_length):
    if max_length < 3:
      raise ValueError(f"max_length must be at least 3, got {max_length}.")
    return [
      np.array(
        [2, *[4 + len(w) for w in text.split()][: max_length - 2], 3],
        self.dtype,
      )
      for text in texts
    ]


def tokens(found, split):
  """The tokens of a split's texts."""
  rows = found.splits[split]["inputs"]
  return [rows[i].tolist() for i in range(len(rows))]
