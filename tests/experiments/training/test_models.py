"""Models and optimizers from specs: lengths in steps, learning rates."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from experiments import cells
from experiments.configs import pair
from experiments.configs import validate
from experiments.training import models
from tests.experiments import tiny


def _model(**changes):
  return dataclasses.replace(tiny.cell().student, **changes)


def _rates(spec, steps):
  """The learning rate of each step, read off plain gradient descent."""
  tx = models.optimizer(spec)
  params = {"w": jnp.zeros(())}
  state, rates = tx.init(params), []
  for _ in range(steps):
    updates, state = tx.update({"w": jnp.ones(())}, state, params)
    rates.append(-float(updates["w"]))
  return rates


def test_epochs_become_steps_and_boundaries_with_them():
  spec = _model(
    num_epochs=3.0,
    batch_size=10,
    steps_per_chunk=0,
    schedule="piecewise_constant",
    schedule_boundaries=(1.0, 2.0),
    schedule_factors=(0.1, 0.5),
    optimizer="sgd",
    momentum=0.0,
    learning_rate=2.0,
  )
  found = models.in_steps(spec, 47)  # Four batches per epoch.
  assert (found.num_steps, found.num_epochs, found.steps_per_chunk) == (
    12,
    0,
    4,
  )
  # Factors are of the first rate, not of one another (A-21b).
  expected = [2.0] * 4 + [0.2] * 4 + [1.0] * 4
  np.testing.assert_allclose(_rates(found, 12), expected, rtol=1e-6)


def test_steps_stay_what_they_are():
  found = models.in_steps(_model(num_steps=7, steps_per_chunk=250), 47)
  assert (found.num_steps, found.steps_per_chunk) == (7, 7)


def test_pairs_have_the_recipe_of_the_paper():
  config = pair.get_config(
    "dataset=cifar100_bin,teacher=resnet92,student=mobilenet"
  )
  student = models.in_steps(validate.cell_spec(config).student, 50_000)
  assert student.num_steps == 200 * (50_000 // 128)
  assert student.schedule_boundaries == tuple(
    e * 390 for e in (81, 121, 161, 181)
  )
  assert student.schedule_factors == (1e-1, 1e-2, 1e-3, 5e-4)
  assert (student.optimizer, student.learning_rate) == ("adam", 1e-3)
  assert config.teacher.learning_rate == 1e-3  # As printed.
  usual = pair.get_config("resnet92_rate=usual")
  assert usual.teacher.learning_rate == 0.1
  text = pair.get_config(
    "dataset=lmrd,teacher=albert_large,student=albert_base"
  )
  assert text.teacher.init == "albert/albert-large-v2"
  assert text.student.num_epochs == 40
  vectors = pair.get_config("dataset=amazon,teacher=albert_xxlarge,student=mlp")
  assert vectors.student.input_field == "embeddings"


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
