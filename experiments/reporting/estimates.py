"""Means of independent repetitions, with their uncertainty."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean and its uncertainty.

  Attributes:
    mean: Mean of the values.
    n: Number of values.
    std: Sample standard deviation (n - 1), None for a single value.
    standard_error: std / sqrt(n), None for a single value.
    interval: Bounds of the 95 % interval, None if it is unknown. It is the t
      interval over the values, except for the differences over test examples
      in `comparisons` and `headline`.
  """

  mean: float
  n: int
  std: float | None = None
  standard_error: float | None = None
  interval: tuple[float, float] | None = None

  @property
  def sign(self) -> int:
    """1 or -1 if the interval is entirely above or below zero, else 0.

    The sign is 0 if the interval has no width: values that are all equal, up to
    rounding, tell nothing about their spread.
    """
    if self.interval is None or math.isclose(*self.interval):
      return 0
    low, high = self.interval
    return int(low > 0) - int(high < 0)


def estimate(values: Iterable[float]) -> Estimate:
  """Computes mean, spread and 95 % t interval of independent values.

  The spread and the interval of a single value are None.

  Examples:
    >>> e = estimate([1.0, 2.0, 3.0])
    >>> e.mean, e.std, round(e.standard_error, 4), e.n
    (2.0, 1.0, 0.5774, 3)
  """
  x = np.asarray(list(values), np.float64)
  if not x.size:
    raise ValueError("values must be one or more numbers, got none.")
  # Unlike a plain sum, fsum does not depend on the order of the values.
  mean = math.fsum(x) / x.size
  if x.size == 1:
    return Estimate(mean=mean, n=1)
  std = float(np.std(x, ddof=1))
  error = std / math.sqrt(x.size)
  half = float(special.stdtrit(x.size - 1, 0.975)) * error
  return Estimate(mean, x.size, std, error, (mean - half, mean + half))
