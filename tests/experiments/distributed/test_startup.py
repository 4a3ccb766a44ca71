"""Several processes find each other, or say in one line why they do not."""

import json
import os
import subprocess
import sys
import time

import pytest

from experiments.distributed import startup
from tests.experiments import processes


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_process_that_never_starts_is_one_line_within_the_timeout(
  tmp_path, index
):
  port = processes.free_port()
  start = time.monotonic()
  program = processes.start(
    "experiments.main",
    "--config=experiments/configs/quickstart.py",
    f"--workdir={tmp_path}",
    f"--coordinator_address=127.0.0.1:{port}",
    "--num_processes=2",
    f"--process_id={index}",
    "--initialization_timeout=1",
  )
  done = program.finish()
  # JAX's own time-out would come after another minute.
  assert time.monotonic() - start < startup._MARGIN_SECONDS
  assert done.returncode == 1
  (line,) = [x for x in done.stderr.splitlines() if "error" in x]
  for part in (f"127.0.0.1:{port} within 1 seconds", f"process {index} of 2"):
    assert part in line
  assert "Traceback" not in done.stderr
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("given", "timeout", "message"),
  [
    (("10.0.0.1:1", None, None), 1, "got 10.0.0.1:1, None"),
    ((None, 2, None), 1, "--num_processes"),
    (("10.0.0.1", 2, 0), 1, "'10.0.0.1'"),
    (("host:name", 2, 0), 1, "'host:name'"),
    (("host:1", 2, 2), 1, "--process_id .*got 2"),
    ((None, None, None), 0, "--initialization_timeout"),
  ],
)
def test_flags_that_do_not_fit_are_named(given, timeout, message):
  with pytest.raises(ValueError, match=message) as error:
    startup.connect(*given, timeout=timeout)
  assert "\n" not in str(error.value)


DETECTED = """
import json, os, sys
import jax
jax.config.update("jax_platforms", "cpu")
from experiments.distributed import startup
for name in list(os.environ):
  if name.startswith(("SLURM", "OMPI", "KUBERNETES")):
    del os.environ[name]
startup.connect(None, 1, None, timeout=9)
startup.connect(None, None, None, timeout=9)
alone = jax.distributed.is_initialized()
os.environ |= {
  "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "1",
  "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
  "JAX_COORDINATOR_PORT": sys.argv[1],
}
startup.connect(None, 1, None, timeout=9)
refused = jax.distributed.is_initialized()
startup.connect(None, None, None, timeout=9)
print(json.dumps([alone, refused, jax.distributed.is_initialized(),
                  jax.process_count(), startup.leave(9.0)]))
"""


def test_a_laptop_stays_alone_and_slurm_is_detected():
  done = processes.start(str(processes.free_port()), code=DETECTED).finish()
  assert done.returncode == 0, done.stderr
  assert json.loads(done.stdout) == [False, False, True, 1, True]


AGREED = """
import json, os, pathlib, time
from experiments.distributed import mesh as mesh_lib, processes, startup
me = jax.process_index()
calls = []
def look():
  calls.append(me)
  return {{"done": [True, False], "text": "x" * 3000}}
found = processes.from_main(look)
assert found == {{"done": [True, False], "text": "x" * 3000}}
assert calls == ([0] if me == 0 else [])
def fail():
  raise ValueError("the disk is full")
try:
  processes.from_main(fail)
except ValueError as error:
  assert me == 0 and str(error) == "the disk is full"
except processes.OtherProcessError as error:
  assert me == 1 and str(error) == "in the main process: the disk is full"
def stop():
  assert me == 0
  raise processes.Interrupted("SIGTERM", "two splits are kept")
try:
  processes.main_first(stop)
except processes.Interrupted as error:
  assert str(error).startswith("stopped by SIGTERM; two splits are kept: run")
else:
  raise AssertionError("not stopped")
order = processes.main_first(lambda: calls.append("first") or me)
assert order == me
sharded = mesh_lib.place(
  np.arange(4.0), mesh_lib.cell_sharding(mesh_lib.make_mesh(4, 1))
)
got = mesh_lib.fetch({{"a": sharded, "b": 1}}, sharded.sharding.mesh)
np.testing.assert_array_equal(got["a"], np.arange(4.0))
# Who leaves a collective first must not take its connections along.
arrived = pathlib.Path({arrived!r})
if me == 0:
  arrived.touch()
if me == 1:
  while not arrived.exists():
    time.sleep(0.01)
  sys.stdout.flush()
  os._exit(0)
try:
  processes.any_process(True)
except Exception as error:
  assert startup.is_lost(error), error
  print("lost")
assert not startup.leave(0.2)
os._exit(0)
"""


def test_processes_agree_and_notice_that_one_is_gone(tmp_path):
  body = "import numpy as np\n" + AGREED
  body = body.format(arrived=str(tmp_path / "arrived"))
  printed = processes.run_together(body, count=2, devices=2)
  assert "lost" in printed[0]


@pytest.mark.slow
def test_a_sweep_on_two_processes_is_written_and_told_once(tmp_path):
  """Stacks of 2 to 8 cells, which use 8 to 2 of the 8 devices."""
  port = processes.free_port()
  started = [
    subprocess.Popen(
      [
        sys.executable,
        "-m",
        "experiments.sweep",
        "--config=experiments/configs/quickstart.py:smoke=True",
        f"--workdir={tmp_path}",
        f"--coordinator_address=127.0.0.1:{port}",
        "--num_processes=2",
        f"--process_id={index}",
      ],
      cwd=processes.ROOT,
      env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(2)
  ]
  try:
    printed = [process.communicate(timeout=900) for process in started]
  finally:
    for process in started:
      process.kill()
  assert [process.returncode for process in started] == [0, 0]
  assert len(list(tmp_path.glob("cells/**/result.json"))) == 32
  (main_out, main_err), (other_out, other_err) = printed
  assert "All 32 cells are in" in main_out
  assert "[8/8]" in main_err
  assert "32 cells" not in other_out
  assert "steps" not in other_err
