"""DKD: what is its own; the rest is in test_baseline_losses.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from lelp_jax import baselines
from tests.lelp_jax import baseline_reference

kd_loss = jax.jit(baselines.kd_loss)  # Temperatures and weights are traced.


@jax.jit
def dkd_loss(student, teacher, labels, temperature, target, nontarget):
  return baselines.dkd_loss(
    student,
    teacher,
    labels,
    temperature=temperature,
    target_weight=target,
    nontarget_weight=nontarget,
  )


@jax.jit
@jax.value_and_grad
def dkd_and_gradient(student, teacher, labels, temperature, beta):
  return jnp.sum(dkd_loss(student, teacher, labels, temperature, 1.0, beta))


@jax.jit
@jax.value_and_grad
def kd_and_gradient(student, teacher, temperature):
  return jnp.sum(baselines.kd_loss(student, teacher, temperature=temperature))


def golden_logits(num_classes):
  return (
    np.float32(5 * baseline_reference.golden(8, 10, a, b))[:, :num_classes]
    for a, b in ((0.9, 0.3), (1.1, 0.4))
  )


@pytest.mark.parametrize(
  ("num_classes", "target", "nontarget"),
  [
    (10, 0.9268378, 10.5229797),
    (3, 1.6551317, 3.9619744),
    (2, 2.4525640, 0.0),
  ],
)
def test_golden_values(num_classes, target, nontarget):
  # mdistiller's distillers/DKD.py at T = 4, without warm-up and cross entropy.
  student, teacher = golden_logits(num_classes)
  labels = np.arange(8) % num_classes

  def mean(*weights):
    return jnp.mean(dkd_loss(student, teacher, labels, 4.0, *weights))

  assert float(mean(1.0, 0.0)) == pytest.approx(target, rel=1e-5)
  assert float(mean(0.0, 1.0)) == pytest.approx(nontarget, rel=1e-5)
  expected = {10: 85.1106720, 3: 33.3509254, 2: 2.4525640}[num_classes]
  assert float(mean(1.0, 8.0)) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  num_classes=st.sampled_from([2, 5]),
  temperature=st.floats(0.5, 20),
  scale=st.floats(0.01, 100),
)
def test_divergence_is_target_plus_rest(seed, num_classes, temperature, scale):
  # KL = TCKD + (1 - p) NCKD, and p is the teacher's probability of the label.
  rng = np.random.default_rng(seed)
  shape = (2, 6, num_classes)
  student, teacher = (scale * rng.normal(size=shape)).astype(np.float32)
  labels = rng.integers(num_classes, size=6)
  exps = np.exp((teacher - teacher.max(axis=1, keepdims=True)) / temperature)
  rest = 1 - exps[np.arange(6), labels] / exps.sum(axis=1)
  target, others = (
    np.asarray(dkd_loss(student, teacher, labels, temperature, *weights))
    for weights in ((1.0, 0.0), (0.0, 1.0))
  )
  losses = target + rest * others
  expected = kd_loss(student, teacher, temperature=temperature)
  size = 1 + np.abs(student).max() + np.abs(teacher).max()
  np.testing.assert_allclose(
    losses, expected, rtol=1e-4, atol=2e-6 * temperature**2 * size
  )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  temperature=st.floats(0.5, 20),
  scale=st.floats(0.01, 1e4),
  beta=st.floats(0, 10),
)
def test_two_classes_are_vanilla_distillation(seed, temperature, scale, beta):
  rng = np.random.default_rng(seed)
  student, teacher = (scale * rng.normal(size=(2, 6, 2))).astype(np.float32)
  labels = rng.integers(2, size=6)

  arguments = student, teacher, labels, temperature
  with_beta = dkd_and_gradient(*arguments, beta)
  without = dkd_and_gradient(*arguments, 0.0)
  # The second term is exactly zero, with exactly no gradient.
  assert float(with_beta[0]) == float(without[0])
  np.testing.assert_array_equal(with_beta[1], without[1])
  value, gradient = kd_and_gradient(student, teacher, temperature)
  atol = 1e-5 * temperature**2 * (1 + scale / temperature)
  np.testing.assert_allclose(without[0], value, rtol=1e-5, atol=atol)
  np.testing.assert_allclose(
    without[1], gradient, rtol=1e-4, atol=1e-5 * temperature
  )


@pytest.mark.parametrize("temperature", [20.0, 100.0, 1e3])
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_digits_at_high_temperatures(rng, temperature, weights):
  student, teacher = (3 * rng.normal(size=(2, 64, 20))).astype(np.float32)
  labels = np.arange(64) % 20
  losses = dkd_loss(student, teacher, labels, temperature, *weights)
  expected = baseline_reference.dkd_loss(
    np.float64(student), np.float64(teacher), labels, temperature, *weights
  )
  # Where the two agree about the label, the terms vanish.
  np.testing.assert_allclose(losses, expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_logits_far_apart(num_classes, label):
  # Public code: gradient NaN from 400 at T = 4, loss infinite from 420, NaN
  # with a teacher that is sure.
  gaps = np.array([400.0, 420.0, 5000.0, 1e4]).repeat(4)
  student = np.zeros((16, num_classes), np.float32)
  teacher = np.zeros_like(student)
  student[:, 0] = gaps * np.tile([1, -1, 1, -1], 4)
  teacher[:, 0] = gaps * np.tile([1, 1, -1, -1], 4)
  labels = np.full(16, label)

  def expected(logits):
    return baseline_reference.dkd_loss(
      logits, np.float64(teacher), labels, 4.0, 1.0, 8.0
    )

  losses = dkd_loss(student, teacher, labels, 4.0, 1.0, 8.0)
  np.testing.assert_allclose(
    losses, expected(np.float64(student)), rtol=1e-5, atol=1e-4
  )
  _, gradient = dkd_and_gradient(student, teacher, labels, 4.0, 8.0)
  for c in range(num_classes):
    step = 1e-3 * np.eye(num_classes)[c]
    numerical = (expected(student + step) - expected(student - step)) / 2e-3
    np.testing.assert_allclose(gradient[:, c], numerical, atol=1e-3)


@pytest.mark.parametrize("student", [[1.0, 0.0, 2.0], [1.0, 0.0, -np.inf]])
def test_absent_classes_do_not_reach_the_gradient_of_the_temperature(student):
  @jax.jit
  @jax.grad
  def slope(temperature, absent):
    logits = jnp.array([student, [0.0, 1.0, -jnp.inf]])
    return baselines.dkd_loss(
      *jnp.where(jnp.isneginf(logits), absent, logits),
      jnp.array(0),
      temperature=temperature,
      nontarget_weight=1.0,
    )

  found, expected = (slope(2.0, z) for z in (-jnp.inf, -1e4))
  np.testing.assert_allclose(found, expected, rtol=1e-5)
