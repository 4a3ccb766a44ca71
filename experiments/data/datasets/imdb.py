"""The Large Movie Review Dataset: is a review of a film positive or negative.

Maas et al. 2011. Its 50,000 reviews without a label are left out.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from experiments.data import dataset
from experiments.data.datasets import definition
from experiments.data.datasets import originals
from experiments.data.sources import files
from experiments.data.sources import open_source

_CLASSES = ("neg", "pos")
_SPLITS = ("train", "test")

_FOLDERS = originals.Layout(
  name="the Large Movie Review Dataset",
  files=tuple(f"{split}/{label}" for split in _SPLITS for label in _CLASSES),
  folders=("", "aclImdb"),
  archive="aclImdb_v1.tar.gz",
)
_JSON_LINES = originals.Layout(
  name="its reviews as JSON lines with text and label",
  files=("train.jsonl", "test.jsonl"),
)


class _Reviews:
  """The reviews of a split: a file each, negative ones first, by number."""

  def __init__(self, folders: Mapping[str, pathlib.Path]):
    self._files = [
      (path, label)
      for label, name in enumerate(_CLASSES)
      for path in sorted(folders[name].glob("*.txt"), key=_number)
    ]

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int) -> dict[str, Any]:
    path, label = self._files[index]
    with files.opened(path) as file:
      data = file.read()
    try:
      text = data.decode()
    except UnicodeDecodeError as error:
      raise ValueError(f"{path} is not UTF-8 ({error.reason})") from error
    return {
      "id": f"{path.parent.name}/{path.stem}",
      "text": text,
      "label": label,
    }


def _number(path: pathlib.Path) -> tuple[int, str]:
  """Returns what "12_8.txt" is sorted by: 12, the review's number."""
  number = path.name.partition("_")[0]
  return (int(number) if number.isdecimal() else -1, path.name)


def _read_folders(
  paths: Mapping[str, pathlib.Path], **_: Any
) -> definition.Raw:
  return _raw(
    {
      split: _Reviews({label: paths[f"{split}/{label}"] for label in _CLASSES})
      for split in _SPLITS
    }
  )


def _read_json_lines(
  paths: Mapping[str, pathlib.Path], **_: Any
) -> definition.Raw:
  return _raw(
    {
      split: open_source(
        paths[f"{split}.jsonl"], text_column="text", label_column="label"
      )
      for split in _SPLITS
    }
  )


def _read_tfds(open_tfds: definition.OpenTfds, **_: Any) -> definition.Raw:
  return _raw({split: open_tfds("imdb_reviews", split) for split in _SPLITS})


def _raw(sources: Mapping[str, dataset.Source]) -> definition.Raw:
  return definition.from_sources(sources, example_bytes=1400)


LMRD = definition.Dataset(
  task=dataset.Task(
    name="lmrd", num_classes=2, class_names=("negative", "positive")
  ),
  forms=(
    definition.Form(_FOLDERS, _read_folders),
    definition.Form(_JSON_LINES, _read_json_lines),
  ),
  tfds="imdb_reviews",
  read_tfds=_read_tfds,
  published={"train": (12_500, 12_500), "test": (12_500, 12_500)},
  where="they are at https://ai.stanford.edu/~amaas/data/sentiment/",
  max_length=256,
)
