"""Figures 5 and 6, the number of classes, and how lines are drawn."""

import dataclasses
import json

import numpy as np
import pytest
from matplotlib import image

from experiments.reporting import drawing
from experiments.reporting import paper_figures
from experiments.reporting.estimates import estimate
from tests.experiments.reporting_workdirs import means
from tests.experiments.reporting_workdirs import results_of
from tests.experiments.reporting_workdirs import write_config

R56 = "cifar100_bin-resnet92-resnet56"


def test_figure_5_by_hand(drawn, tmp_path):
  values = {
    ("lelp", 2, 0.5): (0.80, 0.82),
    ("lelp", 4, 0.5): (0.84, 0.86),
    ("lelp", 2, 1.0): (0.70, 0.70),
    ("lelp_random", 2, 0.5): (0.79, 0.80),
    ("lelp_random", 4, 0.5): (0.80, 0.85),
    ("lelp_identity", 10, 0.5): (0.90, 0.91),
  }
  results = results_of(
    [
      ("a", m, {"num_subclasses": s, "subclass_temperature": beta}, a)
      for (m, s, beta), a in values.items()
    ]
  )
  assert paper_figures.projections(results, tmp_path)
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
  # Without a run of LELP there is still something to draw.
  for kept in (("lelp_random",), ("lelp_identity",), ()):
    cells = tuple(cell for cell in results.cells if cell.method in kept)
    part = dataclasses.replace(results, cells=cells)
    assert paper_figures.projections(part, tmp_path) == ("lelp_random" in kept)


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
  assert paper_figures.dataset_size(results, tmp_path)
  ((accuracies, gains),) = drawn
  assert means(accuracies.lines["lelp"]) == {1000: 64.5, 2000: 70}
  assert means(accuracies.lines["vanilla"]) == {1000: 61}
  assert means(gains.lines["lelp"]) == {1000: 3.5}
  assert "vanilla" not in gains.lines


def test_figure_6_middle_reads_the_metrics(drawn, tmp_path):
  results = results_of([(R56, "lelp", {}, (0.6, 0.8))], (R56,))
  cells = [
    dataclasses.replace(c, num_train_examples=1090) for c in results.cells
  ]
  results = dataclasses.replace(results, cells=tuple(cells), base=tmp_path)
  for trial, cell in enumerate(cells):
    folder = tmp_path / cell.folder
    folder.mkdir(parents=True)
    write_config(folder, student__batch_size=100)
    lines = [
      {"step": 10 * i, "validation/accuracy": (i + trial) / 10} for i in (1, 2)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
  assert paper_figures.training_curves(results, tmp_path)
  ((plot,),) = drawn
  # 10 steps of 100 are an epoch of 1,090 examples: batches are full.
  assert means(plot.lines["lelp"]) == {1: 15, 2: 25}
  assert plot.y_label == "Held-out accuracy (%)"
  on_test = dataclasses.replace(results, selection="test")
  assert paper_figures.training_curves(on_test, tmp_path)
  assert drawn[1][0].y_label == "Test accuracy (%)"
  elsewhere = dataclasses.replace(results, base=tmp_path / "no")
  assert not paper_figures.training_curves(elsewhere, tmp_path)


def test_numbers_of_labels_and_classes_are_those_of_the_columns(
  drawn, tmp_path
):
  columns = tuple(f"cifar100-resnet92-mobilenet-{n}000" for n in (10, 15, 20))
  results = results_of(
    [(columns[1], "lelp", {}, (0.55, 0.56))], columns, name="figure6_right"
  )
  assert paper_figures.labelled(results, tmp_path)
  line = drawn[0][0].lines["lelp"]
  assert means(line) == {15000: 55.5}
  assert line.paper == {10000: 49.95, 15000: 55.07, 20000: 57.9}
  columns = tuple(f"cifar100-resnet92-resnet56-merged{n}" for n in (2, 20))
  runs = [(c, "lelp", {}, (0.1 * (i + 1),)) for i, c in enumerate(columns)]
  assert paper_figures.num_classes(results_of(runs, columns), tmp_path)
  assert means(drawn[1][0].lines["lelp"]) == {2: 10, 20: 20}
  # A run without a column has neither.
  results = results_of([("cell", "lelp", {}, (0.5,))], ("cell",))
  assert not paper_figures.labelled(results, tmp_path)


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
  lines = {"lelp": drawing.PlotLine("LELP", points)}
  plot = drawing.Plot("", "Epoch", "y", lines)
  drawing.draw_plots([plot], tmp_path / "x.png", title="", explanation="")
  assert image.imread(tmp_path / "x.png").shape[1] == 750
