"""DIST: what is its own; the rest is in test_baseline_losses.py."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from lelp_jax import baselines
from tests.lelp_jax import baseline_reference

dist_loss = jax.jit(baselines.dist_loss)  # Weights are traced.


@pytest.mark.parametrize(
  ("temperature", "inter", "intra"),
  [(1.0, 0.9772477, 0.9930117), (4.0, 16.1752167, 16.3283997)],
)
def test_agrees_with_the_authors_formula(temperature, inter, intra):
  # Their formula, 1e-8 included, evaluated in PyTorch on the same logits.
  student = np.float32(5 * baseline_reference.golden(8, 10, 0.9, 0.3))
  teacher = np.float32(5 * baseline_reference.golden(8, 10, 1.1, 0.4))
  for weights, expected in (
    ((1.0, 0.0), inter),
    ((0.0, 1.0), intra),
    ((1.0, 1.0), inter + intra),
    ((2.0, 0.5), 2 * inter + 0.5 * intra),
  ):
    loss = dist_loss(
      student,
      teacher,
      temperature=temperature,
      inter_weight=weights[0],
      intra_weight=weights[1],
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  temperature=st.floats(0.5, 20),
  scale=st.floats(0.1, 10),
)
def test_matches_reference_everywhere(seed, temperature, scale):
  rng = np.random.default_rng(seed)
  student, teacher = (scale * rng.normal(size=(2, 6, 5))).astype(np.float32)
  loss = float(dist_loss(student, teacher, temperature=temperature))
  expected = baseline_reference.dist_loss(
    np.float64(student), np.float64(teacher), temperature
  )
  assert loss == pytest.approx(expected, rel=1e-4)
  assert 0 <= loss <= 4 * temperature**2
  same = float(dist_loss(student, student, temperature=temperature))
  assert same == pytest.approx(0, abs=1e-5 * temperature**2)


def test_two_classes_have_no_relations_between_them(rng):
  student, teacher = rng.normal(size=(2, 6, 2)).astype(np.float32)
  value_and_gradient = jax.jit(jax.value_and_grad(baselines.dist_loss))
  value, gradient = value_and_gradient(
    student, teacher, temperature=2.0, intra_weight=0.0
  )
  disagree = np.argmax(student, axis=1) != np.argmax(teacher, axis=1)
  assert float(value) == pytest.approx(4 * 2 * disagree.mean(), rel=1e-5)
  np.testing.assert_allclose(gradient, 0, atol=1e-6)
  # Those between the examples of a class remain.
  _, gradient = value_and_gradient(
    student, teacher, temperature=2.0, intra_weight=1.0
  )
  assert np.linalg.norm(gradient) > 0.1


def test_classes_that_nobody_predicts_count_like_the_others(rng):
  # A column of probabilities of 1e-9: an epsilon of 1e-8 makes it nothing.
  student, teacher = rng.normal(size=(2, 6, 4)).astype(np.float32)
  student[:, 3] -= 20
  teacher[:, 3] -= 20
  loss = dist_loss(student, teacher, temperature=1.0)
  expected = baseline_reference.dist_loss(
    np.float64(student), np.float64(teacher), 1.0
  )
  assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_equal_rows_of_a_long_batch_are_constant_columns():
  # Vectorized softmaxes of equal rows may differ in their last bit, and a
  # correlation of last bits is anything.
  row = np.float32([[0.3, -1.2, 0.8]])
  student = row.repeat(37, axis=0)
  teacher = np.float32(baseline_reference.golden(37, 3, 0.9, 0.1))
  value, gradient = jax.jit(jax.value_and_grad(baselines.dist_loss))(
    student, teacher, temperature=1.0, inter_weight=0.0
  )
  assert float(value) == 1
  np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
