"""The numbers of a report as CSV."""

import csv
import io
from collections.abc import Iterable

from experiments.reporting import comparisons
from experiments.reporting.paper_tables import compare
from experiments.reporting.paper_tables import Comparison
from experiments.reporting.paper_tables import GAINS
from experiments.reporting.paper_tables import table_of
from experiments.reporting.selection import SweepResults

COLUMNS = (
  "workdir",
  "sweep",
  "selection",
  "column",
  "method",
  "ours_mean",
  "ours_std",
  "ours_standard_error",
  "ours_n",
  "ours_interval_low",
  "ours_interval_high",
  "paper_printed",
  "paper_mean",
  "paper_spread",
  "difference",
  "difference_in_standard_errors",
  "flags",
  "config",
)


def to_csv(parts: Iterable[SweepResults]) -> str:
  """Formats the numbers as CSV; unknown ones are empty.

  Returns one line per column and method, in percent and points. `ours_std` has
  n - 1; the interval is the 95 % interval over trials, by which gains are
  paired; of one trial, over test examples. The `paper_mean` of a gain is
  recomputed from its column. Flags are "kind item", separated by semicolons.
  `workdir` and `config` are relative to the base of the report.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(COLUMNS)
  for results in parts:
    sweep = [results.folder, results.name, results.selection]
    found = compare(results, table_of(results))
    other_gains = [
      Comparison(
        column.id,
        name,
        ours=comparisons.gain(results, column.id, among),
      )
      for name, among in comparisons.rivals(results).items()
      for column in results.columns
      if (name, column.id) not in found
    ]
    for cell in (*found.values(), *other_gains):
      if cell.ours is not None or cell.paper is not None or cell.same_as:
        writer.writerow([*sweep, *_fields(cell)])
  return text.getvalue()


def _fields(cell: Comparison) -> list[str]:
  ours, paper = cell.ours, cell.paper
  return [
    cell.column,
    cell.method,
    _digits(ours.mean if ours else None),
    _digits(ours.std if ours else None),
    _digits(ours.standard_error if ours else None),
    str(ours.n) if ours else "",
    *map(_digits, ours.interval if ours and ours.interval else (None, None)),
    paper.text if paper else "",
    f"{paper.mean:.2f}" if paper else "",
    "" if paper is None or paper.error is None else f"{paper.error:.4g}",
    _digits(cell.difference),
    _digits(cell.standard_errors),
    "; ".join(_flags(cell)),
    cell.link,
  ]


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
