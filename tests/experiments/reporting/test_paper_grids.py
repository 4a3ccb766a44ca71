"""Tables 6 to 15: the paper's grids beside what was chosen."""

import dataclasses

from experiments.paper import grids
from experiments.reporting import paper_grids
from experiments.results import Evaluation
from tests.experiments.reporting.test_paper_figures import R56
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import results_of


def grid_rows(results):
  return {
    row.label: [cell.text for cell in row.cells]
    for table in paper_grids.grid_tables(results)
    for row in table.rows
    if row.detail
  }


def test_grids_beside_what_was_chosen():
  fields = {"subclass_temperature": 0.5, "temperature": 4.0}
  results = results_of(
    [
      (R56, "lelp", fields | {"num_subclasses": s}, (accuracy,))
      for s, accuracy in ((5, 0.5), (20, 0.7), (75, 0.6))
    ]
    + [(R56, "kmeans", {"num_clusters": 5}, (0.5,))]
    + [(R56, "oracle", {}, (0.5,))]
  )
  found = grid_rows(results)
  assert found == {
    "Num. Subclasses": [
      "5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 75, 100",
      "20",
      "20",
    ],
    "Subclass Temp.": [
      "1/32, 1/16, 1/8, 1/4, 1/2, 1",
      "probably 1/2 (A-38)",
      "1/2",
    ],
    "Distill. Temp.": ["1.0, 2.0, 4.0, 8.0, 10.0", "2", "4"],
    "Number of Clusters": [
      "10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 150, 200",
      "10",
      "5",
    ],
  }
  tables = paper_grids.grid_tables(results)
  assert {t.rows[0].label for t in tables} == {
    "CIFAR-100-bin, ResNet92 to ResNet56"
  }
  captions = [table.caption for table in paper_grids.grid_tables(results)]
  assert "(A-17)" in captions[0]
  worst = {0.5: 0.9, 0.7: 0.5, 0.6: 0.6}
  cells = tuple(
    dataclasses.replace(c, validation=Evaluation(worst[c.test.accuracy]))
    for c in results.cells
  )
  found = grid_rows(dataclasses.replace(results, cells=cells))
  assert found["Num. Subclasses"][2] == "5 (edge)"


def test_clusters_of_both_classes_together_are_said_to_be():
  total = {"scope": "global"}
  expected = {
    "agglomerative": ({"num_clusters": 10}, "10", False),
    "kmeans": ({"num_clusters": 20} | total, "20 in total", True),
    "tsne_kmeans": ({"num_clusters": 50} | total, "50 in total", True),
    "lelp": ({"num_subclasses": 5}, "5", False),
  }
  results = results_of(
    [(R56, method, of[0], (0.5,)) for method, of in expected.items()]
  )
  tables = dict(
    zip(
      [method.id for method in results.methods],
      paper_grids.grid_tables(results),
      strict=True,
    )
  )
  for method, (_, ours, has_total) in expected.items():
    assert tables[method].rows[1].cells[2].text == ours
    assert ("in total" in tables[method].caption) == has_total
    assert "per class" in tables[method].caption


def test_shares_of_the_data_have_the_grid_and_choices_of_the_whole():
  ends = ("", "-10000", "-transfer10", "-transfer100", "-merged2")
  columns = tuple(R56 + end for end in ends)
  runs = [(c, "lelp", {"num_subclasses": 5}, (0.5,)) for c in columns]
  (table,) = paper_grids.grid_tables(results_of(runs, columns))
  found = {row.group: {*row.cells[1].footnotes} for row in table.rows}
  (note,) = table.footnotes
  assert note.startswith("A-31")  # The paper lists no choices for shares.
  assert found == {
    "CIFAR-100-bin, ResNet92 to ResNet56": set(),
    "CIFAR-100-bin, ResNet92 to ResNet56, 10000 labels": {note},
    "CIFAR-100-bin, 10 % of it, ResNet92 to ResNet56": {note},
    "CIFAR-100-bin, 100 % of it, ResNet92 to ResNet56": set(),
  }
  rows = [row.cells for row in table.rows if row.label == "Num. Subclasses"]
  assert {tuple(cell.text for cell in cells[1:]) for cells in rows} == {
    ("20", "5")
  }


def test_every_grid_of_the_paper_is_shown_and_empty_where_not_run():
  columns = {
    f"{dataset}-{pair}"
    for table in grids.grid_tables()
    for dataset, axes in table.rows.items()
    for axis in axes.values()
    for pair in axis.choices
  }
  methods = [table.method for table in grids.grid_tables()]
  accuracies = {c: dict.fromkeys(methods, (0.5,)) for c in sorted(columns)}
  results = make_results(accuracies, cells=())
  tables = paper_grids.grid_tables(results)
  numbers = {table.title.split(" of")[0] for table in tables}
  assert numbers >= {f"Table {number}" for number in range(6, 16)}
  rows = [row for table in tables for row in table.rows if row.detail]
  texts = [[cell.text for cell in row.cells] for row in rows]
  assert {ours for _, _, ours in texts} == {""}
  assert all(grid for grid, _, _ in texts)
  statuses = [choice for _, choice, _ in texts if choice]
  assert any(text.endswith("are marked (A-38)") for text in statuses)
  assert "not marked (A-38)" in statuses
  # The misprint of Table 9 is a footnote.
  (vid,) = [table for table in tables if table.title.startswith("Table 9")]
  assert any("A-39" in note for note in vid.footnotes)


def test_columns_of_our_own_have_no_grid_of_the_paper():
  results = results_of([("split0", "lelp", {}, (0.5,))], ("split0",))
  assert paper_grids.grid_tables(results) == ()
