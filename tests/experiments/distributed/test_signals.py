"""Signals: a flag first, KeyboardInterrupt on the second Ctrl-C."""

import signal
import threading

import pytest

from experiments.distributed import signals as interrupts_lib


def handlers():
  return [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_sets_the_flag_and_nothing_else(name, capfd):
  before = handlers()
  with interrupts_lib.interrupts() as state:
    assert state.requested is None
    assert handlers() != before
    signal.raise_signal(getattr(signal, name))
    assert state.requested == name
  assert handlers() == before
  assert state.requested == name
  assert f"{name}: saving, then stopping" in capfd.readouterr().err


def test_the_second_sigint_stops_at_once():
  before = handlers()
  with interrupts_lib.interrupts() as state:
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
    assert state.requested == "SIGINT"
  assert handlers() == before


def test_a_scheduler_that_insists_does_not_stop_the_saving():
  with interrupts_lib.interrupts() as state:
    for _ in range(3):
      signal.raise_signal(signal.SIGTERM)
    # And one Ctrl-C after it is still the first.
    signal.raise_signal(signal.SIGINT)
    assert state.requested == "SIGTERM"
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)


def test_handlers_come_back_after_an_exception():
  seen = []
  old = signal.signal(signal.SIGTERM, lambda *_: seen.append("old"))
  try:
    with pytest.raises(RuntimeError), interrupts_lib.interrupts():
      raise RuntimeError
    signal.raise_signal(signal.SIGTERM)
    assert seen == ["old"]
  finally:
    signal.signal(signal.SIGTERM, old)


def test_each_use_counts_from_nothing():
  for _ in range(2):
    with interrupts_lib.interrupts() as state:
      assert state.requested is None
      signal.raise_signal(signal.SIGINT)
      assert state.requested == "SIGINT"


def test_another_thread_gets_a_flag_that_stays_down():
  before = handlers()
  seen = []

  def work():
    with interrupts_lib.interrupts() as state:
      seen.append((state.requested, handlers() == before))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [(None, True)]


def test_the_message_says_where_and_how_to_go_on():
  error = interrupts_lib.Interrupted(
    "SIGTERM", "step 1200 is saved in /runs/a/checkpoints"
  )
  assert str(error) == (
    "stopped by SIGTERM; step 1200 is saved in /runs/a/checkpoints: "
    "run the same command again to continue from there."
  )
  assert interrupts_lib.EXIT_INTERRUPTED == 75
