"""Checkpoints of a process that is killed, and of two that work together."""

import os
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from tests.experiments.processes import run_together
from tests.experiments.processes import start_together
from tests.experiments.training_states import names
from tests.experiments.training_states import open_at

KILLED = """
import jax.numpy as jnp
from experiments.io import checkpoints

saved = checkpoints.Checkpoints({folder!r}, fingerprint={{}})
for step in range(1, 10_000):
  state = {{"a": jnp.full((500, 400), step), "step": jnp.int32(step)}}
  saved.save(step, state)
  print(step, flush=True)
"""


def test_a_kill_leaves_complete_checkpoints(tmp_path):
  body = KILLED.format(folder=str(tmp_path))
  (program,) = start_together(body, count=1, devices=1, killed=True)
  program.wait_for("8")  # 7 is complete, 8 is being written.
  os.kill(program.pid, signal.SIGKILL)
  program.finish()
  like = {"a": jnp.zeros((500, 400), jnp.int32), "step": jnp.int32(0)}
  step, state = open_at(tmp_path, fingerprint={}).restore(like)
  assert step >= 7
  assert state["step"] == step
  np.testing.assert_array_equal(state["a"], step)


TOGETHER = """
import jax.numpy as jnp
from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes
from experiments.io import checkpoints
from experiments.io import storage

path, me = storage.folder({folder!r}), jax.process_index()
cells = mesh_lib.cell_sharding(mesh_lib.make_mesh(2, 64))

def state_at(step):
  keys = jax.random.split(jax.random.key(step), 2)
  return mesh_lib.place({{"a": jnp.arange(4) + step, "k": keys}}, cells)

with checkpoints.Checkpoints(path, fingerprint={{}}) as saved:
  assert saved.restore(state_at(0)) is None
  for step in (1, 2, 3):
    saved.save(step, state_at(step))
if me == 0:
  (path / "3" / "state" / "_METADATA").unlink()
processes.any_process(False)  # A barrier.
with checkpoints.Checkpoints(path, fingerprint={{}}) as saved:
  step, state = saved.restore(state_at(0))
  assert step == 2 and state["a"].sharding == state["k"].sharding == cells
  mine = state["a"].addressable_shards[0].data.tolist()
  assert mine == [2 + 2 * me, 3 + 2 * me], mine
  key = jax.random.key_data(state["k"].addressable_shards[0].data[0])
  wanted = jax.random.key_data(jax.random.split(jax.random.key(2), 2)[me])
  assert key.tolist() == wanted.tolist()
  saved.save(3, state)
checkpoints.save_tree(path / "tree", state)
assert checkpoints.load_tree(path / "tree", state)["a"].sharding == cells
"""


@pytest.mark.slow  # Runs of two processes save and restore in other tests.
def test_two_processes_skip_the_same_damaged_checkpoint(tmp_path):
  run_together(TOGETHER.format(folder=str(tmp_path)), count=2, devices=2)
  assert names(tmp_path) == ["2", "3", "tree"]
