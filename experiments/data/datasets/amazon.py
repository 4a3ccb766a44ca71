"""Amazon reviews, classified by their stars, or as polarized or mild.

The examples are sampled as in appendix D of the paper. The first 200,000
reviews of each of eleven categories are concatenated in a fixed order. For each
number of stars, the first 100,000 of these reviews are training examples and
the next 2,000 are test examples. The position of an example therefore reveals
its category, and something about its label (A-29). With ``sampling="shuffled"``
the concatenated reviews are shuffled first.

Amazon withdrew the files in 2023:
https://github.com/tensorflow/datasets/issues/5044.
"""

import dataclasses
import functools
import itertools
import math
import pathlib
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from experiments.data import originals
from experiments.data import tables
from experiments.data.dataset import LeftOut
from experiments.data.dataset import Task
from experiments.data.tfds import TfdsExamples
from experiments.io.progress import tracked

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
_STARS = (1, 2, 3, 4, 5)
_BINARY_STARS = (1, 2, 4, 5)
_POLARIZED = (1, 0, 0, 1)  # The class of each of `_BINARY_STARS`.


class Review(NamedTuple):
  """The fields of a review that are used; the texts may be empty."""

  stars: int
  headline: str
  body: str


def file_name(category: str) -> str:
  """Returns the name of a category's uncompressed file."""
  return f"amazon_reviews_us_{category}_v1_00.tsv"


def _read(paths: Mapping[str, pathlib.Path], **options: Any) -> originals.Raw:
  """Samples reviews from the original files."""
  bad = {category: LeftOut(category) for category in CATEGORIES}
  reviews = {k: _reviews(paths[file_name(k)], rows) for k, rows in bad.items()}
  raw = sample(reviews, **options)
  left_out = tuple(rows for rows in bad.values() if rows.count)
  return dataclasses.replace(raw, left_out=left_out)


def _reviews(path: pathlib.Path, bad: LeftOut) -> Iterator[Review]:
  """Yields the reviews of a file. Rows with a tab in a text are left out."""
  columns = ("star_rating", "review_headline", "review_body")
  table = tables.TableReader(path, columns, bad=bad)
  for number, (stars, headline, body) in table:
    if stars in ("1", "2", "3", "4", "5"):
      yield Review(int(stars), headline, body)
    else:
      table.leave_out(number, f"star_rating is {stars!r}")


def _read_tfds(folder: pathlib.Path | None, **options: Any) -> originals.Raw:
  """Samples reviews from TFDS's data, in the order of TFDS (A-29)."""
  features = {
    "stars": "data/star_rating",
    "headline": "data/review_headline",
    "body": "data/review_body",
  }

  def reviews(category: str) -> Iterator[Review]:
    name = _tfds_name(category)
    for example in TfdsExamples(name, "train", features, folder):
      yield Review(**example)

  return sample(
    {category: reviews(category) for category in CATEGORIES},
    notes=(
      "the first reviews are those in TFDS's order, not the files' (A-29)",
    ),
    **options,
  )


def _tfds_name(category: str) -> str:
  return f"amazon_us_reviews/{category}_v1_00"


def sample(
  categories: Mapping[str, Iterable[Review]],
  *,
  binary: bool,
  sampling: str,
  text: str,
  seed: int,
  per_category: int,
  num_train: int,
  num_test: int,
  **fields: Any,
) -> originals.Raw:
  """Samples the training and test examples from the reviews of all categories.

  Args:
    categories: The reviews of each category.
    binary: Whether the classes are polarized (1 or 5 stars) and mild (2 or 4
      stars). Reviews with 3 stars are then left out.
    sampling: "paper" or "shuffled", see the module's docstring.
    text: "body", or "headline_and_body".
    seed: Seed of the shuffling.
    per_category: Number of reviews to sample from, per category.
    num_train: Number of training examples per number of stars.
    num_test: Number of test examples per number of stars.
    **fields: Other attributes of `originals.Raw`.

  Raises:
    ValueError: If there are too few reviews.
  """
  # Read reviews until there are enough of each number of stars.
  enough = num_train + num_test if sampling == "paper" else math.inf
  missing = dict.fromkeys(_STARS, enough)
  pool: list[tuple[int, int, str]] = []  # Category, stars and text.
  for place, review in tracked(
    _first_reviews(categories, per_category),
    total=per_category * len(categories),
    label="sampling",
    unit="review",
  ):
    headline = "" if text == "body" else f"{review.headline} "
    pool.append((place, review.stars, headline + review.body))
    missing[review.stars] -= 1
    if not missing[review.stars] and max(missing.values()) <= 0:
      break
  places, stars, texts = zip(*pool, strict=True)
  places, stars = np.array(places), np.array(stars)
  order = np.arange(len(pool))
  if sampling == "shuffled":
    order = np.random.default_rng(seed).permutation(order)
  labels = _BINARY_STARS if binary else _STARS
  splits, counts = {}, {}
  for split, chosen in _fill_quotas(stars, order, num_train, num_test).items():
    chosen = chosen[np.isin(stars[chosen], labels)]
    splits[split] = {
      "text": [texts[position] for position in chosen],
      "label": np.searchsorted(labels, stars[chosen]),
    }
    counts[f"{split}: examples by category and stars"] = _table(
      tuple(categories), stars[chosen], places[chosen]
    )
  return originals.Raw(
    splits,
    details={"tables": counts},
    **fields,
  )


def _first_reviews(
  categories: Mapping[str, Iterable[Review]], per_category: int
) -> Iterator[tuple[int, Review]]:
  """Yields the first reviews of each category with the category's number."""
  for place, (name, reviews) in enumerate(categories.items()):
    count = 0
    for review in itertools.islice(reviews, per_category):
      count += 1
      yield place, review
    if count < per_category:
      raise ValueError(
        f"{name} has {count:,} usable reviews, but {per_category:,} are "
        "needed: get the complete file."
      )


def _fill_quotas(
  stars: np.ndarray, order: np.ndarray, num_train: int, num_test: int
) -> dict[str, np.ndarray]:
  """Returns the sorted positions of the training and test examples.

  For each number of stars, the first `num_train` reviews in `order` are
  training examples, and the next `num_test` are test examples.
  """
  splits: dict[str, list[np.ndarray]] = {"train": [], "test": []}
  for value in _STARS:
    found = order[stars[order] == value]
    if len(found) < num_train + num_test:
      raise ValueError(
        f"there are {len(found):,} reviews with {_stars_name(value)}, but "
        f"{num_train + num_test:,} are needed: get the complete files."
      )
    splits["train"].append(found[:num_train])
    splits["test"].append(found[num_train : num_train + num_test])
  return {k: np.sort(np.concatenate(p)) for k, p in splits.items()}


def _table(
  categories: tuple[str, ...], stars: np.ndarray, places: np.ndarray
) -> dict[str, Any]:
  """Returns the number of examples by category and stars, for the manifest."""
  values = np.unique(stars).tolist()
  return {
    "columns": list(map(_stars_name, values)),
    "rows": {
      name: [int(np.sum((places == i) & (stars == v))) for v in values]
      for i, name in enumerate(categories)
    },
  }


def _stars_name(value: int) -> str:
  return f"{value} star{'s' if value > 1 else ''}"


def _dataset(
  task: Task, published: Mapping[str, tuple[int, ...]], *, binary: bool
) -> originals.Dataset:
  """Returns one of the two data sets."""
  form = originals.Form(
    name="the eleven categories' files, .tsv or .tsv.gz",
    files=tuple(map(file_name, CATEGORIES)),
    read=functools.partial(_read, binary=binary),
  )
  return originals.Dataset(
    task=task,
    forms=(form,),
    tfds=tuple(map(_tfds_name, CATEGORIES)),
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
  Task(
    name="amazon",
    num_classes=5,
    class_names=tuple(map(_stars_name, _STARS)),
  ),
  {"train": (100_000,) * 5, "test": (2_000,) * 5},
  binary=False,
)

AMAZON_BIN = _dataset(
  Task(
    name="amazon_bin",
    num_classes=2,
    fine_to_class=_POLARIZED,
    class_names=("mild", "polarized"),
    fine_names=tuple(map(_stars_name, _BINARY_STARS)),
  ),
  {"train": (200_000,) * 2, "test": (4_000,) * 2},
  binary=True,
)
