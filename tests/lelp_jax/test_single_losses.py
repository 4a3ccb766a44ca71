"""Tests properties of single losses; test_losses.py tests all of them."""

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

# --- Logits -------------------------------------------------------------------


@jax.jit
@jax.value_and_grad
def dkd_and_gradient(student, teacher, labels, temperature, beta):
  losses = baselines.dkd_loss(
    student, teacher, labels, temperature=temperature, nontarget_weight=beta
  )
  return jnp.sum(losses)


@jax.jit
@jax.value_and_grad
def kd_and_gradient(student, teacher, temperature):
  return jnp.sum(baselines.kd_loss(student, teacher, temperature=temperature))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  temperature=st.floats(0.5, 20),
  scale=st.floats(0.01, 1e4),
  beta=st.floats(0, 10),
)
def test_dkd_of_two_classes_is_kd(seed, temperature, scale, beta):
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


def test_two_classes_have_no_gradient_where_logits_are_standardized(rng):
  student, teacher = rng.normal(size=(2, 6, 2)).astype(np.float32)
  loss, gradient = jax.value_and_grad(
    lambda z: baselines.standardized_kd_loss(z, teacher, temperature=2.0).sum()
  )(student)
  assert float(loss) > 0.1
  np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_dist_sees_no_relations_between_two_classes(rng):
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


def test_dist_of_equal_rows_of_a_long_batch():
  # Vectorized softmaxes of equal rows may differ in their last bit, and a
  # correlation of last bits is anything.
  student = np.float32([[0.3, -1.2, 0.8]]).repeat(37, axis=0)
  teacher = np.float32(baseline_reference.golden(37, 3, 0.9, 0.1))
  value, gradient = jax.jit(jax.value_and_grad(baselines.dist_loss))(
    student, teacher, temperature=1.0, inter_weight=0.0
  )
  assert float(value) == 1
  np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e4])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_constant_subclass_logits_are_the_worst(value, temperature):
  # The released code reports -1 / temperature: its best loss for a teacher
  # that has found nothing.
  loss, gradient = jax.jit(
    jax.value_and_grad(baselines.subclass_auxiliary_loss)
  )(np.full((6, 4), value, np.float32), temperature=temperature)
  assert float(loss) == pytest.approx(0, abs=1e-6)
  assert np.linalg.norm(gradient) < 1e-5


# --- Embeddings ---------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e4, 1e30])
def test_embedding_loss_and_unit_gradient_at_any_size(rng, size):
  # A square of the norm would leave float32 at either end.
  student, teacher = rng.normal(size=(2, 6, 7)).astype(np.float32)
  student[2] = teacher[2]
  loss, gradient = jax.jit(
    jax.value_and_grad(lambda *both: baselines.embedding_loss(*both).sum())
  )(size * student, size * teacher)
  distances = np.linalg.norm(student - teacher, axis=1)
  assert float(loss) == pytest.approx(size * distances.sum(), rel=1e-5)
  norms = np.linalg.norm(gradient, axis=1)
  np.testing.assert_allclose(norms, [1, 1, 0, 1, 1, 1], rtol=1e-5)


vid_loss = jax.jit(baselines.vid_loss, static_argnames="reduction")


@pytest.fixture(name="vectors")
def fixture_vectors(rng):
  return rng.normal(size=(2, 6, 4)).astype(np.float32)


def test_initial_variance_of_public_code_is_five(vectors):
  # log(exp(5 - 1e-5) - 1): where public code starts its variances.
  loss = vid_loss(*vectors, jnp.full(4, 4.9932294))
  squares = np.mean((vectors[0] - vectors[1]) ** 2, axis=1)
  np.testing.assert_allclose(loss, (squares / 5 + np.log(5)) / 2, rtol=1e-6)


# log(1 + exp(89)) as written is infinite in float32.
@pytest.mark.parametrize("logit", [None, -1e4, -100.0, 89.0, 100.0, 1e4])
def test_variances_of_vid_learn(vectors, logit):
  logits = np.array([-3.0, 0.0, 1.0, 5.0], np.float32)
  if logit is not None:
    logits = np.full_like(logits, logit)
  value, gradient = jax.jit(
    jax.value_and_grad(lambda a: baselines.vid_loss(*vectors, a).sum())
  )(logits)

  def expected(logits):
    return baseline_reference.vid_loss(*np.float64(vectors), logits).sum()

  assert float(value) == pytest.approx(expected(logits), rel=1e-5)
  numerical = reference.gradient(expected, logits)
  np.testing.assert_allclose(gradient, numerical, rtol=1e-4, atol=1e-5)


def test_options_of_vid(vectors):
  logits = np.zeros(4, np.float32)
  np.testing.assert_allclose(
    vid_loss(*vectors, logits, reduction="sum"),
    4 * vid_loss(*vectors, logits),
    rtol=1e-6,
  )
  # The floor is the smallest variance.
  loss = vid_loss(*vectors, jnp.full(4, -1e4), floor=0.5)
  squares = np.mean((vectors[0] - vectors[1]) ** 2, axis=1)
  np.testing.assert_allclose(loss, (squares / 0.5 + np.log(0.5)) / 2, rtol=1e-5)
