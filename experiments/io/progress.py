"""Progress of long loops on standard error.

On a terminal one line is rewritten in place. Anywhere else, where that would
fill a log with thousands of fragments, plain lines are printed: the first, the
last, and in between at most one every 10 seconds.
"""

import datetime
import math
import shutil
import sys
import time
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import Self
from typing import TypeVar

from experiments.distributed import signals

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_REWRITES = 0.1
_ITEMS_PER_UPDATE = 1000


class Progress:
  """Shows units done, examples per second, the time left and current values.

  with Progress(1000, label="student", examples_per_unit=64) as progress:
    for step in range(1000):
      ...
      progress.update(accuracy=accuracy)
  """

  def __init__(
    self,
    total: int,
    *,
    label: str,
    unit: str = "step",
    initial: int = 0,
    examples_per_unit: int | None = None,
    shown: bool = True,
  ):
    """Prints nothing until the first update.

    Args:
      total: The number of units of the whole loop, or an upper bound.
      label: The name of the work, one or two words.
      unit: The name of one unit.
      initial: The number of units done by the run that this one continues.
      examples_per_unit: The examples in a unit, summed over the cells of a
        stack, to show examples per second; None shows no rate.
      shown: Whether to print at all. Of several processes, one should.
    """
    self._total = total
    self._label = label
    self._unit = unit
    self._done = self._initial = initial
    self._examples_per_unit = examples_per_unit
    self._shown = shown
    self._stream = sys.stderr
    self._terminal = self._stream.isatty()
    self._values: dict[str, Any] = {}
    self._left_in_all: float | None = None
    # The rate is measured from here. The first update moves it to its own end,
    # because its time is mostly compilation.
    self._rate_from = (time.monotonic(), initial)
    self._knows_rate = False
    self._printed_at = -math.inf
    self._printed_done = initial
    self._width = 0

  def update(
    self, n: int = 1, *, left_in_all: float | None = None, **values: Any
  ) -> None:
    """Counts finished units, and prints a line if the last one is old.

    Args:
      n: The number of units finished since the last update.
      left_in_all: The seconds until the end of all work, if more comes after
        this loop.
      **values: Numbers or strings to show, such as the accuracy.
    """
    first = self._done == self._initial
    self._done += n
    self._values = values
    self._left_in_all = left_in_all
    now = time.monotonic()
    # The first steps of a training include the compilation.
    self._knows_rate = not first or self._examples_per_unit is None
    wait = _SECONDS_BETWEEN_LINES
    if self._terminal:
      wait = _SECONDS_BETWEEN_REWRITES
    if self._done >= self._total or now - self._printed_at >= wait:
      self._print(now, finished=self._done >= self._total)
    if first:
      self._rate_from = (now, self._done)

  def close(self) -> None:
    """Prints the last line; calling it again does nothing."""
    if self._printed_done != self._done:
      self._print(time.monotonic(), finished=True)
    if self._width:
      print(file=self._stream, flush=True)
    self._width = 0

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _print(self, now: float, *, finished: bool) -> None:
    self._printed_at, self._printed_done = now, self._done
    if not self._shown:
      return
    share = f" ({self._done / self._total:.0%})" if self._total else ""
    parts = [f"{self._label}: {self._done}/{self._total} {self._unit}s{share}"]
    seconds, units = now - self._rate_from[0], self._done - self._rate_from[1]
    if seconds > 0 and units:
      if self._examples_per_unit is not None:
        rate = units * self._examples_per_unit / seconds
        parts.append(f"{rate:,.0f} examples/s")
      if not finished and self._knows_rate:
        left = (self._total - self._done) * seconds / units
        parts.append(f"{_time(left)} left")
    if self._left_in_all is not None:
      parts.append(f"{_time(self._left_in_all)} left in all")
    for name, value in self._values.items():
      text = str(value) if isinstance(value, str | int) else f"{value:.4g}"
      parts.append(f"{name} {text}")
    line = ", ".join(parts)
    if not self._terminal:
      print(line, file=self._stream, flush=True)
      return
    # A line that wraps could not be rewritten, and a shorter one has to cover
    # all of the line before it.
    line = line[: shutil.get_terminal_size().columns - 1]
    text = f"\r{line.ljust(self._width)}"
    print(text, end="", file=self._stream, flush=True)
    self._width = len(line)


def _time(seconds: float) -> str:
  return str(datetime.timedelta(seconds=round(seconds)))


def tracked(
  items: Iterable[Item],
  *,
  total: int,
  label: str,
  unit: str,
  saved: str,
) -> Iterator[Item]:
  """Yields the items of a long loop, shows progress and obeys signals.

  Args:
    items: The items.
    total: The number of items, or an upper bound.
    label: As for `Progress`, and so is `unit`.
    unit: The name of one item.
    saved: Clause on the saved work, for the message after a signal.

  Yields:
    Each item.

  Raises:
    Interrupted: If this process received a signal, see `signals.deferred`.
  """
  with Progress(total, label=label, unit=unit) as progress:
    done = 0
    for number, item in enumerate(items):
      if number % _ITEMS_PER_UPDATE == 0:
        signals.stop_if_asked(saved, all_processes=False)
      yield item
      done += 1
      if done == _ITEMS_PER_UPDATE:
        progress.update(done)
        done = 0
    if done:
      progress.update(done)
