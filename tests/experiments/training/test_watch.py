"""What is seen of a training: times, loggers, traces."""

import sys
import types
import typing

import pytest

from experiments.io import metrics
from experiments.io.metrics import read_metrics
from experiments.training import runs
from experiments.training import watch
from tests.experiments import tiny


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


def test_metrics_reach_tensorboard_as_they_reach_the_file(tmp_path, events):
  config = tiny.config("vanilla")
  config.loggers = "tensorboard"
  config.profile = "5:6"
  (folder,) = runs.run_cells([config], tmp_path)
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
  monkeypatch.setattr(watch.jax, "process_count", lambda: 2)
  monkeypatch.setattr(watch.jax, "process_index", lambda: 1)
  assert watch._traces(tmp_path) == tmp_path / "profile" / "process1"


def test_steps_and_rates_belong_together(tmp_path):
  config = tiny.config("standard")
  config.data.placement = "host"
  (folder,) = runs.run_cells([config], tmp_path)
  for line in read_metrics(folder / "metrics.jsonl"):
    rate = config.student.batch_size / line["time/step_seconds"]
    assert line["time/examples_per_second"] == pytest.approx(rate)
    assert 0 < line["time/input_wait_seconds"] <= line["time/step_seconds"]


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("loggers", "tensorbord", r"\['tensorboard', 'wandb'\], got 'tensorbord'"),
    ("profile", "10", "FIRST_STEP:LAST_STEP"),
    ("profile", "9:4", "FIRST_STEP:LAST_STEP"),
  ],
)
def test_what_cannot_be_watched_is_refused_first(field, value, message):
  config = tiny.config()
  config[field] = value
  with pytest.raises(ValueError, match=message):
    runs.check([config])


def test_a_logger_that_is_not_installed_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "wandb", None)
  with pytest.raises(ValueError, match=r"pip install '\.\[wandb\]'"):
    metrics.check_loggers(["wandb"])


def test_a_continued_run_is_one_of_wandb_and_no_other_workdirs(
  tmp_path, monkeypatch
):
  made = []
  module = types.SimpleNamespace(
    init=lambda **options: made.append(options), Settings=dict
  )
  monkeypatch.setitem(sys.modules, "wandb", module)
  cell = "cells/split0/lelp/abc/trial0"
  for workdir in ("first", "first", "second"):
    folder = tmp_path / workdir / cell
    metrics.open_loggers(["wandb"], folder, resume_step=0, config={})
  first, again, second = (options["id"] for options in made)
  assert first == again != second
  assert {options["name"] for options in made} == {"split0-lelp-abc-trial0"}


def test_nothing_else_is_watched_by_default():
  config = tiny.config()
  assert config.profile == config.loggers == ""
  watch.check(config)
