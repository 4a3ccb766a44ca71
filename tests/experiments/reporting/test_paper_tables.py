"""Tables 1 to 5 beside ours, also as CSV, mostly of the paper's own numbers."""

import csv
import dataclasses
import io

import pytest

from experiments.paper.tables import paper_table
from experiments.reporting import csv_table
from experiments.reporting.comparisons import GAINS
from experiments.reporting.paper_tables import compare
from experiments.reporting.paper_tables import paper_layout
from experiments.reporting.selection import selections
from experiments.results import Evaluation
from experiments.results import Heading
from experiments.results import SameAs
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import papers_own

R56 = "cifar100_bin-resnet92-resnet56"


def lines(table, label, column):
  """The texts of a row and of those that say more of it, in one column."""
  labels = [row.label for row in table.rows]
  texts = {}
  for row in table.rows[labels.index(label) :]:
    if texts and not row.detail:
      break
    texts[row.label] = row.cells[column].text
  return texts


@pytest.mark.parametrize(
  ("number", "num_wrong"), [(2, 8), (3, 2), (4, 0), (5, 0)]
)
def test_the_papers_own_numbers_give_its_gains_but_for_ten(number, num_wrong):
  gains = [
    one
    for (method, _), one in compare(papers_own(number)).items()
    if method in GAINS and one.paper
  ]
  for one in gains:
    # Ours are the paper's: the two sides are computed apart, and agree.
    assert one.ours.mean == pytest.approx(one.paper.mean, abs=1e-9)
    assert one.difference == pytest.approx(0, abs=1e-9)
    is_printed = round(one.ours.mean, 2) == float(one.paper.printed)
    assert one.is_misprinted is not is_printed
    flagged = any(note.item.startswith("M-") for note in one.paper.notes)
    assert flagged is one.is_misprinted
  assert sum(one.is_misprinted for one in gains) == num_wrong
  assert len(gains) == 3 * len(paper_table(number).columns)


@pytest.mark.parametrize("number", range(1, 6))
def test_the_papers_own_numbers_differ_nowhere_from_the_papers(number):
  found = compare(papers_own(number))
  for one in found.values():
    if one.paper is None:
      assert one.method in GAINS  # Those that the paper does not print.
    elif one.comparable:
      assert one.difference == pytest.approx(0, abs=1e-9)
    else:
      assert one.difference is None
      assert one.standard_errors is None
  not_compared = {m for (m, _), one in found.items() if not one.comparable}
  assert not_compared == {3: {"oracle"}, 5: {"standard"}}.get(number, set())


def test_layout_is_the_papers():
  table = paper_layout(papers_own(3))
  assert table.corner.split("\n") == [
    "Teacher architecture",
    "Student architecture",
    "Dataset",
  ]
  assert table.header[1] == "ResNet92\nMobileNet\nCIFAR-10-bin"
  labels = [row.label for row in table.rows if not row.detail]
  assert labels == [
    row.label for row in (*paper_table(3).rows, *paper_table(3).gains)
  ]
  assert lines(table, "FitNet", 0) == {
    "FitNet": "96.53 ± 0.05",
    "paper": "96.53 ± 0.05",
    "difference": "+0.00 (0.0 SE)",
  }
  assert lines(table, "Avg. gain over the best baseline", 0) == {
    "Avg. gain over the best baseline": "+0.18 ± 0.01",
    # Both errors are of equal steps: the difference has theirs, 0.01.
    "95 % interval of ours": "[0.14, 0.22]",
    "paper, recomputed": "+0.18",
    "difference": "+0.00 (0.0 SE)",
  }
  assert [group for group in dict.fromkeys(r.group for r in table.rows)] == [
    "references",
    "students",
    "gains",
  ]


def test_best_and_second_are_marked_on_each_side():
  results = papers_own(2)
  # Ours turned round: LELP is the worst in the first column.
  first = results.columns[0].id
  cells = tuple(
    make_cell(first, c.method, c.trial, 0.5)
    if (c.column, c.method) == (first, "lelp")
    else c
    for c in results.cells
  )
  rows = {}
  for row in paper_layout(dataclasses.replace(results, cells=cells)).rows:
    if not row.detail:
      label = row.label
    rows[label, row.label] = [cell.mark for cell in row.cells]
  lelp, subclass = "LELP (Ours)", "Subclass Distillation"
  assert rows[lelp, lelp][0] == ""
  assert rows[subclass, subclass][0] == "best"
  assert rows[lelp, "paper"][:2] == ["second", "best"]
  assert rows[subclass, "paper"][:2] == ["best", ""]
  # 88.60 and 88.6 are one number.
  assert rows["Vanilla Distillation", "paper"][4] == (rows["DKD", "paper"][4])
  assert set(rows["Teacher", "paper"]) == {""}


def test_difference_has_both_errors():
  results = papers_own(3)
  cells = tuple(
    dataclasses.replace(c, test=Evaluation(c.test.accuracy + 0.01))
    if (c.column, c.method) == (R56, "lelp")
    else c
    for c in results.cells
  )
  found = compare(dataclasses.replace(results, cells=cells))
  one = found["lelp", R56]
  assert one.difference == pytest.approx(1.0)
  # Both sides have 0.15.
  assert one.standard_errors == pytest.approx(1 / (0.15 * 2**0.5))
  # A teacher is one model: no error, and so no number of errors.
  assert found["teacher", R56].difference == pytest.approx(0, abs=1e-9)
  assert found["teacher", R56].standard_errors is None


def test_what_is_missing_stays_empty():
  results = papers_own(3)
  cells = [c for c in results.cells if c.method not in ("fitnet", "rkd")]
  cells = [
    c
    for c in cells
    if not (c.column == R56 and c.method == "vanilla" and c.trial)
  ]
  results = dataclasses.replace(results, cells=tuple(cells))
  table = paper_layout(results)
  assert lines(table, "FitNet", 0) == {"FitNet": "", "paper": "96.53 ± 0.05"}
  best = lines(table, "Avg. gain over the best baseline", 0)
  assert best["Avg. gain over the best baseline"] == ""
  assert best["paper, recomputed"] == "+0.18"
  assert lines(table, "Vanilla Distillation", 3)["Vanilla Distillation"] == (
    "72.40 (n=1)"
  )
  assert lines(table, "Avg. gain over Vanilla KD", 3)[
    "Avg. gain over Vanilla KD"
  ] == ("+7.25 (n=1)")


def test_a_method_that_repeats_another_is_not_missing():
  results = papers_own(3)
  same_as = tuple(SameAs(c.id, "dkd", "vanilla") for c in results.columns)
  cells = tuple(c for c in results.cells if c.method != "dkd")
  results = dataclasses.replace(results, cells=cells, same_as=same_as)
  table = paper_layout(results)
  assert lines(table, "DKD", 0)["DKD"] == "= Vanilla distillation"
  best = lines(table, "Avg. gain over the best baseline", 0)
  assert best["Avg. gain over the best baseline"] == "+0.18 ± 0.01"


def test_flags_are_footnotes_with_the_item():
  table = paper_layout(papers_own(3))
  rows = {(r.label, r.detail): r for r in table.rows}
  labels = [row.label for row in table.rows]
  oracle = table.rows[labels.index("Oracle Clustering") + 1]
  (note,) = oracle.cells[4].footnotes
  assert note.startswith("Misprint (A-34): Implausible")
  gain = table.rows[labels.index("Avg. gain over the best baseline") + 2]
  (note,) = gain.cells[0].footnotes
  assert note.startswith("Misprint (M-7): 0.23 is printed. LELP minus embed")
  assert table.footnotes[table.references(gain.cells[0])[0] - 1] == note
  assert not gain.cells[1].footnotes
  assert rows["LELP (Ours)", False].cells[0].link.endswith("config.json")
  items = [note.split(":")[0] for note in table.notes]
  assert items[:2] == ["A-28", "A-37"]


def test_other_data_are_not_compared():
  results = papers_own(3, datasets={R56: "stand_in"})
  found = compare(results)
  assert found["lelp", R56].difference is None
  assert found["gain_vanilla", R56].difference is None
  other = results.columns[0].id
  assert found["lelp", other].difference is not None
  assert any("stand_in" in note for note in paper_layout(results).notes)


def test_a_method_of_ours_comes_after_the_papers():
  results = papers_own(4)
  column = results.columns[0].id
  extra = tuple(make_cell(column, "dist", k, 0.9) for k in range(3))
  results = dataclasses.replace(
    results,
    cells=results.cells + extra,
    methods=(*results.methods, Heading("dist", "DIST")),
  )
  table = paper_layout(results)
  labels = [row.label for row in table.rows if not row.detail]
  assert labels.index("DIST (not in the paper's table)") == (
    labels.index("LELP (Ours)") + 1
  )
  # The paper's gain is over the paper's baselines.
  best = lines(table, "Avg. gain over the best baseline", 0)
  assert best["Avg. gain over the best baseline"].startswith("+1.10")


def test_a_sweep_of_one_column_shows_the_whole_table():
  results = papers_own(5)
  results = dataclasses.replace(results, columns=results.columns[1:2])
  table = paper_layout(results)
  assert table.header[0].endswith("CIFAR-100\n10000")
  assert lines(table, "LELP (Ours)", 0) == {
    "LELP (Ours)": "",
    "paper": "49.95 ± 0.22",
    "difference": "",
  }
  assert "2 of 3 columns are not in this sweep." in table.notes


def test_figures_have_their_columns_of_a_table():
  results = papers_own(2)
  figure = dataclasses.replace(
    results, name="figure1a", columns=results.columns[5::2]
  )
  columns = dict.fromkeys(c for _, c in compare(figure))
  assert list(columns) == [column.id for column in figure.columns]
  found = compare(figure)["lelp", figure.columns[0].id]
  assert found.paper.mean == 78.08
  assert len(paper_layout(figure).header) == len(columns)
  mine = papers_own(2, name="quickstart")
  assert paper_layout(mine) is None


def as_csv(*results):
  return list(csv.DictReader(io.StringIO(csv_table.to_csv(results))))


def test_csv_has_a_row_for_each_cell():
  rows = as_csv(papers_own(3))
  table = paper_table(3)
  # Two gains are not the paper's: over clusterings and standard training.
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
  flagged = [r for r in rows if "misprint M-7" in r["flags"]]
  printed = [(r["paper_printed"], r["paper_mean"]) for r in flagged]
  assert printed == [("0.23", "0.18")] * 2


def test_csv_of_a_sweep_that_is_not_in_the_paper():
  rows = as_csv(papers_own(3, name="mine"))
  assert {row["paper_printed"] for row in rows} == {""}
  methods = {row["method"] for row in rows}
  assert methods >= {"lelp", "teacher", "gain_best", "gain_standard"}


def test_both_selections_are_given_where_there_was_a_choice():
  results = papers_own(4)
  assert selections(results) == (results,)
  column = results.columns[0].id
  # Better on the test set, worse on held-out examples.
  worse = Evaluation(0.1, loss=0.5)
  other = tuple(
    make_cell(column, "lelp", k, 0.99, digest="d1", validation=worse)
    for k in range(3)
  )
  results = dataclasses.replace(results, cells=results.cells + other)
  means = {
    row["selection"]: row["ours_mean"]
    for row in as_csv(*selections(results))
    if (row["method"], row["column"]) == ("lelp", column)
  }
  assert means == {"heldout": "88.0200", "test": "99.0000"}
  heldout, test = map(paper_layout, selections(results))
  assert heldout.title.endswith("chosen on held-out data")
  assert test.title.endswith("chosen on TEST data")
  assert len(test.notes) == len(heldout.notes) + 1
