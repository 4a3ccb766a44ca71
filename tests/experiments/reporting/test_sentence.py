import dataclasses

import pytest

from experiments.reporting import sentence
from tests.experiments.reporting_workdirs import make_results


def splits(lelp, vanilla, standard=None):
  """One trial in each split, accuracies in percent."""
  return {
    f"split{i}": {
      **({"standard": (standard / 100,)} if standard else {}),
      "vanilla": (v / 100,),
      "lelp": (x / 100,),
    }
    for i, (x, v) in enumerate(zip(lelp, vanilla, strict=True))
  }


def test_the_comparison_says_that_lelp_wins():
  results = make_results(splits([91, 91.2, 91.4], [90, 90, 90], 89))
  assert sentence.comparison_sentence(results) == (
    "LELP is 2.20 points above standard training (95 % interval of the"
    " difference 1.70 to 2.70, 3 splits) and 1.20 points above vanilla"
    " distillation (0.70 to 1.70)."
  )


def test_the_comparison_says_that_lelp_loses():
  results = make_results(splits([90, 90, 90], [91, 91.2, 91.4]))
  assert sentence.comparison_sentence(results) == (
    "LELP is 1.20 points below vanilla distillation (95 % interval of the"
    " difference -1.70 to -0.70, 3 splits)."
  )


def test_the_comparison_says_what_cannot_be_told_apart():
  results = make_results(splits([91, 90, 90], [90, 90, 91.5]))
  assert sentence.comparison_sentence(results) == (
    "LELP is 0.17 points below vanilla distillation (95 % interval of the"
    " difference -3.29 to 2.96, 3 splits: not distinguishable from zero)."
  )
  results = make_results(splits([90, 90], [90, 90]))
  assert sentence.comparison_sentence(results).startswith(
    "LELP is level with vanilla distillation"
  )


def test_the_comparison_compares_with_the_best_baseline_too():
  accuracies = {
    "a": {"standard": (0.7,), "vanilla": (0.8,), "vid": (0.95,), "lelp": (0.9,)}
  }
  assert sentence.comparison_sentence(make_results(accuracies)) == (
    "LELP is 20.00 points above standard training (one trial: no interval),"
    " 10.00 points above vanilla distillation (one trial: no interval) and 5.00"
    " points below VID, the best baseline (one trial: no interval)."
  )


def test_the_comparison_tells_of_a_clustering_that_is_better():
  accuracies = {"a": {"vanilla": (0.8,), "lelp": (0.9,), "kmeans": (0.95,)}}
  assert "5.00 points below K-means clustering, the best clustering" in (
    sentence.comparison_sentence(make_results(accuracies))
  )


def test_the_comparison_counts_settings():
  accuracies = {
    "a": {"vanilla": (0.80, 0.81, 0.80), "lelp": (0.90, 0.91, 0.91)},
    "b": {"vanilla": (0.80, 0.81, 0.80), "lelp": (0.70, 0.71, 0.71)},
    "c": {"vanilla": (0.80, 0.90, 0.80), "lelp": (0.80, 0.85, 0.90)},
  }
  results = make_results(accuracies, columns_are="settings")
  assert sentence.comparison_sentence(results) == (
    "LELP is above vanilla distillation in 2 of 3 settings (differences -9.67"
    " to +10.33 points; 95 % interval over trials above zero in 1, below in 1)."
  )


def test_the_comparison_says_when_cells_are_missing():
  results = make_results(splits([90, 90], [91, 91]), num_cells=9)
  assert sentence.comparison_sentence(results).startswith(
    "Provisional, 5 of 9 cells missing: LELP is 1.00 points below"
  )


@pytest.mark.parametrize(
  ("accuracies", "words"),
  [
    ({"a": {"vanilla": (0.5,)}}, "LELP is not a row"),
    ({"a": {"lelp": (0.5,), "oracle": (0.5,)}}, "no cell of a baseline"),
    ({"a": {"lelp": (0.5,)}, "b": {"vanilla": (0.5,)}}, "no column"),
  ],
)
def test_the_comparison_without_both_sides(accuracies, words):
  said = sentence.comparison_sentence(make_results(accuracies))
  assert said.startswith("There is no comparison")
  assert words in said


def test_the_comparison_before_lelp_is_there():
  results = make_results({"a": {"vanilla": (0.5,), "lelp": (0.5,)}})
  cells = tuple(c for c in results.cells if c.method != "lelp")
  said = sentence.comparison_sentence(dataclasses.replace(results, cells=cells))
  assert "no cell of LELP" in said
