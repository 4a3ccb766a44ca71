"""A teacher's outputs, cached by two processes and by one."""

import os
import pathlib
import shutil
import signal

import numpy as np
import pytest

from experiments.runtime import mesh as mesh_lib
from experiments.runtime import processes as processes_lib
from experiments.runtime.interrupts import Interrupted
from experiments.runtime.metric_writer import read_json
from experiments.training import cached_outputs
from experiments.training import runs
from tests import processes
from tests import tiny

MODES = ("coordinates", "cached")
# Of 1,000 examples to train on, 297 and 500, in parts of a batch of 250.
PARTS = [0, 250, 500, 750, 1000, 1250, 1297, 1547]


def run(folder, mode):
  """Runs the teacher that is there and a student of a few steps."""
  config = tiny.config("lelp")
  config.teacher.batch_size, config.student.batch_size = 40, 24
  config.student.num_steps = config.student.steps_per_chunk = 3
  config.teacher.outputs = mode
  (cell,) = runs.run_cells(
    [config], folder / mode, teacher_directory=folder / "teachers"
  )
  return cell


def passes(*calls):
  """What each call computed of the outputs: the first rows of its parts.

  A call is a function of the list of those, called before each part, and what
  to run.
  """
  compute = cached_outputs.CachedOutputs._computed
  found = []
  for before, *arguments in calls:
    firsts = []

    def noted(self, start, stop, fixed, before=before, firsts=firsts):
      before(firsts)
      firsts.append(start)
      return compute(self, start, stop, fixed)

    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(cached_outputs, "_BATCHES_A_PART", 1)
      patch.setattr(cached_outputs.CachedOutputs, "_computed", noted)
      try:
        run(*arguments)
      except Interrupted as stop:
        print("stopped", stop)
    found.append(firsts)
  return found


def nothing(firsts):
  pass


def stop_process_1(firsts):
  if mesh_lib.jax.process_index() == 1:
    os.kill(os.getpid(), signal.SIGTERM)


def kill_process_1(firsts):
  if mesh_lib.jax.process_index() == 1 and len(firsts) == 1:
    os.kill(os.getpid(), signal.SIGKILL)


def together(folder):
  """On two processes: both modes; one stopped and continued; one left so."""
  calls = [(nothing, folder / "together", mode) for mode in MODES]
  calls += [(stop_process_1, folder / "half", "cached")]
  print(*passes(*calls), sep="\n")
  processes_lib.main_first(
    lambda: (folder / "moved").exists() or copy(folder / "half", "moved")
  )
  print(*passes((nothing, folder / "half", "cached")))


def copy(folder, name):
  shutil.copytree(folder, folder.with_name(name))


BODY = """
import pathlib
from tests import test_processes_caches as here
here.{call}(pathlib.Path({folder!r}))
"""


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
  """What one process leaves; copies of its teacher without outputs."""
  folder = tmp_path_factory.mktemp("caches")
  passes(*((nothing, folder / "alone", mode) for mode in MODES))
  for name in ("together", "half", "killed"):
    shutil.copytree(
      folder / "alone" / "teachers",
      folder / name / "teachers",
      ignore=shutil.ignore_patterns("outputs"),
    )
  return folder


@pytest.fixture(name="printed", scope="module")
def fixture_printed(folder):
  body = BODY.format(call="together", folder=str(folder))
  return processes.run_together(body, count=2, devices=4)


def parts_of(printed):
  return [x for x in printed.splitlines() if x[0] == "[" and x[1].isdigit()]


def outputs(folder):
  """All arrays of a teacher's caches, by name."""
  (folder,) = (folder / "teachers").glob("*/outputs")
  found = {
    path.relative_to(folder).as_posix(): np.load(path)
    for path in sorted(folder.glob("*/*.npy"))
  }
  for path in sorted(folder.glob("*/fixed.npz")):
    found |= {f"{path.parent.name}/{k}": v for k, v in np.load(path).items()}
  assert not list(folder.rglob("parts"))
  return found


def assert_as_alone(folder, name, modes=MODES):
  found, expected = outputs(folder / name), outputs(folder / "alone")
  expected = {
    k: v
    for k, v in expected.items()
    if not k.startswith("coordinates") or "coordinates" in modes
  }
  assert found.keys() == expected.keys()
  for key, array in found.items():
    np.testing.assert_allclose(array, expected[key], 1e-6, 1e-6, err_msg=key)
  for mode in modes:
    one, other = (
      read_json(next((folder / n / mode).glob("cells/**/result.json")))
      for n in (name, "alone")
    )
    assert one["teacher"]["outputs"] == mode
    for split in ("validation", "test"):
      for field, value in other[split].items():
        assert one[split][field] == pytest.approx(value, 1e-5), (split, field)


def test_two_processes_share_a_pass_and_leave_what_one_leaves(folder, printed):
  for index, text in enumerate(printed):
    share = str(PARTS[4 * index : 4 * index + 4])
    assert parts_of(text)[:2] == [share, share]
  assert_as_alone(folder, "together")


def test_a_signal_to_one_is_answered_by_both_after_a_part(folder, printed):
  names = ("a signal to another process", "SIGTERM")
  firsts = ["[0]", "[1000]"], ["[250, 500, 750]", "[1250, 1297, 1547]"]
  for index, text in enumerate(printed):
    (line,) = [x for x in text.splitlines() if x.startswith("stopped")]
    assert f"stopped by {names[index]}; what is computed is kept in" in line
    assert parts_of(text)[2] == firsts[0][index]
    assert parts_of(text)[3] == firsts[1][index]
  assert_as_alone(folder, "half", ["cached"])


def test_what_two_began_is_finished_by_one(folder, printed):
  del printed
  assert passes((nothing, folder / "moved", "cached")) == [
    [part for part in PARTS if part not in (0, 1000)]
  ]
  assert_as_alone(folder, "moved", ["cached"])


def killed(folder):
  passes((kill_process_1, folder / "killed", "cached"))


def finished(folder):
  print(*passes((nothing, folder / "killed", "cached")))


@pytest.mark.slow
def test_a_process_killed_in_a_pass_loses_the_parts_in_work(folder):
  body = "from experiments import commands\nwith commands.reported():"
  body += BODY.format(call="killed", folder=str(folder)).replace("\n", "\n  ")
  started = processes.start_together(body, count=2, devices=4)
  errors = [process.communicate(timeout=240)[1] for process in started]
  codes = [process.returncode for process in started]
  assert codes == [1, -signal.SIGKILL], errors
  assert "the connection to another process is lost" in errors[0]
  copy(folder / "killed", "left")
  # Each wrote its first part; the main process perhaps its second.
  (begun,) = (folder / "killed").glob("teachers/*/outputs/*/parts")
  done = sorted(int(path.stem) for path in begun.iterdir())
  assert done in ([0, 4], [0, 1, 4])
  missing = [part for i, part in enumerate(PARTS) if i not in done]
  body = BODY.format(call="finished", folder=str(folder))
  texts = processes.run_together(body, count=2, devices=4)
  assert parts_of(texts[0]) + parts_of(texts[1]) == [
    str(missing[: len(missing) // 2]),
    str(missing[len(missing) // 2 :]),
  ]
  assert_as_alone(folder, "killed", ["cached"])
  assert passes((nothing, folder / "left", "cached")) == [missing]
  assert_as_alone(folder, "left", ["cached"])
