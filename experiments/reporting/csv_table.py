"""The numbers of a report as CSV."""

import csv
import io
from collections.abc import Iterable

from experiments.reporting.comparisons import GAINS
from experiments.reporting.paper_tables import compare
from experiments.reporting.paper_tables import Comparison
from experiments.reporting.selection import SweepResults


def to_csv(parts: Iterable[SweepResults]) -> str:
  """Formats the numbers as CSV; unknown numbers are empty fields.

  Returns one line per column and method. Accuracies are in percent, gains and
  differences in points. `ours_std` is the sample standard deviation (n - 1).
  The interval is the 95 % interval over trials; gains are paired by trial. For
  a gain in a single trial it is over test examples. The `paper_mean` of a gain
  is recomputed from its column. Flags have the form "kind item", separated by
  semicolons. `workdir` and `config` are relative to the base of the report.
  """
  rows = [
    _fields(results, cell)
    for results in parts
    for cell in compare(results).values()
    if cell.ours is not None or cell.paper is not None or cell.same_as
  ]
  text = io.StringIO()
  writer = csv.DictWriter(text, rows[0], lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return text.getvalue()


def _fields(results: SweepResults, cell: Comparison) -> dict[str, str]:
  """Returns the fields of a line, by the names in the header."""
  ours, paper = cell.ours, cell.paper
  spread = paper.spread if paper else None
  low, high = (ours.interval if ours else None) or (None, None)
  return {
    "workdir": results.folder,
    "sweep": results.name,
    "selection": results.selection,
    "column": cell.column,
    "method": cell.method,
    "ours_mean": _digits(ours.mean if ours else None),
    "ours_std": _digits(ours.std if ours else None),
    "ours_standard_error": _digits(ours.standard_error if ours else None),
    "ours_n": str(ours.n) if ours else "",
    "ours_interval_low": _digits(low),
    "ours_interval_high": _digits(high),
    "paper_printed": paper.printed if paper else "",
    "paper_mean": f"{paper.mean:.2f}" if paper else "",
    "paper_spread": "" if spread is None else f"{spread:.4g}",
    "difference": _digits(cell.difference),
    "difference_in_standard_errors": _digits(cell.standard_errors),
    "flags": "; ".join(_flags(cell)),
    "config": cell.link,
  }


def _digits(value: float | None) -> str:
  # Adding 0.0 turns -0.0 into 0.0.
  return "" if value is None else f"{round(value, 4) + 0.0:.4f}"


def _flags(cell: Comparison) -> list[str]:
  flags = [cell.same_as] if cell.same_as else []
  if cell.paper is not None:
    flags += [f"{note.kind} {note.item}" for note in cell.paper.notes]
    if cell.method not in GAINS and not cell.comparable:
      flags.append("not compared")
  return flags
