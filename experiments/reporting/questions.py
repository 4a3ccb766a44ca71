"""Tables for sweeps that the paper does not have.

They show LELP with and without the projection onto the null space
(`configs/null_space.py`), ensembles of random projections
(`configs/random_ensembles.py`) and the gain of LELP over the number of classes
(`configs/num_classes.py`).
"""

import pathlib
from collections.abc import Sequence

from experiments.reporting import comparisons
from experiments.reporting import drawing
from experiments.reporting import numbers
from experiments.reporting.document import Table
from experiments.reporting.document import TableRow
from experiments.reporting.estimates import estimate
from experiments.reporting.names import column_name
from experiments.reporting.names import paper_column
from experiments.reporting.paper_figures import ACCURACY_LABEL
from experiments.reporting.paper_figures import RANDOM
from experiments.reporting.selection import along
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import Summary
from experiments.reporting.selection import SweepResults
from experiments.reporting.tables import accuracy_cell
from experiments.results import Heading

DIFFERENCES = f"{comparisons.LELP}_differences"
UNPROJECTED = f"{comparisons.LELP}_unprojected"
ENSEMBLE = f"{comparisons.LELP}_random_ensemble"
_NULL_SPACE_HEADER = (
  "all weights projected off (the paper)",
  "their differences projected off",
  "no projection",
  "projection minus none",
  "variance in the null space",
  "variance in LELP's directions",
  "variance in directions without projection",
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
  "free numbers of a target, LELP",
)
_PAIRED = "points, paired by trial, in brackets the 95 % interval."


def null_space_table(results: SweepResults) -> Table | None:
  """Builds the table of LELP with and without the projection (A-3).

  It has one row per column: accuracies, their difference, and shares of the
  teacher's variance within a class. Returns None if no cell of a variant with
  another projection, or with none, is finished.
  """
  rows = []
  for column in results.columns:
    projected, differences, unprojected = summaries = [
      results.summaries.get((column.id, method))
      for method in (comparisons.LELP, DIFFERENCES, UNPROJECTED)
    ]
    if differences is None and unprojected is None:
      continue
    accuracies = [accuracy_cell(s, results.num_trials) for s in summaries]
    texts = [
      _difference(projected, unprojected, results),
      _range(_null_space_shares(results, column)),
      _range(_variance_shares(projected)),
      _range(_variance_shares(unprojected)),
    ]
    rows.append(TableRow.of(column_name(column), [*accuracies, *texts]))
  return _table(
    results,
    "the null space of the teacher's head",
    _NULL_SPACE_HEADER,
    rows,
    f"Projection minus none: {_PAIRED} Variance: % of the variance of the"
    " teacher's embeddings within a class, mean over classes and in brackets"
    " the least and the greatest; the rest of it lies in the span of the"
    " head's weights, which the projection removes. Directions: the share"
    " that the S directions of a class carry.",
  )


def null_space_sentence(results: SweepResults) -> str:
  """Returns a sentence on the share of variance that the head does not see."""
  means = [
    estimate(shares).mean
    for column in results.columns
    if (shares := _null_space_shares(results, column))
  ]
  if not means:
    return ""
  amount = numbers.span(means, numbers.percent)
  settings = f"{len(means)} settings, " if len(means) > 1 else ""
  return (
    f"Of the variance of the teacher's embeddings within a class {amount} %"
    f" lies in the null space of its head ({settings}mean over classes)."
  )


def _null_space_shares(results: SweepResults, column: Heading) -> list[float]:
  """Returns the share of each class, which all cells of a teacher have."""
  for cell in results.cells:
    if cell.column == column.id and cell.null_space_share:
      return [share for share in cell.null_space_share if share is not None]
  return []


def _variance_shares(summary: Summary | None) -> list[float]:
  shares = summary.cells[0].variance_share if summary else None
  return [share for share in shares or () if share is not None]


def ensemble_table(results: SweepResults) -> Table | None:
  """Builds the table of ensembles of random projections beside LELP.

  It has rows for LELP, for one random projection and for each size of ensemble,
  each with its best other settings. Returns None if no ensemble is finished.
  """
  rows = []
  several = len(results.columns) > 1
  for column, ensembles in _ensembles(results).items():
    lelp = results.summaries.get((column.id, comparisons.LELP))
    name = column_name(column) if several else ""
    rows += [TableRow.heading(name, len(_ENSEMBLE_HEADER))] if several else []
    for label, summary in (
      (results.method_title(comparisons.LELP), lelp),
      *(
        ("one random projection" if n == 1 else f"ensemble of {n}", one)
        for n, one in ensembles.items()
      ),
    ):
      if summary is None:
        continue
      chosen = summary.hyperparameters
      cells = (
        accuracy_cell(summary, results.num_trials),
        _difference(summary, ensembles.get(1), results),
        _difference(summary, lelp, results),
        numbers.setting(chosen.get("num_subclasses")),
        numbers.setting(chosen.get("subclass_temperature")),
        str(summary.num_settings),
      )
      rows.append(TableRow.of(label, cells, name, several))
  return _table(
    results,
    "ensembles",
    _ENSEMBLE_HEADER,
    rows,
    f"S and β: the best of each row. Differences: {_PAIRED} The S directions of"
    " an ensemble are divided among its projections.",
  )


def ensemble_picture(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws accuracy over the number of random projections, with LELP as a level.

  Returns False, without writing a file, if no ensemble is finished.
  """
  plots = []
  for column, ensembles in _ensembles(results).items():
    points = {float(n): summary.test for n, summary in ensembles.items()}
    lines = {ENSEMBLE: drawing.PlotLine("Random projections", points)}
    lelp = results.summaries.get((column.id, comparisons.LELP))
    if lelp is not None:
      level = dict.fromkeys((1.0, max(points)), lelp.test)
      title = results.method_title(comparisons.LELP)
      lines[comparisons.LELP] = drawing.PlotLine(title, level)
    plots.append(
      drawing.Plot(
        column_name(column) if len(results.columns) > 1 else "",
        "Number of random projections",
        ACCURACY_LABEL,
        lines,
        logarithmic=True,
      )
    )
  return drawing.draw_plots(
    plots,
    path,
    title=f"{results.title}{chosen_on(results)}",
    explanation="Whiskers: ± 1 standard error over trials.",
  )


def classes_table(results: SweepResults) -> Table | None:
  """Builds the table of LELP over the number of classes.

  It has one row per number of classes: the gain of LELP, and how many numbers
  of a target are free. Returns None if no column has merged classes.
  """
  rows = []
  for column in results.columns:
    place = paper_column(column.id)
    if place is None or not place.num_merged:
      continue
    vanilla, lelp = (
      results.summaries.get((column.id, method))
      for method in ("vanilla", comparisons.LELP)
    )
    size = lelp.hyperparameters.get("num_subclasses") if lelp else None
    classes = place.num_merged
    cells = (
      accuracy_cell(vanilla, results.num_trials),
      accuracy_cell(lelp, results.num_trials),
      _difference(lelp, vanilla, results),
      f"{classes - 1:,}",
      f"{classes * size - 1:,}" if isinstance(size, int) else "",
    )
    rows.append(TableRow.of(f"{classes} classes", cells))
  return _table(
    results,
    "the gain of LELP",
    _CLASSES_HEADER,
    rows,
    f"LELP minus vanilla: {_PAIRED} Free numbers of a target: C - 1 of the"
    " probabilities of C classes, S x C - 1 of those with S subclasses per"
    " class.",
  )


def _ensembles(results: SweepResults) -> dict[Heading, dict[int, Summary]]:
  """Returns the best setting by number of projections, where it varies."""
  found = {}
  for column in results.columns:
    runs = along(results, ENSEMBLE, column.id, "num_projections")
    ensembles = {int(n): summary for (n,), summary in runs.items()}
    if set(ensembles) - {1}:
      one = results.summaries.get((column.id, RANDOM))
      found[column] = ({1: one} if one else {}) | ensembles
  return found


def _table(
  results: SweepResults,
  title: str,
  header: tuple[str, ...],
  rows: Sequence[TableRow],
  caption: str,
) -> Table | None:
  """Builds a table of accuracies; None if it has no rows."""
  if not rows:
    return None
  error = ", one trial, so no error"
  if results.num_trials > 1:
    error = f": mean ± standard error over {results.num_trials} trials"
  return Table(
    title=f"{results.title}: {title}{chosen_on(results)}",
    header=header,
    rows=tuple(rows),
    caption=f"Test accuracy in %{error}. {caption}",
  )


def _difference(
  summary: Summary | None, other: Summary | None, results: SweepResults
) -> str:
  if summary is other:
    return ""
  difference = comparisons.difference(summary, other)
  return numbers.with_interval(difference, results.num_trials)


def _range(shares: Sequence[float]) -> str:
  """Formats the mean of shares in percent, and their range if they differ."""
  mean = numbers.mean(shares, numbers.percent)
  ends = numbers.span(shares, numbers.percent)
  return f"{mean} ({ends})" if " to " in ends else mean
