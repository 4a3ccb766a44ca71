"""Forecasts of the time that a command takes."""

import pytest

from experiments.training import forecast as forecast_lib
from experiments.training.forecast import Forecast
from experiments.training.work import Work

TEACHER, FIRST, SECOND = ("teacher", "t"), ("stack", "a"), ("stack", "b")


@pytest.fixture(name="clock")
def fixture_clock(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(forecast_lib.time, "monotonic", lambda: now[0])
  return now


@pytest.fixture(name="forecast")
def fixture_forecast(clock):
  return Forecast(
    {
      TEACHER: Work(100, 1000),
      FIRST: Work(400, 5000),
      SECOND: Work(400, 5000),
    }
  )


def test_what_is_ahead_is_said_first(forecast, capsys):
  forecast.announce()
  text = "1 teacher of 100 steps and 2 stacks of 400 steps, on 8 CPU devices"
  assert capsys.readouterr().err == f"To train: {text}.\n"
  # A teacher that is taken as it is has nothing to train.
  for nothing in ({}, {TEACHER: Work(0, 1000)}):
    Forecast(nothing).announce()
    assert not capsys.readouterr().err
  Forecast({TEACHER: Work(0, 1000), FIRST: Work(400, 5000)}).announce()
  assert capsys.readouterr().err.startswith("To train: 1 stack of 400 steps, ")


def test_the_time_is_said_once_as_soon_as_it_is_known(forecast, clock, capsys):
  watch = forecast.watch(TEACHER)
  clock[0] += 21
  assert watch(20, 21.0, 20) is None  # 20 s of it are the compilation.
  assert not capsys.readouterr().err
  clock[0] += 1
  # 60 steps of 50 ms; twice 400 steps of 250 ms and a compilation.
  assert watch(40, 1.0, 20) == pytest.approx(3 + 2 * (100 + 20))
  assert capsys.readouterr().err.startswith("About 4 min for 1 teacher of 100")
  clock[0] += 3
  watch(100, 3.0, 60)
  # Stacks of one kind are compiled once. They are half as fast as forecast.
  watch = forecast.watch(FIRST)
  watch(100, 70.0, 100)
  assert watch(200, 50.0, 100) == pytest.approx(200 * 0.5 + 400 * 0.5)
  assert forecast.watch(SECOND)(100, 50.0, 100) is None  # Nothing follows.
  assert not capsys.readouterr().err


def test_a_first_chunk_of_minutes_has_to_do(forecast, clock, capsys):
  clock[0] += 60
  left = forecast.watch(TEACHER)(50, 60.0, 50)
  assert left > 60
  assert "About" in capsys.readouterr().err


def test_a_part_of_a_first_chunk_tells_nothing_alone(forecast, clock, capsys):
  watch = forecast.watch(TEACHER)
  clock[0] += 60
  assert watch(1, 60.0, 1, False) is None
  assert not capsys.readouterr().err
  clock[0] += 6
  assert watch(3, 6.0, 2, False) == pytest.approx(97 * 3 + 2 * (57 + 400 * 15))
  assert "About 3.5 h" in capsys.readouterr().err


def test_a_small_step_says_nothing_of_a_much_larger_one(clock, capsys):
  small, middle, large = Work(10, 7), Work(10, 700), Work(10, 70_000)
  forecast = Forecast({FIRST: small, SECOND: middle, TEACHER: large})
  clock[0] += 60
  watch = forecast.watch(FIRST)
  watch(5, 1.0, 5)
  assert watch(10, 1.0, 5) is None
  assert not capsys.readouterr().err
  watch = forecast.watch(SECOND)
  watch(5, 2.0, 5)
  # The middle step takes 0.2 s, the large one 100 times as long.
  assert watch(10, 1.0, 5) == pytest.approx(1 + 10 * 20)
  assert "About" in capsys.readouterr().err


def test_trainings_of_others_are_not_ahead(forecast, clock):
  del clock
  assert forecast.watch(("teacher", "known"))(10, 1.0, 10) is None
  watch = forecast.watch(SECOND)  # Others train the teacher and the first.
  watch(100, 1.0, 100)
  assert watch(200, 1.0, 100) is None


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (0.2, "1 s"),
    (89, "89 s"),
    (720, "12 min"),
    (9000, "2.5 h"),
    (400000, "4.6 days"),
  ],
)
def test_durations(seconds, text):
  assert forecast_lib.duration(seconds) == text
