"""The numbers of a report as CSV: one row for each cell of its table."""

import csv
import io
from collections.abc import Container
from collections.abc import Iterable

from experiments.reporting import comparisons
from experiments.reporting.paper_comparison import compare
from experiments.reporting.paper_comparison import Comparison
from experiments.reporting.paper_comparison import GAINS
from experiments.reporting.paper_comparison import table_of
from experiments.reporting.records import Results
from experiments.reporting.statistics import summarize

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


def to_csv(parts: Iterable[Results]) -> str:
  """Writes the numbers as CSV, empty where there is none.

  Args:
    parts: What `results.load` returns, with each selection.

  Returns:
    A line for each column and method, percent and points. `ours_std` has
    n - 1; the interval is that of 95 % over the trials, a gain's is paired by
    them. A gain's `paper_mean` is recomputed from its column, what is printed
    stands beside it. Flags are "kind item", separated by semicolons. `workdir`
    is empty where the report is of a single one, and `config` leads from there,
    else from the folder that holds the report's.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(COLUMNS)
  for results in parts:
    of_sweep = [results.folder, results.name, results.selection]
    found = compare(results, table_of(results))
    for cell in (*found.values(), *_other_gains(results, found)):
      if cell.ours is not None or cell.paper is not None or cell.same_as:
        writer.writerow([*of_sweep, *_fields(cell)])
  return text.getvalue()


def _other_gains(
  results: Results, found: Container[tuple[str, str]]
) -> list[Comparison]:
  """The gains of LELP that are none of the paper's."""
  summaries = summarize(results)
  return [
    Comparison(
      column.id,
      name,
      ours=comparisons.gain(results, summaries, column.id, among),
    )
    for name, among in comparisons.rivals(results).items()
    for column in results.columns
    if (name, column.id) not in found
  ]


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
