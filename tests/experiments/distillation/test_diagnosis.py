"""Diagnosis of a teacher: its numbers, its sentences and its page."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from experiments.distillation import diagnosis
from experiments.distillation import diagnosis_page
from experiments.distillation import label_check
from experiments.distillation.teachers import prepare_teacher
from tests.experiments.distillation import recorded
from tests.experiments.distillation.test_teachers import data_spec

_NUM_ROWS = 300


@pytest.fixture(scope="module", name="case")
def fixture_case(tmp_path_factory):
  """A teacher that knows its training rows by heart, and its diagnosis."""
  folder = tmp_path_factory.mktemp("diagnosis")
  labels = recorded.write_table(folder / "train.csv", _NUM_ROWS)
  test_labels = recorded.write_table(folder / "test.csv", 200)
  # Every fourth label of the test is not what the teacher thinks.
  wrong = {"bad": "good", "good": "bad"}
  believed = [
    wrong[x] if row % 4 == 0 else x for row, x in enumerate(test_labels)
  ]
  arrays = recorded.outputs([*labels, *believed])
  arrays["embeddings"][10] = arrays["embeddings"][12]  # Both are "bad".
  arrays["embeddings"][20] = arrays["embeddings"][21]  # "bad" and "good".
  arrays["logits"] = (
    arrays["embeddings"] @ arrays["head_kernel"] + arrays["head_bias"]
  )
  given = recorded.write_arrays(folder / "arrays", arrays)
  data = data_spec(folder / "train.csv", test=str(folder / "test.csv"))
  teacher = prepare_teacher(str(given), data, folder / "run")
  found = diagnosis.diagnose(teacher, data, folder / "run")
  return found, arrays, labels


def test_scores_are_those_of_the_predictions(case):
  found, arrays, _ = case
  assert found.scores["train"].num_examples == 270
  assert found.scores["train"].counts == (135, 135)
  assert found.scores["test"].num_examples == 200
  predicted = arrays["logits"][_NUM_ROWS:].argmax(axis=1)
  right = np.mean(predicted == np.arange(200) % 2)
  assert found.scores["test"].accuracy == pytest.approx(right)
  assert found.scores["test"].accuracy < 0.8 < found.scores["train"].accuracy
  assert 0 <= found.saturated <= 1


def test_shares_of_variance_equal_numpy(case):
  found, arrays, _ = case
  assert (found.width, found.rank) == (recorded.WIDTH, 2)
  # Those of all training rows, held-out ones among them, are close.
  kernel = arrays["head_kernel"].astype(np.float64)
  basis = np.linalg.qr(kernel)[0]
  projector = np.eye(recorded.WIDTH) - basis @ basis.T
  for number in range(2):
    rows = arrays["embeddings"][number:_NUM_ROWS:2].astype(np.float64)
    covariance = np.cov(rows.T, bias=True)
    left = projector @ covariance @ projector
    share = np.trace(left) / np.trace(covariance)
    assert found.null_shares[number] == pytest.approx(share, abs=0.05)
    spectrum = np.linalg.eigvalsh(left)[::-1] / np.trace(covariance)
    np.testing.assert_allclose(found.spectra[number], spectrum, atol=0.05)
    assert sum(found.spectra[number]) == pytest.approx(
      found.null_shares[number], abs=1e-5
    )


def test_repeated_rows_and_labels_that_differ_are_counted(case):
  found, *_ = case
  assert (found.repeated, found.repeated_with_other_label) == (4, 2)


def test_contradicted_labels_are_named_by_their_row(case):
  found, arrays, labels = case
  logits = arrays["logits"].astype(np.float64)
  powers = np.exp(logits - logits.max(axis=1, keepdims=True))
  confidence = 1 / powers.sum(axis=1)
  given = [*labels, *(["bad", "good"] * 100)]
  predicted = np.array(["bad", "good"])[logits.argmax(axis=1)]
  wrong = (predicted != given) & (confidence > 0.95)
  assert found.num_contradicted == wrong.sum() > 40
  first = found.contradictions[0]
  assert first.place.endswith("of --test")
  row = int(first.place.split()[1])  # From 1.
  assert (row - 1) % 4 == 0
  assert (first.label, first.predicted) == ("bad", "good")
  assert first.text.endswith(f"film {row - 1}")


def test_held_out_rows_that_the_teacher_knows_are_noticed(case):
  found, *_ = case
  assert any("it was trained on the held-out rows" in x for x in found.warnings)
  assert any("another label" in x for x in found.warnings)
  equal = {**found.scores, "test": found.scores["validation"]}
  honest = dataclasses.replace(found, scores=equal)
  assert not any("trained on" in x for x in diagnosis._warnings(honest))


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({}, "much to transfer"),
    ({"null_shares": (0.1, 0.2)}, "something to transfer"),
    (
      {"width": 102, "spectra": ((1 / 128,) * 100,) * 2},
      "something to transfer.* 50 of 100 directions",
    ),
    ({"null_shares": (0.01, 0.02)}, "little to transfer"),
    ({"rank": recorded.WIDTH}, "nothing to transfer"),
    ({"class_names": tuple(map(str, range(60)))}, "60 classes"),
  ],
)
def test_the_verdict_is_plain(case, changes, words):
  found = dataclasses.replace(case[0], **changes)
  text = diagnosis._verdict(found)
  assert re.search(words, text)
  assert text.startswith("LELP has ")


def test_rare_classes_and_bad_probabilities_are_noticed(case):
  found, *_ = case
  train = dataclasses.replace(found.scores["train"], counts=(265, 5))
  heldout = dataclasses.replace(
    found.scores["validation"], calibration_error=0.2
  )
  scores = {**found.scores, "train": train, "validation": heldout}
  sentences = diagnosis._warnings(dataclasses.replace(found, scores=scores))
  assert any("good (5)" in x for x in sentences)
  assert any("20.0 % on average" in x for x in sentences)


def test_the_summary_fits_a_terminal(case):
  text = diagnosis_page.summary(case[0], 80)
  assert max(map(len, text.splitlines())) <= 80
  for words in ("accuracy", "LELP has much", "warning: ", "2 of 6 dimensions"):
    assert words in " ".join(text.split())


def test_the_page_has_its_pictures(case, tmp_path):
  found, *_ = case
  files = diagnosis_page.write_page(found, tmp_path / "page")
  html, markdown, record = [tmp_path / "page" / name for name in files]
  assert found.verdict[:40] in html.read_text()
  assert html.read_text().count("data:image/svg+xml") == 3
  assert "of --test" in markdown.read_text()
  saved = json.loads(record.read_text())
  assert saved["verdict"] == found.verdict
  assert saved["scores"]["test"]["accuracy"] == found.scores["test"].accuracy
  for name in ("spectrum", "calibration", "planes"):
    with Image.open(tmp_path / "page" / f"{name}.png") as picture:
      assert min(picture.size) > 300


def test_logits_are_computed_in_blocks(monkeypatch, rng):
  monkeypatch.setattr(label_check, "_ROWS_AT_ONCE", 3)
  embeddings = rng.standard_normal([7, 4]).astype(np.float32)
  kernel, bias = rng.standard_normal([4, 2]), rng.standard_normal(2)
  np.testing.assert_allclose(
    label_check.head_logits(embeddings, kernel, bias),
    embeddings @ kernel + bias,
  )
