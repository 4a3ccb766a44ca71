"""Mutual information of subclasses and fine labels, with a permutation test."""

import dataclasses

import numpy as np
from scipy import special

from experiments.data.dataset import Subclasses
from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import estimate

NUM_PERMUTATIONS = 200


@dataclasses.dataclass(frozen=True)
class Information:
  """Mutual information of subclass and fine label, in one class or in all.

  Attributes:
    counts: Number of examples by subclass and fine label, int ``[S, F]``. Over
      all classes the rows are pairs of a class and a subclass, ``[C * S, F]``.
    nats: Mutual information.
    entropy: Entropy of the fine label, the greatest possible value of `nats`.
    normalized: Mutual information divided by the mean of both entropies.
    chance: Mutual information if the fine labels are shuffled inside each
      class, over `NUM_PERMUTATIONS` permutations.
    chance_normalized: Mean of `normalized` over these permutations.
  """

  counts: np.ndarray
  nats: float
  entropy: float
  normalized: float
  chance: Estimate
  chance_normalized: float


def subclass_information(
  subclasses: Subclasses, num_fine: int
) -> tuple[tuple[Information, ...], Information]:
  """Measures how much subclasses tell about fine labels.

  Returns the information in each class, and over all classes. The latter takes
  class and subclass together. Since permutations keep the class, its chance
  level is far above zero.
  """
  num_classes, size = subclasses.where.shape
  # Labels may be narrow integers: products of uint8 would wrap.
  labels, fine, assignments = (
    np.asarray(array).astype(np.int64)
    for array in (
      subclasses.examples["labels"],
      subclasses.examples["fine_labels"],
      subclasses.assignments,
    )
  )
  pairs = labels * size + assignments

  def table(fine: np.ndarray) -> np.ndarray:
    length = num_classes * size * num_fine
    counts = np.bincount(pairs * num_fine + fine, minlength=length)
    return counts.reshape(num_classes, size, num_fine)

  def measured(counts: np.ndarray) -> np.ndarray:
    # Nats and normalized, for each class and for all classes: [2, C + 1].
    whole = counts.reshape(1, -1, num_fine)
    return np.hstack([information(counts), information(whole)])

  rng, shuffled, by_chance = np.random.default_rng(0), fine.copy(), []
  # Both orders sort by class, the second at random inside each class: fine
  # labels move to another example of their class.
  by_class = np.argsort(labels, kind="stable")
  for _ in range(NUM_PERMUTATIONS):
    shuffled[by_class] = fine[np.lexsort((rng.random(len(labels)), labels))]
    by_chance.append(measured(table(shuffled)))
  counts = table(fine)
  nats, normalized = measured(counts)
  chance, chance_normalized = np.moveaxis(np.asarray(by_chance), 0, 2)
  *classes, whole = (
    Information(
      counts=own,
      nats=float(nats[i]),
      entropy=float(_entropy(own.sum(axis=0))),
      normalized=float(normalized[i]),
      chance=estimate(chance[i]),
      chance_normalized=estimate(chance_normalized[i]).mean,
    )
    for i, own in enumerate([*counts, counts.reshape(-1, num_fine)])
  )
  return tuple(classes), whole


def information(counts: np.ndarray) -> np.ndarray:
  """Computes the mutual information of two labels from their counts.

  Returns float64 ``[2, ...]`` for counts ``[..., rows, columns]``: in nats, and
  divided by the mean entropy of both labels. They are zero if one of the labels
  does not vary.

  Examples:
    >>> information(np.array([[5, 0], [0, 5]])).round(4).tolist()
    [0.6931, 1.0]
  """
  joint = _entropy(counts.reshape(*counts.shape[:-2], -1))
  both = _entropy(counts.sum(axis=-1)) + _entropy(counts.sum(axis=-2))
  nats = np.maximum(both - joint, 0)  # Rounding can make it slightly negative.
  varies = both > 1e-12
  fractions = np.minimum(2 * nats / np.where(varies, both, 1), 1)
  return np.stack([nats, np.where(varies, fractions, 0)])


def _entropy(counts: np.ndarray) -> np.ndarray:
  """Computes the entropy over the last axis, in nats."""
  total = counts.sum(axis=-1, keepdims=True)
  return special.entr(counts / np.where(total > 0, total, 1)).sum(axis=-1)
