"""Runs that were stopped are continued as they were, or not at all."""

import contextlib

import numpy as np
import pytest

from experiments import cells
from experiments.io import checkpoints
from experiments.io import locks
from experiments.io.json_files import write_json
from experiments.training import resuming
from experiments.training import sweeping
from tests.experiments import tiny


def stopped(workdir, config):
  """What a run leaves that was stopped when step 4 was saved.

  The tests of the commands stop one in earnest.
  """
  (stack,) = cells.stacks([config])
  cell = cells.cell_directory(workdir, config)
  write_json(cell / "config.json", cells.plain(config))
  folder = sweeping.checkpoint_directory(workdir, stack)
  with checkpoints.Checkpoints(folder, fingerprint={}) as saved:
    saved.save(4, {"step": np.int32(4)})
  return workdir


@pytest.fixture
def of_student(tmp_path):
  return stopped(tmp_path, tiny.config())


def check(workdir, changes=()):
  config = tiny.config()
  config.update_from_flattened_dict(dict(changes))
  resuming.check(config, workdir)


def refusal(workdir, changes):
  with pytest.raises(ValueError, match="unfinished run") as caught:
    check(workdir, changes)
  return str(caught.value)


@pytest.mark.parametrize(
  ("changes", "differences"),
  [
    ({"student.batch_size": 32}, "student.batch_size: saved 25, now 32"),
    ({"trial": 3}, "trial: saved 0, now 3"),
    (
      {"data.num_labelled": 50, "loss.temperature": 2.5},
      "data.num_labelled: saved 0, now 50; "
      "loss.temperature: saved 2.0, now 2.5",
    ),
    (
      {"teacher.outputs": "cached"},
      "teacher.outputs: saved 'inline', now 'cached'",
    ),
    ({"teacher.seed": 1}, "teacher.seed: saved 0, now 1"),
  ],
)
def test_other_settings_are_refused_by_name(of_student, changes, differences):
  (saved,) = (of_student / "checkpoints").iterdir()
  assert refusal(of_student, changes) == (
    f"{of_student} holds an unfinished run of split0/lelp with other settings, "
    f"saved at step 4: {differences}. Give the old values to continue it, use "
    f"another --workdir, or delete {saved} to start over."
  )


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {
      "profile": "1:2",
      "loggers": "wandb",
      "mesh.teacher": "fsdp",
      "data.data_dir": "elsewhere",
      "title": "Another",
    },
    {"method": "vanilla", "trial": 1},
    {"column": "split1", "trial": 1},
    {"row": "mine", "trial": 1},
  ],
)
def test_the_same_run_and_other_rows_are_not(of_student, changes):
  check(of_student, changes)


def test_of_two_stopped_runs_each_is_continued(of_student):
  stopped(of_student, tiny.config(trial=1))
  check(of_student)
  check(of_student, {"trial": 1})
  refusal(of_student, {"trial": 2})


def test_states_elsewhere_are_looked_at_there(of_student, tmp_path_factory):
  far = tmp_path_factory.mktemp("far")
  (saved,) = (of_student / "checkpoints").iterdir()
  saved = saved.rename(far / saved.name)
  (of_student / "checkpoints").rmdir()
  config = tiny.config(trial=1)
  with pytest.raises(ValueError, match=f"at step 4: .* or delete {saved} to"):
    resuming.check(config, of_student, far)
  assert not (of_student / "checkpoints").exists()


@pytest.mark.parametrize("begun_elsewhere", [True, False])
def test_states_that_are_left_behind_are_named(tmp_path, begun_elsewhere):
  held, far = tmp_path / "checkpoints/abc", tmp_path / "far/abc"
  first, second = (far, None) if begun_elsewhere else (None, far)
  states = resuming.states_folder(held, first)
  # Nothing is saved yet: states may go where one likes.
  resuming.states_folder(held, second)
  assert states == resuming.states_folder(held, first)
  with checkpoints.Checkpoints(states, fingerprint={}) as saved:
    saved.save(4, {"step": np.int32(4)})
  flag = f"--checkpoint_dir={far.parent}" if begun_elsewhere else "no --check"
  for other in (second, tmp_path / "third/abc"):
    with pytest.raises(ValueError, match=flag) as caught:
      resuming.states_folder(held, other)
    assert f"step 4 saved in {states}, and" in str(caught.value)
    assert f"states in {other or held}: " in str(caught.value)
  assert resuming.states_folder(held, first) == states
  resuming.forget_states(held)
  assert not (held / "states.json").exists()


def test_other_settings_are_refused_wherever_states_went(of_student, tmp_path):
  (held,) = (of_student / "checkpoints").iterdir()
  far = tmp_path / "far" / held.name
  far.parent.mkdir()
  held.rename(far)
  resuming.states_folder(held, far)
  assert f"delete {far} to start over" in refusal(of_student, {"trial": 1})


@contextlib.contextmanager
def file(path, content):
  write_json(path, content)
  yield
  path.unlink()


def test_what_is_finished_swept_or_in_work_is_no_obstacle(of_student):
  changes = {"trial": 1}
  digest = cells.cell_digest(tiny.config())
  (saved,) = (of_student / "checkpoints").iterdir()
  (cell,) = of_student.glob(f"cells/split0/lelp/{digest}/trial0")
  for there in (
    file(cell / "result.json", {}),
    file(of_student / "sweep.json", {"digests": [digest]}),
    locks.exclusive(saved),
  ):
    with there:
      check(of_student, changes)
  with file(of_student / "sweep.json", {"digests": []}):
    refusal(of_student, changes)
  # A checkpoint that was not finished cannot be continued either.
  (saved / "4" / "seal.json").unlink()
  check(of_student, changes)
