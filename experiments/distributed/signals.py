"""SIGINT and SIGTERM as a flag, so that a run can save before it stops."""

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from experiments.distributed import processes
from experiments.distributed.processes import Interrupted

# EX_TEMPFAIL of sysexits.h: not finished, and worth starting again.
EXIT_INTERRUPTED = 75

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclasses.dataclass
class Interrupts:
  """What has been asked of the process.

  Attributes:
    requested: The name of the first signal that came, or None.
  """

  requested: str | None = None


def stop_if_asked(signals: Interrupts, saved: str) -> None:
  """Stops all processes if one of them was asked to; all call it together.

  Args:
    signals: What was asked of this one.
    saved: What is saved and where.

  Raises:
    Interrupted: In every process.
  """
  if processes.any_process(signals.requested is not None):
    name = signals.requested or "a signal to another process"
    raise Interrupted(name, saved)


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
  """Turns SIGINT and SIGTERM into a flag for as long as it is entered.

  A run looks at the flag where it has saved, see `stop_if_asked`. Who presses
  Ctrl-C twice does not want to wait for that: the second SIGINT raises
  KeyboardInterrupt at once. Only the main thread receives signals, so in
  another this does nothing.

  Yields:
    The flag.
  """
  state = Interrupts()
  if threading.current_thread() is not threading.main_thread():
    yield state
    return
  seen_interrupt = False

  def handle(number: int, frame: FrameType | None) -> None:
    nonlocal seen_interrupt
    del frame
    if number == signal.SIGINT and seen_interrupt:
      raise KeyboardInterrupt
    seen_interrupt = seen_interrupt or number == signal.SIGINT
    name = signal.Signals(number).name
    if state.requested is None:
      state.requested = name
    # print() may have been interrupted by this very signal.
    hint = "; once more stops at once" if number == signal.SIGINT else ""
    with contextlib.suppress(OSError):
      os.write(2, f"\n{name}: saving, then stopping{hint}.\n".encode())

  previous = {number: signal.signal(number, handle) for number in _SIGNALS}
  try:
    yield state
  finally:
    for number, handler in previous.items():
      # None is a handler that was not installed from Python.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)
