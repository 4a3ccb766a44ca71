"""The null space, random ensembles, merged classes and sensitivity."""

import dataclasses

from experiments.reporting import questions
from experiments.reporting import sections
from experiments.reporting import sensitivity
from experiments.reporting import sentence
from experiments.reporting.selection import varied
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import means
from tests.experiments.reporting_workdirs import results_of
from tests.experiments.reporting_workdirs import texts

# Accuracies of three trials and shares of two classes.
NULL_SPACE = {
  ("a", "lelp"): ((0.90, 0.92, 0.94), (0.3, 0.4)),
  ("a", "lelp_differences"): ((0.90, 0.90, 0.90), (0.5, 0.5)),
  ("a", "lelp_unprojected"): ((0.89, 0.90, 0.91), (0.9, 0.9)),
  ("b", "lelp"): ((0.8, 0.8, 0.8), (0.3, 0.3)),
  ("c", "lelp"): ((0.7, 0.7, 0.7), (0.2, 0.2)),
  ("c", "lelp_unprojected"): ((0.8, 0.8, 0.8), (0.8, 0.8)),
}


def null_space():
  """The shares in the null space are twice those of LELP's directions."""
  runs = [(c, m, {}, trials) for (c, m), (trials, _) in NULL_SPACE.items()]
  results = results_of(runs, ("a", "b", "c"))
  cells = tuple(
    dataclasses.replace(
      cell,
      variance_share=NULL_SPACE[cell.column, cell.method][1],
      null_space_share=tuple(
        2 * share for share in NULL_SPACE[cell.column, "lelp"][1]
      ),
    )
    for cell in results.cells
  )
  return dataclasses.replace(results, cells=cells)


def test_null_space_by_hand():
  results = null_space()
  made = questions.null_space_table(results)
  assert texts(made) == {
    "a": [
      *("92.00 ± 1.15", "90.00 ± 0.00", "90.00 ± 0.58"),
      # 1, 2 and 3 points.
      "+2.00 ± 0.58\n[-0.48, 4.48]",
      *("70.0 (60.0 to 80.0)", "35.0 (30.0 to 40.0)", "90.0"),
    ],
    # Nothing was run without the projection in "b".
    "c": [
      *("70.00 ± 0.00", "", "80.00 ± 0.00"),
      "-10.00 ± 0.00\n[-10.00, -10.00]",
      *("40.0", "20.0", "80.0"),
    ],
  }
  assert made.rows[0].cells[0].link.endswith("trial0/config.json")
  said = questions.null_space_sentence(results)
  assert "40.0 to 70.0 %" in said
  assert "3 settings" in said
  # Without a baseline LELP is compared with its ablations.
  said = sentence.comparison_sentence(results)
  assert "LELP off the differences of weights in 1 of 1 settings" in said
  assert "LELP without the projection in 1 of 2 settings" in said
  assert questions.null_space_table(make_results()) is None
  assert questions.null_space_sentence(make_results()) == ""


def test_ensembles_by_hand(drawn, tmp_path):
  chosen = {"num_subclasses": 8, "subclass_temperature": 0.5}
  worse = chosen | {"num_subclasses": 16}
  runs = []
  for method, number, accuracies in (
    ("lelp", {}, (0.90, 0.92)),
    ("lelp_random", {}, (0.80, 0.80)),
    ("lelp_random_ensemble", {"num_projections": 2}, (0.84, 0.86)),
    ("lelp_random_ensemble", {"num_projections": 4}, (0.88, 0.90)),
  ):
    runs.append(("a", method, chosen | number, accuracies))
    runs.append(("a", method, worse | number, (0.5, 0.5)))
  results = results_of(runs)
  setting = ("8", "1/2", "2")
  assert texts(questions.ensemble_table(results)) == {
    "LELP": [
      *("91.00 ± 1.00", "+11.00 ± 1.00\n[-1.71, 23.71]", "", *setting),
    ],
    "one random projection": [
      *("80.00 ± 0.00", "", "-11.00 ± 1.00\n[-23.71, 1.71]", *setting),
    ],
    "ensemble of 2": [
      *("85.00 ± 1.00", "+5.00 ± 1.00\n[-7.71, 17.71]"),
      *("-6.00 ± 0.00\n[-6.00, -6.00]", *setting),
    ],
    "ensemble of 4": [
      *("89.00 ± 1.00", "+9.00 ± 1.00\n[-3.71, 21.71]"),
      *("-2.00 ± 0.00\n[-2.00, -2.00]", *setting),
    ],
  }
  assert questions.ensemble_picture(results, tmp_path)
  ((plot,),) = drawn
  assert {name: means(line) for name, line in plot.lines.items()} == {
    "lelp_random_ensemble": {1: 80, 2: 85, 4: 89},
    "lelp": {1: 91, 4: 91},
  }
  assert questions.ensemble_table(make_results()) is None
  assert not questions.ensemble_picture(make_results(), tmp_path)


def test_classes_by_hand():
  columns = tuple(f"cifar100-resnet92-resnet56-merged{n}" for n in (2, 20))
  runs = [
    (columns[0], "vanilla", {}, (0.8, 0.8)),
    (columns[0], "lelp", {"num_subclasses": 5}, (0.8, 0.9)),
    (columns[1], "vanilla", {}, (0.8, 0.8)),
  ]
  assert texts(questions.classes_table(results_of(runs, columns))) == {
    "2 classes": [
      *("80.00 ± 0.00", "85.00 ± 5.00", "+5.00 ± 5.00\n[-58.53, 68.53]"),
      *("1", "9"),
    ],
    "20 classes": ["80.00 ± 0.00", "", "", "19", ""],
  }
  assert questions.classes_table(make_results()) is None


def rotations():
  """Three rotations in two trials each, and two values of S."""
  return results_of(
    [
      *(
        ("a", "lelp_rotation", {"seed": k}, (0.90 + k / 100, 0.92 + k / 100))
        for k in range(3)
      ),
      ("a", "lelp_num_subclasses", {"num_subclasses": 5}, (0.80, 0.84)),
      ("a", "lelp_num_subclasses", {"num_subclasses": 10}, (0.90, 0.94)),
    ]
  )


def test_sensitivity_by_hand(drawn, tmp_path):
  made = sensitivity.sensitivity_table(rotations())
  assert texts(made) == {
    "Number of subclasses S": [
      *("2: 5 to 10", "10", "92.00", "5", "82.00"),
      *("10.00", "7.07", "2.83"),
    ],
    "Seed of the rotation": [
      *("3: 0 to 2", "2", "93.00", "0", "91.00"),
      *("2.00", "1.00", "1.41"),
    ],
  }
  assert [bool(cell.link) for cell in made.rows[0].cells] == [
    *(False, False, True, False, True, False, False, False)
  ]
  assert sections.conclusion(rotations()) == (
    "From the worst to the best of the values tried, test accuracy changes with"
    " number of subclasses S by 10.00 points, seed of the rotation by 2.00"
    " points."
  )
  assert sensitivity.sensitivity_picture(rotations(), tmp_path)
  # Seeds have no order: they are not joined.
  assert {plot.x_label: plot.joined for plot in drawn[0]} == {
    "Number of subclasses S": True,
    "Seed of the rotation": False,
  }
  assert sensitivity.sensitivity_table(make_results()) is None


def test_sensitivity_takes_the_best_of_the_others(drawn, tmp_path):
  runs = [
    ("a", "lelp", {"temperature": tau, "num_subclasses": s}, (accuracy,))
    for (tau, s), accuracy in {
      (1.0, 5): 0.5,
      (1.0, 10): 0.6,
      (2.0, 5): 0.8,
      (2.0, 10): 0.7,
    }.items()
  ]
  # Other methods, columns with one value and text do not take part.
  runs.append(("a", "vanilla", {"temperature": 1.0}, (0.5,)))
  runs.append(("b", "lelp", {"temperature": 1.0}, (0.5,)))
  runs += [("b", "lelp_pca", {"kind": kind}, (0.5,)) for kind in ("x", "y")]
  results = results_of(runs, ("a", "b"))
  assert varied(results, "lelp") == ["temperature", "num_subclasses"]
  assert varied(results, "vanilla") == []
  assert sensitivity.sensitivity_picture(results, tmp_path)
  ((tau, s),) = drawn
  assert tau.x_label == "Temperature τ"
  assert list(tau.lines) == ["a"]
  assert means(tau.lines["a"]) == {1.0: 60, 2.0: 80}
  assert means(s.lines["a"]) == {5: 80, 10: 70}
  title = sensitivity.sensitivity_table(results).title
  assert title.endswith("the others chosen on held-out data")
  one = results_of([("a", "lelp", {"temperature": 1.0}, (0.5,))])
  assert not sensitivity.sensitivity_picture(one, tmp_path)


def test_sensitivity_averages_replicates(drawn, tmp_path):
  columns = ("split0", "split1")
  runs = [
    (column, "lelp", {"temperature": tau}, (0.1 * i + 0.3 * tau,))
    for i, column in enumerate(columns)
    for tau in (1.0, 2.0)
  ]
  results = results_of(runs, columns, columns_are="splits")
  assert sensitivity.sensitivity_picture(results, tmp_path)
  (line,) = drawn[0][0].lines.values()
  assert line.label == "mean over 2 splits"
  assert means(line) == {1.0: 35, 2.0: 65}
