"""Folders held against others: who is named, who waits, who stops waiting."""

import os
import pathlib
import signal
import socket
import threading

import pytest

from experiments.distributed import signals
from experiments.distributed.signals import Interrupted
from experiments.io import locks

ME = f"process {os.getpid()} on {socket.gethostname()}"


def test_who_holds_a_folder_is_named_while_it_is_held(tmp_path):
  with locks.claim(tmp_path) as held, locks.claim(tmp_path) as again:
    assert held
    assert not again
    assert (tmp_path / ".lock").read_text() == ME
  assert (tmp_path / ".lock").read_text() == ""
  with locks.claim(tmp_path) as held:
    assert held


@pytest.mark.parametrize("path", ["gone/a", "file/a"])
def test_a_folder_that_cannot_be_created_is_named_at_once(
  tmp_path, monkeypatch, path
):
  (tmp_path / "file").write_text("")
  (tmp_path / "gone").mkdir()
  monkeypatch.chdir(tmp_path / "gone")
  (tmp_path / "gone").rmdir()
  folder = pathlib.Path("a") if path == "gone/a" else tmp_path / path
  with (
    pytest.raises(OSError, match=f"^cannot create {folder}: "),
    locks.exclusive_when_free(folder),
  ):
    pass


def test_what_a_killed_holder_left_is_overwritten(tmp_path):
  (tmp_path / ".lock").write_text("process 1 on a machine with a longer name")
  with locks.claim(tmp_path):
    assert (tmp_path / ".lock").read_text() == ME


@pytest.mark.parametrize("all_processes", [True, False])
def test_waiting_ends_when_the_folder_is_free(
  tmp_path, monkeypatch, capsys, all_processes
):
  monkeypatch.setattr(locks, "_SECONDS_OF_SILENCE", 0.0)
  monkeypatch.setattr(locks, "_SECONDS_BETWEEN_ATTEMPTS", 0.01)
  held, free = threading.Event(), threading.Event()

  def hold():
    with locks.claim(tmp_path):
      held.set()
      free.wait()

  other = threading.Thread(target=hold)
  other.start()
  held.wait()
  threading.Timer(0.1, free.set).start()
  with locks.exclusive_when_free(tmp_path, all_processes=all_processes):
    assert free.is_set()
  other.join()
  said = f"waiting for {ME}, which works in {tmp_path}.\n"
  assert capsys.readouterr().err == said


@pytest.mark.parametrize("all_processes", [True, False])
def test_a_short_wait_prints_nothing_and_ends_at_a_signal(
  tmp_path, capsys, all_processes
):
  with signals.deferred():
    signal.raise_signal(signal.SIGTERM)
    with (
      locks.claim(tmp_path),
      pytest.raises(Interrupted, match="SIGTERM"),
      locks.exclusive_when_free(tmp_path, all_processes=all_processes),
    ):
      pass
    assert capsys.readouterr().err == ""
    # A free folder is taken; reacting to the signal is left to the caller.
    with locks.exclusive_when_free(tmp_path, all_processes=all_processes):
      pass
