"""Interleaved timing of functions in one process."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def milliseconds(
  functions: dict[str, Callable[[], Any]], *, repeats: int = 20
) -> dict[str, float]:
  """Times functions in turns, so that a slow moment affects all of them.

  Args:
    functions: The functions by name. Each is called once first, to compile.
    repeats: Number of times that each is timed.

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


def machine() -> str:
  """Describes the machine that the times were measured on."""
  device = jax.devices()[0]
  return f"jax {jax.__version__}, {len(jax.devices())} x {device.device_kind}"
