"""Suppression of the errors that Orbax's threads print."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from absl import logging as absl_logging


@contextlib.contextmanager
def quiet_orbax() -> Iterator[None]:
  """Suppresses errors of Orbax's threads, which `Checkpoints` raises anyway.

  On a full disk the threads log hundreds of lines, and TensorStore calls back
  into an event loop that Orbax has closed by then.
  """
  logger, hook = absl_logging.get_absl_logger(), sys.unraisablehook

  def unraisable(unraised: Any) -> None:
    if str(unraised.exc_value) != "Event loop is closed":
      hook(unraised)

  # The filter stays: the threads go on after the run's error is reported.
  logger.addFilter(_is_not_orbax_error)
  sys.unraisablehook = unraisable
  try:
    yield
  finally:
    sys.unraisablehook = hook


def _is_not_orbax_error(record: logging.LogRecord) -> bool:
  return record.levelno < logging.ERROR or "orbax" not in record.pathname
