"""Monitoring of a training: times, loggers, traces, failures."""

import dataclasses
import sys
import types
import typing

import jax
import numpy as np
import pytest

from experiments import specs
from experiments.data import batches
from experiments.io.json_files import read_json
from experiments.io.metrics import read_metrics
from experiments.training import data
from experiments.training import monitor
from experiments.training import states
from experiments.training import step
from experiments.training import sweep
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny

ROW = 37


class _Events:
  """Stands for tensorboardX.SummaryWriter."""

  made: typing.ClassVar[list] = []

  def __init__(self, folder, purge_step):
    self.folder, self.purge_step = folder, purge_step
    self.scalars, self.closed = [], False
    self.made.append(self)

  def add_scalar(self, name, value, step):
    self.scalars.append((name, value, step))

  def flush(self):
    pass

  def close(self):
    self.closed = True


@pytest.fixture
def events(monkeypatch):
  monkeypatch.setattr(_Events, "made", [])
  module = types.SimpleNamespace(SummaryWriter=_Events)
  monkeypatch.setitem(sys.modules, "tensorboardX", module)
  return _Events.made


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
  folder = tmp_path_factory.mktemp("teachers")
  cell = tiny.cell()
  teacher_lib.load_or_train(cell, data.load_splits(cell), folder)
  return folder


def test_metrics_reach_tensorboard_as_they_reach_the_file(tmp_path, events):
  cell = dataclasses.replace(
    tiny.cell("vanilla"), loggers=("tensorboard",), profile=(5, 6)
  )
  (folder,) = sweep.run_cells([cell], tmp_path)
  teacher, student = events
  assert student.folder == str(folder / "tensorboard")
  assert "teachers" in teacher.folder
  assert student.purge_step == 1
  assert student.closed
  lines = read_metrics(folder / "metrics.jsonl")
  assert [line["step"] for line in lines] == [4, 8, 12]
  expected = [
    (name, value, line["step"])
    for line in lines
    for name, value in line.items()
    if "/" in name
  ]
  assert student.scalars == expected
  names = {name for name, _, _ in expected}
  assert {"time/step_seconds", "time/examples_per_second"} < names
  # The chunk of steps 4 to 8, and no other.
  (trace,) = folder.glob("profile/plugins/profile/*/*.xplane.pb")
  assert trace.stat().st_size > 1000


def test_traces_of_several_processes_do_not_share_a_file(tmp_path, monkeypatch):
  monkeypatch.setattr(monitor.jax, "process_count", lambda: 2)
  monkeypatch.setattr(monitor.jax, "process_index", lambda: 1)
  found = monitor._trace_folder(tmp_path)
  assert found == tmp_path / "profile" / "process1"


@pytest.fixture
def watched(monkeypatch):
  """A monitor of 12 steps in 3 chunks, its clock, and calls of its watch."""
  now, calls = [0.0], []
  monkeypatch.setattr(monitor.time, "monotonic", lambda: now[0])
  cell = tiny.cell("standard")
  spec = types.SimpleNamespace(student=cell.student)
  run: typing.Any = types.SimpleNamespace(cells=[cell], spec=spec, train={})
  with monitor.Monitor(
    run, [None], "texts", step=0, watch=lambda *given: calls.append(given)
  ) as made:
    yield made, now, calls


def chunk(made, now, step, seconds):
  with made.chunk(step, 4):
    now[0] += seconds
  now[0] += 1.0  # The evaluation.
  made.write(step + 4, {}, {"accuracy": np.ones(1)})


def test_a_first_chunk_tells_nothing_unless_it_takes_long(watched):
  chunk(*watched[:2], 0, 20.0)
  chunk(*watched[:2], 4, 3.0)
  assert watched[2] == [(4, None, None), (8, 1.0, 21.0 - 4.0)]


def test_the_rest_of_a_resumed_training_tells_nothing(watched):
  chunk(*watched[:2], 8, 20.0)
  assert watched[2] == [(12, None, None)]


def test_a_first_chunk_of_minutes_has_to_do(watched):
  chunk(*watched[:2], 0, 59.0)
  assert watched[2] == [(4, 15.0, None)]


def test_slow_steps_of_a_first_chunk_are_timed(watched):
  made, now, calls = watched
  # Some steps compile again, which does not slow the forecast.
  for seconds in (20.0, 0.5, 15.0, 0.5, 5.0, 0.5, 0.5, 0.5, 0.5, 0.5):
    now[0] += seconds
    made.after_step({})
  assert calls == [(9, 0.5, 20.0 - 0.5)]
  chunk(made, now, 0, 40.0)
  assert calls[1:] == [(4, None, None)]


# --- Losses and states that are not finite ------------------------------------


@pytest.fixture
def poisoned(monkeypatch):
  """Students see floats, one image of which is NaN."""
  load = data.load_splits

  def with_one(cell, workdir=None):
    splits = load(cell, workdir)
    inputs = splits.transfer["inputs"].astype(np.float32)
    inputs[ROW] = np.nan
    ids = np.arange(len(inputs)) + 1000
    transfer = {**splits.transfer, "inputs": inputs, "ids": ids}
    return dataclasses.replace(splits, transfer=transfer)

  monkeypatch.setattr(data, "load_splits", with_one)


@pytest.fixture
def unscanned(monkeypatch):
  monkeypatch.setattr(step, "_is_scanned", lambda *_: False)
  step.build_program.cache_clear()
  yield
  step.build_program.cache_clear()


def order_of_batches():
  """The rows of the first ten batches, from the keys as they are documented."""
  key = jax.random.fold_in(jax.random.key(0), states.STUDENT)
  key = jax.random.split(jax.random.fold_in(key, states.DATA))[0]
  order = batches.chunk_indices(
    key, 0, num_steps=10, num_examples=100, batch_size=10
  )
  return np.asarray(order)


@pytest.mark.parametrize(
  "way", ["scanned", "fed", pytest.param("stepped", marks=pytest.mark.slow)]
)
def test_the_step_and_the_rows_of_its_batch_are_named_and_steps_timed(
  tmp_path, teachers, poisoned, request, way
):
  cell = specs.replace(
    tiny.cell("standard", trial=1),
    {
      "student.batch_size": 10,
      "student.steps_per_chunk": 2,
      "data.placement": "host" if way == "fed" else "device",
    },
  )
  if way == "stepped":
    request.getfixturevalue("unscanned")
  with pytest.raises(FloatingPointError) as caught:
    sweep.run_cells([cell], tmp_path, teacher_directory=teachers)
  order = order_of_batches()
  ((before, _),) = np.argwhere(order == ROW)
  good = before - before % 2
  assert good > 0
  (saved,) = tmp_path.glob(f"checkpoints/*/{good}")
  (path,) = tmp_path.glob("cells/**/nonfinite.json")
  assert read_json(path) == {
    "cell": "/".join(path.parts[-3:-1]),
    "step": before + 1,
    "rows": order[before].tolist(),
    "ids": (order[before] + 1000).tolist(),
    "checkpoint": str(saved),
  }
  message = str(caught.value)
  for part in (
    f"step {before + 1} (in 1 of 1 cells: ",
    ", ".join(map(str, order[before] + 1000)),
    f"step {good}, {saved}.",
  ):
    assert part in message
  assert "\n" not in message
  lines = read_metrics(path.with_name("metrics.jsonl"))
  assert [line["step"] for line in lines] == list(range(2, good + 1, 2))
  for line in lines:
    seconds = line["time/step_seconds"]
    assert line["time/examples_per_second"] == pytest.approx(10 / seconds)
    if way == "fed":
      assert 0 < line["time/input_wait_seconds"] <= seconds


def test_a_state_that_the_last_update_spoiled_is_not_saved(tmp_path, teachers):
  """The loss and the gradient of the chunk are finite, the weights are not."""
  cell = specs.replace(
    tiny.cell("standard"),
    {
      "student.optimizer": "sgd",
      "student.learning_rate": 3e38,
      "student.weight_decay": 1e10,
      "student.num_steps": 1,
      "student.steps_per_chunk": 1,
    },
  )
  with pytest.raises(FloatingPointError, match=r"step 1 .* no .*checkpoint"):
    sweep.run_cells([cell], tmp_path, teacher_directory=teachers)
  assert not list(tmp_path.glob("checkpoints/*/[0-9]*"))
  assert not list(tmp_path.glob("cells/**/result.json"))


def test_the_cells_concerned_are_named_and_long_batches_cut(tmp_path, teachers):
  cells = [
    specs.replace(tiny.cell("vanilla", trial), {"student.batch_size": 80})
    for trial in range(3)
  ]
  # The loss is the square of the temperature times a divergence.
  cells[1] = specs.replace(cells[1], {"loss.temperature": 1e30})
  with pytest.raises(FloatingPointError, match="in 1 of 3 cells") as caught:
    sweep.run_cells(cells, tmp_path, teacher_directory=teachers)
  assert "/trial1)" in str(caught.value)
  assert "and 16 more" in str(caught.value)
  (path,) = tmp_path.glob("cells/**/nonfinite.json")
  assert path.parent.name == "trial1"
  assert len(set(read_json(path)["rows"])) == 80
