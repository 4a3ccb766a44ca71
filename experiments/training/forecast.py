"""Forecast of a command's running time, from the steps that it has timed.

The time of a training that has not begun is estimated from the most similar
training that was timed: the seconds per step are scaled by the number of
operations per step, and the time before the first step, which is mostly
compilation, is assumed to be the same. A step of few operations is mostly
overhead, so its time is never scaled up to that of a step with more than 100
times as many operations.
"""

import math
import sys
import time
from collections.abc import Callable
from collections.abc import Mapping

import jax

from experiments.distributed import processes
from experiments.training.work import Work

# Name of a training: "teacher" or "stack", and a digest.
Name = tuple[str, str]
# Called with the number of finished steps, the seconds per step and the seconds
# before the first step; the times are None if they are not known. Returns the
# seconds that the whole command has left, or None if they are not known yet or
# this training is the last one.
Watch = Callable[[int, float | None, float | None], float | None]

# The largest factor in operations by which the time of a step is scaled up.
_MOST_SCALING = 100


class Forecast:
  """Estimates the time of the trainings that a command has to run."""

  def __init__(self, ahead: Mapping[Name, Work]):
    """Starts the clock.

    Args:
      ahead: The trainings of the command, in their order.
    """
    self._ahead = dict(ahead)
    self._contents = _contents(ahead)
    self._start = time.monotonic()
    self._is_printed = False
    self._rates: dict[int, float] = {}  # Seconds per step, by operations.
    self._before = 0.0  # Seconds of a training before its first step.

  def announce(self) -> None:
    """Prints how many teachers and stacks will be trained."""
    if self._contents and processes.is_main_process():
      print(f"To train: {self._contents}.", file=sys.stderr, flush=True)

  def watch(self, name: Name) -> Watch:
    """Returns the function to call during a training, see `Watch`.

    Earlier trainings are dropped from the forecast: they are finished, or
    another command runs them.
    """
    if name in self._ahead:
      names = list(self._ahead)
      for earlier in names[: names.index(name)]:
        del self._ahead[earlier]

    def watch(
      step: int, rate: float | None, before: float | None
    ) -> float | None:
      if name not in self._ahead:
        return None
      flops = self._ahead[name].flops
      if rate is not None and before is not None:
        self._rates[flops], self._before = rate, max(0.0, before)
      elif rate is not None:  # It includes the time before the first step.
        self._rates.setdefault(flops, rate)
      left = 0.0
      for key, work in self._ahead.items():
        seconds = self._seconds(work, step if key == name else 0)
        if seconds is None:
          return None
        left += seconds
      if not self._is_printed:
        self._is_printed = True
        self._print(time.monotonic() - self._start + left)
      return left if len(self._ahead) > 1 else None

    return watch

  def _seconds(self, work: Work, step: int) -> float | None:
    """Returns the estimated time of a training after a step.

    Returns None if no timed step is large enough for an estimate.
    """
    steps_left = work.num_steps - step
    if work.flops in self._rates:
      return self._rates[work.flops] * steps_left
    if not self._rates or work.flops > _MOST_SCALING * max(self._rates):
      return None
    size = math.log(max(1, work.flops))
    timed = min(self._rates, key=lambda x: abs(math.log(max(1, x)) - size))
    rate = self._rates[timed] * work.flops / max(1, timed)
    return self._before + rate * steps_left

  def _print(self, seconds: float) -> None:
    if processes.is_main_process():
      text = f"About {duration(seconds)} for {self._contents}."
      print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
  """Returns a time as a phrase such as "12 min"."""
  if seconds < 90:
    return f"{max(1, round(seconds))} s"
  if seconds < 90 * 60:
    return f"{round(seconds / 60)} min"
  if seconds < 48 * 3600:
    return f"{seconds / 3600:.1f} h"
  return f"{seconds / 86400:.1f} days"


def counted(number: int, noun: str) -> str:
  """Returns a number with its noun, such as "3 stacks"."""
  return f"{number:,} {noun}{'s' * (number != 1)}"


def _contents(ahead: Mapping[Name, Work]) -> str:
  """Describes trainings by their number and steps, and the devices.

  Returns "" if nothing is to be trained.
  """
  parts = []
  for kind in ("teacher", "stack"):
    # A pretrained teacher that is used without training has no steps.
    counts = [w.num_steps for name, w in ahead.items() if name[0] == kind]
    if steps := [count for count in counts if count]:
      span = " to ".join(f"{x:,}" for x in sorted({min(steps), max(steps)}))
      parts.append(f"{counted(len(steps), kind)} of {span} steps")
  if not parts:
    return ""
  platform = jax.devices()[0].platform.upper()
  devices = counted(jax.device_count(), f"{platform} device")
  return f"{' and '.join(parts)}, on {devices}"
