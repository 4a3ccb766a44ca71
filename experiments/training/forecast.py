"""Forecast of the time that a command takes, from the steps that it has timed.

A training of a new kind is estimated from the most similar one that was timed:
the time per step is scaled by the number of operations per step, and the time
before the first step, which is mostly compilation, is assumed to be the same.
A step of few operations takes the time of its overhead, which says nothing of a
step of many: then there is no estimate until a larger step has been timed.
"""

import sys
import time
from collections.abc import Callable
from collections.abc import Mapping

import jax

from experiments.distributed import processes
from experiments.training.work import Work

# "teacher" or "stack", and the digest.
Name = tuple[str, str]
# Takes the number of steps that are done, the seconds and the number of those
# since the last call, and whether they end a chunk. Returns the seconds that
# the whole command has left, None if they are not known yet or if nothing comes
# after this training.
Watch = Callable[[int, float, int, bool], float | None]

# Seconds after which a first chunk is enough for an estimate, although most of
# its time may be the compilation.
_PATIENCE = 30.0
# The largest ratio of operations by which the time of a step is scaled up.
_MOST_SCALING = 100


class Forecast:
  """Trainings that are ahead of a command, and the time that they take."""

  def __init__(self, ahead: Mapping[Name, Work], *, is_told: bool = False):
    """Starts the clock; `ahead` is in the order of training.

    With `is_told` nothing is printed, and only the time left is computed.
    """
    self._ahead = dict(ahead)
    self._contents = _contents(ahead)
    self._start = time.monotonic()
    self._is_told = is_told
    self._rates: dict[int, float] = {}  # Seconds of a step, by its operations.
    self._before = 0.0  # Seconds of a training before its first step.

  def announce(self) -> None:
    """Says what is ahead, before anything is timed."""
    if not self._is_told and self._contents and processes.is_main_process():
      print(f"Ahead: {self._contents}.", file=sys.stderr, flush=True)

  def watch(self, name: Name) -> Watch:
    """Returns the function to call after each chunk of a training.

    Whatever was ahead of it is finished, or is trained by another command.
    """
    if name in self._ahead:
      names = list(self._ahead)
      for earlier in names[: names.index(name)]:
        del self._ahead[earlier]
    first: list[tuple[float, int]] = []  # Seconds and length of a first chunk.

    def watch(
      step: int, seconds: float, length: int, is_whole: bool = True
    ) -> float | None:
      if name not in self._ahead:
        return None
      work, elapsed = self._ahead[name], time.monotonic() - self._start
      is_first, rate = not first, seconds / length
      first.append((seconds, length))
      is_early = not is_whole or (not self._rates and elapsed < _PATIENCE)
      if is_first and is_early:
        return None  # Mostly compilation: the next one tells more.
      if not is_first:
        self._before = max(0.0, first[0][0] - rate * first[0][1])
        self._rates[work.flops] = rate
      elif work.flops not in self._rates:
        rate = max(seconds - self._before, seconds / 10) / length
        self._rates[work.flops] = rate
      rest = [w for key, w in self._ahead.items() if key != name]
      if any(map(self._is_unknown, rest)):
        return None
      left = self._rates[work.flops] * (work.num_steps - step)
      left += sum(map(self._seconds, rest))
      if not self._is_told:
        self._is_told = True
        self._tell(elapsed + left)
      return left if rest else None

    return watch

  def _is_unknown(self, work: Work) -> bool:
    """Returns whether no timed step is large enough to estimate this one."""
    return work.flops > _MOST_SCALING * max(self._rates)

  def _seconds(self, work: Work) -> float:
    """Returns the estimate for a training that has not begun."""
    if work.flops in self._rates:
      return self._rates[work.flops] * work.num_steps
    timed = min(self._rates, key=lambda flops: _ratio(flops, work.flops))
    rate = self._rates[timed] * work.flops / max(1, timed)
    return self._before + rate * work.num_steps

  def _tell(self, seconds: float) -> None:
    if processes.is_main_process():
      text = f"About {duration(seconds)} for {self._contents}."
      print(text, file=sys.stderr, flush=True)


def _ratio(first: int, second: int) -> float:
  """Returns how many times the larger of two numbers is the smaller."""
  return max(first, second) / max(1, min(first, second))


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
  """Returns the number and the steps of trainings, and the devices.

  Returns "" if there are none.
  """
  parts = []
  for kind in ("teacher", "stack"):
    # A pretrained teacher that is taken as it is has no steps.
    counts = [w.num_steps for name, w in ahead.items() if name[0] == kind]
    if steps := [count for count in counts if count]:
      span = " to ".join(f"{x:,}" for x in sorted({min(steps), max(steps)}))
      parts.append(f"{counted(len(steps), kind)} of {span} steps")
  if not parts:
    return ""
  platform = jax.devices()[0].platform.upper()
  devices = counted(jax.device_count(), f"{platform} device")
  return f"{' and '.join(parts)}, on {devices}"
