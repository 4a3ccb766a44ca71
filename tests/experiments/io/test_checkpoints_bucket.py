"""Checkpoints in a bucket: the same as in a folder, without renames."""

import importlib.util

import pytest

from experiments.distributed.signals import Interrupted
from experiments.io import storage
from experiments.io.json_files import read_json
from experiments.training import sweep
from experiments.training import teacher as teacher_lib
from experiments.training.data import load_splits
from tests.experiments import tiny
from tests.experiments.bucket_server import refuse
from tests.experiments.bucket_server import Server
from tests.experiments.io.test_checkpoints_processes import TOGETHER
from tests.experiments.processes import run_together
from tests.experiments.training_runs import interrupt
from tests.experiments.training_states import assert_same
from tests.experiments.training_states import open_at
from tests.experiments.training_states import state_at
from tests.experiments.training_states import write

pytestmark = pytest.mark.skipif(
  importlib.util.find_spec("gcsfs") is None, reason="needs the extra gcs"
)
RUN = "gs://states/run"


def variables(server):
  """The environment in which gcsfs and TensorStore find the buckets."""
  return {
    "STORAGE_EMULATOR_HOST": server.url,
    "TENSORSTORE_GCS_HTTP_URL": server.url,
    "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
  }


@pytest.fixture(scope="module")
def server():
  # TensorStore reads its variables once in a process.
  running = Server()
  with pytest.MonkeyPatch.context() as patch:
    for name, value in variables(running).items():
      patch.setenv(name, value)
    yield running
  running.shutdown()
  running.server_close()


@pytest.fixture
def bucket(server):
  """The objects of an empty bucket, by name."""
  server.buckets = {"states": {}}
  server.refusal = lambda *_: None
  return server.buckets["states"]


def names(objects):
  return sorted({name.split("/")[1] for name in objects})


def forbid(server, *methods, part=""):
  """Lets the bucket refuse some methods on objects with a part in the name."""
  server.refusal = lambda method, name: (
    refuse(403, "This account does not have the right to it.")
    if method in methods and part in name
    else None
  )


def test_states_come_back_and_a_damaged_one_gives_way(server, bucket, caplog):
  assert open_at(RUN).restore(state_at(0)) is None
  assert not bucket
  write(RUN, 1, 2, 10)
  assert names(bucket) == ["10", "2"]
  step, state = open_at(RUN).restore(state_at(0))
  assert step == 10
  assert_same(state, state_at(10))
  name = next(n for n in bucket if n.startswith("run/10/state/d/"))
  contents = bytearray(bucket[name].data)
  contents[len(contents) // 2] ^= 1
  server.put("states", name, bytes(contents))
  with open_at(RUN) as saved:
    step, state = saved.restore(state_at(0))
    assert step == 2
    assert_same(state, state_at(2))
    assert "gs://states/run/10 is damaged (state/d/" in caplog.text
    saved.save(10, state_at(10))
  assert open_at(RUN).restore(state_at(0))[0] == 10


def test_what_has_no_seal_is_no_state_and_makes_room(bucket, caplog):
  write(RUN, 10, 20)
  # In the middle of a write, and of a deletion.
  del bucket["run/20/seal.json"], bucket["run/20/commit_success.txt"]
  with open_at(RUN) as saved:
    step, _ = saved.restore(state_at(0))
    assert step == 10
    assert [record.getMessage() for record in caplog.records] == [
      f"checkpoint {RUN}/20 is incomplete and is skipped."
    ]
    saved.save(30, state_at(30))
  assert names(bucket) == ["10", "30"]


def test_a_deletion_that_is_cut_short_leaves_no_state(server, bucket):
  write(RUN, 1, 2)
  deleted = []

  def refuse_all_but_the_first(method, name):
    if method != "DELETE" or not name.startswith("run/1/"):
      return None
    deleted.append(name)
    return refuse(403, "Not that.") if len(deleted) > 1 else None

  server.refusal = refuse_all_but_the_first
  with pytest.raises(OSError, match=r"states/run/1 cannot be used: Not that\."):
    write_after(2, 3)
  server.refusal = lambda *_: None
  assert deleted[0] == "run/1/seal.json"
  left = [name for name in bucket if name.startswith("run/1/")]
  assert len(left) > 5
  for name in bucket.keys() - left:
    del bucket[name]
  assert open_at(RUN).restore(state_at(0)) is None


def write_after(restored, step):
  with open_at(RUN) as saved:
    assert saved.restore(state_at(0))[0] == restored
    saved.save(step, state_at(step))


def test_a_failed_write_is_one_line_and_keeps_what_was_before(server, bucket):
  write(RUN, 1)
  saved = open_at(RUN)
  saved.restore(state_at(0))
  # Only what TensorStore writes: if gcsfs fails, Orbax now and then leaves a
  # coroutine that nobody awaits.
  forbid(server, "POST", part="/state/ocdbt.process_0/")
  saved.save(2, state_at(2))
  with pytest.raises(OSError) as caught:
    saved.close()
  message = str(caught.value)
  assert "gs://states/run/2 could not be written" in message
  assert "This account does not have the right to it); step 1 is" in message
  assert "[" not in message
  assert "\n" not in message
  assert any(name.startswith("run/2/") for name in bucket)
  server.refusal = lambda *_: None
  saved.save(2, state_at(2))
  saved.close()
  assert open_at(RUN).restore(state_at(0))[0] == 2
  assert names(bucket) == ["1", "2"]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_what_may_not_be_done_is_known_before_the_work(server, bucket, method):
  storage.check_writable(storage.folder(RUN))
  assert not bucket
  forbid(server, method)
  with pytest.raises(OSError, match="right to it"):
    storage.check_writable(storage.folder(RUN))


def test_a_missing_bucket_and_missing_credentials(server, bucket):
  with pytest.raises(OSError, match="gs://no/run cannot be used"):
    storage.check_writable(storage.folder("gs://no/run"))
  server.refusal = lambda *_: refuse(401, "Anonymous caller.")
  with pytest.raises(OSError, match="Anonymous caller") as error:
    open_at(RUN)
  assert "credentials" in str(error.value)
  # An unreadable checkpoint is not reported as damaged.
  server.refusal = lambda *_: None
  write(RUN, 1)
  forbid(server, "GET", part="seal.json")
  with pytest.raises(OSError, match="right to it"):
    open_at(RUN).restore(state_at(0))
  assert names(bucket) == ["1"]


def test_states_that_cannot_be_deleted_are_left_with_a_warning(
  server, bucket, caplog
):
  write(RUN, 1)
  forbid(server, "DELETE")
  storage.delete(storage.folder(RUN))
  assert "states/run could not be deleted: This account does" in caplog.text
  server.refusal = lambda *_: None
  for _ in range(2):  # The second finds nothing.
    storage.delete(storage.folder(RUN))
  assert not bucket
  assert len(caplog.records) == 1


@pytest.mark.slow  # Runs continue from folders in faster tests.
def test_a_run_interrupted_and_continued_repeats_the_bits_of_another(
  tmp_path, bucket, caplog, monkeypatch
):
  cell = tiny.cell("standard")
  teachers, states = tmp_path / "teachers", storage.folder(RUN)
  teacher_lib.load_or_train(cell, load_splits(cell), teachers)
  with monkeypatch.context() as patch:
    interrupt(patch)
    with pytest.raises(
      Interrupted, match=r"step 4 is saved in gs://states/run/\w+"
    ):
      sweep.run_cells(
        [cell],
        tmp_path / "stopped",
        teacher_directory=teachers,
        checkpoint_directory=states,
      )
  assert any(name.endswith("/4/seal.json") for name in bucket)
  left = {path.name for path in tmp_path.glob("stopped/checkpoints/*/*")}
  assert left == {".lock", "states.json"}  # Where they are, and none of them.
  students = []
  for name, directory in (("stopped", states), ("undisturbed", None)):
    (folder,) = sweep.run_cells(
      [cell],
      tmp_path / name,
      teacher_directory=teachers,
      checkpoint_directory=directory,
    )
    students.append((folder / "student.msgpack").read_bytes())
  assert students[0] == students[1]
  assert read_json(folder / "result.json")["stack"]["seconds"]  # In one go.
  assert not bucket


@pytest.mark.slow
def test_two_processes(server, bucket):
  environment = f"import os\nos.environ |= {variables(server)}\n"
  body = environment + TOGETHER.format(folder=RUN)
  run_together(body, count=2, devices=2)
  assert names(bucket) == ["2", "3", "tree"]
  assert {n.split("/")[3] for n in bucket if "ocdbt.process_" in n} == {
    "ocdbt.process_0",
    "ocdbt.process_1",
  }
