"""What a finished cell splits classes into: a record for pages."""

import dataclasses

import numpy as np

from experiments.data.dataset import Arrays


@dataclasses.dataclass(frozen=True)
class Subclasses:
  """The subclasses of a cell, and those of N examples of it.

  Attributes:
    kind: What one of them is called: "direction", "output" or "cluster".
    examples: The examples, as `Splits` has them.
    where: Subclasses that exist, bool ``[C, S]``.
    assignments: The subclass of each example in its own class, int ``[N]``:
      that of its largest coordinate, or its cluster.
    coordinates: Of each example in its own class, float32 ``[N, S]``: along
      each direction, or the teacher's logits of its outputs; None of clusters.
    variance_shares: The share of the variance of the teacher's embeddings of
      a class that a direction carries, ``[C, S]``; None of all others.
  """

  kind: str
  examples: Arrays
  where: np.ndarray
  assignments: np.ndarray
  coordinates: np.ndarray | None = None
  variance_shares: np.ndarray | None = None
