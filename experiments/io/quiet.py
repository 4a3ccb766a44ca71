"""Suppresses errors that Orbax's threads print."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from absl import logging as absl_logging


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
  """Suppresses the error messages of Orbax's threads.

  `Checkpoints` raises these errors anyway. On a full disk, the threads would
  log hundreds of lines, and TensorStore would call back into an event loop that
  Orbax has already closed.
  """
  logger, hook = absl_logging.get_absl_logger(), sys.unraisablehook

  def unraisable(unraised: Any) -> None:
    if str(unraised.exc_value) != "Event loop is closed":
      hook(unraised)

  # The filter is not removed, since the threads may log errors after the run
  # has ended.
  logger.addFilter(_is_not_orbax_error)
  sys.unraisablehook = unraisable
  try:
    yield
  finally:
    sys.unraisablehook = hook


def _is_not_orbax_error(record: logging.LogRecord) -> bool:
  return record.levelno < logging.ERROR or "orbax" not in record.pathname
