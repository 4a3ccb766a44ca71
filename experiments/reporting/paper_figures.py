"""Figures 5 and 6 of the paper, from the runs that are there.

Every function takes what `results.load` returns, the workdir and the path of
the PNG, and returns whether there was anything to draw.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from experiments.io import json_files
from experiments.io.metrics import read_metrics
from experiments.reporting import comparisons
from experiments.reporting import curves
from experiments.reporting import drawing
from experiments.reporting import settings
from experiments.reporting.formats import short
from experiments.reporting.names import paper_place
from experiments.reporting.records import Results
from experiments.reporting.statistics import chosen_on
from experiments.reporting.statistics import Estimate
from experiments.reporting.statistics import estimate
from experiments.reporting.statistics import summarize
from experiments.reporting.statistics import Summary

RANDOM = f"{comparisons.LELP}_random"
IDENTITY = f"{comparisons.LELP}_identity"
_S, _BETA = "num_subclasses", "subclass_temperature"
_ERRORS = "Whiskers: ± 1 standard error over trials."
_ACCURACY = "Test accuracy (%)"


def projections(
  results: Results, workdir: pathlib.Path, path: pathlib.Path
) -> bool:
  """Draws Figure 5: accuracy, and the advantage over random projections.

  A panel for each subclass temperature, over the number of subclasses. The
  identity takes all coordinates, S = D: it is a level line.
  """
  del workdir
  column = results.columns[0].id
  found = {
    m.id: settings.along(results, m.id, column, _S, _BETA)
    for m in results.methods
  }
  sizes = sorted(
    {s for m, runs in found.items() if m != IDENTITY for s, _ in runs}
  )
  temperatures = sorted({beta for runs in found.values() for _, beta in runs})
  if not sizes:
    return False
  accuracies, gains = [], []
  for beta in temperatures:
    runs = {m: _at(found[m], beta, sizes, m) for m in found}
    lines, advantages = {}, {}
    for method in results.methods:
      own = runs[method.id]
      label = method.title + (" (S = D)" if method.id == IDENTITY else "")
      if own:
        points = {s: run.test for s, run in own.items()}
        lines[method.id] = curves.Line(label, points)
      if method.id == IDENTITY:  # It has one S, the largest.
        own = {s: run for s, run in own.items() if s == sizes[-1]}
      over = _differences(own, runs.get(RANDOM, {}))
      if over and method.id != RANDOM:
        advantages[method.id] = curves.Line(label, over)
    title = f"β = {short(beta)}"
    across = "Number of subclasses S"
    accuracies.append(
      curves.Plot(title, across, _ACCURACY, lines, logarithmic=True)
    )
    gains.append(
      curves.Plot(
        "", across, "Minus random (points)", advantages, True, zero=True
      )
    )
  every = {
    (m, at): run for m, runs in found.items() for at, run in runs.items()
  }
  curves.draw_plots(
    [*accuracies, *gains],
    path,
    title=f"{results.title}{chosen_on(results, every)}",
    explanation=f"{_ERRORS} Lower row: paired by trial, same S and β.",
    in_row=len(temperatures),
    share_y=True,
  )
  return True


def _at(
  runs: Mapping[tuple[Any, ...], Summary],
  beta: float,
  sizes: list[Any],
  method: str,
) -> dict[float, Summary]:
  """The runs at one subclass temperature by S; the identity's at every S."""
  own = {s: run for (s, at), run in runs.items() if at == beta}
  if method == IDENTITY and own:
    (run, *_) = own.values()
    return dict.fromkeys((sizes[0], sizes[-1]), run)
  return own


def _differences(
  own: Mapping[float, Summary], other: Mapping[float, Summary]
) -> dict[float, Estimate]:
  pairs = {
    s: comparisons.difference(run, other.get(s)) for s, run in own.items()
  }
  return {s: value for s, value in pairs.items() if value is not None}


def dataset_size(
  results: Results, workdir: pathlib.Path, path: pathlib.Path
) -> bool:
  """Draws Figure 6, left: accuracy over the number of examples to train on."""
  del workdir
  summaries = summarize(results)

  def size(column: str) -> float | None:
    sizes = {
      cell.numbers.get("num_train_examples")
      for (where, _), summary in summaries.items()
      for cell in summary.cells
      if where == column
    }
    return sizes.pop() if len(sizes) == 1 else None

  return _over_columns(
    results,
    path,
    {column.id: size(column.id) for column in results.columns},
    "Examples the student trains on",
  )


def labelled(
  results: Results, workdir: pathlib.Path, path: pathlib.Path
) -> bool:
  """Draws Figure 6, right: Table 5 over the number of labelled examples."""
  del workdir
  places = {column.id: paper_place(column) for column in results.columns}
  return _over_columns(
    results,
    path,
    {
      k: place.num_labelled or None if place else None
      for k, place in places.items()
    },
    "Labelled examples the teacher saw",
  )


def num_classes(
  results: Results, workdir: pathlib.Path, path: pathlib.Path
) -> bool:
  """Draws accuracy over the number of classes that CIFAR-100 is merged into.

  Columns end in ``-mergedC``.
  """
  del workdir
  places = {c.id: c.id.rpartition("merged")[2] for c in results.columns}
  return _over_columns(
    results,
    path,
    {k: int(n) if n.isdigit() else None for k, n in places.items()},
    "Number of classes",
    logarithmic=True,
  )


def _over_columns(
  results: Results,
  path: pathlib.Path,
  places: Mapping[str, float | None],
  x_label: str,
  *,
  logarithmic: bool = False,
) -> bool:
  """Draws the chosen runs of each method over what columns differ in."""
  summaries = summarize(results)
  references = drawing.paper_references(results)
  lines, gains = {}, {}
  for method in results.methods:
    points, paper, over = {}, {}, {}
    for column, x in places.items():
      if x is None:
        continue
      if (column, method.id) in summaries:
        points[x] = summaries[column, method.id].test
      if (column, method.id) in references:
        paper[x] = references[column, method.id]
      gain = comparisons.difference_in_column(
        summaries, column, method.id, "vanilla"
      )
      if gain is not None and method.id != "vanilla":
        over[x] = gain
    if points or paper:
      lines[method.id] = curves.Line(method.title, points, paper)
    if over:
      gains[method.id] = curves.Line(method.title, over)
  if not any(line.points for line in lines.values()):
    return False
  plots = [curves.Plot("", x_label, _ACCURACY, lines, logarithmic)]
  if gains:
    plots.append(
      curves.Plot(
        "", x_label, "Minus vanilla (points)", gains, logarithmic, zero=True
      )
    )
  curves.draw_plots(
    plots,
    path,
    title=f"{results.title}{chosen_on(results, summaries)}",
    explanation=f"{_ERRORS} Differences are paired by trial.",
  )
  return True


def training_curves(
  results: Results, workdir: pathlib.Path, path: pathlib.Path
) -> bool:
  """Draws Figure 6, middle: accuracy after each epoch of the chosen runs."""
  summaries = summarize(results)
  plots = []
  for column in results.columns:
    lines = {}
    for method in results.methods:
      summary = summaries.get((column.id, method.id))
      points = _by_epoch(summary, workdir) if summary else {}
      if points:
        lines[method.id] = curves.Line(method.title, points)
    if lines:
      held_out = results.selection == "heldout"
      what = "Held-out accuracy (%)" if held_out else _ACCURACY
      plots.append(curves.Plot("", "Epoch", what, lines))
  if plots:
    curves.draw_plots(
      plots,
      path,
      title=results.title,
      explanation="Mean ± 1 standard error over trials.",
    )
  return bool(plots)


def _by_epoch(summary: Summary, workdir: pathlib.Path) -> dict[float, Estimate]:
  """Accuracy over the trials after each chunk of steps, by epoch."""
  values: dict[float, list[float]] = {}
  for cell in summary.cells:
    path = workdir / cell.folder / "metrics.jsonl"
    config = workdir / cell.config
    size = cell.numbers.get("num_train_examples")
    if not (path.is_file() and config.is_file() and size):
      continue
    batch = json_files.read_json(config)["student"]["batch_size"]
    per_epoch = max(1, size // batch)  # The last batch has to be whole.
    for line in read_metrics(path):
      epoch = line["step"] / per_epoch
      values.setdefault(epoch, []).append(100 * line["validation/accuracy"])
  return {epoch: estimate(group) for epoch, group in values.items()}
