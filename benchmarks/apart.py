"""Runs functions in new processes, and measures the peak memory."""

import concurrent.futures
import multiprocessing
import os
import pathlib
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import ParamSpec
from typing import TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def call(
  function: Callable[Parameters, Result],
  *args: Parameters.args,
  **kwargs: Parameters.kwargs,
) -> Result:
  """Calls a function in a new process, and returns its result.

  The function is not affected by threads, memory and compiled programs of this
  process.
  """
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    return pool.submit(function, *args, **kwargs).result()


def command(
  name: str, config: str, folder: pathlib.Path, workdir: str
) -> float:
  """Runs a command of `experiments`; returns its seconds, the start included.

  Commands in one folder share teachers and compiled programs.
  """
  start = time.perf_counter()
  subprocess.run(
    [
      *(sys.executable, "-m", f"experiments.{name}"),
      f"--config={config}",
      f"--workdir={folder / workdir}",
      f"--teacher_dir={folder / 'teachers'}",
    ],
    check=True,
    capture_output=True,
    env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
  )
  return time.perf_counter() - start


def peak_mib() -> float:
  """Returns the peak memory of this process so far."""
  status = pathlib.Path("/proc/self/status")
  if status.exists():  # Linux, where ru_maxrss starts at the parent's peak.
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if found:
      return int(found[1]) / 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
