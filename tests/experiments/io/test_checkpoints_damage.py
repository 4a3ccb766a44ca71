"""Checkpoints with missing, short and altered files, and final trees."""

import pathlib
import shutil

import pytest

from experiments.io import checkpoints
from experiments.io import plain_trees
from tests.experiments.training_states import abstract
from tests.experiments.training_states import assert_same
from tests.experiments.training_states import names
from tests.experiments.training_states import open_at
from tests.experiments.training_states import state_at
from tests.experiments.training_states import write


def files(directory):
  return [path for path in directory.rglob("*") if path.is_file()]


def truncate(directory):
  for path in files(directory):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_the_arrays(directory):
  for path in files(directory / "state"):
    if path.parent.name == "d":
      path.unlink()


def zero_the_largest(directory):
  path = max(files(directory), key=lambda path: path.stat().st_size)
  path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(directory):
  path = max(files(directory), key=lambda path: path.stat().st_size)
  contents = bytearray(path.read_bytes())
  contents[len(contents) // 2] ^= 1
  path.write_bytes(bytes(contents))


def lose_the_metadata(directory):
  (directory / "state" / "_METADATA").unlink()


def lose_the_seal(directory):
  (directory / "seal.json").unlink()


def lose_all(directory):
  shutil.rmtree(directory)
  directory.mkdir()


@pytest.mark.parametrize(
  "damage",
  [
    truncate,
    lose_the_arrays,
    zero_the_largest,
    flip_a_bit,
    lose_the_metadata,
    lose_the_seal,
    lose_all,
  ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
  tmp_path, caplog, damage
):
  write(tmp_path, 10, 20)
  damage(tmp_path / "20")
  with open_at(tmp_path) as saved:
    step, state = saved.restore(state_at(0))
    assert step == 10
    assert_same(state, state_at(10))
    assert "20 cannot be used: " in caplog.text
    assert "moved to 20.unusable, and step 10 is read instead." in caplog.text
    # And the run goes on, through the step that was lost.
    for step in (20, 30):
      saved.save(step, state_at(step))
  step, state = open_at(tmp_path).restore(state_at(0))
  assert step == 30
  assert_same(state, state_at(30))
  assert names(tmp_path) == ["20", "20.unusable", "30", "fingerprint.json"]


def test_all_checkpoints_damaged_starts_over(tmp_path, caplog):
  write(tmp_path, 10, 20)
  for step in ("10", "20"):
    truncate(tmp_path / step)
  with open_at(tmp_path) as saved:
    assert saved.restore(state_at(0)) is None
    assert caplog.text.count("step 10 is read instead.") == 1
    assert "10.unusable, and the run starts over." in caplog.text
    saved.save(5, state_at(5))
  step, _ = open_at(tmp_path).restore(state_at(0))
  assert step == 5


def test_half_written_folders_are_ignored_and_cleared(tmp_path):
  write(tmp_path, 10)
  shutil.copytree(tmp_path / "10", tmp_path / "20.orbax-checkpoint-tmp")
  shutil.copytree(tmp_path / "10", tmp_path / "5")
  lose_the_seal(tmp_path / "5")  # As what is half deleted.
  with open_at(tmp_path) as saved:
    step, _ = saved.restore(state_at(0))
    assert step == 10
    saved.save(20, state_at(20))
  assert names(tmp_path) == ["10", "20", "fingerprint.json"]


def test_tree_round_trip_in_a_relative_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  params = state_at(3).params
  for step in (2, 3):  # The second takes the first one's place.
    checkpoints.save_tree("teachers/a/params", state_at(step).params)
  loaded = checkpoints.load_tree("teachers/a/params", abstract(params))
  assert_same(loaded, params)
  monkeypatch.chdir(tmp_path / "teachers")
  assert_same(checkpoints.load_tree(pathlib.Path("a/params"), params), params)


def test_load_tree_errors(tmp_path):
  params = state_at(3).params
  with pytest.raises(FileNotFoundError, match=r"nothing saved in .*run the"):
    checkpoints.load_tree(tmp_path / "no", params)
  checkpoints.save_tree(tmp_path / "yes", params)
  with pytest.raises(plain_trees.StructureError, match="dense/bias"):
    checkpoints.load_tree(tmp_path / "yes", {"large": params["large"]})
  lose_the_arrays(tmp_path / "yes")
  with pytest.raises(ValueError, match=r"cannot be used: .*Delete it"):
    checkpoints.load_tree(tmp_path / "yes", params)
