"""Models and optimizers from specs: lengths in steps, learning rates."""

import dataclasses

import jax.numpy as jnp
import numpy as np

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
