"""Estimates, the choice of hyperparameters, and differences."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from experiments.reporting import comparisons
from experiments.reporting import estimates
from experiments.reporting import selection
from experiments.results import Evaluation
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
      validation=Evaluation(accuracy, loss=loss),
      **changes,
    )
    for trial, (accuracy, loss) in enumerate(
      zip(validation, losses, strict=True)
    )
  ]


def chosen(cells, on="heldout"):
  return selection.summarize_cells(cells, on).digest


def test_estimate_equals_scipy(rng):
  values = rng.normal(size=9)
  e = estimates.estimate(values)
  assert (e.std, e.n) == (pytest.approx(values.std(ddof=1)), 9)
  assert e.standard_error == pytest.approx(stats.sem(values))
  assert e.interval == pytest.approx(
    stats.t.interval(0.95, 8, np.mean(values), stats.sem(values))
  )
  assert estimates.estimate([90.0, 92.0, 94.0]).sign == 1


def test_estimate_of_one_value_has_no_spread_and_of_equal_ones_no_width():
  assert estimates.estimate([3.0]) == estimates.Estimate(mean=3.0, n=1)
  assert estimates.estimate([3.0]).sign == 0
  assert estimates.estimate([0.1, 0.1, 0.1]).sign == 0
  assert estimates.estimate([3.0, 3.0]).interval == (3.0, 3.0)
  assert estimates.estimate([0.0, 0.0]).sign == 0


def test_estimate_refuses_no_values():
  with pytest.raises(ValueError, match="values"):
    estimates.estimate([])


def test_the_highest_held_out_mean_is_chosen_whatever_the_test_accuracy():
  cells = setting("low", [0.9, 0.7]) + setting("high", [0.84, 0.8])
  assert chosen(cells) == "high"
  cells = setting("good", [0.8], test=0.1) + setting("bad", [0.7], test=1.0)
  assert chosen(cells) == "good"
  assert chosen(cells, "test") == "bad"


def test_ties_are_broken_by_loss_then_digest():
  a = setting("a", [0.8], losses=[0.3])
  b = setting("b", [0.8], losses=[0.2])
  c = setting("c", [0.8], losses=[0.2])
  diverged = setting("0", [0.8], losses=[None])
  for cells in (a + b + c + diverged, diverged + c + b + a):
    assert chosen(cells) == "b"
  # 0.1 + 0.7 and 0.3 + 0.5 are equal numbers of hits but not equal floats.
  one = setting("one", [0.1, 0.7], losses=[0.2, 0.2])
  two = setting("two", [0.3, 0.5], losses=[0.1, 0.1])
  assert chosen(one + two) == "two"


def test_summarize_reports_the_chosen_setting_in_percent():
  cells = setting("x", [0.9, 0.9], test=0.25) + setting("y", [0.8], test=1.0)
  # Other columns and methods do not take part.
  others = [
    make_cell("b", "lelp", 0, 1.0, digest="z", validation=Evaluation(1.0)),
    make_cell("a", "vanilla", 0, 1.0, digest="z", validation=Evaluation(1.0)),
  ]
  results = make_results({"a": {"lelp": (0.0,)}}, cells=(*cells, *others))
  assert list(results.summaries) == [("a", "lelp")]
  summary = results.summaries["a", "lelp"]
  assert summary.digest == "x"
  assert (summary.test.mean, summary.test.n) == (25.0, 2)
  assert summary.validation.mean == pytest.approx(90.0)
  assert summary.num_settings == 2
  assert selection.chosen_on(results) == ", chosen on held-out data"
  on_test = dataclasses.replace(results, selection="test")
  assert selection.chosen_on(on_test) == ", chosen on TEST data"
  assert selection.chosen_on(results, []) == ""


def test_settings_of_an_earlier_stage_count_as_tried():
  results = make_results({"a": {"lelp": [0.7, 0.9]}})
  assert not selection.was_chosen(results.summaries.values())
  results = dataclasses.replace(results, num_tried={"lelp": 8})
  assert results.summaries["a", "lelp"].num_settings == 8
  assert selection.chosen_on(results) == ", chosen on held-out data"


def test_varied_hyperparameters_and_the_best_along_them():
  cells = tuple(
    make_cell(
      "a",
      "lelp",
      0,
      accuracy,
      digest=f"{features}{tau}",
      hyperparameters={"features": features, "tau": tau, "same": 1},
      validation=Evaluation(accuracy),
    )
    for (features, tau), accuracy in {
      ((32,), 1.0): 0.5,
      ((32,), 2.0): 0.6,
      ((64, 8), 1.0): 0.8,
    }.items()
  )
  results = make_results({"a": {"lelp": (0.0,)}}, cells=cells)
  assert selection.varied(results, "lelp") == ["features", "tau"]
  found = selection.along(results, "lelp", "a", "features")
  assert {k: s.test.mean for k, s in found.items()} == {
    ((32,),): 60.0,
    ((64, 8),): 80.0,
  }
  assert selection.along(results, "lelp", "a", "unknown") == {}


def test_differences_use_what_both_have():
  results = make_results(
    {
      "a": {"vanilla": (0.5, 0.6, 0.9), "lelp": (0.7,)},
      "b": {"vanilla": (0.5,)},
      "c": {"vanilla": (0.0, 0.5, 0.7), "lelp": (0.1, 0.6, 0.8)},
    }
  )
  a, b, c, over_all = (
    comparisons.difference_of_methods(results, column, "lelp", "vanilla")
    for column in ("a", "b", "c", None)
  )
  assert (a.mean, a.n) == (pytest.approx(20.0), 1)
  assert b is None
  # What the two values of a trial share cancels.
  assert (c.mean, c.std, c.n) == (*map(pytest.approx, (10.0, 0.0)), 3)
  assert over_all.n == 2


def test_what_is_a_baseline_an_ablation_or_a_clustering():
  rows = (
    *("standard", "subclass", "oracle", "kmeans_projected"),
    *("lelp", "lelp_pca", "lelp_centroids", "lelp_centroids_unprojected"),
  )
  assert [*filter(comparisons.is_baseline, rows)] == ["standard", "subclass"]
  assert [*filter(comparisons.is_ablation, rows)] == ["lelp_pca"]
  assert [*filter(comparisons.is_clustering, rows)] == ["kmeans_projected"]
