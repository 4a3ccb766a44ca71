"""Whole runs that are killed, interrupted, and moved between processes."""

import os
import pathlib
import random
import signal
import time

import pytest

from experiments.distributed import mesh as mesh_lib
from experiments.distributed.signals import Interrupted
from experiments.io import checkpoints
from experiments.io.json_files import read_json
from experiments.training import sweep
from tests.experiments import disks
from tests.experiments import processes
from tests.experiments import tiny
from tests.experiments.training_runs import lines_without_times

# Two processes train for STEPS; runs that are killed at random, for LONG.
STEPS, LONG, CHUNK = 24, 300, 3


def run(workdir, num_steps=STEPS):
  cell = tiny.cell(
    teacher__batch_size=40,
    student__batch_size=24,
    student__num_steps=num_steps,
    student__steps_per_chunk=CHUNK,
  )
  (folder,) = sweep.run_cells(
    [cell],
    pathlib.Path(workdir),
    teacher_directory=pathlib.Path(workdir).parent / "teachers",
  )
  return folder


# Killed runs share compiled programs with each other and with no other test,
# as a kill could damage one.
_LONG_RUN = """
import jax
from experiments import cli
from tests.experiments.distributed import test_processes_runs as here

jax.config.update("jax_compilation_cache_dir", {cache!r})
with cli.reported():
  here.run({workdir!r}, here.LONG)
"""


def start(workdir):
  """Starts a long run on one device, in a process of its own."""
  cache = str(workdir.parent / "cache")
  return processes.start(
    code=_LONG_RUN.format(cache=cache, workdir=str(workdir))
  )


def wait_for_lines(program, workdir, number):
  """Waits until a run has written some lines of metrics."""
  while _num_lines(workdir) < number:
    assert program.process.is_alive(), program.stderr
    time.sleep(0.002)


def _num_lines(workdir):
  paths = pathlib.Path(workdir).glob("cells/**/metrics.jsonl")
  return sum(path.read_bytes().count(b"\n") for path in paths)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(folder):
  """The workdir of an undisturbed run on this process's 8 devices."""
  run(folder / "whole")
  return folder / "whole"


@pytest.fixture(scope="module")
def undisturbed(folder):
  """The workdir of a long undisturbed run on one device."""
  assert start(folder / "undisturbed").finish(900).returncode == 0
  return folder / "undisturbed"


def left(workdir):
  """The results and metrics of a run, without times."""
  (result,) = workdir.glob("cells/**/result.json")
  result = read_json(result)
  del result["stack"]["seconds"], result["seconds"]
  (student,) = workdir.glob("cells/**/student.msgpack")
  (metrics,) = workdir.glob("cells/**/metrics.jsonl")
  return result, student.read_bytes(), lines_without_times(metrics)


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_in_one_line_and_continues(
  undisturbed, folder
):
  with disks.small_disk(folder / "disk", "2m") as disk:
    (disk / "cache").symlink_to(folder / "cache")
    (disk / "teachers").symlink_to(folder / "teachers")
    workdir = disk / "full"
    program = start(workdir)
    wait_for_lines(program, workdir, 5)
    filler = disks.fill(disk)
    done = program.finish(900)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "No space left on device" in line
    assert line.endswith(". Make room, and run the same command again.")
    assert not list(workdir.glob("cells/**/result.json"))
    saved = checkpoints.last_step(next(workdir.glob("checkpoints/*")))
    assert saved >= 3 * CHUNK
    filler.unlink()
    assert start(workdir).finish(900).returncode == 0
    assert left(workdir) == left(undisturbed)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_same_bits(undisturbed, folder):
  workdir, draw, lines = folder / "killed", random.Random(0), 0
  for _ in range(20):
    lines += draw.randint(1, (LONG // CHUNK - 4) // 20)
    program = start(workdir)
    wait_for_lines(program, workdir, lines)
    time.sleep(draw.uniform(0, 0.03))
    os.kill(program.pid, signal.SIGKILL)
    assert program.finish(900).returncode == -signal.SIGKILL
    assert not list(workdir.glob("cells/**/result.json"))
    assert list(workdir.glob("checkpoints/*/*"))
  assert start(workdir).finish(900).returncode == 0
  assert left(workdir) == left(undisturbed)


def interrupted(folder):
  """On two processes: stopped at step 9, continued; the other left there."""
  save = checkpoints.Checkpoints.save
  count = mesh_lib.jax.process_count()

  def save_and_interrupt(self, step, state):
    save(self, step, state)
    if step == 9 and mesh_lib.jax.process_index() == count - 1:
      os.kill(os.getpid(), signal.SIGTERM)

  checkpoints.Checkpoints.save = save_and_interrupt
  try:
    for workdir in ("together", "moved"):
      try:
        run(pathlib.Path(folder) / workdir)
      except Interrupted as stop:
        print("stopped", stop)
  finally:
    checkpoints.Checkpoints.save = save
  run(pathlib.Path(folder) / "together")


BODY = """
from tests.experiments.distributed import test_processes_runs as here

here.interrupted({folder!r})
"""


@pytest.fixture(scope="module")
def together(whole, folder):
  """The output of 2 processes x 4 devices, shared by the tests below."""
  del whole  # Its teacher is theirs.
  return processes.run_together(
    BODY.format(folder=str(folder)), count=2, devices=4
  )


def assert_close(found, expected):
  (result, _, lines), (wanted, _, wanted_lines) = found, expected
  for part in ("validation", "test"):
    assert result[part]["accuracy"] == wanted[part]["accuracy"]
    assert result[part]["loss"] == pytest.approx(wanted[part]["loss"], rel=1e-5)
  assert [line["step"] for line in lines] == list(
    range(CHUNK, STEPS + 1, CHUNK)
  )
  for line, wanted in zip(lines, wanted_lines, strict=True):
    assert line == pytest.approx(wanted, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_sigterm_to_one_process_stops_all_at_one_step(together):
  names = ("a signal to another process", "SIGTERM")
  for printed, name in zip(together, names, strict=True):
    lines = [x for x in printed.splitlines() if x.startswith("stopped")]
    assert len(lines) == 2
    for line in lines:
      assert line.startswith(f"stopped stopped by {name}; step 9 is saved")


def test_two_processes_leave_what_one_leaves(together, whole, folder):
  assert_close(left(folder / "together"), left(whole))
  assert not list((folder / "together" / "checkpoints").glob("*"))


def test_a_checkpoint_of_two_processes_is_continued_by_one(
  together, whole, folder
):
  (saved,) = (folder / "moved").glob("checkpoints/*/9")
  assert read_json(saved / "seal.json")
  run(folder / "moved")
  assert_close(left(folder / "moved"), left(whole))
