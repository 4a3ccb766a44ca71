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


@pytest.mark.parametrize(
  ("accuracies", "expected"),
  [
    (
      splits([91, 91.2, 91.4], [90, 90, 90], 89),
      "LELP is 2.20 points above standard training (95 % interval of the"
      " difference 1.70 to 2.70, 3 splits) and 1.20 points above vanilla"
      " distillation (0.70 to 1.70).",
    ),
    (
      splits([90, 90, 90], [91, 91.2, 91.4]),
      "LELP is 1.20 points below vanilla distillation (95 % interval of the"
      " difference -1.70 to -0.70, 3 splits).",
    ),
    (
      splits([91, 90, 90], [90, 90, 91.5]),
      "LELP is 0.17 points below vanilla distillation (95 % interval of the"
      " difference -3.29 to 2.96, 3 splits: not distinguishable from zero).",
    ),
    (
      splits([90, 90], [90, 90]),
      "LELP is level with vanilla distillation (95 % interval of the difference"
      " 0.00 to 0.00, 2 splits: not distinguishable from zero).",
    ),
    (
      {"a": {"standard": [0.7], "vanilla": [0.8], "vid": [1], "lelp": [0.9]}},
      "LELP is 20.00 points above standard training (one trial: no interval),"
      " 10.00 points above vanilla distillation (one trial: no interval) and"
      " 10.00 points below VID, the best baseline (one trial: no interval).",
    ),
    (
      {"a": {"vanilla": (0.8,), "lelp": (0.9,), "kmeans": (0.95,)}},
      "LELP is 10.00 points above vanilla distillation (one trial: no interval)"
      " and 5.00 points below K-means clustering, the best clustering (one"
      " trial: no interval).",
    ),
    (
      {"a": {"vanilla": (0.5,)}},
      "There is no comparison: LELP is not a row of this sweep.",
    ),
    (
      {"a": {"lelp": (0.5,)}, "b": {"vanilla": (0.5,)}},
      "There is no comparison yet: no column has finished cells of both LELP"
      " and a baseline.",
    ),
  ],
)
def test_the_comparison(accuracies, expected):
  results = make_results(accuracies)
  assert sentence.comparison_sentence(results) == expected


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
  cells = tuple(c for c in results.cells if c.method != "lelp")
  said = sentence.comparison_sentence(dataclasses.replace(results, cells=cells))
  assert "no column has finished cells of both" in said
