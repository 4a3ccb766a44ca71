"""Logit standardization: what is its own, the rest in test_baseline_losses.py.

The authors' code and figures divide by C - 1 inside the standard deviation,
their algorithm and we by C: `as_published` converts.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from lelp_jax import baselines
from tests.lelp_jax import baseline_reference

standardized_kd_loss = jax.jit(baselines.standardized_kd_loss)


def as_published(student, teacher, temperature):
  ratio = student.shape[-1] / (student.shape[-1] - 1)
  loss = standardized_kd_loss(
    student, teacher, temperature=temperature * math.sqrt(ratio)
  )
  return loss / ratio


@pytest.mark.parametrize(
  ("temperature", "expected"),
  [(1.0, 0.7681739), (2.0, 0.8784589), (4.0, 0.9138793)],
)
def test_agrees_with_the_authors_formula(temperature, expected):
  # Their formula, 1e-7 included, evaluated in PyTorch on the same logits.
  student = np.float32(5 * baseline_reference.golden(8, 10, 0.9, 0.3))
  teacher = np.float32(5 * baseline_reference.golden(8, 10, 1.1, 0.4))
  loss = as_published(student, teacher, temperature)
  assert float(jnp.mean(loss)) == pytest.approx(expected, rel=1e-5)


def test_agrees_with_the_papers_toy_case():
  # Sun et al., figure 2: losses of the two students after standardization.
  teacher = np.float32([-1.162, 1.162, 0.387, -0.387])
  student = np.float32([-1.320, 0.660, 0.880, -0.220])
  loss = as_published(student, teacher, 1.0)
  assert float(loss) == pytest.approx(0.0995, abs=2e-4)
  assert float(as_published(3 * teacher + 1, teacher, 1.0)) < 1e-6


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  scale=st.floats(1e-3, 1e4),
  offset=st.floats(-1, 1),
  temperature=st.floats(0.5, 10),
)
def test_scale_and_offset_of_logits_say_nothing(
  seed, scale, offset, temperature
):
  rng = np.random.default_rng(seed)
  student, teacher = rng.normal(size=(2, 6, 5)).astype(np.float32)
  loss = standardized_kd_loss(student, teacher, temperature=temperature)
  moved = np.float32(scale * (student + offset))
  np.testing.assert_allclose(
    standardized_kd_loss(moved, teacher, temperature=temperature),
    loss,
    rtol=1e-4,
    atol=1e-5,
  )
  np.testing.assert_allclose(
    standardized_kd_loss(moved, student, temperature=temperature), 0, atol=1e-4
  )


def test_two_classes_have_no_gradient(rng):
  student, teacher = rng.normal(size=(2, 6, 2)).astype(np.float32)
  loss, gradient = jax.value_and_grad(
    lambda z: jnp.sum(standardized_kd_loss(z, teacher, temperature=2.0))
  )(student)
  assert float(loss) > 0.1
  np.testing.assert_allclose(gradient, 0, atol=1e-6)
