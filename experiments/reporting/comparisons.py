"""Differences between methods, and the baselines that LELP is compared with."""

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from scipy import special

from experiments.methods.clustering import CLUSTERINGS
from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import estimate
from experiments.reporting.selection import FinishedCell
from experiments.reporting.selection import Summary
from experiments.reporting.selection import SweepResults
from experiments.results import Evaluation
from experiments.results import Heading

LELP = "lelp"
ORACLE = "oracle"
# Subclass Distillation trains a teacher of its own, which tables show in a row
# of its own (Table 3 of the paper).
SUBCLASS = "subclass"
TEACHER, SUBCLASS_TEACHER = "teacher", "subclass_teacher"
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
    if summary := results.of_method(method).get(column):
      for cell in summary.cells:
        cells.setdefault(cell.teacher.digest, cell)
  return list(cells.values())


def teacher_accuracies(
  results: SweepResults, methods: Iterable[str]
) -> dict[str, tuple[Estimate, str]]:
  """Returns the accuracy in percent of some methods' teachers, by column.

  Each comes with the path of a teacher's config. Columns without a finished
  cell of the methods are left out.
  """
  accuracies = {}
  for column in results.columns:
    cells = with_different_teachers(results, column.id, methods)
    if cells:
      whole = estimate(100 * cell.teacher.test.accuracy for cell in cells)
      accuracies[column.id] = whole, cells[0].teacher_config
  return accuracies


def teacher_groups(results: SweepResults) -> dict[Heading, list[str]]:
  """Returns the methods that share a teacher, by the row of the teacher."""
  ids = [method.id for method in results.methods]
  shared = [method for method in ids if method != SUBCLASS]
  groups = {Heading(TEACHER, "Teacher"): shared}
  if SUBCLASS in ids:
    title = f"{results.method_title(SUBCLASS)} teacher"
    groups[Heading(SUBCLASS_TEACHER, title)] = [SUBCLASS]
  return groups


def pairs(
  summary: Summary | None, other: Summary | None
) -> list[tuple[Evaluation, Evaluation]]:
  """Returns the test scores of two methods in the trials that both have."""
  if summary is None or other is None:
    return []
  others = {cell.trial: cell.test for cell in other.cells}
  return [
    (cell.test, others[cell.trial])
    for cell in summary.cells
    if cell.trial in others
  ]


def difference(
  summary: Summary | None, other: Summary | None
) -> Estimate | None:
  """Returns `summary - other`, paired by trial; None if they share no trial.

  Effects that the two values of a pair share, such as those of the split, the
  teacher or the order of the batches, cancel. If the methods share a single
  trial, the interval is over its test examples.
  """
  paired = pairs(summary, other)
  if len(paired) == 1:
    return over_examples(*paired[0])
  if not paired:
    return None
  return estimate(100 * a.accuracy - 100 * b.accuracy for a, b in paired)


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
  a, b = results.of_method(method), results.of_method(other)
  if column is not None:
    return difference(a.get(column), b.get(column))
  differences = [a[c].test.mean - b[c].test.mean for c in a if c in b]
  return estimate(differences) if differences else None


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
