"""The temperature of calibration, and probabilities that are calibrated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.calibration import calibrated_class_probs
from lelp_jax.calibration import calibration_temperature

temperature_of = jax.jit(calibration_temperature)


def smoothed_loss(logits, labels, temperature):
  """The mean cross entropy against smoothed labels, float64, with loops."""
  size, num_classes = logits.shape
  certainty = size / (size + num_classes)
  total = 0.0
  for row, label in zip(np.float64(logits) / temperature, labels, strict=True):
    log_probs = row - row.max()
    log_probs -= np.log(np.exp(log_probs).sum())
    for c in range(num_classes):
      target = (1 - certainty) / num_classes + certainty * (c == label)
      total -= target * log_probs[c]
  return total / size


def examples(rng, size=300, num_classes=3, factor=1.0):
  """Logits whose softmax is the distribution of the labels, times a factor."""
  logits = 1.5 * rng.standard_normal((size, num_classes))
  probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  labels = [rng.choice(num_classes, p=row) for row in probs]
  return (factor * logits).astype(np.float32), np.array(labels, np.int32)


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_temperature_has_the_smallest_loss(rng, factor, num_classes):
  from scipy import optimize

  logits, labels = examples(rng, num_classes=num_classes, factor=factor)
  best = optimize.minimize_scalar(
    lambda log: smoothed_loss(logits, labels, np.exp(log)),
    bounds=(-4, 4),
    method="bounded",
    options={"xatol": 1e-7},
  )
  found = temperature_of(logits, labels)
  assert (found.dtype, found.shape) == (jnp.float32, ())
  np.testing.assert_allclose(found, np.exp(best.x), rtol=1e-3)
  assert 0.7 < found / factor < 1.4  # The labels were drawn at 1.


def test_a_classifier_without_mistakes_gets_a_finite_temperature(rng):
  logits, _ = examples(rng)
  found = temperature_of(logits, logits.argmax(axis=1))
  assert 1 / 64 < found < 1


@pytest.mark.parametrize("label", [-1, 3])
def test_a_traced_label_out_of_range_gives_nan(rng, label):
  logits, labels = examples(rng)
  labels[7] = label
  assert np.isnan(temperature_of(logits, labels))


@pytest.mark.parametrize("factor", [1.0, 30.0, 1e4])
def test_a_classifier_that_is_always_wrong_says_nothing(rng, factor):
  logits, _ = examples(rng, factor=factor)
  found = temperature_of(logits, logits.argmin(axis=1))
  assert found == pytest.approx(64, rel=1e-3)


def test_without_examples_it_is_one():
  found = temperature_of(np.zeros((0, 3), np.float32), np.zeros(0, int))
  assert found == 1


def test_probabilities_are_powers_of_those_at_the_training_temperature(rng):
  logits = rng.standard_normal((4, 6)).astype(np.float32)
  exps = np.exp(np.float64(logits) / 3)
  classes = exps.reshape(4, 2, 3).sum(axis=2)
  powers = (classes / classes.sum(axis=1, keepdims=True)) ** (1 / 0.7)
  found = jax.jit(calibrated_class_probs, static_argnames="num_classes")(
    logits, num_classes=2, temperature=3.0, calibration_temperature=0.7
  )
  expected = powers / powers.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
