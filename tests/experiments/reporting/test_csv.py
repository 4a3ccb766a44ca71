"""The numbers of a report as CSV, with either selection."""

import csv
import dataclasses
import io

import pytest

from experiments.paper.tables import paper_table
from experiments.reporting import paper_comparison
from experiments.reporting import paper_tables
from experiments.reporting import spreadsheet
from experiments.reporting.records import Scores
from experiments.reporting.statistics import selections
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import papers_own

R56 = "cifar100_bin-resnet92-resnet56"


def read(text):
  return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_row_for_each_cell():
  rows = read(spreadsheet.to_csv([papers_own(3)]))
  table = paper_table(3)
  # Those of ours that are none of the paper's: over standard training.
  gains = len(table.gains) + 2
  assert len(rows) == 6 * (len(table.rows) + gains)
  (row,) = [r for r in rows if (r["method"], r["column"]) == ("lelp", R56)]
  assert row == {
    "workdir": "",
    "sweep": "table3",
    "selection": "heldout",
    "column": R56,
    "method": "lelp",
    "ours_mean": "79.9100",
    "ours_std": "0.2598",
    "ours_standard_error": "0.1500",
    "ours_n": "3",
    "ours_interval_low": "79.2646",
    "ours_interval_high": "80.5554",
    "paper_printed": "79.91 ± 0.15",
    "paper_mean": "79.91",
    "paper_spread": "0.15",
    "difference": "0.0000",
    "difference_in_standard_errors": "0.0000",
    "flags": "",
    "config": f"cells/{R56}/lelp/d0/trial0/config.json",
  }
  (row,) = [
    r for r in rows if (r["method"], r["column"]) == ("gain_vanilla", R56)
  ]
  # Both sides have equal steps: those of the difference are 0.15 - 0.27.
  low, high = float(row["ours_interval_low"]), float(row["ours_interval_high"])
  assert (low + high) / 2 == pytest.approx(7.04, abs=1e-3)
  assert (high - low) / 2 == pytest.approx(4.302653 * 0.12, abs=1e-3)
  flagged = [r for r in rows if "misprint spec 7.1" in r["flags"]]
  assert [(r["paper_printed"], r["paper_mean"]) for r in flagged] == [
    ("0.23", "0.18"),
    ("0.23", "0.18"),
  ]


def test_csv_of_a_sweep_of_our_own_has_no_paper():
  results = papers_own(3, name="mine")
  rows = read(spreadsheet.to_csv([results]))
  assert {row["paper_printed"] for row in rows} == {""}
  methods = {row["method"] for row in rows}
  assert methods >= {"lelp", "teacher", "gain_best", "gain_standard"}


def test_both_selections_are_given_where_there_was_a_choice():
  results = papers_own(4)
  assert selections(results) == (results,)
  column = results.columns[0].id
  # Better on the test set, worse on what was held out.
  other = tuple(
    make_cell(
      column, "lelp", k, 0.99, digest="d1", validation=Scores(0.1, loss=0.5)
    )
    for k in range(3)
  )
  results = dataclasses.replace(results, cells=results.cells + other)
  rows = read(spreadsheet.to_csv(selections(results)))
  means = {
    row["selection"]: row["ours_mean"]
    for row in rows
    if (row["method"], row["column"]) == ("lelp", column)
  }
  assert means == {"heldout": "88.0200", "test": "99.0000"}
  paper = paper_comparison.table_of(results)
  heldout, test = (
    paper_tables.paper_layout(part, paper) for part in selections(results)
  )
  assert heldout.title.endswith("chosen on held-out data")
  assert test.title.endswith("chosen on TEST data")
  assert any("without the held-out" in note for note in test.notes)
