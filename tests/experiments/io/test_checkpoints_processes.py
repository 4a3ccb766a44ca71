"""Checkpoints of a process that is killed, and of two that work together."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import time

import jax.numpy as jnp
import numpy as np

from tests.experiments.training_states import names
from tests.experiments.training_states import open_at

ROOT = pathlib.Path(__file__).parents[3]

PROGRAM = """
import sys
import jax
{setup}
import jax.numpy as jnp
from experiments.io import checkpoints
from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes

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
    assert processes.is_main_process() == (me == 0)
    assert processes.any_process(me == 1) and not processes.any_process(False)
    assert processes.any_process(me == 0)
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
    processes.any_process(False)  # A barrier.
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
