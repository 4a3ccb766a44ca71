"""Figures 5 and 6 of the paper, and accuracy over the number of classes.

Every public function takes the finished cells and the path of the PNG. It
returns False, without writing a file, if there is nothing to draw.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from experiments.io.metrics import read_metrics
from experiments.reporting import comparisons
from experiments.reporting import drawing
from experiments.reporting import numbers
from experiments.reporting.estimates import Estimate
from experiments.reporting.estimates import estimate
from experiments.reporting.names import paper_column
from experiments.reporting.paper_tables import paper_accuracies
from experiments.reporting.selection import along
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import Summary
from experiments.reporting.selection import SweepResults

RANDOM = f"{comparisons.LELP}_random"
_IDENTITY = f"{comparisons.LELP}_identity"
_S, _BETA = "num_subclasses", "subclass_temperature"
_ERRORS = "Whiskers: ± 1 standard error over trials."
ACCURACY_LABEL = "Test accuracy (%)"


def projections(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws Figure 5: accuracy over S, and the gain over random projections.

  There is one panel per subclass temperature. The identity uses all
  coordinates, S = D, and is drawn as a level line.
  """
  column = results.columns[0].id
  runs_of = {
    m.id: along(results, m.id, column, _S, _BETA) for m in results.methods
  }
  sizes = sorted(
    {s for m, runs in runs_of.items() if m != _IDENTITY for s, _ in runs}
  )
  temperatures = sorted({beta for runs in runs_of.values() for _, beta in runs})
  if not sizes:
    return False
  accuracies, gains = [], []
  for beta in temperatures:
    runs = {m: _at(runs_of[m], beta, sizes, m) for m in runs_of}
    lines, advantages = {}, {}
    for method in results.methods:
      own = runs[method.id]
      label = method.title + (" (S = D)" if method.id == _IDENTITY else "")
      if own:
        points = {s: run.test for s, run in own.items()}
        lines[method.id] = drawing.PlotLine(label, points)
      if method.id == _IDENTITY:  # Compare it at the largest S alone.
        own = {s: run for s, run in own.items() if s == sizes[-1]}
      random = runs.get(RANDOM, {})
      over = {
        s: gain
        for s, run in own.items()
        if (gain := comparisons.difference(run, random.get(s)))
      }
      if over and method.id != RANDOM:
        advantages[method.id] = drawing.PlotLine(label, over)
    title = f"β = {numbers.setting(beta)}"
    across = "Number of subclasses S"
    accuracies.append(
      drawing.Plot(title, across, ACCURACY_LABEL, lines, logarithmic=True)
    )
    gains.append(
      drawing.Plot(
        "", across, "Minus random (points)", advantages, True, zero=True
      )
    )
  every = [run for runs in runs_of.values() for run in runs.values()]
  return drawing.draw_plots(
    [*accuracies, *gains],
    path,
    title=f"{results.title}{chosen_on(results, every)}",
    explanation=f"{_ERRORS} Lower row: paired by trial, same S and β.",
    in_row=len(temperatures),
    share_y=True,
  )


def _at(
  runs: Mapping[tuple[Any, ...], Summary],
  beta: float,
  sizes: list[Any],
  method: str,
) -> dict[float, Summary]:
  """Returns the runs at one subclass temperature, by S.

  The run of the identity stands at the smallest and at the largest S.
  """
  own = {s: run for (s, at), run in runs.items() if at == beta}
  if method == _IDENTITY and own:
    (run, *_) = own.values()
    return dict.fromkeys((sizes[0], sizes[-1]), run)
  return own


def dataset_size(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws Figure 6, left: accuracy over the number of training examples."""
  sizes: dict[str, set[int]] = {}
  for (column, _), summary in results.summaries.items():
    own = sizes.setdefault(column, set())
    own |= {cell.num_train_examples for cell in summary.cells}
  places = {c: x.pop() for c, x in sizes.items() if len(x) == 1}
  return _over_columns(
    results, path, places, "Examples that the student trains on"
  )


def labelled(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws Figure 6, right: Table 5 over the number of labelled examples."""
  columns = {c.id: paper_column(c.id) for c in results.columns}
  places = {c: p.num_labelled for c, p in columns.items() if p}
  return _over_columns(
    results, path, places, "Labelled examples that the teacher saw"
  )


def num_classes(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws accuracy over the number of classes that CIFAR-100 is merged into."""
  columns = {c.id: paper_column(c.id) for c in results.columns}
  places = {c: p.num_merged for c, p in columns.items() if p}
  return _over_columns(results, path, places, "Number of classes", True)


def _over_columns(
  results: SweepResults,
  path: pathlib.Path,
  places: Mapping[str, float],
  x_label: str,
  logarithmic: bool = False,
) -> bool:
  """Draws each method over a number per column, without columns of 0."""
  references = paper_accuracies(results)
  vanilla = results.of_method("vanilla")
  places = {column: x for column, x in places.items() if x}
  lines, gains = {}, {}
  for method in results.methods:
    own = results.of_method(method.id)
    points = {x: own[c].test for c, x in places.items() if c in own}
    paper = {
      x: references[c, method.id]
      for c, x in places.items()
      if (c, method.id) in references
    }
    over = {
      x: gain
      for c, x in places.items()
      if (gain := comparisons.difference(own.get(c), vanilla.get(c)))
    }
    if points or paper:
      lines[method.id] = drawing.PlotLine(method.title, points, paper)
    if over and method.id != "vanilla":
      gains[method.id] = drawing.PlotLine(method.title, over)
  if not any(line.points for line in lines.values()):
    return False
  plots = [drawing.Plot("", x_label, ACCURACY_LABEL, lines, logarithmic)]
  if gains:
    y_label = "Minus vanilla (points)"
    plots.append(
      drawing.Plot("", x_label, y_label, gains, logarithmic, zero=True)
    )
  return drawing.draw_plots(
    plots,
    path,
    title=f"{results.title}{chosen_on(results)}",
    explanation=f"{_ERRORS} Differences are paired by trial.",
  )


def training_curves(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws Figure 6, middle: accuracy after each epoch of the chosen runs."""
  plots = []
  for column in results.columns:
    lines = {}
    for method in results.methods:
      summary = results.summaries.get((column.id, method.id))
      points = _by_epoch(summary, results.base) if summary else {}
      if points:
        lines[method.id] = drawing.PlotLine(method.title, points)
    if lines:
      held_out = results.selection == "heldout"
      y_label = "Held-out accuracy (%)" if held_out else ACCURACY_LABEL
      plots.append(drawing.Plot("", "Epoch", y_label, lines))
  return drawing.draw_plots(
    plots,
    path,
    title=results.title,
    explanation="Mean ± 1 standard error over trials.",
  )


def _by_epoch(summary: Summary, base: pathlib.Path) -> dict[float, Estimate]:
  """Returns the accuracy after each chunk of steps, by epoch."""
  values: dict[float, list[float]] = {}
  for cell in summary.cells:
    metrics = base / cell.folder / "metrics.jsonl"
    if not metrics.is_file():
      continue
    # An epoch has full batches only.
    batch_size = cell.spec(base).student.batch_size
    per_epoch = max(1, cell.num_train_examples // batch_size)
    for line in read_metrics(metrics):
      epoch = line["step"] / per_epoch
      values.setdefault(epoch, []).append(100 * line["validation/accuracy"])
  return {epoch: estimate(group) for epoch, group in values.items()}
