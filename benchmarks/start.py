"""Measures the time from the start of a command to the end of its first steps.

`experiments.main` trains the quickstart's cell: first with an empty cache of
compiled programs, then with the cache and the teacher of the first run, then
with the cache but without the teacher. The clock stops at the first line of
progress, which follows 250 steps and an evaluation.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.row import Row

_CONFIG = "experiments/configs/quickstart.py:method=lelp"
_ROOT = pathlib.Path(__file__).parents[1]


def seconds(folder: pathlib.Path, workdir: str, label: str) -> float:
  """Runs a cell to its end; returns the seconds to its first progress line."""
  start, found = time.perf_counter(), None
  command = [
    *(sys.executable, "-m", "experiments.main"),
    f"--config={_CONFIG}",
    f"--workdir={folder / workdir}",
    f"--teacher_dir={folder / 'teachers'}",
  ]
  environment = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE"))
  } | {"XDG_CACHE_HOME": str(folder / "cache")}
  with subprocess.Popen(
    command,
    cwd=_ROOT,
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
      lines.append(line)
      if found is None and f"{label}: 250/" in line:
        found = time.perf_counter() - start
  if process.returncode or found is None:
    raise RuntimeError(f"experiments.main failed: {lines[-1:]}")
  return found


def rows(full: bool) -> Iterator[Row]:
  """Yields the times of a first, a second and a third run."""
  name, size = "experiments.main, start to first steps", "quickstart"
  with tempfile.TemporaryDirectory() as path:
    folder = pathlib.Path(path)
    teacher, student = "teacher of split0", "[1/1] split0 lelp"
    cold = seconds(folder, "cold", teacher)
    yield Row(f"{name}, nothing compiled", size, cold, "s")
    found = seconds(folder, "warm", student)
    yield Row(f"{name} of a student", size, found, "s", target=5)
    # Without its teacher, the cell trains it again.
    (folder / "teachers").rename(folder / "other")
    found = seconds(folder, "again", teacher)
    yield Row(f"{name} of a teacher", size, found, "s", target=5)
