"""Estimates with their spread, and the choice of hyperparameters.

Accuracies are in percent from here on. A spread is always that of independent
repetitions: trials within a column, or columns where they are replicates.
"""

import dataclasses
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from experiments.reporting.workdirs import FinishedCell
from experiments.reporting.workdirs import SweepResults


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean and its uncertainty.

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
    """1 or -1 where the interval is entirely above or below zero, else 0."""
    if self.interval is None:
      return 0
    low, high = self.interval
    return int(low > 0) - int(high < 0)


@dataclasses.dataclass(frozen=True)
class Summary:
  """Accuracy of one method in one column with its chosen hyperparameters.

  Attributes:
    digest: Digest of the chosen hyperparameters.
    hyperparameters: The chosen hyperparameters.
    cells: Their trials, in order.
    test: Test accuracy over the trials, percent.
    validation: Held-out accuracy over the trials, percent; None where no
      examples were held out.
    num_settings: Number of settings that were compared.
  """

  digest: str
  hyperparameters: Mapping[str, Any]
  cells: tuple[FinishedCell, ...]
  test: Estimate
  validation: Estimate | None
  num_settings: int


Summaries = dict[tuple[str, str], Summary]


def estimate(values: Iterable[float]) -> Estimate:
  """Computes mean, spread and 95 % t interval of independent values.

  Returns the estimate, without a spread for a single value.

  Examples:
    >>> e = estimate([1.0, 2.0, 3.0])
    >>> e.mean, e.std, round(e.standard_error, 4), e.n
    (2.0, 1.0, 0.5774, 3)
  """
  x = np.asarray(list(values), np.float64)
  if not x.size:
    raise ValueError("values must be one or more numbers, got none.")
  # fsum does not depend on the order, so that equal sets have equal means.
  mean = math.fsum(x) / x.size
  if x.size == 1:
    return Estimate(mean=mean, n=1)
  std = float(np.std(x, ddof=1))
  error = std / math.sqrt(x.size)
  half = float(special.stdtrit(x.size - 1, 0.975)) * error
  return Estimate(mean, x.size, std, error, (mean - half, mean + half))


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
  """Estimates the mean of `a - b` over pairs.

  Everything that the two values of a pair share, such as the split, the teacher
  or the order of the batches, cancels.

  Examples:
    >>> paired_difference([3.0, 5.0], [2.0, 3.0]).mean
    1.5
  """
  return estimate([x - y for x, y in zip(a, b, strict=True)])


def summarize(results: SweepResults) -> Summaries:
  """Chooses the hyperparameters of every method in every column.

  Returns a summary by column and method, where a cell is finished.
  """
  cells: dict[tuple[str, str], list[FinishedCell]] = {}
  for cell in results.cells:
    cells.setdefault((cell.column, cell.method), []).append(cell)
  places = [(c.id, m.id) for c in results.columns for m in results.methods]
  summaries = {}
  for column, method in places:
    if (column, method) in cells:
      found = summarize_cells(cells[column, method], results.selection)
      tried = results.num_tried.get(method, found.num_settings)
      found = dataclasses.replace(found, num_settings=tried)
      summaries[column, method] = found
  return summaries


def summarize_cells(cells: Iterable[FinishedCell], selection: str) -> Summary:
  """Chooses the hyperparameters of one method in one column.

  The setting with the highest mean accuracy over trials is chosen; among
  equals the one with the lowest mean loss, then with the smallest digest.
  """
  groups: dict[str, list[FinishedCell]] = {}
  for cell in sorted(cells, key=lambda cell: (cell.digest, cell.trial)):
    groups.setdefault(cell.digest, []).append(cell)
  digest = next(iter(groups))
  if len(groups) > 1:
    digest = min(groups, key=lambda d: (*_rank(groups[d], selection), d))
  chosen = groups[digest]
  held_out = [100 * c.held_out.accuracy for c in chosen if c.held_out]
  return Summary(
    digest=digest,
    hyperparameters=chosen[0].hyperparameters,
    cells=tuple(chosen),
    test=estimate(100 * cell.test.accuracy for cell in chosen),
    validation=estimate(held_out) if held_out else None,
    num_settings=len(groups),
  )


def _rank(cells: Sequence[FinishedCell], selection: str) -> tuple[float, float]:
  """Returns a setting's negative accuracy and its loss: the least is best."""
  scores = []
  for cell in cells:
    score = cell.test if selection == "test" else cell.held_out
    if score is None:
      raise ValueError(
        f"{cell.column}/{cell.method}/{cell.digest} has no held-out accuracy "
        "to choose by: run the sweep with --config.selection=heldout."
      )
    scores.append(score)
  # Rounded: equal numbers of hits are a tie, whatever they were summed from.
  accuracy = round(estimate(score.accuracy for score in scores).mean, 12)
  losses = [score.loss for score in scores if score.loss is not None]
  # The loss of a diverged cell is unknown: it loses every tie.
  loss = estimate(losses).mean if len(losses) == len(scores) else math.inf
  return -accuracy, loss


def was_chosen(summaries: Mapping[Any, Summary]) -> bool:
  """Returns whether a method had several settings to choose from."""
  return any(summary.num_settings > 1 for summary in summaries.values())


def chosen_on(results: SweepResults, summaries: Mapping[Any, Summary]) -> str:
  """Returns the end of a title that names the examples of the choice."""
  if not was_chosen(summaries):
    return ""
  return {
    "heldout": ", chosen on held-out data",
    "test": ", chosen on TEST data",
  }[results.selection]


def selections(results: SweepResults) -> tuple[SweepResults, ...]:
  """Returns the results with every selection that they allow, their own first.

  Cells with held-out examples were evaluated on both sets, so that one can also
  choose on the test set as the paper did (A-37).
  """
  if results.selection == "test" or not was_chosen(summarize(results)):
    return (results,)
  if results.num_tried:  # The other settings have fewer trials.
    return (results,)
  note = (
    "Chosen on the test set as in the paper, but among students that were "
    "trained without the held-out examples."
  )
  other = dataclasses.replace(
    results, selection="test", notes=(*results.notes, note)
  )
  return results, other


def varied(results: SweepResults, method: str) -> list[str]:
  """Returns the hyperparameters with several values in one column."""
  values: dict[tuple[str, str], set[Any]] = {}
  for cell in results.cells:
    if cell.method == method:
      for name, value in cell.hyperparameters.items():
        values.setdefault((name, cell.column), set()).add(value)
  several = [name for (name, _), found in values.items() if len(found) > 1]
  return list(dict.fromkeys(several))


def along(
  results: SweepResults, method: str, column: str, *names: str
) -> dict[tuple[Any, ...], Summary]:
  """Chooses the best setting at each combination of some hyperparameters.

  Returns a summary by the values of these hyperparameters, in ascending order.
  """
  groups: dict[tuple[Any, ...], list[FinishedCell]] = {}
  for cell in results.cells:
    if (cell.method, cell.column) == (method, column):
      key = tuple(cell.hyperparameters.get(name) for name in names)
      if None not in key:
        groups.setdefault(key, []).append(cell)
  return {
    key: summarize_cells(groups[key], results.selection)
    for key in sorted(groups)
  }
