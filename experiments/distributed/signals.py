"""Graceful stop on SIGINT and SIGTERM: a run saves its state, then exits.

Signals belong to the process, so their flag is a global of this module: inside
`deferred` a signal only sets it, and the code that has just saved something
calls `stop_if_asked`.
"""

import contextlib
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


_requested: str | None = None
_installed = False


def requested() -> str | None:
  """Returns the name of the first signal that this process received, if any.

  It is None outside of `deferred`.
  """
  return _requested


def stop_if_asked(saved: str, *, all_processes: bool = True) -> None:
  """Stops the run if this or another of its processes received a signal.

  `saved` says for the message what is saved and where. With `all_processes` all
  processes call this at the same point of their work and stop together;
  otherwise this process decides alone. Raises Interrupted.
  """
  stop = _requested is not None
  if processes.any_process(stop) if all_processes else stop:
    raise Interrupted(_requested or "a signal to another process", saved)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
  """Turns SIGINT and SIGTERM into a flag while the context is active.

  A second SIGINT raises KeyboardInterrupt at once: a user who presses Ctrl-C
  twice does not want to wait. Contexts can be nested; the outermost one
  installs the handlers, and clears the flag at its end. Python delivers
  signals to the main thread only, so in any other thread this does nothing.
  """
  global _installed, _requested
  in_main_thread = threading.current_thread() is threading.main_thread()
  if _installed or not in_main_thread:
    yield
    return
  seen_interrupt = False

  def handle(number: int, _: FrameType | None) -> None:
    global _requested
    nonlocal seen_interrupt
    if number == signal.SIGINT and seen_interrupt:
      raise KeyboardInterrupt
    seen_interrupt = seen_interrupt or number == signal.SIGINT
    name = signal.Signals(number).name
    _requested = _requested or name
    # Not print(), which this very signal may have interrupted.
    hint = "; once more stops at once" if number == signal.SIGINT else ""
    with contextlib.suppress(OSError):
      os.write(2, f"\n{name}: saving, then stopping{hint}.\n".encode())

  previous = {number: signal.signal(number, handle) for number in _SIGNALS}
  _installed = True
  try:
    yield
  finally:
    for number, handler in previous.items():
      # A handler that was not installed from Python is None.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)
    _installed, _requested = False, None
