"""The commands, as a user types them.

The report runs in a new Python, which imports all that it needs by itself. So
do a sweep in test_contributing.py and `prepare` in test_prepare.py.
"""

import os
import pathlib
import re
import signal
import time

import pytest

from experiments.io.json_files import read_json
from experiments.io.json_files import write_json
from experiments.io.metrics import read_metrics
from tests.experiments import browser
from tests.experiments.processes import command
from tests.experiments.processes import command_anew
from tests.experiments.processes import refused
from tests.experiments.processes import start

_QUICKSTART = "experiments/configs/quickstart.py"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> pathlib.Path:
  """A smoke sweep, run once for the tests that read it."""
  workdir = tmp_path_factory.mktemp("runs") / "smoke"
  done = command(
    "sweep", f"--config={_QUICKSTART}:smoke=True", f"--workdir={workdir}"
  )
  assert "32 cells" in done.stdout
  assert len(list(workdir.glob("cells/*/*/*/trial*/result.json"))) == 32
  assert len(list(workdir.glob("teachers/*/result.json"))) == 2
  assert not list(workdir.glob("checkpoints/*"))
  return workdir


def test_report_prints_the_table_and_writes_the_pictures(workdir):
  done = command_anew("report", f"--workdir={workdir}")
  for text in ("Teacher", "Standard training", "LELP", "±"):
    assert text in done.stdout
  report = workdir / "report"
  assert "Vanilla distillation" in (report / "table.md").read_text()
  for picture in ("gains.png", "accuracy.png", "embeddings.png"):
    assert (report / picture).read_bytes().startswith(b"\x89PNG")
  # Gains, accuracy, LELP's hyperparameters, information about the digits,
  # embeddings; and the mistakes.
  page = (report / "report.html").read_text()
  assert page.count('class="plot"') == 5
  assert page.count("<img") == 5 + 12
  assert r"\toprule" in (report / "table.tex").read_text()
  # A teacher, four methods and three gains on two splits, by either selection.
  assert len((report / "table.csv").read_text().splitlines()) == 1 + 2 * 8 * 2
  assert "report.html" in done.stdout


def _steps(workdir):
  paths = workdir.glob("cells/**/metrics.jsonl")
  return [line["step"] for path in paths for line in read_metrics(path)]


def test_main_resumes_after_sigterm_and_repeats_its_result(tmp_path):
  flags = (
    f"--config={_QUICKSTART}:method=vanilla",
    f"--workdir={tmp_path}",
    "--config.teacher.num_steps=40",
    "--config.teacher.steps_per_chunk=20",
    "--config.student.num_steps=3000",
    "--config.student.steps_per_chunk=100",
  )
  program = start("experiments.main", *flags)
  deadline = time.monotonic() + 200
  while not _steps(tmp_path):
    assert program.process.is_alive(), program.stderr
    assert time.monotonic() < deadline
    time.sleep(0.1)
  os.kill(program.pid, signal.SIGTERM)
  stopped = program.finish(100)
  assert stopped.returncode == 75
  error = stopped.stderr
  assert "SIGTERM" in error
  (directory,) = tmp_path.glob("checkpoints/*")
  assert f"step {_steps(tmp_path)[-1]} is saved in {directory}" in error
  assert not list(tmp_path.glob("cells/**/result.json"))
  # The same command goes on from there: its first line follows the saved step.
  other = tmp_path / "cells/split0/vanilla/other/trial0"
  write_json(other / "config.json", {})
  done = command("main", *flags)
  assert _steps(tmp_path) == list(range(100, 3001, 100))
  assert f"unfinished run with other settings in {other}" in done.stderr
  assert "% accuracy" in done.stdout
  (path,) = tmp_path.glob("cells/split0/vanilla/*/trial0/result.json")
  assert read_json(path)["num_steps"] == 3000
  assert read_json(path)["teacher"]["outputs"] == "cached"
  # It is trained once, and then read from the disk.
  again = command("main", *flags)
  assert again.stdout == done.stdout
  assert "steps" not in again.stderr


def test_a_dry_run_of_two_stages_counts_the_second(tmp_path):
  flags = (
    f"--config={_QUICKSTART}:smoke=True",
    f"--workdir={tmp_path}",
    "--config.teacher.outputs=inline",
    "--config.sweep.grid_trials=1",
    "--only=split0/lelp",
  )
  done = command("sweep", *flags, "--dry_run", "--list")
  first, second, total, steps, _ = done.stdout.splitlines()
  assert first.startswith("[1/2] split0 lelp, 4 cells: 40 steps of 25 examples")
  # One grid point, whichever it will be, with the other trial.
  assert second.startswith("[2/2] split0 lelp: 40 steps of 25 examples")
  assert total.startswith("5 cells in 2 stacks, 2 to train; 1 teacher")
  assert steps.startswith("Total: 80 steps of stacks and 40 of teachers")
  error = refused("sweep", *flags, "--shard=1/2")
  assert re.match(r"--shard .* config\.sweep\.grid_trials", error)
  assert not list(tmp_path.iterdir())


def test_a_dry_run_refuses_a_row_that_the_data_cannot_train():
  error = refused(
    "sweep",
    f"--config={_QUICKSTART}:smoke=True",
    "--config.data.dataset=lmrd",
    "--config.data.options={}",
    "--config.data.data_dir=none",
    "--dry_run",
  )
  assert re.match("row 'oracle' .*'lmrd'", error)


def test_a_dry_run_needs_no_workdir():
  done = command("main", f"--config={_QUICKSTART}", "--dry_run")
  assert "Total: 1,000 steps of stacks and 1,500 of teachers" in done.stdout


@pytest.mark.parametrize(
  ("config", "flag", "message"),
  [
    (_QUICKSTART, "--config.student.optimizer=x", "config.student.optimizer"),
    (_QUICKSTART, "--config.loss.temprature=2", "--config: .*temprature"),
    (_QUICKSTART, "--workdir=", "--workdir is required"),
    (_QUICKSTART, "--list", ".*--list"),
    ("no.py:smoke=True", "--dry_run", "--config: .* file no.py"),
    (
      "experiments/configs/pair.py:dataset=glue-sst2",
      "--dry_run",
      "--config: config argument dataset .* got 'glue-sst2'",
    ),
    (None, "--dry_run", "--config is required"),
  ],
)
def test_errors_are_one_line(tmp_path, config, flag, message):
  own = [f"--workdir={tmp_path / 'new'}"]
  own += [f"--config={config}"] if config else []
  assert re.match(message, refused("sweep", *own, flag))
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_smoke_sweep_of_table_3_and_its_report(tmp_path):
  config = "--config=experiments/configs/table3.py:smoke=True"
  workdir = tmp_path / "table3"
  command_anew("sweep", config, f"--workdir={workdir}")
  command("report", f"--workdir={workdir}")
  # Six columns and fourteen methods, of which DKD is vanilla KD.
  assert len(list(workdir.glob("cells/*/*/*/*/result.json"))) == 6 * 13
  text = (workdir / "report" / "report.html").read_text()
  assert "Table 3 of the paper beside ours, NOT on its data" in text
  assert "= Vanilla distillation" in text
  seen = browser.opened(text, tmp_path)
  assert len(seen["pictures"]) == text.count("<img")
  # A picture that is missing has no width; the images that students get wrong
  # are those of the made-up data.
  assert min(seen["pictures"]) >= 8
  assert max(seen["pictures"]) > 100


def test_help_shows_the_flags():
  done = start("experiments.main", "--help").finish()
  for flag in ("--config", "--workdir", "--teacher_dir", "--checkpoint_dir"):
    assert flag in done.stdout
