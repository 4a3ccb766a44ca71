"""Functions in processes of their own, and the peak memory of a process."""

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
  """Returns what a function returns in a new process.

  Threads, memory and compiled programs of this process do not disturb it.
  """
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    return pool.submit(function, *args, **kwargs).result()


def peak_mib() -> float:
  """Returns the peak memory of this process so far."""
  status = pathlib.Path("/proc/self/status")
  if status.exists():  # On Linux, where the other counts from a parent's peak.
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if found:
      return int(found[1]) / 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
