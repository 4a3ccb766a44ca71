"""Estimates with their spread, and the choice of hyperparameters.

Accuracies are in percent from here on. A spread comes from independent
repetitions only: trials within a column, columns where they are replicates.
"""

import dataclasses
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from experiments.reporting.records import Cell
from experiments.reporting.records import Results


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean and how well it is known.

  Attributes:
    mean: Mean of the values.
    n: Number of values.
    std: Standard deviation with n - 1, None for a single value.
    standard_error: std / sqrt(n), None for a single value.
    interval: Bounds of the 95 % t interval, None for a single value.
  """

  mean: float
  n: int
  std: float | None = None
  standard_error: float | None = None
  interval: tuple[float, float] | None = None

  @property
  def sign(self) -> int:
    """1 or -1 where the interval is wholly above or below zero, else 0."""
    if self.interval is None:
      return 0
    low, high = self.interval
    return int(low > 0) - int(high < 0)


@dataclasses.dataclass(frozen=True)
class Summary:
  """What one method reaches in one column with its chosen hyperparameters.

  Attributes:
    digest: The chosen hyperparameters' digest.
    hyperparameters: The chosen hyperparameters.
    cells: Their trials, in the order of the trial number.
    test: Test accuracy over the trials, percent.
    validation: Held-out accuracy over the trials, percent; None where nothing
      was held out.
    num_settings: Number of settings the choice was among.
  """

  digest: str
  hyperparameters: Mapping[str, Any]
  cells: tuple[Cell, ...]
  test: Estimate
  validation: Estimate | None
  num_settings: int


Summaries = dict[tuple[str, str], Summary]


def estimate(values: Iterable[float], *, confidence: float = 0.95) -> Estimate:
  """Mean, spread and t interval of independent values.

  Args:
    values: At least one number.
    confidence: Coverage of the interval.

  Returns:
    The estimate; without a spread where there is a single value.

  Raises:
    ValueError: If there is no value.

  Examples:
    >>> e = estimate([1.0, 2.0, 3.0])
    >>> e.mean, e.std, round(e.standard_error, 4), e.n
    (2.0, 1.0, 0.5774, 3)
  """
  x = np.asarray(list(values), np.float64)
  if x.ndim != 1 or not x.size:
    raise ValueError(f"values must be one or more numbers, got {values!r}.")
  # fsum does not depend on the order, so that equal sets give equal means.
  mean = math.fsum(x) / x.size
  if x.size == 1:
    return Estimate(mean=mean, n=1)
  std = float(np.std(x, ddof=1))
  error = std / math.sqrt(x.size)
  half = float(stats.t.ppf((1 + confidence) / 2, x.size - 1)) * error
  return Estimate(mean, x.size, std, error, (mean - half, mean + half))


def paired_difference(
  a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95
) -> Estimate:
  """Estimates the mean of `a - b` over pairs.

  What the two of a pair share, such as the split, the teacher or the order of
  the batches, cancels: the spread is that of the differences.

  Args:
    a: One number for each pair.
    b: The other number of each pair, in the same order.
    confidence: Coverage of the interval.

  Returns:
    The estimate of the difference.

  Raises:
    ValueError: If the two differ in length or are empty.

  Examples:
    >>> paired_difference([3.0, 5.0], [2.0, 3.0]).mean
    1.5
  """
  if len(a) != len(b):
    raise ValueError(
      f"a and b must hold the same pairs, got {len(a)} and {len(b)} values."
    )
  return estimate(
    [x - y for x, y in zip(a, b, strict=True)], confidence=confidence
  )


def select(
  cells: Iterable[Cell], method: str, column: str, *, selection: str = "heldout"
) -> str | None:
  """Chooses the hyperparameters of a method in a column.

  The choice is the highest mean accuracy over trials on the held-out examples;
  among equals the lowest mean held-out loss, then the smallest digest. With
  `selection="heldout"` no test score is looked at.

  Args:
    cells: Runs, of any methods and columns.
    method: Id of the method.
    column: Id of the column.
    selection: "heldout", or "test" for the paper's own protocol (A-37), which
      chooses by the test accuracy itself.

  Returns:
    The digest, None where no run of this method and column is there.

  Raises:
    ValueError: If there is a choice and a run has no held-out accuracy.
  """
  chosen = [c for c in cells if (c.column, c.method) == (column, method)]
  return best_setting(by_digest(chosen), selection)


def best_setting(
  groups: Mapping[str, Sequence[Cell]], selection: str
) -> str | None:
  """Chooses among settings, as `select` does.

  Args:
    groups: The runs of each setting by digest.
    selection: "heldout" or "test".
  """
  if len(groups) < 2:
    return next(iter(groups), None)

  def rank(digest: str) -> tuple[float, float, str]:
    return *_rank_scores(groups[digest], selection), digest

  return min(groups, key=rank)


def _rank_scores(cells: Sequence[Cell], selection: str) -> tuple[float, float]:
  """What the best setting has least of: minus the accuracy, then the loss."""
  scores = []
  for cell in cells:
    score = cell.test if selection == "test" else cell.validation
    if score is None:
      raise ValueError(
        f"{cell.column}/{cell.method}/{cell.digest} has no held-out accuracy"
        " to choose by: run the sweep with selection=heldout."
      )
    scores.append(score)
  # Rounded: equal hit counts must tie whatever they were summed from.
  accuracy = round(estimate(score.accuracy for score in scores).mean, 12)
  losses = [score.loss for score in scores if score.loss is not None]
  # A run whose loss diverged has none: it loses every tie.
  loss = estimate(losses).mean if len(losses) == len(scores) else math.inf
  return -accuracy, loss


def by_digest(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
  """Runs of one method in one column by their settings, in order."""
  groups: dict[str, list[Cell]] = {}
  for cell in sorted(cells, key=lambda cell: (cell.digest, cell.trial)):
    groups.setdefault(cell.digest, []).append(cell)
  return groups


def summarize(results: Results) -> Summaries:
  """Chooses and summarizes every method in every column that has runs."""
  runs: dict[tuple[str, str], list[Cell]] = {}
  for cell in results.cells:
    runs.setdefault((cell.column, cell.method), []).append(cell)
  places = [(c.id, m.id) for c in results.columns for m in results.methods]
  return {
    place: summarize_cells(runs[place], results.selection)
    for place in places
    if place in runs
  }


def was_chosen(summaries: Mapping[Any, Summary]) -> bool:
  """Whether a method had more than one setting to choose among."""
  return any(summary.num_settings > 1 for summary in summaries.values())


def chosen_on(results: Results, summaries: Mapping[Any, Summary]) -> str:
  """Says in a title where was chosen; nothing where nothing was.

  Args:
    results: What `results.load` returns.
    summaries: What the title is of, by whatever.
  """
  if not was_chosen(summaries):
    return ""
  return {
    "heldout": ", chosen on held-out data",
    "test": ", chosen on TEST data",
  }[results.selection]


def selections(results: Results) -> tuple[Results, ...]:
  """Results with every selection that their runs allow, their own first.

  Runs that held data out were measured on both, so that one can also choose
  as the paper did (A-37). Students of the paper's own protocol saw all data.
  """
  if results.selection == "test" or not was_chosen(summarize(results)):
    return (results,)
  note = (
    "Chosen on the test set as in the paper, but from students that were"
    " trained without the held-out examples."
  )
  other = dataclasses.replace(
    results, selection="test", notes=(*results.notes, note)
  )
  return results, other


def summarize_cells(cells: Iterable[Cell], selection: str) -> Summary:
  """Chooses a setting among runs of one method in one column.

  Args:
    cells: At least one run.
    selection: "heldout" or "test".

  Returns:
    The runs of the chosen setting, summarized.
  """
  groups = by_digest(cells)
  digest = best_setting(groups, selection)
  assert digest is not None
  chosen = groups[digest]
  held_out = [c.validation.accuracy for c in chosen if c.validation is not None]
  return Summary(
    digest=digest,
    hyperparameters=chosen[0].hyperparameters,
    cells=tuple(chosen),
    test=estimate(100 * cell.test.accuracy for cell in chosen),
    validation=estimate(100 * a for a in held_out) if held_out else None,
    num_settings=len(groups),
  )
