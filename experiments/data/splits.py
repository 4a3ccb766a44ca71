"""Parts of a dataset, drawn with every class in its proportion."""

from typing import Any

import numpy as np


def heldout_split(
  labels: Any, *, fraction: float = 0.1, most: int = 5000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Divides examples into those to train on and those to choose settings on.

  A-37: the paper chooses on the test set; held-out examples take its place.

  >>> train, heldout = heldout_split([0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
  ...                                fraction=0.5)
  >>> len(train), len(heldout), np.bincount(np.array([0] * 8 + [1] * 2)[train])
  (5, 5, array([4, 1]))

  Args:
    labels: The class of each example, int, [N].
    fraction: The share held out, in (0, 1).
    most: Hold out no more than this.
    seed: Another seed, another split.

  Returns:
    Positions int64, increasing: to train on, and held out. A class's share of
    both is what it is of all, to within one example.

  Raises:
    ValueError: If the labels are no list of classes, `fraction` or `most` is
      out of range, or either part would be empty.
  """
  if not 0 < fraction < 1:
    raise ValueError(f"fraction must lie in (0, 1), got {fraction}.")
  if most < 1:
    raise ValueError(f"most must be at least 1, got {most}.")
  labels = _checked(labels)
  size = min(round(fraction * len(labels)), most)
  if not 0 < size < len(labels):
    raise ValueError(
      f"{fraction:g} of {len(labels)} examples is {size}, and both parts need "
      "some: give another fraction, or more examples."
    )
  heldout = labelled_subset(labels, size=size, seed=seed)
  return np.delete(np.arange(len(labels)), heldout), heldout


def labelled_subset(labels: Any, *, size: int, seed: int) -> np.ndarray:
  """Draws the examples whose labels a semi-supervised teacher sees.

  A-31: stratified. Where classes are equally large and `size` is a multiple
  of their number, a smaller subset of the same seed is part of a larger one.

  >>> labelled_subset([0, 1, 0, 1, 0, 1], size=6, seed=0)
  array([0, 1, 2, 3, 4, 5])

  Args:
    labels: The class of each example, int, [N].
    size: Number of examples to draw.
    seed: Another seed, another subset.

  Returns:
    Positions int64 [size], increasing. A class's share is what it is of all
    examples, to within one example.

  Raises:
    ValueError: If the labels are no list of classes, or `size` is out of range.
  """
  labels = _checked(labels)
  if not 0 < size <= len(labels):
    raise ValueError(
      f"size must lie in [1, {len(labels)}], the number of examples, got "
      f"{size}."
    )
  sizes = proportional_sizes(np.bincount(labels), size)
  rng = np.random.default_rng(seed)
  drawn = [
    rng.permutation(np.flatnonzero(labels == c))[:count]
    for c, count in enumerate(sizes)
  ]
  return np.sort(np.concatenate(drawn))


def proportional_sizes(counts: Any, size: int) -> np.ndarray:
  """Divides a number in proportion to others, by largest remainder.

  >>> proportional_sizes([8, 1, 1], 5)
  array([4, 1, 0])

  Args:
    counts: Numbers to be in proportion to, int [C].
    size: What the result adds up to, at most the sum of `counts`.

  Returns:
    int64 [C]: size * counts / sum(counts), each rounded down or up. Of equal
    remainders the first are rounded up.
  """
  counts = np.asarray(counts, np.int64)
  sizes, remainders = np.divmod(size * counts, counts.sum())
  short = size - sizes.sum()
  sizes[np.argsort(-remainders, kind="stable")[:short]] += 1
  return sizes


def _checked(labels: Any) -> np.ndarray:
  """Returns the labels as an array, or raises ValueError."""
  labels = np.asarray(labels)
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f"labels must be ints of shape [N], got {labels.dtype} "
      f"{list(labels.shape)}."
    )
  if labels.size and labels.min() < 0:
    raise ValueError(f"labels must be at least 0, got {labels.min()}.")
  return labels.astype(np.int64)
