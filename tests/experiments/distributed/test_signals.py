"""Signals: a flag first, KeyboardInterrupt on the second Ctrl-C."""

import signal
import threading

import pytest

from experiments.distributed import signals


def handlers():
  return [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_sets_the_flag_of_the_outermost_context(name, capfd):
  before = handlers()
  for _ in range(2):  # Each use starts without a flag.
    with signals.deferred():
      assert signals.requested() is None
      signals.stop_if_asked("nothing")
      with signals.deferred():
        signal.raise_signal(getattr(signal, name))
      assert signals.requested() == name
      assert handlers() != before
    assert handlers() == before
    assert signals.requested() is None
    assert f"{name}: saving, then stopping" in capfd.readouterr().err


@pytest.mark.parametrize("all_processes", [True, False])
def test_stopping_says_what_is_saved_and_how_to_go_on(all_processes):
  with signals.deferred():
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(signals.Interrupted) as caught:
      signals.stop_if_asked("step 1200 is saved", all_processes=all_processes)
  assert (caught.value.requested, caught.value.saved) == (
    "SIGTERM",
    "step 1200 is saved",
  )
  assert str(caught.value) == (
    "stopped by SIGTERM; step 1200 is saved: run the same command again to "
    "continue from there."
  )
  assert signals.EXIT_INTERRUPTED == 75


def test_the_second_sigint_stops_at_once():
  before = handlers()
  with signals.deferred():
    for _ in range(3):  # A scheduler that insists does not stop the saving.
      signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
    assert signals.requested() == "SIGTERM"
  assert handlers() == before


def test_handlers_come_back_after_an_exception():
  seen = []
  old = signal.signal(signal.SIGTERM, lambda *_: seen.append("old"))
  try:
    with pytest.raises(RuntimeError), signals.deferred():
      raise RuntimeError
    signal.raise_signal(signal.SIGTERM)
    assert seen == ["old"]
  finally:
    signal.signal(signal.SIGTERM, old)


def test_another_thread_installs_no_handlers():
  before = handlers()
  seen = []

  def work():
    with signals.deferred():
      seen.append((signals.requested(), handlers() == before))

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [(None, True)]
