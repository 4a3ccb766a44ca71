"""The picture at the top of a report: gains with their intervals."""

import pathlib

from experiments.reporting import comparisons
from experiments.reporting import drawing
from experiments.reporting.names import column_name
from experiments.reporting.paper_tables import paper_accuracies
from experiments.reporting.selection import chosen_on
from experiments.reporting.selection import SweepResults
from experiments.reporting.sentence import in_sentence


def gain_picture(results: SweepResults, path: pathlib.Path) -> bool:
  """Draws gains over vanilla distillation, ours and the paper's.

  With one setting there is a line per method; with several, LELP alone has a
  line per setting. Without vanilla distillation the gains are over standard
  training. Returns whether there is a gain of ours to draw.
  """
  titles = {method.id: method.title for method in results.methods}
  base = next((m for m in ("vanilla", "standard") if m in titles), None)
  if base is None:
    return False
  if results.is_one_setting:
    lines = [(titles[m], results.whole, m) for m in titles if m != base]
  else:
    lelp = comparisons.LELP
    lines = [(column_name(c), c.id, lelp) for c in results.columns]
  paper = paper_accuracies(results)
  found = []
  for label, column, method in lines:
    ours = comparisons.difference_of_methods(results, column, method, base)
    theirs = None
    if column and {(column, method), (column, base)} <= paper.keys():
      theirs = paper[column, method] - paper[column, base]
    if ours or theirs is not None:
      found.append((label, method, ours, theirs))
  estimates = [ours for _, _, ours, _ in found if ours]
  if not estimates:
    return False
  labels = [label for label, *_ in found]
  figure, ax = drawing.gain_axes(labels, 1.6 + 0.36 * len(found))
  for y, (_, method, ours, theirs) in enumerate(found):
    if ours:
      drawing.draw_gain(ax, y, ours, drawing.method_color(method), ms=7)
    if theirs is not None:
      style = {"mfc": "none", "mec": drawing.PAPER_COLOR, "mew": 1.8, "ms": 9}
      ax.plot(theirs, y, "D", zorder=4, **style)
  unit = f"{results.repetition}s"
  if not any(gain.interval for gain in estimates):
    text = f"One of the {unit} each: no interval."
  elif all(gain.n == 1 for gain in estimates):
    text = "Lines: 95 % interval over test examples, one trial."
  else:
    text = f"Lines: 95 % interval over {unit}."
  if any(theirs is not None for *_, theirs in found):
    text += " Diamonds: the paper's."
  whose = "" if results.is_one_setting else f" of {titles[comparisons.LELP]}"
  title = f"{results.title}: gain{whose} over {in_sentence(titles[base])}"
  drawing.finish(figure, path, f"{title}{chosen_on(results)}", text)
  return True
