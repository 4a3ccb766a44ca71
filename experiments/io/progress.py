"""How far a run is: a bar on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable
from typing import Any
from typing import Self
from typing import TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
  """Shows steps, examples a second, the time left, and current numbers.

  On a terminal it is a bar. Anywhere else, where a bar fills a log with
  thousands of pieces, it is a plain line: the first, the last, and in between
  one every 10 seconds at most.

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
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Shows nothing yet on a log, and an empty bar on a terminal.

    Args:
      total: The number of units that there are to do.
      label: What is being done, in a word or two.
      unit: What one of them is called.
      initial: How many were done before, by the run that this one continues.
      examples_per_unit: Shown as a rate if given: a batch's examples, counted
        once for each cell of a stack.
      stream: Where to; standard error if None.
      clock: Returns the time in seconds.
    """
    self._total = total
    self._label = label
    self._unit = unit
    self._done = initial
    self._examples_per_unit = examples_per_unit
    self._stream = sys.stderr if stream is None else stream
    self._clock = clock
    # The rate counts from here: moved to the first update's end, as that one
    # is mostly compilation.
    self._rate_from = (clock(), initial)
    self._updates = 0
    self._text = ""
    self._line_time: float | None = None
    self._line_done: int | None = None
    self._bar: tqdm | None = None
    if self._stream.isatty():
      # With miniters tqdm looks at the clock itself, and needs no thread to
      # notice when updates become rare.
      self._bar = tqdm(
        total=total,
        initial=initial,
        desc=label,
        unit=unit,
        file=self._stream,
        dynamic_ncols=True,
        miniters=1,
      )

  def update(self, n: int = 1, **fields: Any) -> None:
    """Counts units that are done now, and shows numbers beside them.

    Args:
      n: How many more are done.
      **fields: Numbers or strings, by name: the loss, the accuracy.
    """
    self._done += n
    self._updates += 1
    now = self._clock()
    self._text = ", ".join(
      [*self._rate(now), *(f"{k} {_short(v)}" for k, v in fields.items())]
    )
    if self._updates == 1:
      self._rate_from = (now, self._done)
    if self._bar is not None:
      self._bar.set_postfix_str(self._text, refresh=False)
      self._bar.update(n)
    elif (
      self._line_time is None
      or self._done >= self._total
      or now - self._line_time >= _SECONDS_BETWEEN_LINES
    ):
      self._write_line(now)

  def close(self) -> None:
    """Shows where it ended; twice does no harm."""
    if self._bar is not None:
      self._bar.close()
    elif self._updates and self._line_done != self._done:
      self._write_line(self._clock())

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _rate(self, now: float) -> list[str]:
    """Returns examples a second, and off a terminal the time left."""
    since, done = self._rate_from
    if now <= since or self._done <= done:
      return []
    units_per_second = (self._done - done) / (now - since)
    texts = []
    if self._examples_per_unit is not None:
      examples = units_per_second * self._examples_per_unit
      texts.append(f"{_thousands(examples)} examples/s")
    left = self._total - self._done
    if self._bar is None and left > 0:  # tqdm shows its own.
      texts.append(f"{_duration(left / units_per_second)} left")
    return texts

  def _write_line(self, now: float) -> None:
    share = f" ({self._done / self._total:.0%})" if self._total else ""
    line = f"{self._label}: {self._done}/{self._total} {self._unit}s{share}"
    if self._text:
      line = f"{line}, {self._text}"
    print(line, file=self._stream, flush=True)
    self._line_time = now
    self._line_done = self._done


def _short(value: Any) -> str:
  """A number in four digits; anything else as it is."""
  if isinstance(value, str | int):
    return str(value)
  return f"{float(value):.4g}"


def _thousands(value: float) -> str:
  """A rate in three digits."""
  for unit in ("", "k", "M"):
    if value < 999.5:
      return f"{value:.3g}{unit}"
    value /= 1000
  return f"{value:.3g}G"


def _duration(seconds: float) -> str:
  """A time in its two largest units."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  days, hours = divmod(hours, 24)
  if days:
    return f"{days}d{hours:02d}h"
  if hours:
    return f"{hours}h{minutes:02d}m"
  return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
