"""The paper's Tables 1 to 5: what they must agree with, themselves above all.

Numbers are compared as printed, in decimals.
"""

import collections
import re
from decimal import Decimal

import numpy as np
import pytest

from experiments.paper import tables
from experiments.paper.names import parse_column
from experiments.paper.names import printed_name

TABLES = [tables.paper_table(number) for number in range(1, 6)]
TEACHERS = ("teacher", "subclass_teacher")
METHODS = {
  *("standard", "vanilla", "embedding", "fitnet", "vid", "rkd", "dkd", "crd"),
  *("subclass", "lelp", "oracle", "agglomerative", "kmeans", "tsne_kmeans"),
}
GAINS = {"gain_best", "gain_non_subclass", "gain_vanilla"}
# Of each column, the sums of accuracies, of spreads and of gains: added up
# from a transcription that was checked on its own.
SUMS = {
  1: "673.49 0.63 0  654.49 1.16 0  648.86 1.39 0  549.15 1.41 0"
  "  512.29 4.38 0  497.58 2.74 0",
  2: "1067.86 2.12 0.74  969.11 3.69 1.34  1110.48 2.41 0.46"
  "  1039.68 2.25 5.61  1070.63 6.72 3.88  900.51 5.30 7.14"
  "  869.69 9.78 7.05  1033.79 1.80 2.94",
  3: "1538.42 1.56 1.42  1491.20 3.34 1.99  1474.90 5.87 0.68"
  "  1238.92 4.24 8.49  1173.81 6.23 7.04  1132.47 8.82 1.71",
  4: "870.11 3.21 3.77  553.81 4.83 10.40",
  5: "436.55 5.83 10.78  484.83 6.56 13.02  511.63 5.43 12.34",
}


def means(row):
  return [Decimal(cell.printed.split(" ± ")[0]) for cell in row.cells]


def cells(table):
  """Every cell of a table with its method and column."""
  for row in (*table.rows, *table.gains):
    for column, cell in zip(table.columns, row.cells, strict=True):
      yield row.method, column.id, cell


def noted(table, *, kind, item):
  """Methods and columns of the cells with such a note; items by pattern."""
  return {
    (method, column)
    for method, column, cell in cells(table)
    for note in cell.notes
    if note.kind == kind and re.fullmatch(item, note.item)
  }


@pytest.mark.parametrize("table", TABLES, ids=lambda t: str(t.number))
def test_rows_and_columns(table):
  methods = [row.method for row in (*table.rows, *table.gains)]
  ids = [column.id for column in table.columns]
  assert len(set(methods)) == len(methods)
  assert len(set(ids)) == len(ids)
  assert {row.method for row in table.rows} <= {*METHODS, *TEACHERS}
  assert {row.method for row in table.gains} in (set(), GAINS)
  for column in table.columns:
    assert parse_column(column.id) == column
    for name in (column.dataset, column.teacher, column.student):
      assert printed_name(name) != name
    assert bool(column.num_labelled) == (table.number == 5)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: str(t.number))
def test_cells(table):
  for method, _, cell in cells(table):
    has_spread = method in METHODS
    spread = r" ± \d\.\d{1,2}" if has_spread else ""
    assert re.fullmatch(rf"-?\d+\.\d{{1,2}}{spread}", cell.printed), method
    assert (cell.spread is not None) == has_spread


@pytest.mark.parametrize("table", TABLES, ids=lambda t: str(t.number))
def test_column_sums(table):
  sums = []
  for i in range(len(table.columns)):
    printed = [row.cells[i].printed.split(" ± ") for row in table.rows]
    sums += [sum(Decimal(p[0]) for p in printed)]
    sums += [sum(Decimal(p[1]) for p in printed if len(p) > 1)]
    sums += [sum(means(row)[i] for row in table.gains)]
  assert sums == [Decimal(text) for text in SUMS[table.number].split()]


def test_tables_1_and_3_differ_where_it_is_noted():
  one, three = tables.paper_table(1), tables.paper_table(3)
  assert one.columns == three.columns
  differing, doubted = collections.Counter(), collections.Counter()
  for method, column, cell in cells(one):
    other = three.cell(method, column)
    both = {(c.mean, c.spread) for c in (cell, other)}
    if len(both) > 1:
      differing[method, column] += 1
    for note in (*cell.notes, *other.notes):
      if note.item in ("A-34", "A-35"):
        doubted[method, column] += 1
  assert doubted == {key: 2 for key in differing}
  assert collections.Counter(method for method, _ in differing) == {
    "oracle": 4,
    "agglomerative": 1,
    "kmeans": 1,
  }


@pytest.mark.parametrize(
  ("method", "kind", "item", "count"),
  [("dkd", "copied", "section 4.1", 12), ("standard", "unknown", "A-36", 3)],
)
def test_rows_equal_to_vanilla_are_flagged(method, kind, item, count):
  equal, flagged = set(), set()
  for table in TABLES:
    flagged |= {(table.number, *c) for c in noted(table, kind=kind, item=item)}
    for column in table.columns:
      cell = table.cell(method, column.id)
      vanilla = table.cell("vanilla", column.id)
      if cell and (cell.mean, cell.spread) == (vanilla.mean, vanilla.spread):
        equal.add((table.number, method, column.id))
  assert equal == flagged
  assert len(equal) == count


@pytest.mark.parametrize(
  ("dataset", "size"), [("glue_cola", 1043), ("glue_sst2", 872)]
)
def test_glue_numbers_are_those_of_the_validation_examples(dataset, size):
  """Three counts of hits have such a mean (A-27) and standard error (A-28)."""
  table = tables.paper_table(2)
  column = next(c.id for c in table.columns if c.dataset == dataset)
  offsets = np.arange(-80, 81)
  first, second = np.meshgrid(offsets, offsets)
  for method in METHODS - {"dkd"}:
    cell = table.cell(method, column)
    if cell is None:
      continue
    # The only number of hits whose share is truncated to the printed mean.
    hundredths = round(100 * cell.mean)
    hits = -(-hundredths * 3 * size // 10_000)
    assert 10_000 * hits // (3 * size) == hundredths, method
    trials = np.stack([hits // 3 + first, hits // 3 + second])
    trials = np.concatenate([trials, hits - trials.sum(0, keepdims=True)])
    errors = 10_000 * np.std(trials / size, axis=0) / np.sqrt(3)
    assert (np.floor(errors + 1e-9) == round(100 * cell.spread)).any(), method


def test_notes():
  columns_of = {t.number: {c.id for c in t.columns} for t in TABLES}
  for table in TABLES:
    rows = {row.method for row in (*table.rows, *table.gains)}
    assert {"A-28", "A-37"} <= {note.item for note in table.notes}
    for note in table.notes:
      assert set(note.rows) <= rows
      assert set(note.columns) <= columns_of[table.number]
      assert re.fullmatch(r"A-\d+|M-\d|section 4\.1", note.item)
      assert note.text.endswith(".")
  assert {
    note.item: [column.split("-")[0] for column in note.columns]
    for note in TABLES[1].notes
    if note.columns and not note.rows
  } == {
    "A-27": ["glue_cola", "glue_sst2"],
    "A-40": [
      "lmrd",
      "glue_cola",
      "glue_sst2",
      "amazon_bin",
      "sentiment140_bin",
    ],
  }


def test_no_such_table():
  with pytest.raises(ValueError, match="table 6"):
    tables.paper_table(6)


@pytest.mark.parametrize(
  "column", ["", "cifar10", "a-b", "a--c", "a-b-c-0", "a-b-c-d"]
)
def test_no_such_column(column):
  with pytest.raises(ValueError, match=f"got {column!r}"):
    parse_column(column)
