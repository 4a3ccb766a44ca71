"""How the paper samples Amazon's reviews.

Spec section 3, "Amazon sampling": the first 200,000 reviews of each of eleven
categories in a fixed order; of these, of each number of stars, the first
100,000 are trained on and the next 2,000 are tested on.

A-29: so the place of an example tells its category, and that something of its
label. With `sampling="shuffled"` the same reviews are shuffled before that.
"""

import array
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.data.datasets import definition
from experiments.data.sources import Malformed

_STARS = (1, 2, 3, 4, 5)
BINARY_STARS = (1, 2, 4, 5)
POLARIZED = (1, 0, 0, 1)  # Of each of these.
_EXAMPLE_BYTES = 800
_SAMPLINGS = ("paper", "shuffled")
_TEXTS = ("headline_and_body", "body")


@dataclasses.dataclass(frozen=True)
class Review:
  """What is used of a review.

  Attributes:
    stars: 1 to 5.
    headline: Its title; may be empty.
    body: Its text; may be empty.
  """

  stars: int
  headline: str
  body: str


# The reviews of each category, by its name; what is malformed is counted.
Categories = Mapping[str, Callable[[Malformed], Iterator[Review]]]


def sample(
  categories: Categories,
  *,
  watch: definition.Watch,
  binary: bool,
  sampling: str,
  text: str,
  seed: int,
  per_category: int,
  num_train: int,
  num_test: int,
) -> definition.Raw:
  """Samples reviews. They are read once for that, and again to be written.

  Args:
    categories: What is sampled from, in order.
    watch: Shows how far it is.
    binary: Whether to leave out the reviews of 3 stars, and tell polarized (1
      or 5 stars) from mild ones (2 or 4).
    sampling: "paper", or "shuffled": quotas are filled from the same reviews
      in a random order. Examples are written in the categories' order anyway.
    text: What is read: "headline_and_body", a space between, or "body" (A-32).
    seed: Of the shuffling.
    per_category: How many reviews of each category are sampled from.
    num_train: Of each number of stars, how many are trained on.
    num_test: Of each number of stars, how many are tested on.

  Raises:
    ValueError: If an option is unknown, or there are too few reviews.
  """
  _check_choice("amazon_sampling", sampling, _SAMPLINGS)
  _check_choice("amazon_text", text, _TEXTS)
  malformed = {name: Malformed() for name in categories}
  enough = num_train + num_test if sampling == "paper" else math.inf
  stars, places = _pool(categories, per_category, malformed, watch, enough)
  order = np.arange(len(stars))
  if sampling == "shuffled":
    order = np.random.default_rng(seed).permutation(order)
  positions = _fill_quotas(stars, order, num_train, num_test)
  if binary:
    positions = {k: p[stars[p] != 3] for k, p in positions.items()}
  convert = functools.partial(_example, binary=binary, text=text)
  return definition.Raw(
    splits={
      split: definition.Split(
        len(chosen),
        functools.partial(_examples, categories, per_category, chosen, convert),
      )
      for split, chosen in positions.items()
    },
    num_bytes=_EXAMPLE_BYTES * sum(map(len, positions.values())),
    malformed=malformed,
    details={
      "tables": {
        f"{split}: examples by category and stars": _table(
          tuple(categories), stars[chosen], places[chosen]
        )
        for split, chosen in positions.items()
      },
    },
  )


def _pool(
  categories: Categories,
  per_category: int,
  malformed: Mapping[str, Malformed],
  watch: definition.Watch,
  enough: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns stars and category of the reviews, until there are enough of each.

  Args:
    categories: What is sampled from.
    per_category: How many reviews of each.
    malformed: Counts for each category what is left out.
    watch: Shows how far it is.
    enough: How many reviews of each number of stars are enough.
  """
  stars, places = array.array("b"), array.array("b")
  missing = dict.fromkeys(_STARS, enough)
  rows = watch(
    _chain(categories, per_category, malformed),
    total=per_category * len(categories),
    label="sampling",
    unit="review",
  )
  for place, review in rows:
    stars.append(review.stars)
    places.append(place)
    missing[review.stars] -= 1
    if not missing[review.stars] and max(missing.values()) <= 0:
      break
  return np.array(stars), np.array(places)


def _chain(
  categories: Categories,
  per_category: int,
  malformed: Mapping[str, Malformed],
) -> Iterator[tuple[int, Review]]:
  """Yields the first reviews of each category, and the category's number."""
  for place, (name, reviews) in enumerate(categories.items()):
    count = 0
    for review in itertools.islice(reviews(malformed[name]), per_category):
      count += 1
      yield place, review
    if count < per_category:
      raise ValueError(
        f"{name} has {count:,} whole reviews and the first {per_category:,} "
        "are needed: get the whole file."
      )


def _fill_quotas(
  stars: np.ndarray, order: np.ndarray, num_train: int, num_test: int
) -> dict[str, np.ndarray]:
  """Returns the positions of each split, increasing.

  Args:
    stars: Of each review, [N].
    order: The positions in the order in which the quotas are filled, [N].
    num_train: How many of each star are trained on.
    num_test: How many of each star are tested on, the next ones.
  """
  splits: dict[str, list[np.ndarray]] = {"train": [], "test": []}
  for value in _STARS:
    found = order[stars[order] == value]
    if len(found) < num_train + num_test:
      raise ValueError(
        f"the categories have {len(found):,} reviews with {stars_name(value)}, "
        f"and {num_train + num_test:,} are needed: get the whole files."
      )
    splits["train"].append(found[:num_train])
    splits["test"].append(found[num_train : num_train + num_test])
  return {k: np.sort(np.concatenate(p)) for k, p in splits.items()}


def _examples(
  categories: Categories,
  per_category: int,
  chosen: np.ndarray,
  convert: Callable[[int, Review], definition.Example],
) -> Iterator[definition.Example]:
  """Yields the reviews at increasing positions of the pool."""
  malformed = {name: Malformed() for name in categories}  # Counted before.
  taken = np.zeros(int(chosen[-1]) + 1, bool)
  taken[chosen] = True
  pool = _chain(categories, per_category, malformed)
  # The pool comes second: it must not be asked for more than is looked at.
  for position, (take, (_, review)) in enumerate(
    zip(taken.tolist(), pool, strict=False)
  ):
    if take:
      yield convert(position, review)


def _example(
  position: int, review: Review, *, binary: bool, text: str
) -> definition.Example:
  """Returns a review as an example of the task."""
  body = text == "body"
  words = review.body if body else f"{review.headline} {review.body}"
  example = {"id": position, "text": words}
  if not binary:
    return example | {"label": review.stars - 1}
  fine = BINARY_STARS.index(review.stars)
  return example | {"label": POLARIZED[fine], "fine_label": fine}


def _table(
  categories: tuple[str, ...], stars: np.ndarray, places: np.ndarray
) -> dict[str, Any]:
  """Counts examples by category and stars, as the manifest has tables."""
  values = np.unique(stars).tolist()
  return {
    "columns": [stars_name(value) for value in values],
    "rows": {
      name: [int(np.sum((places == i) & (stars == v))) for v in values]
      for i, name in enumerate(categories)
    },
  }


def stars_name(value: int) -> str:
  """Returns "1 star", "2 stars" and so on."""
  return f"{value} star{'s' if value > 1 else ''}"


def _check_choice(name: str, given: str, choices: tuple[str, ...]) -> None:
  """Raises ValueError unless an option is one of those there are."""
  if given not in choices:
    raise ValueError(f"{name} must be one of {choices}, got {given!r}.")
