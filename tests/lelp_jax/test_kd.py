"""Vanilla distillation, the baseline and the S = 1 case of everything else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from lelp_jax import baselines
from tests import reference
from tests.lelp_jax import baseline_reference

BATCH, NUM_CLASSES = 6, 4
kd_loss = jax.jit(baselines.kd_loss)  # Temperatures are traced.


@jax.jit
@jax.value_and_grad
def kd_and_gradient(student, teacher, temperature):
  return jnp.sum(baselines.kd_loss(student, teacher, temperature=temperature))


def make_logits(rng, scale=3.0, shape=(BATCH, NUM_CLASSES)):
  """Student and teacher logits."""
  return (
    (rng.normal(size=shape) * scale).astype(np.float32),
    (rng.normal(size=shape) * scale).astype(np.float32),
  )


@pytest.mark.parametrize(
  ("temperature", "expected"), [(1.0, 4.4328523), (4.0, 10.4477940)]
)
def test_kd_loss_agrees_with_rep_distiller(temperature, expected):
  # Values of RepDistiller's distiller_zoo/KD.py (sum over classes, mean over
  # the batch, times T^2), run on the same logits.
  student = np.float32(5 * baseline_reference.golden(8, 10, 0.9, 0.3))
  teacher = np.float32(5 * baseline_reference.golden(8, 10, 1.1, 0.4))
  loss = kd_loss(student, teacher, temperature=temperature)
  assert np.mean(loss) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  temperature=st.floats(0.5, 20),
  scale=st.floats(0.01, 300),
)
def test_kd_loss_matches_reference_everywhere(seed, temperature, scale):
  student, teacher = make_logits(np.random.default_rng(seed), scale)
  loss = np.asarray(kd_loss(student, teacher, temperature=temperature))
  expected = [
    reference.kd_loss(s, t, temperature)
    for s, t in zip(student, teacher, strict=True)
  ]
  size = max(np.abs(student).max(), np.abs(teacher).max()) / temperature
  atol = 1e-6 * temperature**2 * (1 + size)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=atol)
  assert np.all(loss >= -atol)


@pytest.mark.parametrize("temperature", [1.0, 20.0, 100.0, 1e3, 1e4])
def test_kd_loss_keeps_digits_at_high_temperatures(rng, temperature):
  student, teacher = make_logits(rng, shape=(64, 20))
  teacher += np.float32(7)  # An offset of one side costs none either.
  loss = kd_loss(student, teacher, temperature=temperature)
  expected = [
    reference.kd_loss(s, t, temperature)
    for s, t in zip(student, teacher, strict=True)
  ]
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  same = kd_loss(student, student, temperature=temperature)
  np.testing.assert_allclose(same, 0, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_kd_loss_extremes(rng, size, temperature):
  # A loss through log(softmax) is infinite here, its gradient NaN or zero.
  student, teacher = make_logits(rng)
  student, teacher = np.sign(student) * size, np.sign(teacher) * size
  student[0], teacher[0] = [size, -size, -size, -size], [-size] * 3 + [size]
  student[1], teacher[1] = [size, -size, 0, size], [-size, size, 0, 0]
  losses = kd_loss(student, teacher, temperature=temperature)
  value, gradient = kd_and_gradient(student, teacher, temperature)
  expected = [
    reference.kd_loss(s, t, temperature)
    for s, t in zip(student, teacher, strict=True)
  ]
  np.testing.assert_allclose(
    losses, expected, rtol=1e-5, atol=1e-5 * temperature**2
  )
  assert float(value) == pytest.approx(sum(expected), rel=1e-5)
  q, p = (
    np.array([np.exp(reference.log_softmax(z / temperature)) for z in logits])
    for logits in (student.astype(np.float64), teacher.astype(np.float64))
  )
  np.testing.assert_allclose(
    gradient, temperature * (q - p), atol=1e-5 * temperature
  )


def test_kd_loss_teacher_with_minus_infinity(rng):
  # A class that the teacher's head masks out.
  student, teacher = make_logits(rng)
  teacher[:, 2] = -np.inf
  value, gradient = kd_and_gradient(student, teacher, 2.0)
  expected = sum(
    reference.kd_loss(s, t, 2.0) for s, t in zip(student, teacher, strict=True)
  )
  assert float(value) == pytest.approx(expected, rel=1e-5)
  assert np.all(np.isfinite(gradient))


def test_kd_loss_masked_class_has_a_slope_in_the_temperature(rng):
  # A class that both heads mask out.
  student, teacher = make_logits(rng)
  student[:, 2] = teacher[:, 2] = -np.inf
  kept = [0, 1, 3]

  @jax.jit
  @jax.grad
  def slope(tau, student, teacher):
    return jnp.sum(kd_loss(student, teacher, temperature=tau))

  np.testing.assert_allclose(
    slope(2.0, student, teacher),
    slope(2.0, student[:, kept], teacher[:, kept]),
    rtol=1e-5,
  )
