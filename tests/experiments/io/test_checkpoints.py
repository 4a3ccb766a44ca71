"""Checkpoints: bit-equal round trips, which are kept, and whose they are."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.distributed import mesh as mesh_lib
from experiments.io import checkpoints
from experiments.io import plain_trees
from experiments.io import storage
from tests.experiments.training_states import abstract
from tests.experiments.training_states import assert_same
from tests.experiments.training_states import FINGERPRINT
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


def test_restore_needs_only_shapes(tmp_path):
  write(tmp_path, 7)
  like = dataclasses.replace(abstract(state_at(0)), rest=state_at(0).rest)
  _, state = open_at(tmp_path).restore(like)
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


def test_nothing_to_restore(tmp_path):
  saved = open_at(tmp_path / "nothing")
  assert saved.restore(state_at(0)) is None
  assert saved.steps() == []
  assert not (tmp_path / "nothing").exists()


def test_the_newest_are_kept(tmp_path):
  with open_at(tmp_path, keep=2) as saved:
    for step in (1, 2, 3, 10):
      saved.save(step, state_at(step))
    assert saved.steps()[-1] == 10
  assert saved.steps() == [3, 10]
  assert names(tmp_path) == ["10", "3", "fingerprint.json"]
  write(tmp_path, 11, keep=1)
  assert names(tmp_path) == ["11", "fingerprint.json"]


def test_arrays_may_be_donated_once_save_returns(tmp_path):
  add = jax.jit(lambda x: x + 1, donate_argnums=0)
  x = jnp.zeros((1000, 500))
  with open_at(tmp_path, keep=3) as saved:
    for step in range(3):
      saved.save(step, {"x": x})
      for _ in range(5):
        x = add(x)
  for step in range(3):
    state = checkpoints.load_tree(tmp_path / str(step), {"x": x})
    np.testing.assert_array_equal(state["x"], 5.0 * step)


def test_another_fingerprint_is_refused_by_name(tmp_path):
  write(tmp_path, 1)
  other = {"batch_size": 128, "data": {"name": "digits"}, "rate": 0.1}
  saved = open_at(tmp_path, fingerprint=other)
  with pytest.raises(ValueError, match="belongs to another run") as error:
    saved.restore(state_at(0))
  message = str(error.value)
  assert "batch_size is 64 there and 128 here" in message
  assert "data.seed is 0 there and absent here" in message
  assert "rate is absent there and 0.1 here" in message
  assert "data.name" not in message
  assert "--workdir" in message
  assert "\n" not in message
  with pytest.raises(ValueError, match="belongs to another run"):
    saved.save(2, state_at(2))
  assert names(tmp_path) == ["1", "fingerprint.json"]


def test_a_fingerprint_compares_as_json(tmp_path):
  write(tmp_path, 1, fingerprint={"sizes": (1, 2), "rate": 0.1})
  same = open_at(tmp_path, fingerprint={"rate": 0.1, "sizes": (1, 2)})
  assert same.restore(state_at(0)) is not None
  # Without a checkpoint there is nothing to mix up.
  shutil.rmtree(tmp_path / "1")
  with open_at(tmp_path) as saved:
    assert saved.restore(state_at(0)) is None
    saved.save(1, state_at(1))
  stored = json.loads((tmp_path / "fingerprint.json").read_text())
  assert stored == FINGERPRINT


def test_another_structure_is_an_error_and_not_damage(tmp_path):
  write(tmp_path, 1)
  like = state_at(0)
  kernel = like.params["dense"]["kernel"]
  for params, message in (
    (
      like.params | {"more": kernel},
      r"params/more is absent there and float32",
    ),
    (like.params | {"large": kernel}, r"float32\[64, 128\] there and float32"),
    (
      like.params | {"large": like.params["large"].astype(jnp.bfloat16)},
      r"large is float32\[64, 128\] there and bfloat16\[64, 128\] here",
    ),
    ({"dense": like.params["dense"]}, r"params/large is float32.*absent here"),
  ):
    wrong = dataclasses.replace(like, params=params)
    with pytest.raises(plain_trees.StructureError, match=message):
      open_at(tmp_path).restore(wrong)
  assert names(tmp_path) == ["1", "fingerprint.json"]


def test_steps_go_forward(tmp_path):
  with open_at(tmp_path) as saved:
    saved.save(10, state_at(10))
    saved.save(10, state_at(10))
    with pytest.raises(ValueError, match="holds step 10, so step 9"):
      saved.save(9, state_at(9))
  # Who did not restore does not know what is there.
  with pytest.raises(ValueError, match="restore from there first"):
    open_at(tmp_path).save(10, state_at(10))
  again = open_at(tmp_path)
  again.restore(state_at(0))
  again.save(10, state_at(10))
  assert again.steps() == [10]


def test_a_failed_write_is_reported(tmp_path, monkeypatch):
  class Failed:
    def result(self):
      # What Orbax raises on a full disk, in many lines.
      raise ValueError("RESOURCE_EXHAUSTED: No space left on device\nmore")

  saved = open_at(tmp_path)
  saved.save(1, state_at(1))
  saved.close()
  monkeypatch.setattr(
    checkpoints.ocp, "save_async", lambda *args, **kwargs: Failed()
  )
  saved.save(2, state_at(2))
  # Whatever comes next hears of it.
  with pytest.raises(
    OSError, match=r"/2 could not be written \(No space left on device\);"
  ) as caught:
    saved.save(3, state_at(3))
  assert "step 1 is kept" in str(caught.value)
  assert "\n" not in str(caught.value)
  assert saved.steps() == [1]
  monkeypatch.undo()
  saved.save(2, state_at(2))
  saved.close()
  assert open_at(tmp_path).restore(state_at(0))[0] == 2


@pytest.mark.parametrize("leaf", [0.1, True, "text", len])
def test_what_is_no_array_is_refused(tmp_path, leaf):
  with pytest.raises(TypeError, match=r"\['a'\]\[0\].*jnp.asarray"):
    open_at(tmp_path).save(1, {"a": [leaf]})
  assert names(tmp_path) == []
  with pytest.raises(TypeError, match="arrays only"):
    checkpoints.save_tree(tmp_path / "tree", [leaf])


def test_arguments_are_checked():
  with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
    open_at("x", keep=0)


def test_a_folder_that_cannot_be_written_is_known_before_the_work(tmp_path):
  storage.check(storage.folder(tmp_path / "new/folder"))
  assert not names(tmp_path / "new/folder")
  (tmp_path / "file").touch()
  folder = tmp_path / "file/abc"
  with pytest.raises(OSError, match=rf"^{folder} cannot be written: Not a dir"):
    storage.check(storage.folder(folder))


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://", "file:///x"])
def test_other_urls_are_refused(url):
  with pytest.raises(ValueError, match=rf"{url} must be .* gs://BUCKET/FOLDER"):
    open_at(url)


def test_a_bucket_needs_its_extra(monkeypatch):
  monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"gs://bucket/x needs .*'\.\[gcs\]'"):
    open_at("gs://bucket/x")
