"""Subclass Distillation's auxiliary loss: what is its own.

What it shares with all losses is in test_baseline_losses.py.
"""

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import lelp_jax
from lelp_jax import baselines
from tests.lelp_jax import baseline_reference

auxiliary_loss = jax.jit(baselines.subclass_auxiliary_loss)
loss_and_gradient = jax.jit(
  jax.value_and_grad(baselines.subclass_auxiliary_loss)
)
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize(
  ("temperature", "expected"), [(1.0, -0.75139713), (0.1, -1.87282076)]
)
def test_golden_values(temperature, expected):
  # The authors' notebook (google-research/subclass_distillation), run on these
  # logits.
  logits = np.float32(5 * baseline_reference.golden(8, 10, 0.9, 0.3))
  loss = auxiliary_loss(logits, temperature=temperature)
  assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_golden_class_logits():
  """The log-sum-exp over subclasses: by its difference between the classes."""
  logits = np.float32(5 * baseline_reference.golden(8, 10, 0.9, 0.3))
  log_probs = jax.jit(
    lambda z: lelp_jax.class_log_probs(z, num_classes=2, temperature=1.0)
  )(logits)
  # The same notebook's, of the first row.
  expected = np.array([5.20736775, 5.23251984])
  expected -= np.logaddexp(*expected)
  np.testing.assert_allclose(log_probs[0], expected, rtol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=seeds, temperature=st.floats(0.05, 10), scale=st.floats(1e-3, 1e4))
def test_bounds_and_invariance(seed, temperature, scale):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(6, 4)).astype(np.float32)
  loss = float(auxiliary_loss(logits, temperature=temperature))
  assert -math.log(6) <= loss < 0
  # Each example is standardized: its scale and offset say nothing.
  scales = scale * rng.uniform(0.5, 2, (6, 1))
  moved = np.float32(scales * (logits + rng.normal(size=(6, 1))))
  assert float(auxiliary_loss(moved, temperature=temperature)) == pytest.approx(
    loss, abs=1e-5 / temperature
  )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=seeds, temperature=st.floats(0.05, 10))
def test_identical_rows_are_the_worst(seed, temperature):
  row = np.random.default_rng(seed).normal(size=(1, 4)).astype(np.float32)
  loss = auxiliary_loss(row.repeat(6, axis=0), temperature=temperature)
  assert float(loss) == pytest.approx(0, abs=1e-6 / temperature)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e4])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_constant_logits_are_as_bad_as_identical_rows(value, temperature):
  # The released code reports -1 / temperature: its best loss for a teacher
  # that has found nothing.
  logits = np.full((6, 4), value, np.float32)
  loss, gradient = loss_and_gradient(logits, temperature=temperature)
  assert float(loss) == pytest.approx(0, abs=1e-6)
  assert np.all(np.isfinite(gradient))
  assert np.linalg.norm(gradient) < 1e-5


def test_a_constant_example_does_not_pay(rng):
  logits = rng.normal(size=(6, 4)).astype(np.float32)
  loss = auxiliary_loss(logits, temperature=0.5)
  logits[2] = 3.0
  assert float(auxiliary_loss(logits, temperature=0.5)) > float(loss)
