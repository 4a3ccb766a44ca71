"""Who is compared with whom: baselines, teachers and differences."""

from collections.abc import Callable
from collections.abc import Iterable

from experiments.reporting.records import Results
from experiments.reporting.records import Teacher
from experiments.reporting.statistics import Estimate
from experiments.reporting.statistics import estimate
from experiments.reporting.statistics import paired_difference
from experiments.reporting.statistics import Summaries
from experiments.reporting.statistics import Summary

LELP = "lelp"
ORACLE = "oracle"
_CLUSTERINGS = ("agglomerative", "kmeans", "tsne_kmeans")
# Its teacher is trained for it alone (paper, Table 3) and has its own row.
SUBCLASS = "subclass"


def teachers(
  summaries: Summaries, column: str, methods: Iterable[str]
) -> tuple[Teacher, ...]:
  """The different teachers that methods had in a column."""
  found = {}
  for method in methods:
    summary = summaries.get((column, method))
    for cell in summary.cells if summary else ():
      if cell.teacher is not None:
        found.setdefault(cell.teacher.digest, cell.teacher)
  return tuple(found.values())


def is_clustering(method: str) -> bool:
  """Whether a method's targets are clusters of embeddings, hard or soft."""
  return method.removesuffix("_soft") in _CLUSTERINGS


def is_baseline(method: str) -> bool:
  """Whether a gain of LELP over this method counts.

  In the paper neither the oracle, nor clusterings, nor ablations do (spec 7).
  """
  known = method in (LELP, ORACLE) or method.startswith(f"{LELP}_")
  return not known and not is_clustering(method)


def over_columns(
  results: Results, summaries: Summaries, method: str
) -> Estimate | None:
  """Mean of a method over the columns that it has; None for none."""
  means = [
    summaries[column.id, method].test.mean
    for column in results.columns
    if (column.id, method) in summaries
  ]
  return estimate(means) if means else None


def difference_in_column(
  summaries: Summaries, column: str, method: str, other: str
) -> Estimate | None:
  """`method` minus `other` in one column, paired by the trial's number."""
  return difference(
    summaries.get((column, method)), summaries.get((column, other))
  )


def difference(
  summary: Summary | None, other: Summary | None
) -> Estimate | None:
  """Difference of two settings, paired by trial; None if they share none."""
  if summary is None or other is None:
    return None
  a, b = _by_trial(summary), _by_trial(other)
  trials = sorted(a.keys() & b.keys())
  if not trials:
    return None
  return paired_difference([a[t] for t in trials], [b[t] for t in trials])


def _by_trial(summary: Summary) -> dict[int, float]:
  return {cell.trial: 100 * cell.test.accuracy for cell in summary.cells}


def difference_over_columns(
  results: Results, summaries: Summaries, method: str, other: str
) -> Estimate | None:
  """`method` minus `other`, paired over the columns that both have."""
  pairs = [
    (summaries[c.id, method].test.mean, summaries[c.id, other].test.mean)
    for c in results.columns
    if (c.id, method) in summaries and (c.id, other) in summaries
  ]
  if not pairs:
    return None
  return paired_difference([a for a, _ in pairs], [b for _, b in pairs])


def best(
  results: Results,
  summaries: Summaries,
  column: str | None = None,
  among: Callable[[str], bool] = is_baseline,
) -> str | None:
  """The method of the highest test accuracy; over all columns for None.

  Chosen by the test accuracy, as in the paper: this favours those methods.

  Args:
    results: What `results.load` returns.
    summaries: Its runs, summarised.
    column: Where.
    among: Says of a method whether it takes part; the baselines by default.
  """
  means = {}
  for method in results.methods:
    if not among(method.id):
      continue
    if column is None:
      whole = over_columns(results, summaries, method.id)
    else:
      summary = summaries.get((column, method.id))
      whole = summary.test if summary else None
    if whole is not None:
      means[method.id] = whole.mean
  # The order of the methods decides among equals.
  return max(means, key=lambda method: means[method]) if means else None


def rivals(results: Results) -> dict[str, Callable[[str], bool]]:
  """Over whom LELP's gains are: which methods, by the name of the gain.

  Args:
    results: What `results.load` returns.

  Returns:
    Nothing where LELP is no row. The best baseline is left out where there is
    one alone: its own row says it already.
  """
  ids = [method.id for method in results.methods]
  if LELP not in ids:
    return {}
  found: dict[str, Callable[[str], bool]] = {}
  if sum(map(is_baseline, ids)) > 1:
    found["gain_best"] = is_baseline
  if SUBCLASS in ids:
    # Its teacher is trained for it alone: the paper has both rows.
    found["gain_non_subclass"] = lambda method: (
      is_baseline(method) and method != SUBCLASS
    )
  if any(map(is_clustering, ids)):
    found["gain_clustering"] = is_clustering
  for other in ("vanilla", "standard"):
    if other in ids:
      found[f"gain_{other}"] = other.__eq__
  return found


def gain(
  results: Results,
  summaries: Summaries,
  column: str | None,
  among: Callable[[str], bool],
) -> Estimate | None:
  """LELP minus the best of some methods in a column (None: over all).

  Paired by trial, or by column over all; None where either is missing.
  """
  rival = best(results, summaries, column, among)
  if rival is None:
    return None
  if column is None:
    return difference_over_columns(results, summaries, LELP, rival)
  return difference_in_column(summaries, column, LELP, rival)


def teacher_groups(results: Results) -> dict[str, list[str]]:
  """Label of each teacher row, and the methods whose teacher it is."""
  ids = [method.id for method in results.methods]
  groups = {"Teacher": [method for method in ids if method != SUBCLASS]}
  if SUBCLASS in ids:
    groups[f"{results.method_title(SUBCLASS)} teacher"] = [SUBCLASS]
  return groups
