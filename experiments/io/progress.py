"""Progress of long loops on standard error.

On a terminal one line is rewritten in place. Anywhere else, where that would
fill a log with thousands of fragments, plain lines are printed: the first, the
last, and in between at most one every 10 seconds.
"""

import shutil
import sys
import time
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import Self
from typing import TextIO
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
    stream: TextIO | None = None,
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
      stream: Where to print; standard error if None.
    """
    self._total = total
    self._label = label
    self._unit = unit
    self._done = self._initial = initial
    self._examples_per_unit = examples_per_unit
    self._shown = shown
    self._stream = sys.stderr if stream is None else stream
    self._terminal = self._stream.isatty()
    self._values: dict[str, Any] = {}
    # The rate is measured from here. The first update moves it to its own end,
    # because its time is mostly compilation.
    self._rate_from = (time.monotonic(), initial)
    self._printed: tuple[float, int] | None = None  # When, and units done.
    self._width = 0

  def update(self, n: int = 1, **values: Any) -> None:
    """Counts finished units, and prints a line if the last one is old.

    Args:
      n: The number of units finished since the last update.
      **values: Numbers or strings to show, such as the accuracy.
    """
    first = self._done == self._initial
    self._done += n
    self._values = values
    now = time.monotonic()
    rate = self._units_per_second(now)
    if first:
      self._rate_from = (now, self._done)
    wait = _SECONDS_BETWEEN_LINES
    if self._terminal:
      wait = _SECONDS_BETWEEN_REWRITES
    old = self._printed is None or now - self._printed[0] >= wait
    if old or self._done >= self._total:
      self._print(now, rate, finished=self._done >= self._total)

  def close(self) -> None:
    """Prints the last line; calling it again does nothing."""
    now = time.monotonic()
    if self._printed is None and self._done == self._initial:
      return
    if self._printed is None or self._printed[1] != self._done:
      self._print(now, self._units_per_second(now), finished=True)
    if self._terminal and self._shown:
      print(file=self._stream, flush=True)
    self._terminal = False

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _units_per_second(self, now: float) -> float | None:
    since, done = self._rate_from
    if now <= since or self._done <= done:
      return None
    return (self._done - done) / (now - since)

  def _print(self, now: float, rate: float | None, *, finished: bool) -> None:
    self._printed = now, self._done
    if not self._shown:
      return
    share = f" ({self._done / self._total:.0%})" if self._total else ""
    parts = [f"{self._label}: {self._done}/{self._total} {self._unit}s{share}"]
    if rate and self._examples_per_unit is not None:
      parts.append(f"{_thousands(rate * self._examples_per_unit)} examples/s")
    if rate and not finished:
      parts.append(f"{_duration((self._total - self._done) / rate)} left")
    parts += [f"{name} {_short(value)}" for name, value in self._values.items()]
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


def tracked(
  items: Iterable[Item],
  *,
  total: int,
  label: str,
  unit: str,
  saved: str,
  stream: TextIO | None = None,
) -> Iterator[Item]:
  """Yields the items of a long loop, shows progress and obeys signals.

  Args:
    items: The items.
    total: The number of items, or an upper bound.
    label: As for `Progress`, and so are `unit` and `stream`.
    unit: The name of one item.
    saved: What is saved and where, for the message after a signal.
    stream: Where to print.

  Yields:
    Each item.

  Raises:
    Interrupted: If this process received a signal, see `signals.deferred`.
  """
  with Progress(total, label=label, unit=unit, stream=stream) as progress:
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


def _short(value: Any) -> str:
  """Formats a number with four digits, and anything else as it is."""
  return str(value) if isinstance(value, str | int) else f"{float(value):.4g}"


def _thousands(value: float) -> str:
  """Formats a rate with three digits."""
  for unit in ("", "k", "M"):
    if value < 999.5:
      return f"{value:.3g}{unit}"
    value /= 1000
  return f"{value:.3g}G"


def _duration(seconds: float) -> str:
  """Formats a duration in its two largest units."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  days, hours = divmod(hours, 24)
  if days:
    return f"{days}d{hours:02d}h"
  if hours:
    return f"{hours}h{minutes:02d}m"
  return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
