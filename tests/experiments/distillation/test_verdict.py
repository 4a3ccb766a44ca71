"""The sentence that recommends a model, from made-up predictions."""

import dataclasses
import re

import numpy as np
import pytest

from experiments.distillation import verdict
from experiments.results import Evaluation
from experiments.training import loop
from tests.experiments.reporting_workdirs import make_cell
from tests.experiments.reporting_workdirs import make_results
from tests.experiments.reporting_workdirs import teacher

SIZE = 1000


def scores(accuracy, offset=0):
  """Scores of a model whose mistakes begin at an example, in two classes."""
  labels = (np.arange(SIZE) % 2).astype(np.int32)
  wrong = (np.arange(SIZE) - offset) % SIZE < round(SIZE * (1 - accuracy))
  predicted = np.where(wrong, 1 - labels, labels)
  log_probs = np.log(np.where(np.eye(2)[predicted] > 0, 0.9, 0.1))
  return loop.with_predictions(
    Evaluation(accuracy, 0.5, num_examples=SIZE),
    log_probs.astype(np.float32),
    {"labels": labels, "ids": np.arange(SIZE)},
  )


def results(teacher_accuracy=0.9, **methods):
  """A sweep of two trials, by method held-out and test accuracies."""
  own = dataclasses.replace(teacher("t"), test=scores(teacher_accuracy))
  cells = [
    make_cell(
      "static",
      method,
      trial,
      0.0,
      digest=method,
      validation=Evaluation(held_out - trial / 100, 0.5),
      test=scores(test, offset=300),
      teacher=own,
      num_parameters=1000,
    )
    for method, (held_out, test) in methods.items()
    for trial in range(2)
  ]
  names = {method: (0.0, 0.0) for method in methods}
  return make_results(
    {"static": names}, cells=tuple(cells), columns_are="settings"
  )


def test_the_chosen_trial_is_the_best_of_the_best_method_on_held_out_data():
  found = results(vanilla=(0.8, 0.9), lelp=(0.85, 0.7))
  cell = verdict.chosen_cell(found)
  assert (cell.method, cell.trial) == ("lelp", 0)
  cell = verdict.chosen_cell(found, "vanilla")
  assert (cell.method, cell.trial) == ("vanilla", 0)


@pytest.mark.parametrize(
  ("methods", "sentence"),
  [
    (
      {"vanilla": (0.8, 0.85), "lelp": (0.85, 0.88)},
      r"Use the student of LELP: it is \+3.00 points .* above vanilla",
    ),
    (
      {"vanilla": (0.8, 0.87), "lelp": (0.85, 0.871)},
      "or that of vanilla distillation .--export=vanilla., which is simpler",
    ),
    (
      {"vanilla": (0.8, 0.88), "lelp": (0.85, 0.85)},
      "^Use vanilla distillation .--export=vanilla.: LELP, which .* -3.00",
    ),
    (
      {"vanilla": (0.85, 0.88), "lelp": (0.8, 0.88)},
      "^Use vanilla distillation: no other method was better on held-out",
    ),
    (
      {"standard": (0.85, 0.88), "vanilla": (0.8, 0.88)},
      "^Use the student that was trained on the labels alone",
    ),
    (
      {"vanilla": (0.7, 0.75), "lelp": (0.75, 0.76)},
      r"^Keep the teacher: the best student, of LELP, loses 14.0 points",
    ),
  ],
)
def test_the_recommendation_says_what_the_numbers_say(methods, sentence):
  said = verdict.recommendation(results(**methods), 10_000)
  assert re.search(sentence, said), said
  assert said.endswith(".")
  assert said.count(". ") == 0


def test_a_student_as_large_as_the_teacher_saves_nothing():
  found = results(vanilla=(0.8, 0.9))
  said = verdict.recommendation(found, 900)
  assert said.startswith("Keep the teacher: the student has 1,000 parameters")
