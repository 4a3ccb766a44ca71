"""What the paper's reviewers asked (spec 9), as tables.

Of the null space, of ensembles of random projections, and of the number of
classes; those of other questions are `sensitivity` and `cost`.
"""

import pathlib
from collections.abc import Iterable

from experiments.reporting import comparisons
from experiments.reporting import curves
from experiments.reporting import settings
from experiments.reporting.formats import number
from experiments.reporting.formats import short
from experiments.reporting.formats import with_interval
from experiments.reporting.layout import heading
from experiments.reporting.layout import Row
from experiments.reporting.layout import Table
from experiments.reporting.layout import TableCell
from experiments.reporting.names import column_name
from experiments.reporting.records import Named
from experiments.reporting.records import Results
from experiments.reporting.statistics import chosen_on
from experiments.reporting.statistics import estimate
from experiments.reporting.statistics import Summaries
from experiments.reporting.statistics import summarize
from experiments.reporting.statistics import Summary

DIFFERENCES = f"{comparisons.LELP}_differences"
UNPROJECTED = f"{comparisons.LELP}_unprojected"
RANDOM = f"{comparisons.LELP}_random"
ENSEMBLE = f"{comparisons.LELP}_random_ensemble"
_NUMBER = "num_projections"
_NULL_SPACE_HEADER = (
  "the paper's: off all weights",
  "off their differences",
  "no projection",
  "projection minus none",
  "variance in the null space",
  "in LELP's directions",
  "in those without projection",
)
_ENSEMBLE_HEADER = (
  "test accuracy",
  "minus one projection",
  "minus LELP",
  "S",
  "β",
  "settings tried",
)
_CLASSES_HEADER = (
  "vanilla",
  "LELP",
  "LELP minus vanilla",
  "free numbers of a target, vanilla",
  "LELP's",
)
_PAIRED = "points, paired by trial, in brackets the 95 % interval."


def null_space_table(results: Results) -> Table | None:
  """Builds the table of LELP with and without the projection (A-3).

  Args:
    results: What `results.load` returns.

  Returns:
    A row for each column: accuracies, the difference, and the shares of the
    teacher's variance within a class. None where no run leaves the projection
    out.
  """
  summaries = summarize(results)
  rows = []
  for column in results.columns:
    with_it, differences, without = (
      summaries.get((column.id, method))
      for method in (comparisons.LELP, DIFFERENCES, UNPROJECTED)
    )
    if differences is None and without is None:
      continue
    accuracies = [
      _accuracy(s, results) for s in (with_it, differences, without)
    ]
    shares = (
      _range(_null_space_shares(results, column)),
      _range(with_it.cells[0].variance_share if with_it else ()),
      _range(without.cells[0].variance_share if without else ()),
    )
    cells = (
      *accuracies,
      _difference(with_it, without, results),
      *map(TableCell, shares),
    )
    rows.append(Row(column_name(column), cells))
  if not rows:
    return None
  return Table(
    title=(
      f"{results.title}: the null space of the teacher's head"
      f"{chosen_on(results, summaries)}"
    ),
    header=_NULL_SPACE_HEADER,
    rows=tuple(rows),
    caption=(
      f"Test accuracy in %{_over_trials(results)}."
      f" Projection minus none: {_PAIRED} Variance: % of that of the teacher's"
      " embeddings within a class, mean over classes and in brackets the"
      " least and the greatest; the rest of it lies in the span of the head's"
      " weights, which the projection takes out. Directions: what the S of"
      " a class carry of it."
    ),
  )


def null_space_sentence(results: Results) -> str:
  """Says how much of the teacher's variance the head does not see."""
  means = {
    column_name(column): estimate(shares).mean
    for column in results.columns
    if (shares := _null_space_shares(results, column))
  }
  if not means:
    return ""
  low, high = (f"{100 * f(means.values()):.1f}" for f in (min, max))
  amount = low if low == high else f"{low} to {high}"
  settings_of = f"{len(means)} settings, " if len(means) > 1 else ""
  return (
    f"Of the variance of the teacher's embeddings within a class {amount} %"
    f" lies in the null space of its head ({settings_of}mean over classes)."
  )


def _null_space_shares(results: Results, column: Named) -> tuple[float, ...]:
  """Of each class; the same for all that have one teacher."""
  for cell in results.cells:
    if cell.column == column.id and cell.null_space_share:
      return cell.null_space_share
  return ()


def ensemble_table(results: Results) -> Table | None:
  """Builds the table of ensembles of random projections beside LELP.

  Args:
    results: What `results.load` returns.

  Returns:
    Rows for each column: LELP, one random projection, and an ensemble of each
    size, each with its best other settings. None without an ensemble.
  """
  summaries, rows = summarize(results), []
  for column in results.columns:
    found = _ensembles(results, summaries, column)
    lelp = summaries.get((column.id, comparisons.LELP))
    if not found or list(found) == [1]:
      continue
    several = len(results.columns) > 1
    name = column_name(column) if several else ""
    rows += [heading(name, len(_ENSEMBLE_HEADER))] if several else []
    for label, summary in (
      (results.method_title(comparisons.LELP), lelp),
      *((_ensemble_label(n), one) for n, one in found.items()),
    ):
      if summary is None:
        continue
      cells = (
        _accuracy(summary, results),
        _difference(summary, found.get(1), results),
        _difference(summary, lelp, results),
        *(
          TableCell(_setting(summary, field))
          for field in ("num_subclasses", "subclass_temperature")
        ),
        TableCell(str(summary.num_settings)),
      )
      rows.append(Row(label, cells, name, detail=several))
  if not rows:
    return None
  return Table(
    title=f"{results.title}: ensembles{chosen_on(results, summaries)}",
    header=_ENSEMBLE_HEADER,
    rows=tuple(rows),
    caption=(
      f"Test accuracy in %{_over_trials(results)}. S and β: the best of that"
      f" row. Differences: {_PAIRED} An ensemble's S directions are"
      " divided among its projections."
    ),
  )


def ensemble_picture(results: Results, path: pathlib.Path) -> bool:
  """Draws accuracy over the number of random projections, LELP as a level.

  Args:
    results: What `results.load` returns.
    path: Where the PNG goes.

  Returns:
    Whether there was an ensemble to draw.
  """
  summaries, plots = summarize(results), []
  for column in results.columns:
    found = _ensembles(results, summaries, column)
    if not found or list(found) == [1]:
      continue
    points = {float(n): summary.test for n, summary in found.items()}
    lines = {ENSEMBLE: curves.Line("Random projections", points)}
    lelp = summaries.get((column.id, comparisons.LELP))
    if lelp is not None:
      level = dict.fromkeys((1.0, max(points)), lelp.test)
      title = results.method_title(comparisons.LELP)
      lines[comparisons.LELP] = curves.Line(title, level)
    plots.append(
      curves.Plot(
        column_name(column) if len(results.columns) > 1 else "",
        "Number of random projections",
        "Test accuracy (%)",
        lines,
        logarithmic=True,
      )
    )
  if plots:
    curves.draw_plots(
      plots,
      path,
      title=f"{results.title}{chosen_on(results, summaries)}",
      explanation="Whiskers: ± 1 standard error over trials.",
    )
  return bool(plots)


def classes_table(results: Results) -> Table | None:
  """Builds the table of LELP over the number of classes.

  Args:
    results: What `results.load` returns; its columns end in ``-mergedC``.

  Returns:
    A row for each number of classes: what LELP gains, and how many numbers of
    a target are free. None without such columns.
  """
  summaries, rows = summarize(results), []
  for column in results.columns:
    number_text = column.id.rpartition("-merged")[2]
    if not number_text.isdigit():
      continue
    vanilla, lelp = (
      summaries.get((column.id, method))
      for method in ("vanilla", comparisons.LELP)
    )
    classes = int(number_text)
    size = lelp.hyperparameters.get("num_subclasses") if lelp else None
    free = f"{classes * size - 1:,}" if isinstance(size, int) else ""
    cells = (
      _accuracy(vanilla, results),
      _accuracy(lelp, results),
      _difference(lelp, vanilla, results),
      TableCell(f"{classes - 1:,}"),
      TableCell(free),
    )
    rows.append(Row(f"{classes} classes", cells))
  if not rows:
    return None
  return Table(
    title=f"{results.title}: what LELP gains{chosen_on(results, summaries)}",
    header=_CLASSES_HEADER,
    rows=tuple(rows),
    caption=(
      f"Test accuracy in %{_over_trials(results)}. LELP minus vanilla:"
      f" {_PAIRED} Free numbers: C - 1 of C class probabilities, S x C - 1 of"
      " those of S subclasses of each, which is what few classes lack."
    ),
  )


def _ensembles(
  results: Results, summaries: Summaries, column: Named
) -> dict[int, Summary]:
  """The best setting of each number of projections; of one, "random"."""
  runs = settings.along(results, ENSEMBLE, column.id, _NUMBER)
  found = {int(n): summary for (n,), summary in runs.items()}
  one = summaries.get((column.id, RANDOM))
  return ({1: one} if one and 1 not in found else {}) | found


def _over_trials(results: Results) -> str:
  if results.num_trials == 1:
    return ", one trial, so no error"
  return f": mean ± standard error over {results.num_trials} trials"


def _ensemble_label(size: int) -> str:
  return "one random projection" if size == 1 else f"ensemble of {size}"


def _accuracy(summary: Summary | None, results: Results) -> TableCell:
  if summary is None:
    return TableCell()
  text = number(summary.test, results.num_trials)
  return TableCell(text, link=summary.cells[0].config)


def _difference(
  summary: Summary | None, other: Summary | None, results: Results
) -> TableCell:
  if summary is other:
    return TableCell()
  found = comparisons.difference(summary, other)
  return TableCell(with_interval(found, results.num_trials) if found else "")


def _setting(summary: Summary, field: str) -> str:
  value = summary.hyperparameters.get(field)
  return short(value) if isinstance(value, int | float) else ""


def _range(shares: Iterable[float]) -> str:
  """Their mean in percent, and where they differ the ends."""
  shares = list(shares)
  if not shares:
    return ""
  low, mean, high = (
    f"{100 * x:.1f}" for x in (min(shares), estimate(shares).mean, max(shares))
  )
  return mean if low == high else f"{mean} ({low} to {high})"
