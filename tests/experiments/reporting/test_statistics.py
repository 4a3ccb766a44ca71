import math

import numpy as np
import pytest
from scipy import stats

from experiments.reporting import comparisons
from experiments.reporting import statistics
from experiments.reporting.records import Scores
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import make_results


def setting(digest, validation, *, test=0.5, losses=None, **changes):
  """The trials of one setting of LELP in column "a"."""
  losses = losses or [0.5] * len(validation)
  return [
    make_cell(
      "a",
      "lelp",
      trial,
      test,
      digest=digest,
      validation=Scores(accuracy, loss=loss),
      **changes,
    )
    for trial, (accuracy, loss) in enumerate(
      zip(validation, losses, strict=True)
    )
  ]


def test_estimate_by_hand():
  e = statistics.estimate([90.0, 92.0, 94.0])
  assert (e.mean, e.std, e.n) == (92.0, 2.0, 3)
  assert e.standard_error == pytest.approx(2 / math.sqrt(3))
  # The table of Student's t: 4.303 for two degrees of freedom.
  assert e.interval == pytest.approx((92 - 4.968, 92 + 4.968), abs=1e-3)
  assert e.sign == 1


def test_estimate_equals_scipy(rng):
  values = rng.normal(size=9)
  e = statistics.estimate(values, confidence=0.9)
  assert e.standard_error == pytest.approx(stats.sem(values))
  assert e.interval == pytest.approx(
    stats.t.interval(0.9, 8, np.mean(values), stats.sem(values))
  )


def test_estimate_of_one_value_has_no_spread():
  assert statistics.estimate([3.0]) == statistics.Estimate(mean=3.0, n=1)
  assert statistics.estimate([3.0]).sign == 0


def test_estimate_of_equal_values_is_certain():
  e = statistics.estimate([3.0, 3.0])
  assert e.interval == (3.0, 3.0)
  assert statistics.estimate([0.0, 0.0]).sign == 0


def test_estimate_refuses_no_values():
  with pytest.raises(ValueError, match="one or more numbers"):
    statistics.estimate([])


def test_paired_difference_cancels_what_pairs_share():
  shared = [0.0, 10.0, 20.0]
  e = statistics.paired_difference([s + 1 for s in shared], shared)
  assert (e.mean, e.std, e.n) == (1.0, 0.0, 3)


def test_paired_difference_refuses_different_lengths():
  with pytest.raises(ValueError, match="got 2 and 1 values"):
    statistics.paired_difference([1.0, 2.0], [1.0])


def test_select_takes_the_highest_held_out_mean():
  cells = setting("low", [0.9, 0.7]) + setting("high", [0.84, 0.8])
  assert statistics.select(cells, "lelp", "a") == "high"


def test_select_ignores_the_test_accuracy():
  cells = setting("good", [0.8], test=0.1) + setting("bad", [0.7], test=1.0)
  assert statistics.select(cells, "lelp", "a") == "good"
  paper = statistics.select(cells, "lelp", "a", selection="test")
  assert paper == "bad"


def test_select_breaks_ties_by_loss_then_digest():
  a = setting("a", [0.8], losses=[0.3])
  b = setting("b", [0.8], losses=[0.2])
  c = setting("c", [0.8], losses=[0.2])
  diverged = setting("0", [0.8], losses=[None])
  for cells in (a + b + c + diverged, diverged + c + b + a):
    assert statistics.select(cells, "lelp", "a") == "b"


def test_select_ties_equal_sums_of_hits():
  # 0.1 + 0.7 and 0.3 + 0.5 are equal numbers of hits but not equal floats.
  one = setting("one", [0.1, 0.7], losses=[0.2, 0.2])
  two = setting("two", [0.3, 0.5], losses=[0.1, 0.1])
  assert statistics.select(one + two, "lelp", "a") == "two"


def test_select_sees_only_its_own_column_and_method():
  others = [
    make_cell("b", "lelp", 0, 1.0, digest="x", validation=Scores(1.0)),
    make_cell("a", "vanilla", 0, 1.0, digest="y", validation=Scores(1.0)),
  ]
  cells = others + setting("mine", [0.1])
  assert statistics.select(cells, "lelp", "a") == "mine"
  assert statistics.select(cells, "fitnet", "a") is None


def test_select_refuses_a_choice_without_held_out_examples():
  cells = [
    make_cell("a", "lelp", 0, 0.5, digest=d, validation=None) for d in "xy"
  ]
  with pytest.raises(ValueError, match="no held-out accuracy to choose by"):
    statistics.select(cells, "lelp", "a")
  # One setting alone is no choice.
  assert statistics.select(cells[:1], "lelp", "a") == "x"


def test_summarize_reports_the_chosen_setting_in_percent():
  cells = setting("x", [0.9, 0.9], test=0.25) + setting("y", [0.8], test=1.0)
  results = make_results({"a": {"lelp": (0.0,)}}, cells=tuple(cells))
  summary = statistics.summarize(results)["a", "lelp"]
  assert summary.digest == "x"
  assert (summary.test.mean, summary.test.n) == (25.0, 2)
  assert summary.validation is not None
  assert summary.validation.mean == pytest.approx(90.0)
  assert summary.num_settings == 2


def test_differences_pair_trials_and_columns():
  results = make_results()
  summaries = statistics.summarize(results)
  in_column = comparisons.difference_in_column(
    summaries, "split0", "lelp", "standard"
  )
  assert in_column is not None
  # 5, 4 and 3 points.
  assert in_column.mean == pytest.approx(4.0)
  assert in_column.std == pytest.approx(1.0)
  whole = comparisons.difference_over_columns(
    results, summaries, "lelp", "standard"
  )
  assert whole is not None
  # 4 and 6 points; 12.706 is Student's t for one degree of freedom.
  assert (whole.mean, whole.standard_error) == pytest.approx((5.0, 1.0))
  assert whole.interval == pytest.approx((-7.706, 17.706), abs=1e-3)


def test_differences_use_what_both_have():
  results = make_results(
    {
      "a": {"vanilla": (0.5, 0.6, 0.9), "lelp": (0.7,)},
      "b": {"vanilla": (0.5,)},
    }
  )
  summaries = statistics.summarize(results)
  found = comparisons.difference_in_column(summaries, "a", "lelp", "vanilla")
  assert found is not None
  assert (found.mean, found.n) == (pytest.approx(20.0), 1)
  whole = comparisons.difference_over_columns(
    results, summaries, "lelp", "vanilla"
  )
  assert whole is not None
  assert whole.n == 1
  assert (
    comparisons.difference_in_column(summaries, "b", "lelp", "vanilla") is None
  )


@pytest.mark.parametrize(
  ("method", "expected"),
  [
    ("standard", True),
    ("subclass", True),
    ("oracle", False),
    ("kmeans", False),
    ("kmeans_soft", False),
    ("lelp", False),
    ("lelp_pca", False),
  ],
)
def test_is_baseline(method, expected):
  assert comparisons.is_baseline(method) is expected


def test_best_baseline_is_the_highest_of_the_column():
  results = make_results(
    {
      "a": {"oracle": (1.0,), "standard": (0.8,), "vanilla": (0.7,)},
      "b": {"standard": (0.3,), "vanilla": (0.5,), "lelp_pca": (0.9,)},
    }
  )
  summaries = statistics.summarize(results)
  assert comparisons.best(results, summaries, "a") == "standard"
  assert comparisons.best(results, summaries, "b") == "vanilla"
  assert comparisons.best(results, summaries) == "vanilla"
