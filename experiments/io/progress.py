"""Progress of long loops on standard error.

On a terminal, one line is rewritten in place. In a log, whole lines are printed
instead: the first, the last, and between them at most one every 10 seconds.
"""

import datetime
import math
import shutil
import sys
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sized
from typing import Any
from typing import Self
from typing import TypeVar

from experiments.distributed import signals

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_REWRITES = 0.1
_ITEMS_PER_UPDATE = 1000


class Progress:
  """Prints the progress of a loop, its speed, the time left and metrics.

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
    """Starts the clock, and prints nothing until the first update.

    Args:
      total: The number of units of the whole loop, or an upper bound.
      label: The name of the work, one or two words.
      unit: The name of one unit.
      initial: The number of units that are already done, after a resume.
      examples_per_unit: The number of examples in a unit, summed over the cells
        of a stack. None does not show examples per second.
      shown: Whether to print. With several processes, only one should.
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
    # The time and the number of units from which the rate is measured. The
    # first update sets them again, because it includes compilation.
    self._rate_from = (time.monotonic(), initial)
    self._knows_rate = False
    self._printed_at = -math.inf
    self._printed_done = initial
    self._width = 0

  def update(
    self, n: int = 1, *, left_in_all: float | None = None, **values: Any
  ) -> None:
    """Counts finished units, and prints a line if enough time has passed.

    Args:
      n: The number of units finished since the last update.
      left_in_all: The seconds until the end of all work, if there is more work
        after this loop.
      **values: Numbers or strings to print, such as the accuracy.
    """
    first = self._done == self._initial
    self._done += n
    self._values = values
    self._left_in_all = left_in_all
    now = time.monotonic()
    # The first update of a training includes compilation.
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
    # A wrapped line cannot be rewritten, and a shorter line has to overwrite
    # all of the previous line.
    line = line[: shutil.get_terminal_size().columns - 1]
    text = f"\r{line.ljust(self._width)}"
    print(text, end="", file=self._stream, flush=True)
    self._width = len(line)


def _time(seconds: float) -> str:
  return str(datetime.timedelta(seconds=round(seconds)))


def tracked(
  items: Iterable[Item],
  *,
  label: str,
  unit: str = "example",
  total: int | None = None,
) -> Iterator[Item]:
  """Yields the items of a long loop, prints progress and stops after signals.

  Args:
    items: The items.
    label: The name of the work, one or two words.
    unit: The name of one item.
    total: The number of items, or an upper bound; by default their length.

  Yields:
    Each item.

  Raises:
    Interrupted: If this process received a signal in `signals.deferred`.
  """
  if total is None:
    assert isinstance(items, Sized)
    total = len(items)
  with Progress(total, label=label, unit=unit) as progress:
    done = 0
    for number, item in enumerate(items):
      if number % _ITEMS_PER_UPDATE == 0:
        signals.stop_if_asked("nothing is written yet", all_processes=False)
      yield item
      done += 1
      if done == _ITEMS_PER_UPDATE:
        progress.update(done)
        done = 0
    if done:
      progress.update(done)
