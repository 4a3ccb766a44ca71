"""Timing of functions in turns, and the machine's name."""

import os
import pathlib
import platform
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.row import Row


def milliseconds(
  functions: dict[str, Callable[[], Any]], *, repeats: int = 20
) -> dict[str, float]:
  """Times functions in turns, so that a slow moment affects all of them.

  Args:
    functions: The functions by name. Each is called once first, to compile.
    repeats: Number of times that each function is timed.

  Returns:
    The median time of each, in milliseconds.
  """
  for function in functions.values():
    jax.block_until_ready(function())
  times: dict[str, list[float]] = {name: [] for name in functions}
  for _ in range(repeats):
    for name, function in functions.items():
      start = time.perf_counter()
      jax.block_until_ready(function())
      times[name].append(time.perf_counter() - start)
  return {k: 1e3 * statistics.median(v) for k, v in times.items()}


def row(
  name: str, size: str, times: dict[str, float], reference: str, **options: Any
) -> Row:
  """Returns the time "ours" beside that of a reference, in milliseconds."""
  return Row(
    name, size, times["ours"], "ms", reference, times[reference], **options
  )


def machine() -> str:
  """Returns a name of the kind of machine, such as "amd-epyc-2-cores"."""
  devices = jax.devices()
  if devices[0].platform != "cpu":
    text = f"{len(devices)} x {devices[0].device_kind}"
  else:
    info = pathlib.Path("/proc/cpuinfo")  # Exists on Linux.
    lines = info.read_text() if info.exists() else ""
    found = re.search(r"model name\s*: (.*)", lines)
    processor = found[1] if found else platform.machine()
    text = f"{processor} {os.cpu_count()} cores"
  return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
