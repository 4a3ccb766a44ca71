"""A teacher's outputs, cached by two processes and by one."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from experiments.io.json_files import read_json
from tests.experiments import processes

# Signals, kills and what is left of them: test_array_files.py.
pytestmark = pytest.mark.slow
MODES = {"coordinates": "coordinates-weights-3", "cached": "embeddings"}


def assert_same_outputs(found, expected):
  """Compares folders of a teacher's caches, array by array."""
  (found,), (expected,) = (
    (folder / "teachers").glob("*/outputs/*") for folder in (found, expected)
  )
  assert {path.name for path in found.iterdir()} == set(MODES.values())
  for path in found.glob("*/*.npy"):
    wanted = np.load(expected / path.relative_to(found))
    # Directions follow from moments, which two sum in another order.
    tolerance = 1e-6 if path.parent.name == "embeddings" else 1e-5
    bound = tolerance * np.abs(wanted).max()
    np.testing.assert_allclose(np.load(path), wanted, rtol=0, atol=bound)


def main_on(count, workdir, mode):
  """Runs `experiments.main` on some processes of four devices."""
  command = [
    sys.executable,
    "-m",
    "experiments.main",
    "--config=experiments/configs/quickstart.py",
    f"--workdir={workdir / mode}",
    f"--teacher_dir={workdir / 'teachers'}",
    f"--config.teacher.outputs={mode}",
    "--config.subspace.num_subclasses=3",
  ]
  for role in ("teacher", "student"):
    command += [f"--config.{role}.num_steps=40", f"--config.{role}.max_shift=0"]
  address = f"--coordinator_address=127.0.0.1:{processes.free_port()}"
  started = [
    subprocess.Popen(
      [*command, address, f"--num_processes={count}", f"--process_id={index}"]
      if count > 1
      else command,
      cwd=processes.ROOT,
      env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"},
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(count)
  ]
  for process in started:
    errors = process.communicate(timeout=600)[1]
    assert process.returncode == 0, errors
  (result,) = (workdir / mode).glob("cells/**/result.json")
  return read_json(result)


def test_main_on_two_processes_repeats_one(tmp_path):
  alone = [main_on(1, tmp_path / "one", mode) for mode in MODES]
  ignored = shutil.ignore_patterns("outputs", *MODES)
  shutil.copytree(tmp_path / "one", tmp_path / "two", ignore=ignored)
  for mode, wanted in zip(MODES, alone, strict=True):
    found = main_on(2, tmp_path / "two", mode)
    assert found["teacher"]["outputs"] == mode
    for split in ("validation", "test"):
      for name in ("accuracy", "loss", "agreement"):
        expected = pytest.approx(wanted[split][name], rel=1e-5)
        assert found[split][name] == expected
    np.testing.assert_allclose(
      found["variance_share"], wanted["variance_share"], rtol=1e-5
    )
  assert_same_outputs(tmp_path / "two", tmp_path / "one")
