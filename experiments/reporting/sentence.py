"""The sentence of a report that says how LELP compares with its baselines."""

from experiments.reporting import comparisons
from experiments.reporting.estimates import Estimate
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import SweepResults


def in_sentence(title: str) -> str:
  """Returns a title as part of a sentence; names keep their capitals.

  Examples:
    >>> in_sentence("Vanilla distillation"), in_sentence("FitNet")
    ('vanilla distillation', 'FitNet')
  """
  first = title.split(" ")[0]
  return title[:1].lower() + title[1:] if first.istitle() else title


def comparison_sentence(results: SweepResults) -> str:
  """Returns a sentence on the differences between LELP and its baselines."""
  if not any(method.id == comparisons.LELP for method in results.methods):
    return "There is no comparison: LELP is not a row of this sweep."
  rivals = _rivals(results)
  if results.is_one_setting:
    body = _differences(results, rivals)
  else:
    body = _counts(results, rivals)
  if not body:
    return (
      "There is no comparison yet: no column has finished cells of both LELP"
      " and a baseline."
    )
  missing = f"{results.num_missing} of {results.num_cells} cells missing"
  start = f"Provisional, {missing}: " if results.num_missing else ""
  title = results.method_title(comparisons.LELP)
  return f"{start}{title} is {body}{chosen_on(results)}."


def _rivals(results: SweepResults) -> dict[str, str]:
  """Returns the methods that LELP is compared with, and their names."""
  finished = {method for _, method in results.summaries}
  if not any(
    comparisons.is_baseline(method.id) or comparisons.is_clustering(method.id)
    for method in results.methods
  ):
    return {
      method.id: variant(method.title)
      for method in results.methods
      if method.id in finished and comparisons.is_ablation(method.id)
    }
  rivals = {
    method: in_sentence(results.method_title(method))
    for method in ("standard", "vanilla")
    if method in finished
  }
  # If there are several settings, each has its own best baseline, which the
  # table shows.
  if results.is_one_setting:
    for kind, among in (
      ("baseline", comparisons.is_baseline),
      ("clustering", comparisons.is_clustering),
    ):
      best = comparisons.best(results, among=among)
      if best is not None and best not in rivals:
        title = in_sentence(results.method_title(best))
        rivals[best] = f"{title}, the best {kind}"
  return rivals


def variant(title: str) -> str:
  """Returns the title of an ablation as part of a sentence.

  Examples:
    >>> variant("LELP, random directions")
    'LELP with random directions'
    >>> variant("LELP, without the projection")
    'LELP without the projection'
  """
  name, _, rest = title.partition(", ")
  preposition = "" if rest.startswith(("off ", "without ")) else "with "
  return f"{name} {preposition}{rest}" if rest else title


def _differences(results: SweepResults, rivals: dict[str, str]) -> str:
  """Returns the differences of a sweep of one setting, as a clause."""
  clauses = []
  for method, name in rivals.items():
    gain = comparisons.difference_of_methods(
      results, results.whole, comparisons.LELP, method
    )
    if gain is not None:
      interval = _interval(gain, results.repetition, brief=bool(clauses))
      clauses.append(f"{_amount(gain)} {name} ({interval})")
  return " and ".join(
    [", ".join(clauses[:-1]), clauses[-1]] if len(clauses) > 1 else clauses
  )


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
    over = f"{gain.n} {unit}s" if gain.n > 1 else f"one {unit}, over examples"
    text = f"95 % interval of the difference {text}, {over}"
  return text if gain.sign else f"{text}: not distinguishable from zero"


def _counts(results: SweepResults, rivals: dict[str, str]) -> str:
  """Returns in how many of several settings LELP is better, as a clause."""
  clauses = []
  for method, name in rivals.items():
    differences = [
      comparisons.difference_of_methods(
        results, column.id, comparisons.LELP, method
      )
      for column in results.columns
    ]
    gains = [gain for gain in differences if gain is not None]
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
  unit = "trials" if any(gain.n > 1 for gain in gains) else "test examples"
  return f"95 % interval over {unit} above zero in {above}, below in {below}"
