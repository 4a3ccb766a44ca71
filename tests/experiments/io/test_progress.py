"""Progress: lines in a log at a bounded rate, a bar on a terminal."""

import io

import pytest

from experiments.io import progress as progress_lib


class Terminal(io.StringIO):
  def isatty(self):
    return True


class Clock:
  def __init__(self):
    self.now = 100.0

  def __call__(self):
    return self.now


def lines_of(stream):
  return stream.getvalue().splitlines()


def run(total=100, seconds=1.0, unit_steps=1, first=None, **options):
  """Updates every `seconds`, and returns the lines."""
  stream, clock = io.StringIO(), Clock()
  with progress_lib.Progress(
    total, label="train", stream=stream, clock=clock, **options
  ) as progress:
    for i in range(total // unit_steps):
      clock.now += first if first is not None and i == 0 else seconds
      progress.update(unit_steps, accuracy=0.5 + i / 1000)
  return lines_of(stream)


def test_a_log_has_the_first_the_last_and_one_line_each_ten_seconds():
  lines = run(total=100, seconds=1.0)
  done = [int(line.split()[1].split("/")[0]) for line in lines]
  assert done == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]


def test_a_log_of_slow_steps_has_a_line_each():
  assert len(run(total=5, seconds=60.0)) == 5


def test_a_log_of_fast_steps_has_two_lines():
  assert len(run(total=100, seconds=0.01)) == 2


def test_the_last_line_does_not_wait_for_the_end_of_the_block():
  stream, clock = io.StringIO(), Clock()
  with progress_lib.Progress(
    3, label="train", stream=stream, clock=clock
  ) as progress:
    for _ in range(3):
      clock.now += 0.1
      progress.update()
    assert len(lines_of(stream)) == 2
  assert len(lines_of(stream)) == 2


def test_a_line_says_where_how_fast_and_how_good():
  # The first step compiles for 30 s; the rate must not suffer for ever.
  lines = run(total=10, seconds=20.0, first=30.0, examples_per_unit=64)
  assert lines[0] == (
    "train: 1/10 steps (10%), 2.13 examples/s, 4m30s left, accuracy 0.5"
  )
  assert lines[5] == (
    "train: 6/10 steps (60%), 3.2 examples/s, 1m20s left, accuracy 0.505"
  )
  assert lines[-1] == (
    "train: 10/10 steps (100%), 3.2 examples/s, accuracy 0.509"
  )


def test_a_resumed_run_counts_on_and_its_rate_is_its_own():
  stream, clock = io.StringIO(), Clock()
  with progress_lib.Progress(
    1000,
    label="t",
    initial=900,
    examples_per_unit=2,
    stream=stream,
    clock=clock,
  ) as progress:
    clock.now += 10
    progress.update(50)
  assert lines_of(stream) == [
    "t: 950/1000 steps (95%), 10 examples/s, 10s left"
  ]


def test_an_interrupted_run_ends_with_where_it_was():
  stream, clock = io.StringIO(), Clock()

  def interrupted():
    with progress_lib.Progress(
      100, label="train", unit="cell", stream=stream, clock=clock
    ) as progress:
      for _ in range(7):
        clock.now += 0.1
        progress.update()
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    interrupted()
  assert [line.split(",")[0] for line in lines_of(stream)] == [
    "train: 1/100 cells (1%)",
    "train: 7/100 cells (7%)",
  ]


def test_nothing_done_says_nothing():
  stream = io.StringIO()
  with progress_lib.Progress(0, label="x", stream=stream) as progress:
    pass
  progress.close()
  assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar():
  stream = Terminal()
  with progress_lib.Progress(
    10, label="teacher", examples_per_unit=64, stream=stream
  ) as progress:
    for i in range(9):
      progress.update(accuracy=0.9, phase="train", step=i)
  text = stream.getvalue()
  assert "\r" in text
  last = text.rstrip().split("\r")[-1]
  assert last.startswith("teacher:  90%")
  assert "9/10" in last
  assert "accuracy 0.9, phase train, step 8" in last
  assert "examples/s" in last
  assert " left" not in last  # The bar has its own.


def test_standard_error_is_the_default(capsys):
  with progress_lib.Progress(1, label="train") as progress:
    progress.update()
  captured = capsys.readouterr()
  assert captured.out == ""
  assert captured.err.startswith("train: 1/1 steps (100%)")


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (0.4, "0s"),
    (59.4, "59s"),
    (59.6, "1m00s"),
    (3599, "59m59s"),
    (3600, "1h00m"),
    (90_061, "1d01h"),
  ],
)
def test_durations(seconds, text):
  assert progress_lib._duration(seconds) == text


@pytest.mark.parametrize(
  ("value", "text"),
  [(0.5, "0.5"), (999.4, "999"), (999.6, "1k"), (12_345, "12.3k"), (2e9, "2G")],
)
def test_rates(value, text):
  assert progress_lib._thousands(value) == text
