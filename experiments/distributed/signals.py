"""Graceful stop on SIGINT and SIGTERM: a run saves its state, then exits.

Inside `deferred`, a signal only sets a flag, a global variable of this module.
The code that has just saved its state calls `stop_if_asked`, which raises an
error if the flag is set.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from experiments.distributed import processes
from experiments.distributed.processes import Interrupted

# EX_TEMPFAIL of sysexits.h: the command has not finished, and may be run again.
EXIT_INTERRUPTED = 75

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


_requested: str | None = None
_installed = False


def requested() -> str | None:
  """Returns the name of the first signal that this process received, or None.

  It is always None outside of `deferred`.
  """
  return _requested


def stop_if_asked(saved: str, *, all_processes: bool = True) -> None:
  """Stops the run if one of its processes received a signal.

  Args:
    saved: A clause about the saved work and its place, for the message.
    all_processes: Whether all processes call this at the same point of their
      work, and stop together. Otherwise this process decides alone.

  Raises:
    Interrupted: If the run has to stop.
  """
  stop = _requested is not None
  if processes.any_process(stop) if all_processes else stop:
    raise Interrupted(_requested or "a signal to another process", saved)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
  """Makes SIGINT and SIGTERM set a flag while the context is active.

  A second SIGINT (Ctrl-C) raises KeyboardInterrupt immediately. Contexts may be
  nested: the outermost one installs the handlers, and clears the flag at its
  end. In threads other than the main thread this does nothing, since Python
  delivers signals only to the main thread.
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
    # Not print(), because the signal may have interrupted a print().
    hint = "; once more stops at once" if number == signal.SIGINT else ""
    with contextlib.suppress(OSError):
      os.write(2, f"\n{name}: saving, then stopping{hint}.\n".encode())

  previous = {number: signal.signal(number, handle) for number in _SIGNALS}
  _installed = True
  try:
    yield
  finally:
    for number, handler in previous.items():
      # `handler` is None if it was not installed from Python.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)
    _installed, _requested = False, None
