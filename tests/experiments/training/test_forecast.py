"""Forecasts of the time that a command takes."""

import pytest

from experiments.training import forecast as forecast_lib
from experiments.training.forecast import Forecast
from experiments.training.work import Work

TEACHER, FIRST, SECOND = ("teacher", "t"), ("stack", "a"), ("stack", "b")


@pytest.fixture(name="clock", autouse=True)
def fixture_clock(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(forecast_lib.time, "monotonic", lambda: now[0])
  return now


@pytest.fixture(name="forecast")
def fixture_forecast():
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
  assert watch(20, None, None) is None
  assert not capsys.readouterr().err
  clock[0] += 22
  # 60 steps of 50 ms; twice 400 steps of 250 ms and a compilation.
  assert watch(40, 0.05, 20.0) == pytest.approx(3 + 2 * (100 + 20))
  assert capsys.readouterr().err.startswith("About 4 min for 1 teacher of 100")
  # Stacks of one kind are compiled once. They are half as fast as forecast.
  watch = forecast.watch(FIRST)
  assert watch(100, None, None) == pytest.approx(300 * 0.25 + 20 + 20 + 100)
  assert watch(200, 0.5, 20.0) == pytest.approx(200 * 0.5 + 400 * 0.5)
  # A rate that includes the compilation does not replace one that does not.
  assert watch(300, 2.0, None) == pytest.approx(100 * 0.5 + 400 * 0.5)
  assert forecast.watch(SECOND)(100, 0.5, None) is None  # Nothing follows.
  assert not capsys.readouterr().err


def test_a_small_step_says_nothing_of_a_much_larger_one(capsys):
  small, middle, large = Work(10, 7), Work(10, 700), Work(10, 70_000)
  forecast = Forecast({FIRST: small, SECOND: middle, TEACHER: large})
  assert forecast.watch(FIRST)(10, 0.2, 0.0) is None
  assert not capsys.readouterr().err
  # The middle step takes 0.2 s, the large one 100 times as long.
  assert forecast.watch(SECOND)(5, 0.2, 0.0) == pytest.approx(1 + 10 * 20)
  assert "About" in capsys.readouterr().err


def test_trainings_of_others_are_not_ahead(forecast):
  assert forecast.watch(("teacher", "known"))(10, 0.1, 0.0) is None
  # Others train the teacher and the first stack.
  assert forecast.watch(SECOND)(200, 0.01, 0.0) is None


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
