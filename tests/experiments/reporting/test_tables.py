import dataclasses

from experiments.reporting import tables
from experiments.results import Evaluation
from tests.experiments.reporting_workdirs import BY_HAND
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import results_of
from tests.experiments.reporting_workdirs import teacher
from tests.experiments.reporting_workdirs import texts


def marks(table):
  return {r.label: [cell.mark for cell in r.cells] for r in table.rows}


def test_accuracy_table_by_hand():
  table = tables.accuracy_table(make_results())
  assert table.header == ("split0", "split1", "all 2 splits")
  assert texts(table) == {
    "Teacher": ["97.00", "97.00", "97.00 ± 0.00"],
    "Oracle clustering (upper bound)": [
      "99.00 ± 0.58",
      "97.00 ± 0.00",
      "98.00 ± 1.00",
    ],
    "Standard training": ["92.00 ± 1.15", "82.00 ± 1.15", "87.00 ± 5.00"],
    "Vanilla distillation": ["96.00 ± 1.53", "85.00 ± 0.58", "90.50 ± 5.50"],
    "LELP": ["96.00 ± 0.58", "88.00 ± 0.00", "92.00 ± 4.00"],
    "LELP - best baseline": [
      "+0.00 ± 1.00\n[-4.30, 4.30]",
      "+3.00 ± 0.58\n[0.52, 5.48]",
      "+1.50 ± 1.50\n[-17.56, 20.56]",
    ],
    "LELP - vanilla distillation": [
      "+0.00 ± 1.00\n[-4.30, 4.30]",
      "+3.00 ± 0.58\n[0.52, 5.48]",
      "+1.50 ± 1.50\n[-17.56, 20.56]",
    ],
    "LELP - standard training": [
      "+4.00 ± 0.58\n[1.52, 6.48]",
      "+6.00 ± 1.15\n[1.03, 10.97]",
      "+5.00 ± 1.00\n[-7.71, 17.71]",
    ],
  }
  assert [row.group for row in table.rows] == (
    ["references"] * 2 + ["students"] * 3 + ["gains"] * 3
  )
  found = marks(table)
  # The oracle is not ranked. Two that print alike share the first place.
  assert found["Oracle clustering (upper bound)"] == ["", "", ""]
  assert found["LELP"] == ["best", "best", "best"]
  assert found["Vanilla distillation"] == ["best", "second", "second"]
  assert found["Standard training"] == ["second", "", ""]
  assert found["LELP - best baseline"] == ["", "", ""]


def test_accuracy_table_of_one_trial_shows_no_error():
  results = make_results({"a": {"vanilla": (0.9,), "lelp": (0.8,)}})
  table = tables.accuracy_table(results)
  assert texts(table) == {
    "Teacher": ["97.00"],
    "Vanilla distillation": ["90.00"],
    "LELP": ["80.00"],
    # With one baseline there is no row of the best one.
    "LELP - vanilla distillation": ["-10.00"],
  }
  assert "one trial" in table.caption


def test_accuracy_table_leaves_missing_cells_empty_and_names_them():
  whole = make_results(num_cells=24, notes=("A note.",))
  cells = tuple(
    c
    for c in whole.cells
    if c.method != "oracle"
    and (c.column, c.method) != ("split1", "lelp")
    and (c.method, c.column, c.trial) != ("vanilla", "split0", 2)
  )
  table = tables.accuracy_table(dataclasses.replace(whole, cells=cells))
  assert texts(table)["LELP"] == ["96.00 ± 0.58", "", "96.00 (n=1)"]
  assert texts(table)["LELP - standard training"][1:] == ["", "+4.00 (n=1)"]
  assert texts(table)["Vanilla distillation"][0] == "94.50 ± 0.50 (n=2)"
  # A mean over fewer runs is not ranked.
  assert marks(table)["LELP"] == ["best", "", ""]
  assert marks(table)["Vanilla distillation"] == ["", "best", "best"]
  assert "n=" in table.caption
  named = "LELP (split1), Oracle clustering (every column)."
  assert table.notes[1].endswith(named)
  assert table.notes[-1] == "A note."
  notes = tables.accuracy_table(whole).notes
  assert not any("every column), LELP" in note for note in notes)


def test_accuracy_table_names_the_best_baseline_of_each_column():
  results = make_results(
    {
      "a": {"standard": (0.9,), "vanilla": (0.8,), "lelp": (0.7,)},
      "b": {"standard": (0.5,), "vanilla": (0.8,), "lelp": (0.7,)},
    },
    columns_are="settings",
  )
  table = tables.accuracy_table(results)
  assert texts(table)["LELP - best baseline"] == ["-20.00", "-10.00"]
  # Settings have no mean over columns.
  assert table.header == ("a", "b")
  assert table.notes == (
    "Best baseline by test accuracy: Standard training (a);"
    " Vanilla distillation (b).",
  )


def test_accuracy_table_compares_with_clusterings_and_without_subclass():
  column = {
    "standard": (0.5,),
    "subclass": (0.8,),
    "lelp": (0.7,),
    "kmeans": (0.75,),
    "kmeans_soft": (0.9,),
  }
  found = texts(tables.accuracy_table(make_results({"a": column})))
  assert found["LELP - best baseline"] == ["-10.00"]
  name = "LELP - best baseline without subclass distillation"
  assert found[name] == ["+20.00"]
  assert found["LELP - best clustering"] == ["-20.00"]


def test_accuracy_table_shows_all_teachers():
  cells = [
    make_cell("a", "vanilla", k, 0.9, teacher=teacher(str(k), x))
    for k, x in enumerate((0.90, 0.92, 0.94))
  ]
  cells.append(make_cell("a", "subclass", 0, 0.9, teacher=teacher("own", 0.5)))
  accuracies = {"a": dict.fromkeys(("vanilla", "subclass"), (0,))}
  results = make_results(accuracies, cells=tuple(cells))
  found = texts(tables.accuracy_table(results))
  assert found["Teacher"] == ["92.00 ± 1.15"]
  assert found["Subclass distillation teacher"] == ["50.00"]


def test_hyperparameter_table_shows_choice_accuracy_and_deviation():
  chosen = {"temperature": 0.25, "num_subclasses": 10}
  other = {"temperature": 0.03125, "num_subclasses": 5}
  results = results_of(
    [
      ("a", "lelp", chosen, (0.90, 0.92, 0.94)),
      ("a", "lelp", other, (0.80, 0.92, 0.94)),
    ]
  )
  assert texts(tables.hyperparameter_table(results)) == {
    "LELP, temperature": ["1/4"],
    "LELP, num subclasses": ["10"],
    "LELP, settings tried": ["2"],
    "LELP, validation accuracy": ["92.00"],
    "LELP, test deviation": ["2.00"],
  }
  cells = [row.cells[0] for row in tables.hyperparameter_table(results).rows]
  assert {c.link for c in cells} == {results.cells[0].config}


def test_diagnostics_table_by_hand():
  cells = (
    make_cell(
      "a",
      "lelp",
      0,
      0.9,
      train={"class_term": 0.1, "subclass_term": 0.2},
      variance_share=(0.8, 0.6),
      null_space_share=(0.95, 0.85),
    ),
    make_cell(
      "b",
      "lelp",
      0,
      0.9,
      train={"class_term": 0.3, "subclass_term": 0.4},
      variance_share=(0.7, 0.7),
      num_parameters=1000,
    ),
    make_cell("a", "standard", 0, 0.9, test=Evaluation(0.9), train={}),
  )
  accuracies = {"a": {"lelp": (0,), "standard": (0,)}, "b": {"lelp": (0,)}}
  results = make_results(accuracies, cells=cells)
  assert texts(tables.diagnostics_table(results)) == {
    "Teacher": ["", "", "", "", "", "1,234"],
    "Standard training": ["", "", "", "", "", "99"],
    "LELP": ["90.00", "0.2", "0.3", "70.0", "90.0", "99 to 1,000"],
  }
  by_setting = dataclasses.replace(results, columns_are="settings")
  table = tables.diagnostics_table(by_setting)
  labels = [(row.label, row.detail) for row in table.rows]
  assert labels == [
    ("a", False),
    ("Teacher", True),
    ("Standard training", True),
    ("LELP", True),
    ("b", False),
    ("Teacher", True),
    ("LELP", True),
  ]
  assert [cell.text for cell in table.rows[-1].cells] == [
    "90.00",
    "0.3",
    "0.4",
    "70.0",
    "",
    "1,000",
  ]


def test_tables_of_a_sweep_without_lelp_have_no_gains():
  accuracies = {
    c: {m: x for m, x in of.items() if m != "lelp"} for c, of in BY_HAND.items()
  }
  table = tables.accuracy_table(make_results(accuracies))
  assert not [row for row in table.rows if row.group == "gains"]
  assert "Gains" not in table.caption
