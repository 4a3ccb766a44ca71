"""Scores on test examples: by hand, and with intervals of plain resampling."""

import dataclasses
import math

import numpy as np
import pytest
from sklearn import metrics as reference

from experiments.reporting import comparisons
from experiments.reporting import owner
from experiments.reporting import tables
from experiments.reporting.document import Example
from experiments.reporting.document import Gallery
from experiments.reporting.document import Table
from experiments.results import CellSeconds
from experiments.results import Evaluation
from experiments.training import loop
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import teacher

NAMES = ("cat", "dog", "owl")


def made(rng, size=200, num_classes=3, skill=2.0):
  """An evaluation as training makes it, its log probabilities and labels."""
  labels = rng.integers(num_classes, size=size).astype(np.int32)
  logits = rng.normal(size=(size, num_classes))
  logits += skill * np.eye(num_classes)[labels]
  log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
  log_probs = log_probs.astype(np.float32)
  accuracy = float(np.mean(log_probs.argmax(1) == labels))
  loss = float(-log_probs[np.arange(size), labels].mean())
  evaluation = loop.with_predictions(
    Evaluation(accuracy, loss, num_examples=size),
    log_probs,
    {"labels": labels, "ids": 1000 + np.arange(size)},
  )
  return evaluation, log_probs.astype(float), labels


def sweep(rng, **changes):
  """A column with recorded predictions of a teacher and two students."""
  own = dataclasses.replace(teacher("t"), test=made(rng)[0])
  seconds = CellSeconds(example=1e-4, teacher_example=1e-3)
  cells = tuple(
    make_cell(
      "a",
      method,
      trial,
      0.0,
      test=made(rng)[0],
      teacher=own,
      classes=NAMES,
      seconds=seconds,
    )
    for method in ("vanilla", "lelp")
    for trial in range(2)
  )
  accuracies = {"a": {"vanilla": (0.0, 0.0), "lelp": (0.0, 0.0)}}
  return make_results(accuracies, cells=cells, **changes)


def test_the_interval_of_an_accuracy_is_wilsons():
  n, p, z = 80, 0.9, 1.959964
  center = (p + z * z / (2 * n)) / (1 + z * z / n)
  half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
  found = owner.accuracy_interval(p, n)
  assert found == pytest.approx((center - half, center + half), abs=1e-6)


def macro_f1(labels, predicted):
  """The macro F1 of three classes; scikit-learn takes milliseconds for it."""
  counts = np.bincount(3 * labels + predicted, minlength=9).reshape(3, 3)
  return np.mean(
    2 * np.diag(counts) / (counts.sum(axis=0) + counts.sum(axis=1))
  )


def test_standard_errors_are_those_of_resampled_examples(rng):
  evaluation, log_probs, labels = made(rng, size=300, skill=1.0)
  predicted, confidence = log_probs.argmax(1), np.exp(log_probs.max(1))
  expected = reference.f1_score(labels, predicted, average="macro")
  assert macro_f1(labels, predicted) == pytest.approx(expected)
  bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
  # A bin's confidence is that of its examples before they are drawn.
  confidence = np.array([confidence[bins == b].mean() for b in bins])
  drawn = {name: [] for name in ("macro F1", "calibration error")}
  for _ in range(300):
    rows = rng.integers(300, size=300)
    a, b = labels[rows], predicted[rows]
    drawn["macro F1"].append(macro_f1(a, b))
    gaps = np.bincount(bins[rows], confidence[rows] - (a == b), minlength=15)
    drawn["calibration error"].append(np.abs(gaps).sum() / 300)
  found = owner.standard_errors(evaluation)
  for name, values in drawn.items():
    assert found[name] == pytest.approx(np.std(values), rel=0.15)
  losses = -log_probs[np.arange(300), labels]
  expected = losses.std(ddof=1) / math.sqrt(300)
  assert found["log loss"] == pytest.approx(expected, rel=1e-3)
  assert 0.01 < found["Matthews correlation"] < 0.1


def test_a_gain_of_one_trial_is_paired_by_example(rng):
  (one, log_probs, labels), (other, others, _) = (
    made(np.random.default_rng(0), skill=skill) for skill in (2.0, 1.0)
  )
  cells = [make_cell("a", "lelp", 0, 0.0, test=e) for e in (one, other)]
  found = comparisons.over_examples(*(cell.test for cell in cells))
  difference = 100.0 * (
    (log_probs.argmax(1) == labels) * 1.0 - (others.argmax(1) == labels)
  )
  half = 1.959964 * difference.std(ddof=1) / math.sqrt(200)
  assert found.mean == pytest.approx(difference.mean())
  low, high = difference.mean() - half, difference.mean() + half
  assert found.interval == pytest.approx((low, high), abs=1e-4)
  assert (found.n, found.standard_error) == (1, None)
  plain = make_cell("a", "vanilla", 0, 0.5)
  assert comparisons.over_examples(cells[0].test, plain.test).interval is None


def test_an_owner_sees_scores_sizes_confusions_and_mistakes(rng):
  results = sweep(rng)
  shown = []

  def read(number):
    shown.append(number)
    return Example((), f"text {number}")

  worth, scores, sizes, *rest = owner.score_parts(results, read)
  assert "200 test examples" in worth
  assert "worth 0.5 points" in worth
  assert [row.label for row in scores.rows] == [
    "Teacher",
    "Vanilla distillation",
    "LELP",
  ]
  mean = np.mean([cell.test.macro_f1 for cell in results.cells[2:]])
  assert scores.rows[2].cells[1].text.startswith(f"{mean:.3f}\n[")
  assert scores.rows[2].cells[-1].text[0] in "+-"
  assert [cell.text for cell in sizes.rows[1].cells] == [
    *("99", "0.000396", "10,000", "12.5", "10.0")
  ]
  *confusions, mistakes = rest
  assert [type(part) for part in rest] == [Table, Table, Table, Gallery]
  lelp = results.cells[2].test.predictions
  cells = [cell for row in confusions[-1].rows for cell in row.cells]
  assert [int(c.text) for c in cells] == np.ravel(lelp.confusion).tolist()
  assert cells[0].shade == lelp.confusion[0][0] / sum(lelp.confusion[0])
  first = lelp.mistakes[0]
  assert shown[0] == first.id
  assert mistakes.examples[0].text == f"text {first.id}"
  assert mistakes.examples[0].labels == (
    f"{NAMES[first.predicted]}, "
    f"{100 * first.probability:.1f}\N{NO-BREAK SPACE}%",
    f"is {NAMES[first.label]}",
  )
  assert owner.score_parts(make_results()) == []


def test_the_exported_trial_is_the_one_whose_mistakes_are_shown(rng):
  results = sweep(rng)
  _, exported = (cell for cell in results.cells if cell.method == "lelp")
  calibrated = dataclasses.replace(exported.test, loss=0.125, agreement=0.5)
  _, scores, *_, matrix, mistakes = owner.score_parts(
    results, exported=owner.Exported(exported, calibrated)
  )
  *others, row = scores.rows
  texts = [cell.text.partition("\n")[0] for cell in row.cells]
  assert texts[3] == "0.125"
  assert texts[5:] == ["50.0", ""]
  assert all("0.125" not in cell.text for x in others for cell in x.cells)
  assert f"of LELP in trial {exported.trial}" in scores.caption
  cells = [int(cell.text) for row in matrix.rows for cell in row.cells]
  found = exported.test.predictions
  assert cells == np.ravel(found.confusion).tolist()
  assert f"in trial {exported.trial}" in matrix.caption
  assert f"in trial {exported.trial}" in mistakes.caption
  assert mistakes.examples[0].text == f"example {found.mistakes[0].id}"


def test_many_classes_have_a_list_of_confusions(rng):
  evaluation = made(rng, num_classes=20, skill=1.0)[0]
  cell = make_cell("a", "lelp", 0, 0.0, test=evaluation)
  results = make_results({"a": {"lelp": (0.0,)}}, cells=(cell,))
  (table,) = (
    part
    for part in owner.score_parts(results)
    if isinstance(part, Table) and "Confusion" in part.title
  )
  matrix = np.array(evaluation.predictions.confusion)
  np.fill_diagonal(matrix, 0)
  c, p = divmod(int(matrix.argmax()), 20)
  assert table.rows[0].label == f"class {c} taken for class {p}"
  assert table.rows[0].cells[0].text == str(matrix.max())


def test_a_smoke_test_has_no_best_method(rng):
  for is_smoke in (False, True):
    table = tables.accuracy_table(sweep(rng, is_smoke=is_smoke))
    assert table.is_marked is not is_smoke
    assert any("Best" in note for note in table.notes) is not is_smoke
