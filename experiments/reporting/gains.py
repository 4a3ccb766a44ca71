"""The picture at the top of a report: gains with their intervals."""

import dataclasses
import pathlib

from matplotlib.figure import Figure

from experiments.reporting import comparisons
from experiments.reporting import drawing
from experiments.reporting.estimates import Estimate
from experiments.reporting.names import column_name
from experiments.reporting.paper_tables import paper_accuracies
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import SweepResults
from experiments.reporting.sentence import in_sentence


@dataclasses.dataclass(frozen=True)
class _Gain:
  """A line of the picture: ours with its interval, and the paper's."""

  label: str
  method: str
  ours: Estimate | None
  paper: float | None = None


def gain_picture(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws the gain of each method over vanilla distillation.

  Several settings have a line each, with the gain of LELP and the paper's.
  Without vanilla distillation the gain is over training from labels. Returns
  whether there is a gain to draw.
  """
  ids = [method.id for method in results.methods]
  base = next((m for m in ("vanilla", "standard") if m in ids), None)
  if base is None:
    return False
  by_method = results.columns_are == "replicates" or len(results.columns) == 1
  if by_method:
    gains = _of_methods(results, base)
  elif comparisons.LELP in ids:
    gains = _of_columns(results, base)
  else:
    return False
  if not any(gain.ours for gain in gains):
    return False
  _draw(results, base, gains, path)
  return True


def _of_methods(results: SweepResults, base: str) -> list[_Gain]:
  """Gains over all replicates, or in the only column."""
  several = len(results.columns) > 1
  column = results.columns[0].id
  paper = {} if several else paper_accuracies(results)
  gains = []
  for method in results.methods:
    if method.id == base:
      continue
    ours = comparisons.difference_of_methods(
      results, None if several else column, method.id, base
    )
    theirs = _paper_gain(paper, column, method.id, base)
    if ours or theirs is not None:
      gains.append(_Gain(method.title, method.id, ours, theirs))
  return gains


def _of_columns(results: SweepResults, base: str) -> list[_Gain]:
  paper, lelp = paper_accuracies(results), comparisons.LELP
  return [
    _Gain(column_name(column), lelp, ours, theirs)
    for column in results.columns
    for ours in [
      comparisons.difference_of_methods(results, column.id, lelp, base)
    ]
    for theirs in [_paper_gain(paper, column.id, lelp, base)]
    if ours or theirs is not None
  ]


def _paper_gain(
  paper: dict[tuple[str, str], float], column: str, method: str, base: str
) -> float | None:
  if (column, method) not in paper or (column, base) not in paper:
    return None
  return paper[column, method] - paper[column, base]


def _draw(
  results: SweepResults,
  base: str,
  gains: list[_Gain],
  path: pathlib.Path,
) -> None:
  figure = Figure(figsize=(7.5, 1.6 + 0.36 * len(gains)), layout="constrained")
  ax = figure.subplots()
  ax.axvline(0, color=drawing.FAINT, lw=1, zorder=1)
  for y, gain in enumerate(gains):
    color = drawing.method_color(gain.method)
    if gain.ours is not None:
      low, high = gain.ours.interval or (gain.ours.mean, gain.ours.mean)
      ax.plot([low, high], [y, y], color=color, lw=2.2, zorder=2)
      ax.plot(gain.ours.mean, y, "o", color=color, ms=7, zorder=3)
    if gain.paper is not None:
      ax.plot(
        *(gain.paper, y), "D", mfc="none", mec=drawing.PAPER_COLOR, mew=1.5
      )
  ax.set_yticks(range(len(gains)), [gain.label for gain in gains], fontsize=9)
  ax.set_ylim(len(gains) - 0.5, -0.5)
  ax.set_xlabel("Gain in test accuracy (points)", fontsize=9)
  ax.tick_params(labelsize=9, axis="y", length=0)
  ax.grid(axis="x", color="#E5E5E5", lw=0.7)
  ax.set_axisbelow(True)
  ax.spines[["top", "right", "left"]].set_visible(False)
  drawing.write_title(
    figure,
    f"{results.title}: gain over {in_sentence(results.method_title(base))}"
    f"{chosen_on(results)}",
  )
  figure.supxlabel(
    _explanation(results, gains), fontsize=8, color=drawing.FAINT
  )
  drawing.save(figure, path)


def _explanation(results: SweepResults, gains: list[_Gain]) -> str:
  unit = "splits" if results.averages_columns else "trials"
  if not any(gain.ours and gain.ours.interval for gain in gains):
    text = f"One of the {unit} each: no interval."
  elif not results.averages_columns and results.num_trials == 1:
    text = "Lines: 95 % interval over test examples, one trial."
  else:
    text = f"Lines: 95 % interval over {unit}."
  if any(gain.paper is not None for gain in gains):
    text += " Diamonds: the paper's."
  return text
