"""Progress: lines in a log at a bounded rate, one line on a terminal."""

import contextlib
import io
import signal

import pytest

from experiments.distributed import signals
from experiments.io import progress as progress_lib
from experiments.io.progress import Progress
from experiments.io.progress import tracked


class Terminal(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """The time that `Progress` reads, in a list of one number."""
  now = [100.0]
  monkeypatch.setattr(progress_lib.time, "monotonic", lambda: now[0])
  return now


def lines(clock, updates, **options):
  """Lines after updates, each given its seconds and the units done in them."""
  with contextlib.redirect_stderr(io.StringIO()) as stream:
    with Progress(label="train", **options) as progress:
      for seconds, units in updates:
        clock[0] += seconds
        progress.update(units, accuracy=0.50049)
  return stream.getvalue().splitlines()


@pytest.mark.parametrize(
  ("total", "seconds", "steps"),
  [
    (100, 1.0, [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]),
    (5, 60.0, [1, 2, 3, 4, 5]),
    (100, 0.01, [1, 100]),
  ],
)
def test_a_log_has_the_first_the_last_and_a_line_every_ten_seconds(
  clock, total, seconds, steps
):
  found = lines(clock, [(seconds, 1)] * total, total=total)
  assert [int(line.split()[1].split("/")[0]) for line in found] == steps


def test_a_line_has_position_rate_time_left_and_values(clock):
  # The first step compiles for 30 s, which must not lower later rates.
  updates = [(30, 1)] + 9 * [(20, 1)]
  found = lines(clock, updates, total=10, examples_per_unit=64)
  assert [found[0], found[5], found[9]] == [
    "train: 1/10 steps (10%), 2 examples/s, accuracy 0.5005",
    "train: 6/10 steps (60%), 3 examples/s, 0:01:20 left, accuracy 0.5005",
    "train: 10/10 steps (100%), 3 examples/s, accuracy 0.5005",
  ]


def test_a_resumed_run_counts_on_and_its_rate_is_its_own(clock):
  options = {"total": 1000, "initial": 900, "examples_per_unit": 2}
  assert lines(clock, [(10, 50), (10, 25)], **options) == [
    "train: 950/1000 steps (95%), 10 examples/s, accuracy 0.5005",
    "train: 975/1000 steps (98%), 5 examples/s, 0:00:10 left, accuracy 0.5005",
  ]


def test_a_loop_that_ends_early_is_not_said_to_go_on(clock):
  assert lines(clock, 7 * [(0.1, 1)], total=100, unit="cell") == [
    "train: 1/100 cells (1%), 0:00:10 left, accuracy 0.5005",
    "train: 7/100 cells (7%), accuracy 0.5005",
  ]


def test_nothing_is_printed_without_updates_or_where_it_is_hidden():
  with contextlib.redirect_stderr(Terminal()) as stream:
    Progress(0, label="x").close()
    with Progress(3, label="x", shown=False) as progress:
      progress.update()
  assert stream.getvalue() == ""


def test_a_terminal_gets_one_line(clock, monkeypatch):
  monkeypatch.setenv("COLUMNS", "60")
  with contextlib.redirect_stderr(Terminal()) as stream:
    with Progress(10, label="teacher") as progress:
      for i in range(4):
        clock[0] += 0.06
        progress.update(phase="x" * 50 if i == 0 else "train")
  written = stream.getvalue()
  assert written.endswith("\n")
  assert written.count("\n") == 1
  _, *shown = written[:-1].split("\r")
  assert [text.split()[1] for text in shown] == ["1/10", "3/10", "4/10"]
  assert len(shown[0]) == len(shown[1]) == 59  # All of the first is covered.
  assert shown[-1].rstrip() == "teacher: 4/10 steps (40%), phase train"


def test_tracked_items_pass_and_end_at_a_signal(capsys):
  options = {"label": "read", "unit": "line"}
  assert list(tracked(range(2500), total=3000, **options)) == [*range(2500)]
  *_, last = capsys.readouterr().err.splitlines()
  assert last == "read: 2500/3000 lines (83%)"
  assert list(tracked([], **options)) == []
  passed = []

  def interrupted():
    for item in tracked(range(5000), **options):
      passed.append(item)
      if item == 1500:
        signal.raise_signal(signal.SIGTERM)

  with (
    signals.deferred(),
    pytest.raises(signals.Interrupted, match="nothing is written yet"),
  ):
    interrupted()
  assert passed == [*range(2000)]
