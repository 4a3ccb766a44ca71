"""VID: what is its own; the rest is in test_baseline_losses.py."""

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

# log(exp(5 - 1e-5) - 1): where public code starts its variances.
INITIAL_LOGIT = 4.9932294
vid_loss = jax.jit(baselines.vid_loss, static_argnames="reduction")
loss_and_gradients = jax.jit(
  jax.value_and_grad(lambda *args: jnp.sum(baselines.vid_loss(*args)), (0, 2))
)


def test_initial_variance_of_public_code_is_five(rng):
  mean, teacher = rng.normal(size=(2, 6, 4)).astype(np.float32)
  loss = vid_loss(mean, teacher, jnp.full(4, INITIAL_LOGIT))
  expected = 0.5 * (np.mean((mean - teacher) ** 2, axis=1) / 5 + np.log(5))
  np.testing.assert_allclose(loss, expected, rtol=1e-6)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  logit=st.floats(-8, 40),
  scale=st.floats(1e-3, 1e3),
)
def test_fixed_variance_is_a_scaled_squared_error(seed, logit, scale):
  rng = np.random.default_rng(seed)
  mean, teacher = (scale * rng.normal(size=(2, 6, 4))).astype(np.float32)
  loss = vid_loss(mean, teacher, jnp.full(4, logit))
  variance = baseline_reference.softplus(np.float32(logit)) + 1e-5
  squares = baseline_reference.hint_loss(np.float64(mean), np.float64(teacher))
  np.testing.assert_allclose(
    loss, (squares / variance + np.log(variance)) / 2, rtol=1e-5, atol=1e-5
  )
  _, (gradient, _) = loss_and_gradients(mean, teacher, np.full(4, logit, "f"))
  # A hint loss has twice the difference over the width for a gradient.
  np.testing.assert_allclose(
    gradient, (mean - teacher) / (4 * variance), rtol=1e-5
  )


def test_variances_learn(rng):
  mean, teacher = rng.normal(size=(2, 6, 4)).astype(np.float32)
  logits = np.array([-3.0, 0.0, 1.0, 5.0], np.float32)
  _, (_, gradient) = loss_and_gradients(mean, teacher, logits)
  expected = reference.gradient(
    lambda alpha: np.sum(
      baseline_reference.vid_loss(np.float64(mean), np.float64(teacher), alpha)
    ),
    logits,
  )
  np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
  # The best variance is the mean square: there the gradient vanishes.
  square = np.mean((mean - teacher) ** 2, axis=0)
  best = np.log(np.expm1(square - 1e-5))
  _, (_, gradient) = loss_and_gradients(mean, teacher, best)
  np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_sum_is_width_times_mean(rng):
  arguments = *rng.normal(size=(2, 6, 4)).astype(np.float32), np.zeros(4, "f")
  np.testing.assert_allclose(
    vid_loss(*arguments, reduction="sum"), 4 * vid_loss(*arguments), rtol=1e-6
  )


@pytest.mark.parametrize("logit", [-1e4, -100.0, 89.0, 100.0, 1e4])
def test_extreme_variance_logits(rng, logit):
  # log(1 + exp(89)) as written is infinite in float32.
  mean, teacher = rng.normal(size=(2, 6, 4)).astype(np.float32)
  logits = np.full(4, logit, np.float32)
  value, gradients = loss_and_gradients(mean, teacher, logits)
  expected = baseline_reference.vid_loss(
    np.float64(mean), np.float64(teacher), logits
  )
  assert float(value) == pytest.approx(expected.sum(), rel=1e-5)
  assert all(np.all(np.isfinite(g)) for g in gradients)


def test_floor_is_the_smallest_variance():
  mean, teacher = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
  loss = vid_loss(mean, teacher, jnp.full(2, -1e4), floor=0.5)
  assert float(loss[0]) == pytest.approx(0.5 * (1 / 0.5 + np.log(0.5)))
