"""The one sentence to take away from a table, made from its numbers."""

from experiments.reporting import comparisons
from experiments.reporting.records import Results
from experiments.reporting.statistics import chosen_on
from experiments.reporting.statistics import Estimate
from experiments.reporting.statistics import Summaries
from experiments.reporting.statistics import summarize


def in_sentence(title: str) -> str:
  """A title as it stands within a sentence: names keep their capitals.

  Examples:
    >>> in_sentence("Vanilla distillation"), in_sentence("FitNet")
    ('vanilla distillation', 'FitNet')
  """
  first = title.split(" ")[0]
  return title[:1].lower() + title[1:] if first.istitle() else title


def what_to_read_off(results: Results) -> str:
  """Says in one sentence how LELP compares, whichever way it went.

  Args:
    results: What `results.load` returns.

  Returns:
    The differences to standard training, to vanilla distillation and to the
    best baseline where that is another, with their 95 % intervals over the
    splits (replicates) or the trials (one column); to its ablations in a sweep
    of nothing else. For several settings: in how many of them LELP is above.
    At its end, on what hyperparameters were chosen, where any were.
  """
  summaries = summarize(results)
  title = dict((m.id, m.title) for m in results.methods).get(comparisons.LELP)
  if title is None:
    return "Nothing to read off: LELP is no row of this sweep."
  if not any(method == comparisons.LELP for _, method in summaries):
    return "Nothing to read off: no cell of LELP is there yet."
  rivals = _rivals(results, summaries)
  if not rivals:
    return "Nothing to read off: no cell of a baseline is there yet."
  replicates = results.columns_are == "replicates"
  if replicates or len(results.columns) == 1:
    body = _differences(results, summaries, rivals)
  else:
    body = _counts(results, summaries, rivals)
  if not body:
    return "Nothing to read off: LELP and no baseline share a column yet."
  sentence = f"{title} is {body}{chosen_on(results, summaries)}."
  if results.num_missing:
    sentence = (
      f"Provisional, {results.num_missing} of {results.num_expected} cells"
      f" missing: {sentence}"
    )
  return sentence


def _rivals(results: Results, summaries: Summaries) -> dict[str, str]:
  """Whom LELP is compared with, and how they are called."""
  there = {method for _, method in summaries}
  if not any(map(_is_rival, (method.id for method in results.methods))):
    return {
      method.id: variant(method.title)
      for method in results.methods
      if method.id in there and method.id.startswith(f"{comparisons.LELP}_")
    }
  rivals = {
    method: in_sentence(results.method_title(method))
    for method in ("standard", "vanilla")
    if method in there
  }
  # Among several settings each has its own best: the table says which.
  if results.columns_are == "replicates" or len(results.columns) == 1:
    for kind, among in (
      ("baseline", comparisons.is_baseline),
      ("clustering", comparisons.is_clustering),
    ):
      best = comparisons.best(results, summaries, among=among)
      if best is not None and best not in rivals:
        title = in_sentence(results.method_title(best))
        rivals[best] = f"{title}, the best {kind}"
  return rivals


def _is_rival(method: str) -> bool:
  return comparisons.is_baseline(method) or comparisons.is_clustering(method)


def variant(title: str) -> str:
  """The title of an ablation as it stands within a sentence.

  Examples:
    >>> variant("LELP, random directions")
    'LELP with random directions'
    >>> variant("LELP, without the projection")
    'LELP without the projection'
  """
  name, _, rest = title.partition(", ")
  preposition = "" if rest.startswith(("off ", "without ")) else "with "
  return f"{name} {preposition}{rest}" if rest else title


def _differences(
  results: Results, summaries: Summaries, rivals: dict[str, str]
) -> str:
  clauses = []
  for method, name in rivals.items():
    gain, unit = _difference(results, summaries, method)
    if gain is None:
      continue
    interval = _interval(gain, unit, brief=bool(clauses))
    clauses.append(f"{_amount(gain)} {name} ({interval})")
  return " and ".join(
    [", ".join(clauses[:-1]), clauses[-1]] if len(clauses) > 1 else clauses
  )


def _difference(
  results: Results, summaries: Summaries, other: str
) -> tuple[Estimate | None, str]:
  """The difference over splits, or over trials where there is one column."""
  if len(results.columns) > 1:
    return comparisons.difference_over_columns(
      results, summaries, comparisons.LELP, other
    ), "split"
  column = results.columns[0].id
  return comparisons.difference_in_column(
    summaries, column, comparisons.LELP, other
  ), "trial"


def _amount(gain: Estimate) -> str:
  points = f"{abs(gain.mean):.2f}"
  if points == "0.00":
    return "level with"
  return f"{points} points {'above' if gain.mean > 0 else 'below'}"


def _interval(gain: Estimate, unit: str, *, brief: bool) -> str:
  if gain.interval is None:
    return f"one {unit}: no interval"
  low, high = (round(bound, 2) + 0.0 for bound in gain.interval)
  text = f"{low:.2f} to {high:.2f}"
  if not brief:
    text = f"95 % interval of the difference {text}, {gain.n} {unit}s"
  return text if gain.sign else f"{text}: not distinguishable from zero"


def _counts(
  results: Results, summaries: Summaries, rivals: dict[str, str]
) -> str:
  clauses = []
  for method, name in rivals.items():
    gains = [
      gain
      for column in results.columns
      if (
        gain := comparisons.difference_in_column(
          summaries, column.id, comparisons.LELP, method
        )
      )
    ]
    if not gains:
      continue
    above = sum(gain.mean > 0 for gain in gains)
    low, high = min(g.mean for g in gains), max(g.mean for g in gains)
    clauses.append(
      f"above {name} in {above} of {len(gains)} settings (differences"
      f" {low:+.2f} to {high:+.2f} points; {_signs(gains)})"
    )
  return " and ".join(clauses)


def _signs(gains: list[Estimate]) -> str:
  if not any(gain.interval for gain in gains):
    return "one trial: no interval"
  above = sum(gain.sign > 0 for gain in gains)
  below = sum(gain.sign < 0 for gain in gains)
  return f"95 % interval over trials above zero in {above}, below in {below}"
