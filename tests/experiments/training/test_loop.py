"""The loop: what a run leaves, what an interrupted one repeats."""

import json

import numpy as np
import pytest

from experiments import results
from experiments.distributed.signals import Interrupted
from experiments.io.json_files import read_json
from experiments.io.metrics import read_metrics
from experiments.io.students import load_student
from experiments.training import data
from experiments.training import sweep
from experiments.training.inference import FrozenModel
from experiments.training.models import Weights
from tests.experiments import tiny
from tests.experiments import training_runs


# A bank, its normalizers and projections are states, too.
@pytest.mark.parametrize(
  "method", ["crd_bank", pytest.param("lelp", marks=pytest.mark.slow)]
)
def test_an_interrupted_run_repeats_the_bits(tmp_path, monkeypatch, method):
  cells = [tiny.cell(method, trial) for trial in (0, 1)]
  sweep.run_cells(cells, tmp_path / "whole")
  interruptions = []

  def is_due(step):
    is_last = step == cells[0].student.num_steps
    interruptions.extend([] if is_last else [step])
    return not is_last

  with monkeypatch.context() as patch:
    training_runs.interrupt(patch, is_due)
    for _ in range(4):
      with pytest.raises(Interrupted, match="step"):
        sweep.run_cells(cells, tmp_path / "cut")
    sweep.run_cells(cells, tmp_path / "cut")
  # Twice in the teacher and twice in the stack, each time further on.
  assert interruptions == [4, 8, 4, 8]
  whole = training_runs.left(tmp_path / "whole")
  cut = training_runs.left(tmp_path / "cut")
  assert whole == cut
  assert len(whole) == 2 + 2 * 3


CELLS = [tiny.cell(trial=0), tiny.cell(trial=1)]


@pytest.fixture(name="finished", scope="module")
def fixture_finished(tmp_path_factory):
  """A workdir, and the folders of its two finished cells."""
  workdir = tmp_path_factory.mktemp("finished")
  return workdir, *sweep.run_cells(CELLS, workdir)


def test_finished_cells_are_kept_and_missing_ones_made_again(finished):
  workdir, first, second = finished
  kept = (first / "result.json").stat().st_mtime_ns
  expected = (second / "result.json").read_text()
  (second / "result.json").unlink()
  sweep.run_cells(CELLS, workdir)
  assert (first / "result.json").stat().st_mtime_ns == kept
  found, expected = read_json(second / "result.json"), json.loads(expected)
  assert found.pop("stack")["digest"] == expected.pop("stack")["digest"]
  assert found.pop("seconds").keys() == expected.pop("seconds").keys()
  assert found == expected


def test_result_says_what_the_cell_was(finished):
  workdir, folder, _ = finished
  cell, *_ = CELLS
  result = results.read(folder, results.CellResult)
  assert folder.relative_to(workdir).parts[:3] == ("cells", "split0", "lelp")
  assert result.hyperparameters == {
    "temperature": 2.0,
    "subclass_temperature": 4.0,
    "num_subclasses": 3,
  }
  # 64 x 8 + 8 and 8 x 6 + 6: two classes of three subclasses.
  assert result.num_parameters == 574
  assert result.test.num_examples == 500
  assert 0 <= result.test.agreement <= 1
  assert 0 < result.seconds.example < 1
  assert 0 < result.seconds.teacher_example < 1
  seconds = result.seconds
  parts = seconds.teacher, seconds.moments, seconds.preparation, seconds.step
  assert min(parts) > 0
  assert all(0 < share < 1 for share in result.variance_share)
  assert all(0 < share < 1 for share in result.null_space_share)
  assert {"class_term", "subclass_term", "loss"} <= result.train.keys()
  lines = read_metrics(folder / "metrics.jsonl")
  assert [line["step"] for line in lines] == [4, 8, 12]
  assert lines[-1]["validation/accuracy"] == pytest.approx(
    result.validation.accuracy
  )
  weights = Weights(*load_student(folder / "student.msgpack"))
  assert weights.params["head"]["kernel"].shape == (8, 6)
  # The saved student, read by hand, has the accuracy that was reported.
  splits = data.load_splits(cell)
  student = FrozenModel(cell.student, weights, splits.task.scale)
  logits = student.outputs(splits.test).logits
  probs = np.exp(logits / cell.loss.temperature).reshape(500, 2, 3).sum(-1)
  probs /= probs.sum(-1, keepdims=True)
  labels, predicted = splits.test["labels"], probs.argmax(-1)
  correct = predicted == labels
  assert correct.mean() == pytest.approx(result.test.accuracy, abs=1e-6)
  # And so have the counts of its predictions.
  counts = result.test.predictions
  bits = np.frombuffer(bytes.fromhex(counts.correct), np.uint8)
  np.testing.assert_array_equal(np.unpackbits(bits)[:500], correct)
  expected = np.zeros((2, 2), int)
  np.add.at(expected, (labels, predicted), 1)
  np.testing.assert_array_equal(counts.confusion, expected)
  assert np.sum(counts.calibration, axis=0)[[0, 2]].tolist() == [
    500,
    correct.sum(),
  ]
  losses = -np.log(probs[np.arange(500), labels])
  assert counts.loss_deviation == pytest.approx(losses.std(ddof=1), rel=1e-4)
  wrong = np.flatnonzero(~correct)
  highest = np.sort(probs[wrong].max(-1))[::-1]
  assert [m.probability for m in counts.mistakes] == pytest.approx(
    highest[:12], rel=1e-5
  )
  for mistake in counts.mistakes:
    (row,) = np.flatnonzero(splits.test["ids"] == mistake.id)
    assert (mistake.label, mistake.predicted) == (labels[row], predicted[row])
  assert result.validation.predictions is None
