"""The null space, random ensembles, merged classes and sensitivity."""

import dataclasses

import pytest

from experiments.reporting import drawing
from experiments.reporting import questions
from experiments.reporting import sections
from experiments.reporting import sensitivity
from experiments.reporting import sentence
from experiments.results import Heading
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import texts

# Accuracies of three trials and shares of two classes.
NULL_SPACE = {
  "a": {
    "lelp": ((0.90, 0.92, 0.94), (0.3, 0.4)),
    "lelp_differences": ((0.90, 0.90, 0.90), (0.5, 0.5)),
    "lelp_unprojected": ((0.89, 0.90, 0.91), (0.9, 0.9)),
  },
  "b": {"lelp": ((0.8, 0.8, 0.8), (0.3, 0.3))},
  "c": {
    "lelp": ((0.7, 0.7, 0.7), (0.2, 0.2)),
    "lelp_unprojected": ((0.8, 0.8, 0.8), (0.8, 0.8)),
  },
}


def null_space():
  """The shares in the null space are twice those of the directions."""
  found = tuple(
    make_cell(
      column,
      method,
      trial,
      accuracy,
      variance_share=shares,
      null_space_share=tuple(2 * s for s in NULL_SPACE[column]["lelp"][1]),
    )
    for column, of_column in NULL_SPACE.items()
    for method, (accuracies, shares) in of_column.items()
    for trial, accuracy in enumerate(accuracies)
  )
  accuracies = {
    c: {m: runs for m, (runs, _) in of.items()} for c, of in NULL_SPACE.items()
  }
  return make_results(accuracies, cells=found, columns_are="settings")


def test_null_space_by_hand():
  made = questions.null_space_table(null_space())
  assert texts(made) == {
    "a": [
      *("92.00 ± 1.15", "90.00 ± 0.00", "90.00 ± 0.58"),
      # 1, 2 and 3 points.
      "+2.00 ± 0.58\n[-0.48, 4.48]",
      *("70.0 (60.0 to 80.0)", "35.0 (30.0 to 40.0)", "90.0"),
    ],
    # Without a run off the projection there is nothing to say of "b".
    "c": [
      *("70.00 ± 0.00", "", "80.00 ± 0.00"),
      "-10.00 ± 0.00\n[-10.00, -10.00]",
      *("40.0", "20.0", "80.0"),
    ],
  }
  assert made.rows[0].cells[0].link == "cells/a/lelp/d0/trial0/config.json"
  assert questions.null_space_sentence(null_space()) == (
    "Of the variance of the teacher's embeddings within a class 40.0 to 70.0 %"
    " lies in the null space of its head (3 settings, mean over classes)."
  )


def test_null_space_of_a_sweep_without_it():
  results = make_results()
  assert questions.null_space_table(results) is None
  assert questions.null_space_sentence(results) == ""


def test_ablations_are_compared_where_there_is_no_baseline():
  assert sentence.what_to_read_off(null_space()) == (
    "LELP is above LELP off the differences of weights in 1 of 1 settings"
    " (differences +2.00 to +2.00 points; 95 % interval over trials above zero"
    " in 0, below in 0) and above LELP without the projection in 1 of 2"
    " settings (differences -10.00 to +2.00 points; 95 % interval over trials"
    " above zero in 0, below in 1)."
  )


def ensembles(**changes):
  """Two trials; the better of two settings is the first."""
  runs = {
    ("lelp", None): ((0.90, 0.92), (0.5, 0.5)),
    ("lelp_random", None): ((0.80, 0.80), (0.7, 0.7)),
    ("lelp_random_ensemble", 2): ((0.84, 0.86), (0.9, 0.9)),
    ("lelp_random_ensemble", 4): ((0.88, 0.90), (0.9, 0.9)),
  }
  found = tuple(
    make_cell(
      "a",
      method,
      trial,
      accuracy,
      digest=f"{digest}{number}",
      hyperparameters={
        "num_subclasses": 8 * digest,
        "subclass_temperature": 0.5,
      }
      | ({"num_projections": number} if number else {}),
      validation=dataclasses.replace(
        make_cell("a", method, 0, 0.0).test, accuracy=1.0 / digest
      ),
    )
    for (method, number), settings in runs.items()
    for digest, accuracies in enumerate(settings, start=1)
    for trial, accuracy in enumerate(accuracies)
  )
  accuracies = {"a": {method: (0.0, 0.0) for method, _ in runs}}
  fields = {"columns_are": "settings", **changes}
  return make_results(accuracies, cells=found, **fields)


def test_ensembles_by_hand():
  made = questions.ensemble_table(ensembles())
  assert texts(made) == {
    "LELP": [
      *("91.00 ± 1.00", "+11.00 ± 1.00\n[-1.71, 23.71]", ""),
      *("8", "1/2", "2"),
    ],
    "one random projection": [
      *("80.00 ± 0.00", "", "-11.00 ± 1.00\n[-23.71, 1.71]"),
      *("8", "1/2", "2"),
    ],
    "ensemble of 2": [
      "85.00 ± 1.00",
      "+5.00 ± 1.00\n[-7.71, 17.71]",
      "-6.00 ± 0.00\n[-6.00, -6.00]",
      *("8", "1/2", "2"),
    ],
    "ensemble of 4": [
      "89.00 ± 1.00",
      "+9.00 ± 1.00\n[-3.71, 21.71]",
      "-2.00 ± 0.00\n[-2.00, -2.00]",
      *("8", "1/2", "2"),
    ],
  }
  assert questions.ensemble_table(make_results()) is None


@pytest.mark.parametrize(
  ("selection", "words"),
  [("heldout", "chosen on held-out data"), ("test", "chosen on TEST data")],
)
def test_titles_say_where_was_chosen(monkeypatch, tmp_path, selection, words):
  results = ensembles(selection=selection)
  titles = []
  monkeypatch.setattr(
    drawing, "draw_plots", lambda plots, path, title, **_: titles.append(title)
  )
  questions.ensemble_picture(results, tmp_path / "x.png")
  assert titles == [f"Made-up digits, {words}"]
  table = questions.ensemble_table(results)
  assert table.title == f"Made-up digits: ensembles, {words}"
  merged = dataclasses.replace(
    results,
    columns=(Heading("a-b-c-merged2", ""),),
    cells=tuple(
      dataclasses.replace(cell, column="a-b-c-merged2")
      for cell in results.cells
    ),
  )
  table = questions.classes_table(merged)
  assert table.title == f"Made-up digits: the gain of LELP, {words}"
  assert sections.conclusion(results).endswith(f"), {words}.")
  assert "chosen" not in questions.null_space_table(null_space()).title


def test_ensembles_are_drawn_beside_lelp(monkeypatch, tmp_path):
  drawn = []
  monkeypatch.setattr(
    drawing, "draw_plots", lambda plots, path, **_: drawn.append(plots)
  )
  assert questions.ensemble_picture(ensembles(), tmp_path / "x.png")
  ((plot,),) = drawn
  means = {
    name: {x: value.mean for x, value in line.points.items()}
    for name, line in plot.lines.items()
  }
  assert means == {
    "lelp_random_ensemble": pytest.approx({1: 80, 2: 85, 4: 89}),
    "lelp": pytest.approx({1: 91, 4: 91}),
  }
  assert not questions.ensemble_picture(make_results(), tmp_path / "x.png")


def test_classes_by_hand():
  columns = [f"cifar100-resnet92-resnet56-merged{n}" for n in (2, 20)]
  found = tuple(
    make_cell(
      column,
      method,
      trial,
      accuracy,
      hyperparameters={"num_subclasses": 5} if method == "lelp" else {},
    )
    for column in columns
    for method, accuracies in {
      "vanilla": (0.8, 0.8),
      "lelp": (0.8, 0.9),
    }.items()
    for trial, accuracy in enumerate(accuracies)
    if (column, method) != (columns[1], "lelp")
  )
  accuracies = {c: dict.fromkeys(("vanilla", "lelp"), (0, 0)) for c in columns}
  results = make_results(accuracies, cells=found, columns_are="settings")
  assert texts(questions.classes_table(results)) == {
    "2 classes": [
      *("80.00 ± 0.00", "85.00 ± 5.00", "+5.00 ± 5.00\n[-58.53, 68.53]"),
      *("1", "9"),
    ],
    "20 classes": ["80.00 ± 0.00", "", "", "19", ""],
  }
  assert questions.classes_table(make_results()) is None


def rotations():
  """Three rotations in two trials each, and two values of S."""
  runs = {
    "lelp_rotation": {
      "seed": {0: (0.90, 0.92), 1: (0.91, 0.93), 2: (0.92, 0.94)}
    },
    "lelp_num_subclasses": {
      "num_subclasses": {5: (0.80, 0.84), 10: (0.90, 0.94)}
    },
  }
  found = tuple(
    make_cell(
      "a",
      method,
      trial,
      accuracy,
      digest=f"{method}{value}",
      hyperparameters={name: value},
    )
    for method, axes in runs.items()
    for name, values in axes.items()
    for value, accuracies in values.items()
    for trial, accuracy in enumerate(accuracies)
  )
  accuracies = {"a": {method: (0.0, 0.0) for method in runs}}
  return make_results(accuracies, cells=found, columns_are="settings")


def test_sensitivity_by_hand():
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
  links = {row.label: [c.link for c in row.cells] for row in made.rows}
  folder = "cells/a/lelp_num_subclasses/lelp_num_subclasses"
  assert links["Number of subclasses S"] == [
    *("", "", f"{folder}10/trial0/config.json"),
    *("", f"{folder}5/trial0/config.json", "", "", ""),
  ]
  assert sections.conclusion(rotations()) == (
    "From the worst to the best of the values tried, test accuracy changes with"
    " number of subclasses S by 10.00 points, seed of the rotation by 2.00"
    " points."
  )
  assert sensitivity.sensitivity_table(make_results()) is None


@pytest.mark.parametrize(
  ("selection", "words"),
  [("heldout", "chosen on held-out data"), ("test", "chosen on TEST data")],
)
def test_sensitivity_says_where_the_others_were_chosen(selection, words):
  # At each value there is one setting: nothing was chosen.
  results = dataclasses.replace(rotations(), selection=selection)
  assert "chosen" not in sensitivity.sensitivity_table(results).title
  cells = tuple(
    dataclasses.replace(
      cell,
      digest=f"{cell.digest}-{temperature}",
      hyperparameters=cell.hyperparameters | {"temperature": temperature},
    )
    for cell in results.cells
    for temperature in (1.0, 2.0)
  )
  results = dataclasses.replace(results, cells=cells)
  table = sensitivity.sensitivity_table(results)
  assert table.title == f"Made-up digits: sensitivity, the others {words}"
  assert sections.conclusion(results).endswith(f"points, the others {words}.")


def test_seeds_of_a_rotation_are_not_joined(monkeypatch, tmp_path):
  drawn = []
  monkeypatch.setattr(
    drawing, "draw_plots", lambda plots, path, **_: drawn.append(plots)
  )
  assert sensitivity.sensitivity_picture(rotations(), tmp_path / "x.png")
  joined = {plot.x_label: plot.joined for plot in drawn[0]}
  assert joined == {
    "Number of subclasses S": True,
    "Seed of the rotation": False,
  }
