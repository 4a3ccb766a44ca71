"""The settings that are tried, and how students are trained."""

import itertools

import numpy as np
import pytest

from experiments import cells as cells_lib
from experiments import search
from experiments import stacks
from experiments.configs import candidates
from experiments.configs import dotted
from experiments.configs import validate


def sizes(rows):
  """Number of settings by method."""
  return {
    name: len(list(itertools.product(*dotted.flatten(row).values())))
    for name, row in rows.items()
  }


@pytest.mark.parametrize("cheap", [True, False])
@pytest.mark.parametrize("num_classes", [2, 20])
def test_a_method_has_at_most_eight_settings(num_classes, cheap):
  rows = candidates.grids(
    num_classes=num_classes,
    smallest_class=1000,
    teacher_width=384,
    cheap=cheap,
  )
  assert tuple(rows) == candidates.METHODS
  assert max(sizes(rows).values()) <= 8


def test_small_data_have_few_clusters_and_directions():
  rows = candidates.grids(
    num_classes=2, smallest_class=12, teacher_width=6, cheap=True
  )
  assert rows["kmeans"]["clustering"]["num_clusters"] == (2,)
  assert rows["lelp"]["subspace"]["num_subclasses"] == (4,)


@pytest.mark.parametrize(
  ("model", "rows", "labelled", "batch", "steps"),
  [
    ("static", 25_600, 25_600, 128, 1600),
    ("static", 1_000_000, 1_000_000, 128, 3000),
    ("static", 5_000, 100, 100, 1000),
    ("bert", 6_400, 6_400, 32, 1000),
    ("cnn", 2_000, 2_000, 128, 600),
  ],
)
def test_the_length_of_a_training_follows_from_the_data(
  model, rows, labelled, batch, steps
):
  fields = candidates.training_fields(model, rows, labelled)
  assert fields["student.batch_size"] == batch
  assert fields["student.num_steps"] == steps
  assert 8 * fields["student.steps_per_chunk"] >= steps


@pytest.mark.parametrize("num_trials", [None, 3])
def test_the_user_may_set_the_number_of_trials(num_trials):
  given = {} if num_trials is None else {"sweep.num_trials": num_trials}
  config = candidates.sweep_config(
    {"student.model": "static", **given},
    np.arange(200) % 2,
    column="static",
    num_classes=2,
    teacher_width=60,
    given=given,
  )
  assert config.sweep.num_trials == (num_trials or candidates.NUM_TRIALS)
  assert config.sweep.grid_trials == 1
  assert config.data.shared_batch_order  # So that trials train together.
  with pytest.raises(ValueError, match=r"sweep\.grid_trials .* got 0"):
    candidates.sweep_config(
      {"student.model": "static", "sweep.grid_trials": 0},
      np.arange(200) % 2,
      column="static",
      num_classes=2,
      teacher_width=60,
      given=("sweep.grid_trials",),
    )


@pytest.mark.parametrize(
  ("model", "sizes"), [("static", [1, 2, 3, 4, 8]), ("cnn", [1] * 11)]
)
def test_convolutions_are_trained_one_by_one(model, sizes):
  config = candidates.sweep_config(
    {
      "data.train": "data.csv",
      "teacher.model": "mlp",
      "student.model": model,
    },
    np.arange(200) % 2,
    column=model,
    num_classes=2,
    teacher_width=60,
  )
  sweep = validate.sweep_spec(config)
  cells = search.first_stage(sweep, cells_lib.expand(config))
  found = stacks.stacks(cells)
  assert sorted(len(stack.cells) for stack in found) == sorted(sizes)
