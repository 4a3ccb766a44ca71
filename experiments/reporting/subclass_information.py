"""What subclasses tell of the fine labels, beside what chance would."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.dataset import Subclasses
from experiments.reporting.statistics import Estimate
from experiments.reporting.statistics import estimate
from lelp_jax import information

NUM_PERMUTATIONS = 200
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Information:
  """Mutual information of subclass and fine label, in one class or in all.

  Attributes:
    counts: Examples by subclass and fine label, int ``[S, F]``; over all
      classes by pair of class and subclass, ``[C * S, F]``.
    nats: Their mutual information.
    entropy: Nats that there are to tell, the entropy of the fine label.
    normalized: The same over the mean of the two entropies.
    chance: Nats where the fine labels are shuffled inside each class: mean and
      standard deviation over `NUM_PERMUTATIONS` shuffles.
    chance_normalized: The mean of those, normalized.
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
  """Computes what subclasses tell of the fine labels.

  Args:
    subclasses: The subclasses of some examples that have fine labels.
    num_fine: Number of fine labels, F.

  Returns:
    The information in each class, and over all: there a subclass is a pair
    with its class, which by itself tells something, by chance too.
  """
  num_classes, size = subclasses.where.shape
  labels = jnp.asarray(subclasses.examples["labels"])
  pairs = labels * size + jnp.asarray(subclasses.assignments, labels.dtype)
  fine = jnp.asarray(subclasses.examples["fine_labels"])
  sizes = {"num_rows": num_classes * size, "num_columns": num_fine}
  counts = np.asarray(information.contingency_table(pairs, fine, **sizes))
  shuffled = information.permuted_contingency_tables(
    jax.random.key(_SEED),
    pairs,
    fine,
    groups=labels,
    num_permutations=NUM_PERMUTATIONS,
    **sizes,
  )
  shuffled = np.asarray(shuffled)
  blocks = counts.reshape(num_classes, size, num_fine)
  shuffled_blocks = shuffled.reshape(-1, *blocks.shape)
  classes = tuple(
    _information(blocks[c], shuffled_blocks[:, c]) for c in range(num_classes)
  )
  return classes, _information(counts, shuffled)


def _information(counts: np.ndarray, shuffled: np.ndarray) -> Information:
  normalized = information.normalized_mutual_information
  return Information(
    counts=counts,
    nats=float(information.mutual_information(counts)),
    # What a label tells of itself.
    entropy=float(information.mutual_information(np.diag(counts.sum(axis=0)))),
    normalized=float(normalized(counts)),
    chance=estimate(np.asarray(information.mutual_information(shuffled))),
    chance_normalized=estimate(np.asarray(normalized(shuffled))).mean,
  )
