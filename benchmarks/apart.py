"""Functions in processes of their own."""

import concurrent.futures
import multiprocessing
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

  Threads, memory and compiled programs of this process do not disturb it. On
  Linux the new process counts its peak memory from that of this one.
  """
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    return pool.submit(function, *args, **kwargs).result()
