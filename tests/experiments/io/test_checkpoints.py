"""Checkpoints: the same bits back, the newest kept, damage skipped."""

import dataclasses
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.distributed import mesh as mesh_lib
from experiments.io import checkpoints
from experiments.io import storage
from tests.experiments.training_states import abstract
from tests.experiments.training_states import assert_same
from tests.experiments.training_states import names
from tests.experiments.training_states import open_at
from tests.experiments.training_states import State
from tests.experiments.training_states import state_at
from tests.experiments.training_states import write


def test_restore_returns_the_same_bits_in_the_same_types(tmp_path):
  write(tmp_path / "run", 7)
  step, state = open_at(tmp_path / "run").restore(state_at(0))
  assert step == 7
  assert isinstance(state, State)
  assert type(state.opt_state[1][0]) is type(state_at(0).opt_state[1][0])
  assert_same(state, state_at(7))
  # The keys are live: they draw what the saved ones would.
  drawn = jax.random.uniform(state.rest[-1])
  assert drawn == jax.random.uniform(jax.random.key(7, impl="rbg"))
  # Shapes are enough to restore.
  like = dataclasses.replace(abstract(state_at(0)), rest=state_at(0).rest)
  _, state = open_at(tmp_path / "run").restore(like)
  assert_same(state, state_at(7))
  assert state.key.sharding.device_set == {jax.local_devices()[0]}


def test_restore_onto_other_devices(tmp_path):
  cells = {
    "w": jnp.arange(16.0).reshape(8, 2),
    "empty": jnp.zeros((8, 0)),
    "keys": jax.random.split(jax.random.key(0), 8),
  }
  tree = {"cells": cells, "step": jnp.int32(3)}

  def placed(mesh):
    return {
      "cells": mesh_lib.place(cells, mesh_lib.cell_sharding(mesh)),
      "step": mesh_lib.place(tree["step"], mesh_lib.replicated(mesh)),
    }

  with open_at(tmp_path) as saved:
    saved.save(1, placed(mesh_lib.make_mesh(8, 8)))
  for mesh in (
    mesh_lib.make_mesh(8, 8, jax.devices()[:1]),
    mesh_lib.make_mesh(4, 2),
  ):
    like = placed(mesh)
    _, restored = open_at(tmp_path).restore(like)
    assert_same(restored, tree)
    assert jax.tree.map(lambda leaf: leaf.sharding, restored) == jax.tree.map(
      lambda leaf: leaf.sharding, like
    )


def test_the_two_newest_are_kept(tmp_path):
  assert open_at(tmp_path / "run").restore(state_at(0)) is None
  assert checkpoints.last_step(tmp_path / "run") is None
  assert not (tmp_path / "run").exists()
  fingerprint = {"sizes": (1, 2), "rate": 0.1}
  write(tmp_path / "run", 1, 2, 3, 10, fingerprint=fingerprint)
  assert names(tmp_path / "run") == ["10", "3"]
  assert checkpoints.last_step(tmp_path / "run") == 10
  # Fingerprints are compared as JSON.
  same = {"rate": 0.1, "sizes": [1, 2]}
  assert open_at(tmp_path / "run", fingerprint=same).restore(state_at(0))


def test_arrays_may_be_donated_once_save_returns(tmp_path):
  add = jax.jit(lambda x: x + 1, donate_argnums=0)
  x = jnp.zeros((1000, 500))
  with open_at(tmp_path) as saved:
    for step in range(2):
      saved.save(step, {"x": x})
      for _ in range(5):
        x = add(x)
  for step in range(2):
    state = checkpoints.load_tree(tmp_path / str(step), {"x": x})
    np.testing.assert_array_equal(state["x"], 5.0 * step)


def test_another_fingerprint_is_refused_by_name(tmp_path):
  write(tmp_path, 1)
  other = {"batch_size": 128, "data": {"name": "digits"}, "rate": 0.1}
  with pytest.raises(ValueError, match="belongs to another run") as error:
    open_at(tmp_path, fingerprint=other)
  message = str(error.value)
  assert "batch_size: saved 64, now 128" in message
  assert "data.seed: saved 0, now nothing" in message
  assert "rate: saved nothing, now 0.1" in message
  assert "data.name" not in message
  assert "--workdir" in message
  assert "\n" not in message
  assert names(tmp_path) == ["1"]
  # Without a complete checkpoint there is nothing to mix up.
  (tmp_path / "1" / checkpoints.SEAL).unlink()
  assert open_at(tmp_path, fingerprint=other).restore(state_at(0)) is None


def test_another_structure_is_an_error_and_not_damage(tmp_path):
  write(tmp_path, 1)
  like = state_at(0)
  kernel = like.params["dense"]["kernel"]
  large = like.params["large"]
  for params, message in (
    (like.params | {"more": kernel}, r"params/more: saved nothing, now .*32"),
    (
      like.params | {"large": kernel},
      r"params/large: saved .*64, 128.*now .*8",
    ),
    (
      like.params | {"large": large.astype(jnp.bfloat16)},
      r"large: saved \['float32', .*now \['bfloat16', \[64, 128\]\]",
    ),
    ({"dense": like.params["dense"]}, r"params/large: .*now nothing"),
  ):
    wrong = dataclasses.replace(like, params=params)
    with pytest.raises(ValueError, match=message):
      open_at(tmp_path).restore(wrong)
  assert names(tmp_path) == ["1"]


def test_a_failed_write_is_reported(tmp_path, monkeypatch):
  class Failed:
    def result(self):
      # Orbax raises an error of many lines if the disk is full.
      raise ValueError("RESOURCE_EXHAUSTED: No space left on device\nmore")

  saved = open_at(tmp_path)
  saved.save(1, state_at(1))
  saved.close()
  monkeypatch.setattr(
    checkpoints.ocp, "save_async", lambda *args, **kwargs: Failed()
  )
  saved.save(2, state_at(2))
  # The next call reports it, whichever that is.
  with pytest.raises(
    OSError, match=r"/2 could not be written \(No space left on device\);"
  ) as caught:
    saved.save(3, state_at(3))
  assert "step 1 is kept" in str(caught.value)
  assert "\n" not in str(caught.value)
  monkeypatch.undo()
  saved.save(2, state_at(2))
  saved.close()
  assert open_at(tmp_path).restore(state_at(0))[0] == 2


# --- Damage ------------------------------------------------------------------


def files(directory):
  return [path for path in directory.rglob("*") if path.is_file()]


def truncate(directory):
  for path in files(directory):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_the_arrays(directory):
  for path in files(directory / "state"):
    if path.parent.name == "d":
      path.unlink()


def flip_a_bit(directory):
  path = max(files(directory), key=lambda path: path.stat().st_size)
  contents = bytearray(path.read_bytes())
  contents[len(contents) // 2] ^= 1
  path.write_bytes(bytes(contents))


def lose_the_metadata(directory):
  (directory / "state" / "_METADATA").unlink()


def lose_the_seal(directory):
  (directory / checkpoints.SEAL).unlink()


@pytest.mark.parametrize(
  ("damage", "reason"),
  [
    (truncate, "damaged (seal.json cannot be read)"),
    (lose_the_arrays, "is missing)"),
    (flip_a_bit, "was altered)"),
    (lose_the_metadata, "damaged (state/_METADATA is missing)"),
    (lose_the_seal, "incomplete"),
  ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
  tmp_path, caplog, damage, reason
):
  write(tmp_path, 10, 20)
  damage(tmp_path / "20")
  with open_at(tmp_path) as saved:
    step, state = saved.restore(state_at(0))
    assert step == 10
    assert_same(state, state_at(10))
    assert f"{tmp_path}/20 is " in caplog.text
    assert reason in caplog.text
    # The run goes on, through the step that was lost.
    for step in (20, 30):
      saved.save(step, state_at(step))
  step, state = open_at(tmp_path).restore(state_at(0))
  assert step == 30
  assert_same(state, state_at(30))
  assert names(tmp_path) == ["20", "30"]


def test_without_a_usable_checkpoint_the_run_starts_over(tmp_path, caplog):
  write(tmp_path, 10, 20)
  for step in ("10", "20"):
    flip_a_bit(tmp_path / step)
  with open_at(tmp_path) as saved:
    assert saved.restore(state_at(0)) is None
    assert caplog.text.count("step 10 is read instead.") == 1
    assert caplog.text.count("the run starts over.") == 1
    saved.save(5, state_at(5))
  assert open_at(tmp_path).restore(state_at(0))[0] == 5
  assert names(tmp_path) == ["5"]


def test_half_written_and_half_deleted_folders_are_cleared(tmp_path):
  write(tmp_path, 10)
  shutil.copytree(tmp_path / "10", tmp_path / "20.orbax-checkpoint-tmp")
  shutil.copytree(tmp_path / "10", tmp_path / "5")
  lose_the_seal(tmp_path / "5")
  with open_at(tmp_path) as saved:
    assert saved.restore(state_at(0))[0] == 10
    saved.save(20, state_at(20))
  assert names(tmp_path) == ["10", "20"]


# --- Trees and folders -------------------------------------------------------


def test_tree_round_trip_in_a_relative_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  params = state_at(3).params
  for step in (2, 3):  # The second takes the first one's place.
    checkpoints.save_tree("teachers/a/params", state_at(step).params)
  loaded = checkpoints.load_tree("teachers/a/params", abstract(params))
  assert_same(loaded, params)
  monkeypatch.chdir(tmp_path / "teachers")
  found = checkpoints.load_tree(pathlib.Path("a/params"))
  assert_same(found, jax.tree.map(np.asarray, params))


def test_load_tree_errors(tmp_path):
  params = state_at(3).params
  with pytest.raises(FileNotFoundError, match=f"{tmp_path}/no: run the"):
    checkpoints.load_tree(tmp_path / "no", params)
  checkpoints.save_tree(tmp_path / "yes", params)
  with pytest.raises(ValueError, match="dense/bias"):
    checkpoints.load_tree(tmp_path / "yes", {"large": params["large"]})
  lose_the_arrays(tmp_path / "yes")
  with pytest.raises(ValueError, match=r"yes is damaged .*: delete it"):
    checkpoints.load_tree(tmp_path / "yes", params)


def test_a_folder_that_cannot_be_written_is_known_before_the_work(tmp_path):
  storage.check_writable(storage.folder(tmp_path / "new/folder"))
  assert not names(tmp_path / "new/folder")
  (tmp_path / "file").touch()
  folder = tmp_path / "file/abc"
  with pytest.raises(OSError, match=rf"^{folder} cannot be written: Not a dir"):
    storage.check_writable(storage.folder(folder))


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://", "file:///x"])
def test_other_urls_are_refused(url):
  with pytest.raises(ValueError, match=url):
    open_at(url)


def test_a_bucket_needs_its_extra(monkeypatch):
  monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"gs://bucket/x needs .*'\.\[gcs\]'"):
    open_at("gs://bucket/x")
