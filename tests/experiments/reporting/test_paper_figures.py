"""Figures 5 and 6, and LELP's hyperparameters."""

import dataclasses
import json

import numpy as np
import pytest
from matplotlib import image

from experiments.reporting import drawing
from experiments.reporting import paper_figures
from experiments.reporting import sensitivity
from experiments.reporting.selection import estimate
from experiments.reporting.selection import varied
from experiments.results import Evaluation
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import make_results

R56 = "cifar100_bin-resnet92-resnet56"


@pytest.fixture
def drawn(monkeypatch):
  """The panels of each picture, in place of drawing them."""
  pictures = []
  monkeypatch.setattr(
    drawing, "draw_plots", lambda plots, path, **_: pictures.append(plots)
  )
  return pictures


def results_of(runs, columns=(R56,), **changes):
  """Results of `(column, method, hyperparameters, accuracies)`."""
  cells = tuple(
    make_cell(
      column,
      method,
      trial,
      accuracy,
      digest=json.dumps(hyperparameters),
      hyperparameters=hyperparameters,
      # The better on the test set, the better on held-out data.
      validation=Evaluation(accuracy, loss=0.5),
      num_train_examples=1000 * (1 + columns.index(column)),
    )
    for column, method, hyperparameters, accuracies in runs
    for trial, accuracy in enumerate(accuracies)
  )
  accuracies = {c: {run[1]: run[3] for run in runs} for c in columns}
  fields = {"cells": cells, "columns_are": "settings", **changes}
  return make_results(accuracies, **fields)


def means(line):
  return {x: round(value.mean, 6) for x, value in line.points.items()}


def surface():
  """Accuracies of each projection by S and the subclass temperature."""
  values = {
    ("lelp", 2, 0.5): (0.80, 0.82),
    ("lelp", 4, 0.5): (0.84, 0.86),
    ("lelp", 2, 1.0): (0.70, 0.70),
    ("lelp_random", 2, 0.5): (0.79, 0.80),
    ("lelp_random", 4, 0.5): (0.80, 0.85),
    ("lelp_identity", 10, 0.5): (0.90, 0.91),
  }
  return results_of(
    [
      (R56, m, {"num_subclasses": s, "subclass_temperature": beta}, a)
      for (m, s, beta), a in values.items()
    ],
    name="figure5",
  )


def test_figure_5_by_hand(drawn, tmp_path):
  assert paper_figures.projections(surface(), tmp_path / "x.png")
  (plots,) = drawn
  assert [plot.title for plot in plots] == ["β = 1/2", "β = 1", "", ""]
  half, one, gains, empty = plots
  assert means(half.lines["lelp"]) == {2: 81, 4: 85}
  assert means(half.lines["lelp_random"]) == {2: 79.5, 4: 82.5}
  # All coordinates: a level line.
  assert means(half.lines["lelp_identity"]) == {2: 90.5, 4: 90.5}
  assert means(one.lines["lelp"]) == {2: 70}
  assert list(one.lines) == ["lelp"]
  assert means(gains.lines["lelp"]) == {2: 1.5, 4: 2.5}
  # Paired by trial: 1 and 2 points, 4 and 1.
  errors = [x.standard_error for x in gains.lines["lelp"].points.values()]
  assert errors == pytest.approx([0.5, 1.5])
  # At S = D alone.
  assert means(gains.lines["lelp_identity"]) == {4: 8}
  assert "lelp_random" not in gains.lines
  assert not empty.lines


def test_figure_5_draws_what_is_there(drawn, tmp_path):
  whole = surface()
  for kept in (("lelp_random",), ("lelp_identity",), ()):
    cells = tuple(cell for cell in whole.cells if cell.method in kept)
    part = dataclasses.replace(whole, cells=cells)
    found = paper_figures.projections(part, tmp_path / "x.png")
    assert found == (kept == ("lelp_random",))


@pytest.mark.parametrize(
  ("selection", "words"),
  [("heldout", "chosen on held-out data"), ("test", "chosen on TEST data")],
)
def test_figures_say_where_was_chosen(monkeypatch, tmp_path, selection, words):
  titles = []
  monkeypatch.setattr(
    drawing, "draw_plots", lambda plots, path, title, **_: titles.append(title)
  )
  place = {"num_subclasses": 2, "subclass_temperature": 0.5}
  column = f"{R56}-merged2"
  for temperatures in ((1.0,), (1.0, 2.0)):
    runs = [
      (column, "lelp", {**place, "temperature": tau}, (0.5,))
      for tau in temperatures
    ]
    results = results_of(runs, (column,), selection=selection)
    for draw in (paper_figures.projections, paper_figures.num_classes):
      assert draw(results, tmp_path / "x.png")
  assert titles == ["Made-up digits"] * 2 + [f"Made-up digits, {words}"] * 2
  # Figure 5 shows every S and β: among them nothing was chosen.
  whole = dataclasses.replace(surface(), selection=selection)
  paper_figures.projections(whole, tmp_path / "x.png")
  assert titles[-1] == "Made-up digits"


def test_figure_6_left_by_hand(drawn, tmp_path):
  columns = (f"{R56}-transfer10", f"{R56}-transfer100")
  results = results_of(
    [
      (columns[0], "vanilla", {}, (0.60, 0.62)),
      (columns[0], "lelp", {}, (0.64, 0.65)),
      (columns[1], "lelp", {}, (0.70, 0.70)),
    ],
    columns,
  )
  assert paper_figures.dataset_size(results, tmp_path / "x.png")
  ((accuracies, gains),) = drawn
  assert means(accuracies.lines["lelp"]) == {1000: 64.5, 2000: 70}
  assert means(accuracies.lines["vanilla"]) == {1000: 61}
  assert means(gains.lines["lelp"]) == {1000: 3.5}
  assert "vanilla" not in gains.lines


def test_figure_6_middle_reads_the_metrics(drawn, tmp_path):
  results = results_of([(R56, "lelp", {}, (0.6, 0.8))])
  cells = (
    dataclasses.replace(c, num_train_examples=1090) for c in results.cells
  )
  results = dataclasses.replace(results, cells=tuple(cells))
  for trial, cell in enumerate(results.cells):
    folder = tmp_path / cell.folder
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"student": {"batch_size": 100}}')
    lines = [
      {"step": 10 * i, "validation/accuracy": (i + trial) / 10} for i in (1, 2)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
  path = tmp_path / "x.png"
  assert paper_figures.training_curves(results, path, tmp_path)
  ((plot,),) = drawn
  # 10 steps of 100 are an epoch of 1,090: what is left is no batch.
  assert means(plot.lines["lelp"]) == {1: 15, 2: 25}
  assert plot.y_label == "Held-out accuracy (%)"
  on_test = dataclasses.replace(results, selection="test")
  assert paper_figures.training_curves(on_test, path, tmp_path)
  assert drawn[1][0].y_label == "Test accuracy (%)"
  assert not paper_figures.training_curves(results, path, tmp_path / "no")


def test_figure_6_right_has_the_papers_numbers(drawn, tmp_path):
  columns = tuple(f"cifar100-resnet92-mobilenet-{n}000" for n in (10, 15, 20))
  results = results_of(
    [(columns[1], "lelp", {}, (0.55, 0.56))], columns, name="figure6_right"
  )
  assert paper_figures.labelled(results, tmp_path / "x.png")
  line = drawn[0][0].lines["lelp"]
  assert means(line) == {15000: 55.5}
  assert line.paper == {10000: 49.95, 15000: 55.07, 20000: 57.9}


def test_num_classes_are_read_from_the_columns(drawn, tmp_path):
  columns = tuple(f"cifar100-resnet92-resnet56-merged{n}" for n in (2, 20))
  runs = [(c, "lelp", {}, (0.1 * (i + 1),)) for i, c in enumerate(columns)]
  results = results_of(runs, columns)
  assert paper_figures.num_classes(results, tmp_path / "x.png")
  assert means(drawn[0][0].lines["lelp"]) == {2: 10, 20: 20}


def test_sensitivity_takes_the_best_of_the_others(drawn, tmp_path):
  runs = [
    (R56, "lelp", {"temperature": tau, "num_subclasses": s}, (accuracy,))
    for (tau, s), accuracy in {
      (1.0, 5): 0.5,
      (1.0, 10): 0.6,
      (2.0, 5): 0.8,
      (2.0, 10): 0.7,
    }.items()
  ]
  results = results_of([*runs, (R56, "vanilla", {"temperature": 1.0}, (0.5,))])
  assert varied(results, "lelp") == ["temperature", "num_subclasses"]
  assert varied(results, "vanilla") == []
  assert sensitivity.sensitivity_picture(results, tmp_path / "x.png")
  ((tau, s),) = drawn
  assert tau.x_label == "Temperature τ"
  assert means(tau.lines[R56]) == {1.0: 60, 2.0: 80}
  assert means(s.lines[R56]) == {5: 80, 10: 70}


def test_sensitivity_leaves_out_columns_of_a_single_value(drawn, tmp_path):
  columns = ("a", "b")
  runs = [("a", "lelp", {"temperature": tau}, (0.5,)) for tau in (1.0, 2.0)]
  # Another column has one value, and one run has none.
  runs += [("b", "lelp", {"temperature": 1.0}, (0.5,))]
  runs += [("a", "lelp", {"num_subclasses": 5}, (0.9,))]
  results = results_of(runs, columns)
  assert sensitivity.sensitivity_picture(results, tmp_path / "x.png")
  ((plot,),) = drawn
  assert list(plot.lines) == ["a"]
  assert means(plot.lines["a"]) == {1.0: 50, 2.0: 50}


def test_sensitivity_averages_replicates(drawn, tmp_path):
  columns = ("split0", "split1")
  runs = [
    (column, "lelp", {"temperature": tau}, (0.1 * i + 0.3 * tau,))
    for i, column in enumerate(columns)
    for tau in (1.0, 2.0)
  ]
  results = results_of(runs, columns, columns_are="replicates")
  assert sensitivity.sensitivity_picture(results, tmp_path / "x.png")
  (line,) = drawn[0][0].lines.values()
  assert line.label == "mean over 2 splits"
  assert means(line) == {1.0: 35, 2.0: 65}


def test_sensitivity_of_one_setting_draws_nothing(drawn, tmp_path):
  results = results_of([(R56, "lelp", {"kind": "lelp"}, (0.5,))])
  assert not sensitivity.sensitivity_picture(results, tmp_path / "x.png")
  assert not drawn


@pytest.mark.parametrize("logarithmic", [False, True])
def test_draw_plots_draws_lines_and_paper(tmp_path, logarithmic):
  points = {2.0**i: estimate([70.0 + i, 71.0 + i]) for i in range(5)}
  lines = {
    "lelp": drawing.PlotLine("LELP", points, {4.0: 72.0}),
    "rkd": drawing.PlotLine("RKD", {2.0: estimate([70.0])}),
  }
  plot = drawing.Plot("t", "x", "y", lines, logarithmic, zero=not logarithmic)
  path = tmp_path / "x.png"
  drawing.draw_plots([plot] * 4, path, title="T", explanation="E")
  pixels = image.imread(path)
  # Two rows of three panels, 150 dots an inch.
  assert pixels.shape[:2] == (1155, 1755)
  vermilion = np.array([0xD5, 0x5E, 0x00]) / 255
  assert (np.abs(pixels[..., :3] - vermilion).max(-1) < 0.01).any()
  assert "<svg" in path.with_suffix(".svg").read_text()[:500]


def test_draw_plots_of_many_points(tmp_path):
  points = {float(i): estimate([i, i + 1.0]) for i in range(200)}
  plot = drawing.Plot(
    "", "Epoch", "y", {"lelp": drawing.PlotLine("LELP", points)}
  )
  drawing.draw_plots([plot], tmp_path / "x.png", title="", explanation="")
  assert image.imread(tmp_path / "x.png").shape[1] == 750


def test_a_run_of_table_5_without_a_column_has_no_place(drawn, tmp_path):
  results = results_of([("cell", "lelp", {}, (0.5,))], ("cell",))
  assert not paper_figures.labelled(results, tmp_path / "x.png")
