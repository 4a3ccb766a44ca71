"""The table, the gains and the picture over several sweeps."""

import dataclasses

import numpy as np
import pytest

from experiments.reporting import headline
from experiments.results import Predictions
from tests.experiments import reporting_workdirs as made
from tests.experiments.reporting_workdirs import texts


@pytest.fixture
def settings():
  single = {"split0": made.BY_HAND["split0"]}
  sweeps = [made.make_results(), made.make_results(single)]
  return headline.settings_of(["Both", "One"], sweeps)


def _with_predictions(results, method, correct):
  """Gives the cells of a method what they predict on four test examples."""
  bits = np.packbits(np.array(correct, np.uint8)).tobytes().hex()
  cells = tuple(
    dataclasses.replace(
      cell,
      test=dataclasses.replace(
        cell.test,
        num_examples=len(correct),
        predictions=Predictions(correct=bits, calibration=()),
      ),
    )
    if cell.method == method
    else cell
    for cell in results.cells
  )
  return dataclasses.replace(results, cells=cells)


def _rows(table):
  """Returns the texts of each row, by the title of the column."""
  return [
    dict(zip(table.header, (cell.text for cell in row.cells), strict=True))
    for row in table.rows
  ]


def test_accuracies_are_over_replicates_or_trials(settings):
  table = headline.accuracy_table(settings)
  both, one = _rows(table)
  assert both["Vanilla distillation"] == "90.50 ± 5.50"
  assert one["Vanilla distillation"] == "96.00 ± 1.53"
  assert (both["LELP"], one["LELP"]) == ("92.00 ± 4.00", "96.00 ± 0.58")
  assert not any("K-means" in title for title in both)
  cells = dict(zip(table.header, table.rows[0].cells, strict=True))
  marks = {title: cell.mark for title, cell in cells.items() if cell.mark}
  assert marks == {"LELP": "best", "Vanilla distillation": "second"}


def test_gains_are_paired_over_repetitions(settings):
  table = headline.gain_table(settings)
  assert table.header[0].startswith("LELP\n")
  (both, one) = (texts(table)[name] for name in ("Both", "One"))
  # 0 and 3 points on the two splits: t = 12.706, standard error 1.5.
  assert both[0] == "+1.50 ± 1.50\n[-17.56, 20.56]"
  assert one[0].startswith("+0.00 ± 1.00")


def test_gains_over_test_examples_are_a_paired_bootstrap():
  results = made.make_results({"split0": made.BY_HAND["split0"]})
  results = _with_predictions(results, "lelp", [1] * 60 + [0] * 40)
  results = _with_predictions(results, "vanilla", [1] * 50 + [0] * 50)
  text = texts(headline.gain_table({"One": results}))["One"][1]
  gain, interval = text.split("\n")
  assert gain == "+10.00"
  low, high = map(float, interval.strip("[]").split(", "))
  # 100 sqrt(0.1 * 0.9 / 100) = 3 points is the standard error.
  np.testing.assert_allclose([low, high], [10 - 5.88, 10 + 5.88], atol=1)
  # Trials that only one method has are left out.
  cells = tuple(
    cell
    for cell in results.cells
    if (cell.method, cell.trial) != ("vanilla", 0)
  )
  results = dataclasses.replace(results, cells=cells)
  text = texts(headline.gain_table({"One": results}))["One"][1]
  assert text.startswith("+10.00\n")


def test_sweeps_of_other_questions_are_left_out():
  runs = [("c", "vanilla", {}, (0.9, 0.9)), ("c", "lelp", {}, (0.9, 0.9))]
  assert not headline.settings_of(["a"], [made.results_of(runs)])
  several = made.make_results(columns_are="settings")
  smoke = made.make_results(is_smoke=True)
  assert not headline.settings_of(["a", "b"], [several, smoke])


def test_held_out_examples_choose_the_best_feature_method():
  runs = [
    ("c", "standard", {}, (0.8, 0.8)),
    ("c", "vanilla", {}, (0.9, 0.9)),
    ("c", "fitnet", {}, (0.8, 0.8)),
    ("c", "crd", {}, (0.7, 0.7)),
  ]
  results = made.results_of(runs)
  cells = tuple(
    dataclasses.replace(
      cell, validation=dataclasses.replace(cell.validation, accuracy=0.95)
    )
    if cell.method == "crd"
    else cell
    for cell in results.cells
  )
  results = dataclasses.replace(results, cells=cells)
  (found,) = _rows(headline.accuracy_table({"c": results}))
  assert found["Best feature method"] == "70.00 ± 0.00 (CRD)"


def test_the_picture_is_written(settings, tmp_path):
  headline.gain_picture(settings, tmp_path / "gains.png")
  assert (tmp_path / "gains.png").read_bytes().startswith(b"\x89PNG")
  assert (tmp_path / "gains.svg").exists()
