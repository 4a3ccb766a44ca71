"""A teacher's outputs, cached by two processes and by one."""

import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.distributed import processes as processes_lib
from experiments.distributed.signals import deferred
from experiments.distributed.signals import Interrupted
from experiments.io.json_files import read_json
from experiments.training import teacher as teacher_lib
from experiments.training import teacher_cache
from experiments.training.build import build_run
from experiments.training.data import load_splits
from tests.experiments import processes
from tests.experiments import tiny

# Arrays that two processes share are tested in test_array_files as well.
pytestmark = pytest.mark.slow
MODES = ("coordinates", "cached")
# Of 1,000 examples to train on, 297 and 500, in parts of a batch of 250.
PARTS = [0, 250, 500, 750, 1000, 1250, 1297, 1547]


def nothing(firsts):
  pass


def stop_process_1(firsts):
  if jax.process_index() == 1:
    os.kill(os.getpid(), signal.SIGTERM)


def kill_process_1(firsts):
  if jax.process_index() == 1 and len(firsts) == 1:
    os.kill(os.getpid(), signal.SIGKILL)


def computed(folder, mode, before=nothing):
  """Caches a teacher's outputs; the first rows of the parts it computed.

  Args:
    folder: Has the folder of teachers.
    mode: One of `MODES`.
    before: Called before each part, with those so far.
  """
  cell = tiny.cell(
    teacher__batch_size=40,
    teacher__outputs=mode,
    teacher__num_coordinates=3,
  )
  splits = load_splits(cell)
  compute, firsts = teacher_cache.TeacherCache._computed, []

  def noted(self, start, stop):
    before(firsts)
    firsts.append(start)
    return compute(self, start, stop)

  with pytest.MonkeyPatch.context() as patch, deferred():
    patch.setattr(teacher_cache, "_BATCHES_PER_PART", 1)
    patch.setattr(teacher_cache.TeacherCache, "_computed", noted)
    teacher = teacher_lib.load_or_train(cell, splits, folder / "teachers")
    try:
      build_run([cell], splits, teacher=teacher, names=[])
    except Interrupted as stop:
      print("stopped", stop)
  return firsts


def together(folder):
  """On two processes: both modes; one stopped and continued; one left so."""
  for mode in MODES:
    print(computed(folder / "together", mode))
  print(computed(folder / "half", "cached", stop_process_1))
  processes_lib.main_first(
    lambda: (folder / "moved").exists() or copy(folder, "half", "moved")
  )
  print(computed(folder / "half", "cached"))


def killed(folder):
  computed(folder / "killed", "cached", kill_process_1)


def finished(folder):
  print(computed(folder / "killed", "cached"))


def copy(folder, name, other, ignore=None):
  shutil.copytree(folder / name, folder / other, ignore=ignore)


BODY = """
import pathlib
from experiments import cli
from tests.experiments.distributed import test_processes_caches as here
with cli.reported():
  here.{call}(pathlib.Path({folder!r}))
"""


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
  """What one process leaves; copies of its teacher without outputs."""
  folder = tmp_path_factory.mktemp("caches")
  for mode in MODES:
    assert computed(folder / "alone", mode) == PARTS
  for name in ("together", "half", "killed"):
    copy(folder, "alone", name, shutil.ignore_patterns("outputs"))
  return folder


@pytest.fixture(name="printed", scope="module")
def fixture_printed(folder):
  body = BODY.format(call="together", folder=str(folder))
  return processes.run_together(body, count=2, devices=4)


def parts_of(printed):
  return [x for x in printed.splitlines() if x[0] == "[" and x[1].isdigit()]


def assert_same_outputs(found, expected, modes=MODES):
  """Compares folders of a teacher's caches, array by array."""
  (found,), (expected,) = (
    (folder / "teachers").glob("*/outputs") for folder in (found, expected)
  )
  names = {"cached": "embeddings", "coordinates": "coordinates-weights-3"}
  assert {path.name for path in found.iterdir()} == {names[m] for m in modes}
  for mode in modes:
    for path in (found / names[mode]).iterdir():
      assert path.name != "parts"
      other = expected / names[mode] / path.name
      if path.suffix == ".npy":
        wanted = np.load(other)
        # Directions follow from moments, which two sum in another order.
        tolerance = {"cached": 1e-6, "coordinates": 1e-5}[mode]
        bound = tolerance * np.abs(wanted).max()
        np.testing.assert_allclose(np.load(path), wanted, rtol=0, atol=bound)
      if path.suffix == ".npz":
        with np.load(path) as arrays, np.load(other) as wanted:
          assert arrays.keys() == wanted.keys()
          for name, array in arrays.items():
            np.testing.assert_allclose(array, wanted[name], 1e-5, 1e-5)


def test_two_processes_share_a_pass_and_leave_what_one_leaves(folder, printed):
  for index, text in enumerate(printed):
    share = str(PARTS[4 * index : 4 * index + 4])
    assert parts_of(text)[:2] == [share, share]
  assert_same_outputs(folder / "together", folder / "alone")


def test_a_signal_to_one_is_answered_by_both_after_a_part(folder, printed):
  names = ("a signal to another process", "SIGTERM")
  firsts = ["[0]", "[1000]"], ["[250, 500, 750]", "[1250, 1297, 1547]"]
  for index, text in enumerate(printed):
    (line,) = [x for x in text.splitlines() if x.startswith("stopped")]
    assert f"stopped by {names[index]};" in line
    assert parts_of(text)[2:] == [firsts[0][index], firsts[1][index]]
  assert_same_outputs(folder / "half", folder / "alone", ["cached"])


def test_what_two_began_is_finished_by_one(folder, printed):
  del printed
  missing = [part for part in PARTS if part not in (0, 1000)]
  assert computed(folder / "moved", "cached") == missing
  assert_same_outputs(folder / "moved", folder / "alone", ["cached"])


def test_a_process_killed_in_a_pass_loses_the_parts_in_work(folder):
  body = BODY.format(call="killed", folder=str(folder))
  started = processes.start_together(body, count=2, devices=4, killed=True)
  errors = [process.communicate(timeout=240)[1] for process in started]
  codes = [process.returncode for process in started]
  assert codes == [1, -signal.SIGKILL], errors
  assert "the connection to another process is lost" in errors[0]
  copy(folder, "killed", "left")
  # Each wrote its first part, and the one that was left its second too.
  (begun,) = (folder / "killed").glob("teachers/*/outputs/*/parts")
  done = sorted(int(path.stem) for path in begun.iterdir())
  assert done == [0, 1, 4]
  missing = [part for i, part in enumerate(PARTS) if i not in done]
  body = BODY.format(call="finished", folder=str(folder))
  texts = processes.run_together(body, count=2, devices=4)
  shares = [parts_of(text) for text in texts]
  assert shares == [[str(missing[:2])], [str(missing[2:])]]
  assert_same_outputs(folder / "killed", folder / "alone", ["cached"])
  assert computed(folder / "left", "cached") == missing
  assert_same_outputs(folder / "left", folder / "alone", ["cached"])


def main_on(count, workdir, mode):
  """Runs `experiments.main` on some processes of four devices."""
  command = [
    sys.executable,
    "-m",
    "experiments.main",
    "--config=experiments/configs/quickstart.py",
    f"--workdir={workdir / mode}",
    f"--teacher_dir={workdir / 'teachers'}",
    f"--config.teacher.outputs={mode}",
    "--config.subspace.num_subclasses=3",
  ]
  for role in ("teacher", "student"):
    command += [f"--config.{role}.num_steps=40", f"--config.{role}.max_shift=0"]
  address = f"--coordinator_address=127.0.0.1:{processes.free_port()}"
  started = [
    subprocess.Popen(
      [*command, address, f"--num_processes={count}", f"--process_id={index}"]
      if count > 1
      else command,
      cwd=processes.ROOT,
      env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"},
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]
  for process in started:
    errors = process.communicate(timeout=600)[1]
    assert process.returncode == 0, errors
  (result,) = (workdir / mode).glob("cells/**/result.json")
  return read_json(result)


def test_main_on_two_processes_repeats_one(tmp_path):
  expected = [main_on(1, tmp_path / "one", mode) for mode in MODES]
  copy(tmp_path, "one", "two", shutil.ignore_patterns("outputs", *MODES))
  for mode, wanted in zip(MODES, expected, strict=True):
    found = main_on(2, tmp_path / "two", mode)
    assert found["teacher"]["outputs"] == mode
    for split in ("validation", "test"):
      assert found[split] == pytest.approx(wanted[split], rel=1e-5)
    np.testing.assert_allclose(
      found["variance_share"], wanted["variance_share"], rtol=1e-5
    )
  assert_same_outputs(tmp_path / "two", tmp_path / "one")
