"""Errors of Orbax that are not printed, and others that are."""

import sys
import types

from absl import logging

from experiments.io.quiet import quiet_orbax


def logged(path, level, text):
  logger = logging.get_absl_logger()
  logger.handle(logger.makeRecord("absl", level, path, 1, text, (), None))


def unraisable(error):
  sys.unraisablehook(types.SimpleNamespace(exc_value=error))


def test_what_is_raised_as_well_is_not_printed(caplog, monkeypatch):
  seen = []
  hook = seen.append
  monkeypatch.setattr(sys, "unraisablehook", hook)
  with quiet_orbax():
    logged("/site-packages/orbax/checkpoint/futures.py", 40, "on a thread")
    logged("/site-packages/orbax/checkpoint/futures.py", 30, "a warning")
    logged("/checkout/experiments/io/checkpoints.py", 40, "ours")
    unraisable(RuntimeError("Event loop is closed"))
    unraisable(RuntimeError("another"))
  logged("/site-packages/orbax/checkpoint/futures.py", 40, "afterwards")
  assert caplog.messages == ["a warning", "ours"]
  assert [str(x.exc_value) for x in seen] == ["another"]
  assert sys.unraisablehook is hook
