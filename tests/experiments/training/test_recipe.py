import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cells
from experiments.configs import base
from experiments.configs import pair
from experiments.training import recipe


def _fields(**changes):
  return cells.plain(base.model()) | changes


def _rates(fields, steps):
  """The learning rate of each step, read off plain gradient descent."""
  tx = recipe.optimizer(fields)
  params = {"w": jnp.zeros(())}
  state, rates = tx.init(params), []
  for _ in range(steps):
    updates, state = tx.update({"w": jnp.ones(())}, state, params)
    rates.append(-float(updates["w"]))
  return rates


def test_epochs_become_steps_and_boundaries_with_them():
  fields = _fields(
    num_epochs=3.0,
    batch_size=10,
    steps_per_chunk=0,
    schedule="piecewise_constant",
    schedule_boundaries=[1, 2],
    schedule_factors=[0.1, 0.5],
    optimizer="sgd",
    momentum=0.0,
    learning_rate=2.0,
  )
  found = recipe.resolved(fields, 47)  # Four batches an epoch.
  assert found["num_steps"] == 12
  assert found["steps_per_chunk"] == 4
  # Factors are of the first rate, not of one another (A-21b).
  expected = [2.0] * 4 + [0.2] * 4 + [1.0] * 4
  np.testing.assert_allclose(_rates(found, 12), expected, rtol=1e-6)


def test_steps_stay_what_they_are():
  found = recipe.resolved(_fields(num_steps=7, steps_per_chunk=250), 47)
  assert (found["num_steps"], found["steps_per_chunk"]) == (7, 7)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"num_epochs": -1.0}, "num_epochs must be at least 0"),
    ({"num_steps": 0}, 'set "init" to a folder'),
    ({"reads": "vectors"}, "reads must be one of"),
    ({"init_head": "old"}, "init_head must be one of"),
    (
      {"schedule": "piecewise_constant", "schedule_boundaries": [3, 1]},
      "schedule_boundaries must increase",
    ),
    (
      {"schedule": "piecewise_constant", "schedule_boundaries": [3]},
      "one of schedule_factors for each",
    ),
  ],
)
def test_trainings_that_there_cannot_be(changes, message):
  with pytest.raises(ValueError, match=message):
    recipe.check(_fields(**changes))


def test_pairs_have_the_recipe_of_the_paper():
  config = pair.get_config(
    "dataset=cifar100_bin,teacher=resnet92,student=mobilenet"
  )
  student = recipe.resolved(cells.plain(config.student), 50_000)
  assert student["num_steps"] == 200 * (50_000 // 128)
  assert student["schedule_boundaries"] == [
    e * 390 for e in (81, 121, 161, 181)
  ]
  assert student["schedule_factors"] == [1e-1, 1e-2, 1e-3, 5e-4]
  assert (student["optimizer"], student["learning_rate"]) == ("adam", 1e-3)
  assert config.teacher.learning_rate == 1e-3  # As printed.
  usual = pair.get_config("resnet92_rate=usual")
  assert usual.teacher.learning_rate == 0.1
  text = pair.get_config(
    "dataset=lmrd,teacher=albert_large,student=albert_base"
  )
  assert text.teacher.init == "albert/albert-large-v2"
  assert text.student.num_epochs == 40
  vectors = pair.get_config("dataset=amazon,teacher=albert_xxlarge,student=mlp")
  assert vectors.student.reads == "embeddings"


def test_pairs_sweep_the_grid_of_the_paper():
  config = pair.get_config(
    "dataset=cifar10_bin,teacher=resnet92,student=resnet56,"
    "methods=kmeans+vanilla"
  )
  grid = {(c.method, c.clustering.num_clusters) for c in cells.expand(config)}
  # Table 14 counts the clusters of both classes.
  halves = (2, 3, 4, 5, 10, 25, 50, 500)
  assert {n for method, n in grid if method == "kmeans"} == set(halves)
  assert ("vanilla", config.clustering.num_clusters) in grid
