"""Differences between methods, and the methods that LELP is compared with."""

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from scipy import special

from experiments.methods.clustering import CLUSTERINGS
from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import paired_difference
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import Summary
from experiments.reporting.selection import SweepResults
from experiments.results import Evaluation

LELP = "lelp"
ORACLE = "oracle"
# Its teacher is trained for it alone (Table 3 of the paper) and has a row of
# its own.
SUBCLASS = "subclass"
# LELP with centroids, which is ours and not the paper's: neither LELP nor a
# method that it is compared with.
_OURS = "lelp_centroids"


# The name of a row with settings of its own starts with that of its method, as
# in "kmeans_projected".


def is_clustering(row: str) -> bool:
  """Returns whether a row learns clusters of the teacher's embeddings."""
  return row.startswith(CLUSTERINGS)


def is_ablation(row: str) -> bool:
  """Returns whether a row is LELP with a setting of its own."""
  return row.startswith(f"{LELP}_") and not row.startswith(_OURS)


def is_baseline(row: str) -> bool:
  """Returns whether a gain of LELP over a row counts.

  As in the paper, it does not count for the oracle, clusterings and ablations,
  and not for the method of ours.
  """
  other = row in (LELP, ORACLE, "random_ensemble") or row.startswith(_OURS)
  return not (other or is_ablation(row) or is_clustering(row))


# Which methods LELP is compared with: each row is its gain over the best of
# these. The paper has the second row as well, since Subclass Distillation needs
# a teacher of its own.
GAINS: dict[str, Callable[[str], bool]] = {
  "gain_best": is_baseline,
  "gain_non_subclass": lambda row: is_baseline(row) and row != SUBCLASS,
  "gain_clustering": is_clustering,
  "gain_vanilla": "vanilla".__eq__,
  "gain_standard": "standard".__eq__,
}


def with_different_teachers(
  results: SweepResults, column: str, methods: Iterable[str]
) -> list[FinishedCell]:
  """Returns one cell for each teacher of some methods in a column."""
  found: dict[str, FinishedCell] = {}
  for method in methods:
    summary = results.summaries.get((column, method))
    for cell in summary.cells if summary else ():
      found.setdefault(cell.teacher.digest, cell)
  return list(found.values())


def teacher_groups(results: SweepResults) -> dict[str, list[str]]:
  """Returns the label of each teacher row, and the methods that share it."""
  ids = [method.id for method in results.methods]
  groups = {"Teacher": [method for method in ids if method != SUBCLASS]}
  if SUBCLASS in ids:
    groups[f"{results.method_title(SUBCLASS)} teacher"] = [SUBCLASS]
  return groups


def difference(
  summary: Summary | None, other: Summary | None
) -> Estimate | None:
  """Returns `summary - other`, paired by trial; None if they share no trial.

  If they share one trial, the interval is over its test examples.
  """
  if summary is None or other is None:
    return None
  a, b = ({cell.trial: cell for cell in x.cells} for x in (summary, other))
  trials = sorted(a.keys() & b.keys())
  if len(trials) == 1:
    return over_examples(a[trials[0]].test, b[trials[0]].test)
  if not trials:
    return None
  return paired_difference(
    *([100 * x[t].test.accuracy for t in trials] for x in (a, b))
  )


def over_examples(own: Evaluation, other: Evaluation) -> Estimate:
  """Returns the difference of two accuracies, points.

  Its 95 % interval is over test examples, by which it is paired; there is none
  unless the predictions on equally many are recorded.
  """
  mean = 100 * (own.accuracy - other.accuracy)
  a, b = (correct(each) for each in (own, other))
  if min(len(a), len(b)) < 2 or len(a) != len(b):
    return Estimate(mean, 1)
  error = 100 * float(np.std(a - b, ddof=1)) / math.sqrt(len(a))
  half = float(special.ndtri(0.975)) * error
  return Estimate(mean, 1, interval=(mean - half, mean + half))


def mean_over_examples(
  cells: Sequence[Evaluation], others: Sequence[Evaluation]
) -> Estimate:
  """Estimates the difference of some trials and others, in points.

  Returns the mean over trials of the differences and of the bounds of their
  95 % intervals, which are over test examples.
  """
  pairs = zip(cells, others, strict=True)
  found = [over_examples(cell, other) for cell, other in pairs]
  mean = float(np.mean([each.mean for each in found]))
  bounds = [each.interval for each in found if each.interval is not None]
  if len(bounds) < len(found):
    return Estimate(mean, len(found))
  low, high = np.mean(bounds, axis=0)
  return Estimate(mean, len(found), interval=(float(low), float(high)))


def correct(evaluation: Evaluation) -> np.ndarray:
  """Returns 1 for each correctly classified example, else 0; maybe empty."""
  if evaluation.predictions is None:
    return np.zeros(0)
  digits = np.frombuffer(bytes.fromhex(evaluation.predictions.correct), "u1")
  return np.unpackbits(digits)[: evaluation.num_examples].astype(float)


def difference_of_methods(
  results: SweepResults,
  column: str | None,
  method: str,
  other: str,
) -> Estimate | None:
  """Returns the difference of two methods; None if either is missing.

  It is paired by trial in a column, and by column if that is None.
  """
  if column is not None:
    pair = ((column, method), (column, other))
    return difference(*(results.summaries.get(place) for place in pair))
  means = [
    (a.test.mean, b.test.mean)
    for c in results.columns
    if (a := results.summaries.get((c.id, method)))
    and (b := results.summaries.get((c.id, other)))
  ]
  return paired_difference(*zip(*means, strict=True)) if means else None


def best(
  results: SweepResults,
  column: str | None = None,
  among: Callable[[str], bool] = is_baseline,
) -> str | None:
  """Returns the method with the highest test accuracy; None without any.

  It is chosen by the test accuracy, as in the paper: this favours baselines.
  """
  means = {
    method.id: accuracy.mean
    for method in results.methods
    if among(method.id) and (accuracy := results.accuracy(column, method.id))
  }
  # Among equals the first row wins.
  return max(means, key=lambda method: means[method]) if means else None


def rivals(results: SweepResults) -> dict[str, Callable[[str], bool]]:
  """Returns the gains of LELP that a table shows."""
  ids = [method.id for method in results.methods]
  if LELP not in ids:
    return {}
  shown = {
    "gain_best": sum(map(is_baseline, ids)) > 1,
    "gain_non_subclass": SUBCLASS in ids,
    "gain_clustering": any(map(is_clustering, ids)),
    "gain_vanilla": "vanilla" in ids,
    "gain_standard": "standard" in ids,
  }
  return {name: among for name, among in GAINS.items() if shown[name]}


def gain(
  results: SweepResults,
  column: str | None,
  among: Callable[[str], bool],
) -> Estimate | None:
  """Returns LELP minus the best of some methods; None if either is missing."""
  rival = best(results, column, among)
  if rival is None:
    return None
  return difference_of_methods(results, column, LELP, rival)
