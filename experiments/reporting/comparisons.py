"""Differences between methods, and the baselines that LELP is compared with."""

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
# Subclass Distillation trains a teacher of its own, which tables show in a row
# of its own (Table 3 of the paper).
SUBCLASS = "subclass"
# LELP with centroids is not in the paper. Tables treat it neither as LELP nor
# as a baseline.
_OURS = "lelp_centroids"


# A row that is a method with other settings has a name that starts with the
# method's, such as "kmeans_projected".


def is_clustering(row: str) -> bool:
  """Returns whether the method of a row clusters the teacher's embeddings."""
  return row.startswith(CLUSTERINGS)


def is_ablation(row: str) -> bool:
  """Returns whether a row is LELP with other settings than the paper's."""
  return row.startswith(f"{LELP}_") and not row.startswith(_OURS)


def is_baseline(row: str) -> bool:
  """Returns whether a row counts as a baseline of LELP.

  As in the paper, the oracle, clusterings and ablations of LELP do not count.
  Nor do `random_ensemble` and `lelp_centroids`, which the paper does not have.
  """
  other = row in (LELP, ORACLE, "random_ensemble") or row.startswith(_OURS)
  return not (other or is_ablation(row) or is_clustering(row))


# The rows of gains. Each is LELP minus the best of the methods that its
# function accepts. As in the paper, the second row leaves out Subclass
# Distillation, which needs a teacher of its own.
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
  """Returns one cell for each teacher of the given methods in a column."""
  cells: dict[str, FinishedCell] = {}
  for method in methods:
    summary = results.summaries.get((column, method))
    for cell in summary.cells if summary else ():
      cells.setdefault(cell.teacher.digest, cell)
  return list(cells.values())


def teacher_groups(results: SweepResults) -> dict[str, list[str]]:
  """Returns the methods that share a teacher, by the label of its row."""
  ids = [method.id for method in results.methods]
  groups = {"Teacher": [method for method in ids if method != SUBCLASS]}
  if SUBCLASS in ids:
    groups[f"{results.method_title(SUBCLASS)} teacher"] = [SUBCLASS]
  return groups


def difference(
  summary: Summary | None, other: Summary | None
) -> Estimate | None:
  """Returns `summary - other`, paired by trial; None if they share no trial.

  If they share a single trial, the interval is over its test examples.
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
  """Returns `own - other`, the difference of two accuracies in points.

  Its 95 % interval is over test examples, paired by example. There is no
  interval unless both have recorded predictions on equally many examples.
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
  """Averages `over_examples` over pairs of trials.

  Returns the mean difference in points, and the means of the bounds of the 95 %
  intervals over test examples.
  """
  pairs = zip(cells, others, strict=True)
  differences = [over_examples(cell, other) for cell, other in pairs]
  mean, n = float(np.mean([d.mean for d in differences])), len(differences)
  bounds = [d.interval for d in differences if d.interval is not None]
  if len(bounds) < n:
    return Estimate(mean, n)
  low, high = np.mean(bounds, axis=0)
  return Estimate(mean, n, interval=(float(low), float(high)))


def correct(evaluation: Evaluation) -> np.ndarray:
  """Returns 1 for each correctly classified example and 0 for the others.

  The array is empty if the predictions are not recorded.
  """
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

  Within a column, pairs are trials. If `column` is None, pairs are columns.
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
  """Returns the method with the highest test accuracy; None if there is none.

  Choosing by test accuracy, as the paper does, favours the baselines.
  """
  means = {
    method.id: accuracy.mean
    for method in results.methods
    if among(method.id) and (accuracy := results.accuracy(column, method.id))
  }
  # If several are equal, the first row wins.
  return max(means, key=lambda method: means[method]) if means else None


def rivals(results: SweepResults) -> dict[str, Callable[[str], bool]]:
  """Returns the items of `GAINS` for which a sweep has methods."""
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
  """Returns LELP minus the best method of `among`; None if one is missing."""
  rival = best(results, column, among)
  if rival is None:
    return None
  return difference_of_methods(results, column, LELP, rival)
