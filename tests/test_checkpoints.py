"""Checkpoints: bit-equal round trips, damage, kills, other runs, processes."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.runtime import checkpoints
from experiments.runtime import mesh as mesh_lib
from experiments.runtime import plain_trees

ROOT = pathlib.Path(__file__).parent.parent
FINGERPRINT = {"batch_size": 64, "data": {"name": "digits", "seed": 0}}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  step: Any
  params: Any
  opt_state: Any
  key: Any
  keys: Any
  rest: Any


def state_at(step):
  """A state with every kind of leaf and container that training has."""
  rng = np.random.default_rng(step)
  params = {
    "dense": {
      "kernel": jnp.asarray(rng.normal(size=(8, 3)), jnp.float32),
      "bias": jnp.asarray(rng.normal(size=3), jnp.bfloat16),
    },
    "large": jnp.asarray(rng.normal(size=(64, 128)), jnp.float32),
  }
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
  return State(
    step=jnp.int32(step),
    params=params,
    opt_state=tx.init(params),
    key=jax.random.key(step),
    keys=jax.random.split(jax.random.key(step + 1), 8),
    rest=(
      None,
      (),
      {},
      [jnp.zeros((0, 4)), jnp.asarray([True, False])],
      np.arange(step, step + 3),
      jax.random.key(step, impl="rbg"),
    ),
  )


def abstract(tree):
  return jax.eval_shape(lambda: tree)


def bits(leaf):
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.asarray(leaf).tobytes()


def assert_same(tree, expected):
  assert jax.tree.structure(tree) == jax.tree.structure(expected)
  for leaf, wanted in zip(
    jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True
  ):
    assert isinstance(leaf, np.ndarray) == isinstance(wanted, np.ndarray)
    assert (leaf.shape, leaf.dtype) == (wanted.shape, wanted.dtype)
    assert bits(leaf) == bits(wanted)


def open_at(directory, **options):
  return checkpoints.Checkpoints(
    directory, **{"fingerprint": FINGERPRINT, **options}
  )


def write(directory, *steps, **options):
  with open_at(directory, **options) as saved:
    for step in steps:
      saved.save(step, state_at(step))


def names(directory):
  return sorted(path.name for path in directory.iterdir())


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
  keys = jax.random.split(jax.random.key(0), 8)
  tree = {"w": jnp.arange(16.0).reshape(8, 2), "keys": keys, "n": jnp.int32(3)}
  many = mesh_lib.make_mesh(8, 8)
  cells = mesh_lib.cell_sharding(many)
  spread = mesh_lib.place({k: tree[k] for k in ("w", "keys")}, cells)
  spread["n"] = mesh_lib.place(tree["n"], mesh_lib.replicated(many))
  with open_at(tmp_path) as saved:
    saved.save(1, spread)
  one = mesh_lib.replicated(mesh_lib.make_mesh(8, 8, jax.devices()[:1]))
  four = mesh_lib.cell_sharding(mesh_lib.make_mesh(4, 2))
  for sharding, count in ((one, 1), (four, 8)):
    like = mesh_lib.place({k: tree[k] for k in ("w", "keys")}, sharding)
    like["n"] = mesh_lib.place(tree["n"], mesh_lib.replicated(sharding.mesh))
    _, restored = open_at(tmp_path).restore(like)
    assert_same(restored, tree)
    for name in ("w", "keys"):
      assert restored[name].sharding == sharding
      assert len(restored[name].sharding.device_set) == count


def test_nothing_to_restore(tmp_path):
  saved = open_at(tmp_path / "nothing")
  assert saved.restore(state_at(0)) is None
  assert saved.steps() == []
  assert not (tmp_path / "nothing").exists()


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
    # And the run goes on, through the step that was lost.
    for step in (20, 30):
      saved.save(step, state_at(step))
  step, state = open_at(tmp_path).restore(state_at(0))
  assert step == 30
  assert_same(state, state_at(30))
  assert names(tmp_path) == ["20", "20.unusable", "30", "fingerprint.json"]


def test_all_checkpoints_damaged_starts_over(tmp_path):
  write(tmp_path, 10, 20)
  for step in ("10", "20"):
    truncate(tmp_path / step)
  with open_at(tmp_path) as saved:
    assert saved.restore(state_at(0)) is None
    saved.save(5, state_at(5))
  step, _ = open_at(tmp_path).restore(state_at(0))
  assert step == 5


def test_half_written_folders_are_ignored_and_cleared(tmp_path):
  write(tmp_path, 10)
  shutil.copytree(tmp_path / "10", tmp_path / "20.orbax-checkpoint-tmp")
  shutil.copytree(tmp_path / "10", tmp_path / "5.deleted")
  with open_at(tmp_path) as saved:
    step, _ = saved.restore(state_at(0))
    assert step == 10
    saved.save(20, state_at(20))
  assert names(tmp_path) == ["10", "20", "fingerprint.json"]


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
  same = open_at(tmp_path, fingerprint={"rate": 0.1, "sizes": [1, 2]})
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
      raise OSError("disk full")

  saved = open_at(tmp_path)
  saved.save(1, state_at(1))
  saved.close()
  monkeypatch.setattr(
    checkpoints.ocp, "save_async", lambda *args, **kwargs: Failed()
  )
  saved.save(2, state_at(2))
  with pytest.raises(OSError, match="disk full"):
    saved.close()
  assert saved.steps() == [1]
  monkeypatch.undo()
  saved.save(2, state_at(2))
  saved.close()
  assert open_at(tmp_path).restore(state_at(0))[0] == 2


@pytest.mark.parametrize("leaf", [0.1, True, "text", len])
def test_what_is_no_array_is_refused(tmp_path, leaf):
  with pytest.raises(TypeError, match=r"\['a'\]\[0\].*jnp.asarray"):
    open_at(tmp_path).save(1, {"a": [leaf]})
  with pytest.raises(TypeError, match="arrays only"):
    checkpoints.save_tree(tmp_path / "tree", [leaf])


def test_arguments_are_checked():
  with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
    open_at("x", keep=0)
  with pytest.raises(ValueError, match="gs://bucket/x must be a folder"):
    open_at("gs://bucket/x")


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


PROGRAM = """
import sys
import jax
{setup}
import jax.numpy as jnp
from experiments.runtime import checkpoints
from experiments.runtime import mesh as mesh_lib

def state_at(step):
  return {{"a": jnp.full((500, 400), step), "step": jnp.int32(step)}}

{body}
"""


def start(body, setup="", **options):
  program = PROGRAM.format(
    body=textwrap.dedent(body), setup=textwrap.dedent(setup)
  )
  return subprocess.Popen(
    [sys.executable, "-c", program],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    text=True,
    **options,
  )


def test_a_kill_leaves_complete_checkpoints(tmp_path):
  process = start(f"""
    saved = checkpoints.Checkpoints({str(tmp_path)!r}, fingerprint={{}})
    for step in range(1, 10_000):
      saved.save(step, state_at(step))
      print(step, flush=True)
  """)
  try:
    for line in process.stdout:
      if int(line) == 8:  # 7 is complete, 8 is being written.
        break
    time.sleep(0.015)
  finally:
    process.send_signal(signal.SIGKILL)
    process.communicate()
  like = {"a": jnp.zeros((500, 400), jnp.int32), "step": jnp.int32(0)}
  step, state = open_at(tmp_path, fingerprint={}).restore(like)
  assert step >= 7
  assert state["step"] == step
  np.testing.assert_array_equal(state["a"], step)


def test_two_processes(tmp_path):
  import socket

  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  setup = f"""
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize("127.0.0.1:{port}", 2, int(sys.stdin.read()))
  """
  body = f"""
    import pathlib
    path = pathlib.Path({str(tmp_path)!r})
    me = jax.process_index()
    assert mesh_lib.is_main_process() == (me == 0)
    assert mesh_lib.any_process(me == 1) and not mesh_lib.any_process(False)
    assert mesh_lib.any_process(me == 0)
    try:
      mesh_lib.make_mesh(1, 1)
      raise SystemExit("no error")
    except ValueError as error:
      assert "none of them on processes [1]" in str(error), error
    mesh = mesh_lib.make_mesh(2, 64)
    assert dict(mesh.shape) == {{"cell": 2, "data": 2}}
    cells = mesh_lib.cell_sharding(mesh)

    def state_at(step):
      keys = jax.random.split(jax.random.key(step), 2)
      return mesh_lib.place({{"a": jnp.arange(4) + step, "k": keys}}, cells)

    with checkpoints.Checkpoints(path, fingerprint={{"a": 1}}) as saved:
      assert saved.restore(state_at(0)) is None
      for step in (1, 2, 3):
        saved.save(step, state_at(step))
    if me == 0:
      (path / "3" / "state" / "_METADATA").unlink()
    mesh_lib.any_process(False)  # A barrier.
    with checkpoints.Checkpoints(path, fingerprint={{"a": 1}}) as saved:
      step, state = saved.restore(state_at(0))
      assert step == 2 and state["a"].sharding == cells
      mine = state["a"].addressable_shards[0]
      assert mine.data.tolist() == [2 + 2 * me, 3 + 2 * me], mine
      saved.save(3, state)
    assert saved.steps() == [2, 3]
    jax.distributed.shutdown()
  """
  processes = [
    start(body, setup, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(2)
  ]
  try:
    for index, process in enumerate(processes):
      process.stdin.write(str(index))
      process.stdin.close()
      process.stdin = None
    for process in processes:
      _, errors = process.communicate(timeout=120)
      assert process.returncode == 0, errors
  finally:
    for process in processes:
      process.kill()
      process.communicate()
  assert names(tmp_path) == ["2", "3", "3.unusable", "fingerprint.json"]
