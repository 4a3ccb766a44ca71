"""Arrays computed in parts: continued, checked to the byte, by any number."""

import contextlib
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from experiments.distributed import processes as processes_lib
from experiments.distributed import signals
from experiments.distributed.signals import Interrupted
from experiments.io import array_files
from experiments.io import locks
from tests.experiments import disks
from tests.experiments import processes

ORIGIN = {"teacher": {"parameters": "abc"}, "jax": "0.10"}
BOUNDS = (0, 4, 8, 10, 13)
SCALE = {"scale": np.float32([2.0, 3.0])}


def content(origin=ORIGIN, bounds=BOUNDS):
  shapes = {"embeddings": (bounds[-1], 2), "logits": (bounds[-1],)}
  arrays = {
    name: jax.ShapeDtypeStruct(shape, np.float32)
    for name, shape in shapes.items()
  }
  return array_files.Content(origin, arrays, bounds)


class Counted:
  """Rows that tell their number, and which of them were asked for."""

  def __init__(self):
    self.asked = []

  def __call__(self, start, stop, fixed):
    self.asked.append((start, stop))
    rows = np.arange(start, stop, dtype=np.float32)
    return {"embeddings": rows[:, None] * fixed["scale"][None], "logits": -rows}


def load(folder, compute, what=None, **options):
  return array_files.load_or_compute(
    folder, what or content(), compute, fixed=SCALE, **options
  )


def assert_whole(folder):
  compute = Counted()
  arrays, fixed = load(folder, compute)
  assert compute.asked == []
  rows = np.arange(13, dtype=np.float32)
  np.testing.assert_array_equal(arrays["embeddings"][:, 1], 3 * rows)
  np.testing.assert_array_equal(arrays["logits"], -rows)
  np.testing.assert_array_equal(fixed["scale"], SCALE["scale"])
  assert isinstance(arrays["embeddings"], np.memmap)


def test_parts_are_computed_once_and_read_back(tmp_path):
  compute = Counted()
  load(tmp_path / "new", compute)
  assert compute.asked == [(0, 4), (4, 8), (8, 10), (10, 13)]
  assert_whole(tmp_path / "new")
  names = {path.name for path in (tmp_path / "new").iterdir()}
  arrays = {"embeddings.npy", "logits.npy"}
  assert names == {".lock", "scale.npy", "manifest.json"} | arrays


class Killed(BaseException):
  """Nobody catches it, as nobody catches SIGKILL."""


@pytest.mark.parametrize("finished", range(len(BOUNDS) - 1))
def test_a_killed_computation_goes_on_after_its_last_part(tmp_path, finished):
  compute = Counted()

  def killed(start, stop, fixed):
    if start == BOUNDS[finished]:
      raise Killed
    return compute(start, stop, fixed)

  with pytest.raises(Killed):
    load(tmp_path, killed)
  # It may have written some of the part that it was at.
  with (tmp_path / "logits.npy").open("r+b") as file:
    file.seek(-4 * (13 - BOUNDS[finished]), 2)
    file.write(b"rub")
  load(tmp_path, compute)
  assert compute.asked == list(itertools.pairwise(BOUNDS))
  assert_whole(tmp_path)


def test_an_interrupt_is_answered_after_a_whole_part(tmp_path, monkeypatch):
  compute = Counted()

  def interrupted(start, stop, fixed):
    monkeypatch.setattr(signals, "_requested", "SIGTERM")
    return compute(start, stop, fixed)

  with pytest.raises(Interrupted, match=r"SIGTERM.* kept in"):
    load(tmp_path, interrupted)
  monkeypatch.undo()
  load(tmp_path, compute)
  assert compute.asked == list(itertools.pairwise(BOUNDS))


def test_a_full_disk_keeps_what_is_finished(tmp_path):
  # A page a row: on a disk, what is not written yet takes no room.
  array = jax.ShapeDtypeStruct((13, 1024), np.float32)
  wide = array_files.Content(ORIGIN, {"rows": array}, BOUNDS)
  asked = []

  def compute(start, stop, fixed):
    asked.append(start)
    return {"rows": np.full((stop - start, 1024), start)}

  def filling(start, stop, fixed):
    if start == 8:
      fillers.append(disks.fill(disk))
    return compute(start, stop, fixed)

  fillers = []
  with disks.small_disk(tmp_path / "disk", "200k") as disk:
    with pytest.raises(OSError, match="No space left") as caught:
      array_files.load_or_compute(disk / "rows", wide, filling)
    assert caught.value.filename == str(disk / "rows")
    fillers.pop().unlink()
    found, _ = array_files.load_or_compute(disk / "rows", wide, compute)
    assert asked == [0, 4, 8, 8, 10]
    expected = np.repeat(BOUNDS[:-1], np.diff(BOUNDS))
    np.testing.assert_array_equal(found["rows"][:, -1], expected)
    del found  # Or the disk is in use.


@pytest.mark.parametrize(
  ("other", "message"),
  [
    (
      content({"teacher": {"parameters": "abd"}, "jax": "0.10"}),
      r"origin\.teacher\.parameters: saved 'abc', now 'abd'",
    ),
    (content(ORIGIN | {"tokenizer": "t"}), r"origin\.tokenizer: saved nothing"),
    (content(bounds=(0, 4, 8, 10, 12)), r"arrays\.logits\.shape: saved \[13"),
  ],
)
def test_other_contents_are_refused_by_name(tmp_path, other, message):
  def compute(start, stop, fixed):
    if start:
      raise Killed
    return Counted()(start, stop, fixed)

  with pytest.raises(Killed):  # A part is computed.
    load(tmp_path, compute)
  with pytest.raises(ValueError, match=message) as caught:
    load(tmp_path, Counted(), other)
  assert "\n" not in str(caught.value)
  # Other fields are not named; two arrays have another shape.
  expected = 2 if "shape" in message else 1
  assert str(caught.value).count(": saved ") == expected


def _complaint(folder):
  try:
    assert_whole(folder)
  except ValueError as error:
    return str(error)
  return None


def test_every_flipped_byte_is_found(tmp_path):
  load(tmp_path, Counted())
  for path in sorted(tmp_path.iterdir()):
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
      damaged = bytearray(whole)
      damaged[place] ^= 0x10
      path.write_bytes(damaged)
      said = _complaint(tmp_path)
      if said is None:  # Such as a blank.
        assert path.suffix == ".json", (path.name, place)
      else:
        assert str(tmp_path) in said, (path.name, place)
        assert "\n" not in said, (path.name, place)
    path.write_bytes(whole)
  # The message says what to do.
  path = tmp_path / "logits.npy"
  path.write_bytes(path.read_bytes()[:-1] + b"!")
  said = "damaged: rows 10 to 13 of logits.npy is missing or not as it was "
  assert f"{said}written. Delete that folder" in _complaint(tmp_path)
  path.unlink()
  assert "damaged: logits.npy" in _complaint(tmp_path)


def test_rows_that_are_not_finite_or_of_another_shape_are_named(tmp_path):
  def not_finite(start, stop, fixed):
    rows = Counted()(start, stop, fixed)
    rows["embeddings"][-1] = np.nan
    return rows

  with pytest.raises(ValueError, match="row 3 of embeddings holds NaN"):
    load(tmp_path / "nan", not_finite)
  with pytest.raises(ValueError, match=r"rows 0 to 4 of embeddings must have"):
    load(tmp_path / "short", lambda *a: Counted()(0, 3, a[2]))


def share(folder):
  """On two processes: whole, failed, stopped, waiting, and continued."""
  second = jax.process_index() == 1

  def tried(name, fail=lambda: None, **options):
    compute = Counted()

    def failing(*arguments):
      if second:
        fail()
      return compute(*arguments)

    said = "done"
    try:
      load(folder / name, failing, **options)
    except (Interrupted, OSError, ValueError) as error:
      said = str(error).replace(str(folder), "")
    print(json.dumps([compute.asked, said]))

  def full():
    raise OSError(28, "No space left on device")

  tried("whole")
  tried("half", full)
  tried("half", lambda: setattr(signals, "_requested", "SIGTERM"))
  lock = locks.exclusive_when_free(folder / "half", all_processes=False)
  with contextlib.nullcontext() if second else lock:
    tried("half")
  signals._requested = None
  processes_lib.main_first(lambda: second or copy(folder / "half"))
  tried("half")
  tried("half", what=content({"code": "of process 1"}) if second else None)


def copy(folder):
  shutil.copytree(folder, folder.with_name("moved"))


_SHARE = """
import pathlib
from tests.experiments.io import test_array_files
test_array_files.share(pathlib.Path({folder!r}))
"""


def test_two_processes_share_the_work_and_one_reads_it(tmp_path):
  body = _SHARE.format(folder=str(tmp_path))
  first, second = (
    [json.loads(line) for line in printed.splitlines() if line[:2] == "[["]
    for printed in processes.run_together(body, count=2, devices=1)
  )
  # A process's shares are contiguous.
  assert first[0] == [[[0, 4], [4, 8]], "done"]
  assert second[0] == [[[8, 10], [10, 13]], "done"]
  # One fails or is stopped: the other ends after the part that it is at.
  assert first[1] == [[[0, 4]], "another process failed; see its output."]
  assert second[1] == [[], "[Errno 28] No space left on device: '/half'"]
  kept = "the computed rows are kept in /half: run the same command again"
  assert first[2][0] == [[4, 8]]
  assert f"stopped by a signal to another process; {kept}" in first[2][1]
  assert second[2][0] == [[8, 10]]
  assert f"stopped by SIGTERM; {kept}" in second[2][1]
  # Likewise while they wait for another run.
  for asked, said in (first[3], second[3]):
    assert asked == []
    assert "it was waiting for another command" in said
  # They share what is missing, two or one.
  assert (first[4], second[4]) == ([[], "done"], [[[10, 13]], "done"])
  compute = Counted()
  load(tmp_path / "moved", compute)
  assert compute.asked == [(10, 13)]
  # Processes whose code differs are refused, too.
  assert first[5] == [[], "another process failed; see its output."]
  assert "origin.code: saved nothing, now 'of process 1'" in second[5][1]
  load(tmp_path / "alone", Counted())
  manifests = [
    json.loads((tmp_path / name / "manifest.json").read_text()) | {"fixed": 0}
    for name in ("whole", "half", "moved", "alone")
  ]
  assert manifests == [manifests[-1]] * 4
  for name in ("whole", "half", "moved"):
    assert_whole(tmp_path / name)
