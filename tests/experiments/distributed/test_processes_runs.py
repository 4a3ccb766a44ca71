"""Whole runs that are killed, interrupted, and moved between processes."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from experiments import cli
from experiments.distributed import mesh as mesh_lib
from experiments.distributed.signals import Interrupted
from experiments.io import checkpoints
from experiments.io.json_files import read_json
from experiments.io.metrics import read_metrics
from experiments.training import sweep
from tests.experiments import disks
from tests.experiments import tiny
from tests.experiments.processes import ROOT
from tests.experiments.processes import run_together

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


def serve():
  """Runs, each in a process of its own, that start with all that is imported.

  Reads a line for each, [workdir, lines of metrics, seconds]: after so
  many lines and seconds it is killed, with null it ends by itself. Prints its
  exit code. Nothing here may start JAX's backend, or there is no forking it.
  """
  for line in sys.stdin:
    workdir, lines, seconds = json.loads(line)
    child = os.fork()
    if not child:
      try:
        with cli.reported():
          run(workdir, LONG)
        os._exit(0)
      except SystemExit as stop:
        os._exit(stop.code)
    if lines is not None:
      while _num_lines(workdir) < lines:
        time.sleep(0.002)
      time.sleep(seconds)
      os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    print("exit", os.waitstatus_to_exitcode(status), flush=True)


def _num_lines(workdir):
  paths = pathlib.Path(workdir).glob("cells/**/metrics.jsonl")
  return sum(path.read_bytes().count(b"\n") for path in paths)


class Server:
  def __init__(self, cache):
    cache.mkdir()
    self._log = cache / "log"
    # What is compiled once is not compiled again after each kill.
    environment = {
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": str(cache),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    program = f"from {__name__} import serve; serve()"
    with self._log.open("w") as log:
      self._process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
      )

  def run(self, *arguments, **options):
    self.start(*arguments, **options)
    return self.wait()

  def start(self, workdir, lines=None, seconds=0.0):
    self._before = self._log.stat().st_size
    asked = [str(workdir), lines, seconds]
    self._process.stdin.write(json.dumps(asked) + "\n")
    self._process.stdin.flush()

  def wait(self):
    for line in self._process.stdout:
      if line.startswith("exit"):
        return int(line.split()[1])
    raise AssertionError(self._log.read_text()[-3000:])

  def said(self):
    """What the last run wrote on standard error."""
    return self._log.read_bytes()[self._before :].decode()

  def close(self):
    self._process.kill()
    self._process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def server(folder):
  started = Server(folder / "cache")
  yield started
  started.close()


@pytest.fixture(scope="module")
def whole(folder):
  """The workdir of an undisturbed run on this process's 8 devices."""
  run(folder / "whole")
  return folder / "whole"


@pytest.fixture(scope="module")
def undisturbed(server, folder):
  """The workdir of a long undisturbed run on one device."""
  assert server.run(folder / "undisturbed") == 0
  return folder / "undisturbed"


def left(workdir):
  """What a run leaves, without times."""
  (result,) = workdir.glob("cells/**/result.json")
  result = read_json(result)
  del result["stack"]["seconds"], result["seconds"]
  (student,) = workdir.glob("cells/**/student.msgpack")
  (metrics,) = workdir.glob("cells/**/metrics.jsonl")
  lines = read_metrics(metrics)
  for line in lines:
    for name in [n for n in line if n == "wall_time" or n[:5] == "time/"]:
      del line[name]
  return result, student.read_bytes(), lines


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_in_one_line_and_continues(
  server, undisturbed, folder
):
  with disks.small_disk(folder / "disk", "2m") as disk:
    (disk / "teachers").symlink_to(folder / "teachers")
    workdir = disk / "full"
    server.start(workdir)
    while _num_lines(workdir) < 5:
      time.sleep(0.002)
    filler = disks.fill(disk)
    assert server.wait() == 1
    assert "Traceback" not in server.said()
    *_, line = server.said().splitlines()
    assert line.startswith("error: ")
    assert "No space left on device" in line
    assert line.endswith(". Make room; the same command continues.")
    assert not list(workdir.glob("cells/**/result.json"))
    saved = checkpoints.last_step(next(workdir.glob("checkpoints/*")))
    assert saved >= 3 * CHUNK
    filler.unlink()
    assert server.run(workdir) == 0
    assert left(workdir) == left(undisturbed)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_same_bits(
  server, undisturbed, folder
):
  workdir, draw, lines = folder / "killed", random.Random(0), 0
  for _ in range(20):
    lines += draw.randint(1, (LONG // CHUNK - 4) // 20)
    assert server.run(workdir, lines, draw.uniform(0, 0.03)) == -signal.SIGKILL
    assert not list(workdir.glob("cells/**/result.json"))
    assert list(workdir.glob("checkpoints/*/*"))
  assert server.run(workdir) == 0
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
  """What 2 processes x 4 devices printed; one start for the tests below."""
  del whole  # Its teacher is theirs.
  return run_together(BODY.format(folder=str(folder)), count=2, devices=4)


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
