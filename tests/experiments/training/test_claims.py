"""Several commands in one workdir, and dry runs."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments import identity
from experiments import stacks
from experiments.io import locks
from experiments.io.metrics import read_metrics
from experiments.training import claims
from tests.experiments import tiny
from tests.experiments.training_runs import left

ROOT = pathlib.Path(__file__).parents[3]


def _write_result(cell, workdir):
  folder = identity.cell_directory(workdir, cell)
  folder.mkdir(parents=True)
  (folder / "result.json").write_text("{}")


def test_a_stack_that_another_holds_is_left_to_it_and_tried_again(
  tmp_path, capsys
):
  names = ("standard", "vanilla", "lelp")
  found = stacks.stacks([tiny.cell(name) for name in names])
  held = claims.claim_folder(tmp_path, found[0])
  order = []

  def run(stack, label):
    order.append((stack, label))
    _write_result(stack.cells[0], tmp_path)
    release.set()

  release, taken = threading.Event(), threading.Event()

  def hold():
    with locks.claim(held):
      taken.set()
      release.wait()

  other = threading.Thread(target=hold)
  other.start()
  taken.wait()
  claims.run_unfinished(found, tmp_path, run)
  other.join()
  assert [stack for stack, _ in order] == [found[1], found[2], found[0]]
  assert [label for _, label in order] == [
    "[2/3] split0 vanilla",
    "[3/3] split0 lelp",
    "[1/3] split0 standard",
  ]
  assert "1 stack" in capsys.readouterr().err


def test_a_stack_that_another_finished_meanwhile_is_not_run(
  tmp_path, monkeypatch
):
  looks = iter([True, False])
  monkeypatch.setattr(claims, "is_unfinished", lambda *_: next(looks, False))

  def run(stack, label):
    raise AssertionError("It is finished.")

  claims.run_unfinished(stacks.stacks([tiny.cell("standard")]), tmp_path, run)
  assert not list(tmp_path.glob("checkpoints/*"))


def test_the_unfinished_are_those_with_a_cell_without_a_result(tmp_path):
  cells = [
    tiny.cell(name, i) for name in ("standard", "vanilla") for i in (0, 1)
  ]
  found = stacks.stacks(cells)
  for cell in cells[:3]:
    _write_result(cell, tmp_path)
  assert [len(stack.cells) for stack in found] == [2, 2]
  assert claims.unfinished(found, tmp_path) == [found[1]]


def _sweep(workdir, *flags):
  command = [sys.executable, "-m", "experiments.sweep"]
  command += ["--config=experiments/configs/quickstart.py:smoke=True"]
  command += [f"--workdir={workdir}", *flags]
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }
  # Into a file: a pipe that nobody reads stops its writer.
  with workdir.with_suffix(f".{len(os.listdir(workdir.parent))}").open(
    "w"
  ) as log:
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
  return process, pathlib.Path(log.name)


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_do_each_cell_once(tmp_path):
  only = "--only=split0"
  alone, log = _sweep(tmp_path / "alone", only)
  assert alone.wait() == 0, log.read_text()
  both = tmp_path / "both"
  (first, log), (second, other_log) = _sweep(both, only), _sweep(both, only)
  # As soon as one of them has begun to train a student.
  while not list(both.glob("cells/**/metrics.jsonl")):
    assert first.poll() is None, log.read_text()
    time.sleep(0.05)
  first.kill()
  assert first.wait() == -signal.SIGKILL
  assert second.wait() == 0, other_log.read_text()
  expected, found = left(tmp_path / "alone"), left(tmp_path / "both")
  assert len(expected) > 10
  assert found == expected
  for path in (tmp_path / "both").glob("cells/**/metrics.jsonl"):
    steps = [line["step"] for line in read_metrics(path)]
    assert steps == [20, 40]
  assert not list((tmp_path / "both").glob("checkpoints/*"))
