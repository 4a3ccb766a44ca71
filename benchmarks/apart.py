"""Runs functions in new processes, and measures the peak memory."""

import concurrent.futures
import multiprocessing
import pathlib
import re
import resource
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


def peak_mib() -> float:
  """Returns the peak memory of this process so far."""
  status = pathlib.Path("/proc/self/status")
  if status.exists():  # Linux, where ru_maxrss starts at the parent's peak.
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if found:
      return int(found[1]) / 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
