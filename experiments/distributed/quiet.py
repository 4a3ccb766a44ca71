"""What threads of other libraries print beside the error that they raise."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

from absl import logging as absl_logging


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Keeps Orbax's threads from printing what `Checkpoints` raises anyway.

  On a full disk they log hundreds of lines before the one that says so, and
  TensorStore has answers for an event loop that Orbax has closed by then.
  """
  logger, hook = absl_logging.get_absl_logger(), sys.unraisablehook

  def unraisable(unraised: Any) -> None:
    if str(unraised.exc_value) != "Event loop is closed":
      hook(unraised)

  # For good: threads go on after the error that ends the run is reported.
  logger.addFilter(_is_news)
  sys.unraisablehook = unraisable
  try:
    yield
  finally:
    sys.unraisablehook = hook


def _is_news(record: logging.LogRecord) -> bool:
  return record.levelno < logging.ERROR or "orbax" not in record.pathname
