"""Amazon reviews: how many stars, or are they polarized or mild.

Amazon withdrew the files in 2023: https://github.com/tensorflow/datasets/issues/5044.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from experiments.data import dataset
from experiments.data.datasets import amazon_sampling
from experiments.data.datasets import definition
from experiments.data.datasets import originals
from experiments.data.sources import Malformed
from experiments.data.sources import tables

# In the paper's order.
CATEGORIES = (
  "Office_Products",
  "Video_Games",
  "Video",
  "Toys",
  "Tools",
  "Sports",
  "Jewelry",
  "Digital_Music_Purchase",
  "Mobile_Apps",
  "Video_DVD",
  "Watches",
)


def file_name(category: str) -> str:
  """Returns the name of a category's file, without ".gz"."""
  return f"amazon_reviews_us_{category}_v1_00.tsv"


def _read(paths: Mapping[str, pathlib.Path], **options: Any) -> definition.Raw:
  """Samples the reviews in files."""
  categories = {
    category: functools.partial(_reviews, paths[file_name(category)])
    for category in CATEGORIES
  }
  return amazon_sampling.sample(categories, **options)


def _reviews(
  path: pathlib.Path, malformed: Malformed
) -> Iterator[amazon_sampling.Review]:
  """Yields the reviews of a file. A tab inside a text makes it malformed."""
  columns = ("star_rating", "review_headline", "review_body")
  for row in tables.numbered_rows(
    path,
    columns,
    header=True,
    quoting=False,
    encoding="utf-8",
    malformed=malformed,
  ):
    stars, headline, body = (row.values[column] for column in columns)
    if stars in ("1", "2", "3", "4", "5"):
      yield amazon_sampling.Review(int(stars), headline, body)
    else:
      malformed.add(row.where, f"star_rating is {stars!r}")


def _read_tfds(
  open_tfds: definition.OpenTfds, **options: Any
) -> definition.Raw:
  """Samples the reviews that TFDS prepared, in its order (A-29)."""
  categories = {
    category: functools.partial(
      _tfds_reviews, open_tfds(f"amazon_us_reviews/{category}_v1_00", "train")
    )
    for category in CATEGORIES
  }
  raw = amazon_sampling.sample(categories, **options)
  note = "the first reviews are those in TFDS's order, not the files' (A-29)"
  return dataclasses.replace(raw, notes=(*raw.notes, note))


def _tfds_reviews(
  source: dataset.Source, _: Malformed
) -> Iterator[amazon_sampling.Review]:
  for i in range(len(source)):
    example = source[i]
    yield amazon_sampling.Review(
      example["label"], example["headline"], example["text"]
    )


def _dataset(
  task: dataset.Task, published: Mapping[str, tuple[int, ...]], *, binary: bool
) -> definition.Dataset:
  """Returns one of the two."""
  layout = originals.Layout(
    name="the eleven categories' files, .tsv or .tsv.gz",
    files=tuple(map(file_name, CATEGORIES)),
  )
  return definition.Dataset(
    task=task,
    forms=(definition.Form(layout, functools.partial(_read, binary=binary)),),
    tfds=f"amazon_us_reviews/{CATEGORIES[0]}_v1_00",
    read_tfds=functools.partial(_read_tfds, binary=binary),
    published=published,
    where=(
      "Amazon withdrew them in 2023: a copy made before then is needed, or "
      "what TFDS prepared then"
    ),
    max_length=256,
    options={
      "sampling": "paper",
      "text": "headline_and_body",
      "seed": 0,
      "per_category": 200_000,
      "num_train": 100_000,
      "num_test": 2_000,
    },
  )


AMAZON = _dataset(
  dataset.Task(
    name="amazon",
    num_classes=5,
    class_names=tuple(map(amazon_sampling.stars_name, (1, 2, 3, 4, 5))),
  ),
  {"train": (100_000,) * 5, "test": (2_000,) * 5},
  binary=False,
)

AMAZON_BIN = _dataset(
  dataset.Task(
    name="amazon_bin",
    num_classes=2,
    fine_to_class=amazon_sampling.POLARIZED,
    class_names=("mild", "polarized"),
    fine_names=tuple(
      map(amazon_sampling.stars_name, amazon_sampling.BINARY_STARS)
    ),
  ),
  {"train": (200_000,) * 2, "test": (4_000,) * 2},
  binary=True,
)
