"""Algorithm 3: the loss, its two terms and the prediction."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from jax.test_util import check_grads

import lelp_jax
from lelp_jax import baselines
from tests import reference

BATCH, NUM_CLASSES, S = 5, 3, 4

# Temperatures are traced here: one compilation for all of them.
kd_loss = jax.jit(baselines.kd_loss)
lelp_loss = jax.jit(lelp_jax.lelp_loss)
lelp_loss_terms = jax.jit(lelp_jax.lelp_loss_terms)
class_log_probs = jax.jit(
  lelp_jax.class_log_probs, static_argnames="num_classes"
)


@jax.jit
@jax.value_and_grad
def loss_and_gradient(student, teacher, temperature):
  """The sum over the batch, whose gradient is each example's own."""
  return jnp.sum(lelp_jax.lelp_loss(student, teacher, temperature=temperature))


@jax.jit
@jax.grad
def kd_gradient(student, teacher, temperature):
  return jnp.sum(baselines.kd_loss(student, teacher, temperature=temperature))


@jax.jit
def term_gradients(student, teacher, temperature):
  """Gradients of the class term and of the subclass term."""
  _, vjp = jax.vjp(
    lambda z: lelp_jax.lelp_loss_terms(z, teacher, temperature=temperature),
    student,
  )
  one = jnp.ones(student.shape[:-1], student.dtype)
  return vjp((one, 0 * one))[0], vjp((0 * one, one))[0]


def make_inputs(rng, batch=(BATCH,), num_classes=NUM_CLASSES, s=S, scale=3.0):
  """Student logits and normalised teacher log-probabilities."""
  student = rng.normal(size=(*batch, num_classes * s)) * scale
  teacher = rng.normal(size=(*batch, num_classes * s)) * scale
  log_probs = jax.nn.log_softmax(jnp.asarray(teacher, jnp.float32))
  return (
    student.astype(np.float32),
    np.array(log_probs.reshape(*batch, num_classes, s)),
  )


def expected_over(function, student, teacher, temperature):
  """A reference of one example over any leading axes."""
  lead = student.shape[:-1]
  rows = [
    function(z, log_p, temperature)
    for z, log_p in zip(
      student.reshape(-1, student.shape[-1]),
      teacher.reshape(-1, *teacher.shape[-2:]),
      strict=True,
    )
  ]
  return np.reshape(rows, (*lead, *np.shape(rows[0])))


# --- The loss ----------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_lelp_loss_matches_reference(rng, batch, temperature):
  student, teacher = make_inputs(rng, batch)
  expected = expected_over(reference.lelp_loss, student, teacher, temperature)
  loss = lelp_loss(student, teacher, temperature=temperature)
  assert loss.shape == batch
  np.testing.assert_allclose(loss, expected, rtol=2e-6, atol=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  temperature=st.floats(0.5, 20),
  scale=st.floats(0.01, 300),
)
def test_lelp_loss_matches_reference_everywhere(seed, temperature, scale):
  student, teacher = make_inputs(np.random.default_rng(seed), scale=scale)
  loss = lelp_loss(student, teacher, temperature=temperature)
  terms = lelp_loss_terms(student, teacher, temperature=temperature)
  # Roundings of log-probabilities of this size, times tau^2.
  size = np.max(np.abs(student)) / temperature + np.max(np.abs(teacher))
  tolerance = {"rtol": 1e-5, "atol": 1e-6 * temperature**2 * (1 + size)}
  expected = expected_over(reference.lelp_loss, student, teacher, temperature)
  expected_terms = expected_over(
    reference.lelp_loss_terms, student, teacher, temperature
  )
  np.testing.assert_allclose(loss, expected, **tolerance)
  np.testing.assert_allclose(np.stack(terms, 1), expected_terms, **tolerance)
  np.testing.assert_allclose(terms[0] + terms[1], loss, **tolerance)
  for value in (loss, *terms):
    assert np.all(np.asarray(value) >= -tolerance["atol"])


@pytest.mark.parametrize(
  ("temperature", "tolerance"),
  [(1.0, 1e-5), (20.0, 1e-5), (100.0, 1e-5), (1e3, 2e-4)],
)
def test_lelp_loss_keeps_digits_at_high_temperatures(
  rng, temperature, tolerance
):
  # The two distributions agree to 1 / temperature there.
  student, logits = rng.normal(size=(2, 64, 20)).astype(np.float32) * 3
  exact = np.array(
    [reference.log_softmax(np.float64(row) / temperature) for row in logits]
  ).reshape(64, 4, 5)
  teacher = exact.astype(np.float32)
  expected = expected_over(reference.lelp_loss, student, exact, temperature)
  terms = expected_over(reference.lelp_loss_terms, student, exact, temperature)
  loss = lelp_loss(student, teacher, temperature=temperature)
  np.testing.assert_allclose(loss, expected, rtol=tolerance)
  found = np.stack(lelp_loss_terms(student, teacher, temperature=temperature))
  np.testing.assert_allclose(found.sum(axis=0), expected, rtol=tolerance)
  np.testing.assert_allclose(found.T, terms, rtol=5 * tolerance, atol=tolerance)
  # Nothing is negative, not even where nothing is left.
  flat = temperature * teacher.reshape(64, -1)
  for value in (
    lelp_loss(flat, teacher, temperature=temperature),
    *lelp_loss_terms(flat, teacher, temperature=temperature),
  ):
    assert np.all(np.abs(value) <= 1e-6)


# --- Gradients ---------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_lelp_loss_gradient_is_numerical(rng, temperature):
  student, teacher = make_inputs(rng)
  _, gradient = loss_and_gradient(student, teacher, temperature)
  terms = term_gradients(student, teacher, temperature)
  tolerance = 3e-6 * temperature
  np.testing.assert_allclose(terms[0] + terms[1], gradient, atol=tolerance)
  for n in range(BATCH):
    for actual, function in (
      (gradient, reference.lelp_loss),
      (terms[0], lambda *args: reference.lelp_loss_terms(*args)[0]),
      (terms[1], lambda *args: reference.lelp_loss_terms(*args)[1]),
    ):
      expected = reference.gradient(
        lambda z, n=n, function=function: function(z, teacher[n], temperature),
        student[n],
      )
      np.testing.assert_allclose(actual[n], expected, atol=tolerance)


def test_lelp_loss_check_grads(rng):
  # Both modes: forward as well, for Hessian-vector products.
  student, teacher = make_inputs(rng)
  with jax.enable_x64(True):
    student, teacher = jnp.float64(student), jnp.float64(teacher)
    check_grads(
      jax.jit(lambda z: lelp_jax.lelp_loss(z, teacher, temperature=2.0)),
      (student,),
      order=1,
      modes=["fwd", "rev"],
    )


def test_lelp_loss_no_gradient_to_the_teacher(rng):
  student, teacher = make_inputs(rng)

  def total(log_probs):
    loss = lelp_jax.lelp_loss(student, log_probs, temperature=2.0)
    terms = lelp_jax.lelp_loss_terms(student, log_probs, temperature=2.0)
    return jnp.sum(loss + 2 * terms[0] + 3 * terms[1])

  gradient = jax.jit(jax.grad(total))(teacher)
  np.testing.assert_array_equal(gradient, np.zeros_like(teacher))


# --- Relation to vanilla distillation ----------------------------------------


def split(rng, teacher, s, temperature, subclass_temperature):
  """Log-probabilities of random embeddings in random subspaces."""
  subspaces = lelp_jax.Subspaces(
    directions=rng.normal(size=(NUM_CLASSES, s, 6)).astype(np.float32),
    means=rng.normal(size=(NUM_CLASSES, 6)).astype(np.float32),
  )
  return jax.jit(lelp_jax.log_subsplit)(
    rng.normal(size=(BATCH, 6)).astype(np.float32),
    teacher,
    subspaces,
    temperature=temperature,
    subclass_temperature=subclass_temperature,
  )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_lelp_loss_one_subclass_is_kd(rng, temperature):
  student = rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32) * 4
  teacher = rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32) * 4
  log_probs = split(rng, teacher, 1, temperature, 0.3)
  value, gradient = loss_and_gradient(student, log_probs, temperature)
  losses = kd_loss(student, teacher, temperature=temperature)
  expected_gradient = kd_gradient(student, teacher, temperature)
  np.testing.assert_allclose(value, np.sum(losses), rtol=1e-5)
  np.testing.assert_allclose(gradient, expected_gradient, atol=2e-6)
  class_term, subclass_term = lelp_loss_terms(
    student, log_probs, temperature=temperature
  )
  np.testing.assert_allclose(class_term, losses, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(subclass_term, 0, atol=1e-5)


# --- Extremes ----------------------------------------------------------------


def certain_teacher(kind):
  """All the mass on subclass (1, 2), or on class 1, or nearly."""
  log_probs = np.full((NUM_CLASSES, S), -np.inf, np.float32)
  if kind == "one subclass":
    log_probs[1, 2] = 0.0
  elif kind == "one class":
    log_probs[1] = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
  else:
    log_probs[:] = -2e4
    log_probs[1, 2] = 0.0
  return np.tile(log_probs, (BATCH, 1, 1))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["one subclass", "one class", "nearly"])
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_lelp_loss_extremes(rng, size, kind, temperature):
  student = rng.normal(size=(BATCH, NUM_CLASSES * S)).astype(np.float32)
  student = np.clip(student, -1, 1) * np.float32(size)
  student[0, :4] = [size, -size, size, -size]
  student[1, 6] = -size  # Against the teacher's certainty.
  teacher = certain_teacher(kind)
  expected = expected_over(reference.lelp_loss, student, teacher, temperature)
  tolerance = {"rtol": 1e-5, "atol": 1e-5 * temperature**2}
  for function in (lelp_jax.lelp_loss, lelp_loss):
    loss = function(student, teacher, temperature=temperature)
    np.testing.assert_allclose(loss, expected, **tolerance)
  terms = lelp_loss_terms(student, teacher, temperature=temperature)
  expected_terms = expected_over(
    reference.lelp_loss_terms, student, teacher, temperature
  )
  # The subclass term is a difference of numbers as large as the loss.
  tolerance["atol"] += 1e-6 * temperature * size
  np.testing.assert_allclose(np.stack(terms, 1), expected_terms, **tolerance)
  _, gradient = loss_and_gradient(student, teacher, temperature)
  q = np.array(
    [
      np.exp(reference.log_softmax(row / temperature))
      for row in student.astype(np.float64)
    ]
  )
  p = np.exp(teacher.astype(np.float64)).reshape(BATCH, -1)
  np.testing.assert_allclose(
    gradient, temperature * (q - p), atol=1e-5 * temperature
  )
  both = term_gradients(student, teacher, temperature)
  np.testing.assert_allclose(
    both[0] + both[1], temperature * (q - p), atol=2e-5 * temperature
  )


# --- The prediction ----------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_class_log_probs_match_reference(rng, batch, temperature):
  logits, _ = make_inputs(rng, batch)
  log_probs = class_log_probs(
    logits, num_classes=NUM_CLASSES, temperature=temperature
  )
  expected = [
    reference.class_log_probs(row, NUM_CLASSES, temperature)
    for row in logits.reshape(-1, NUM_CLASSES * S)
  ]
  assert log_probs.shape == (*batch, NUM_CLASSES)
  np.testing.assert_allclose(
    log_probs, np.reshape(expected, log_probs.shape), atol=2e-6
  )
  np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, rtol=1e-5)


def test_class_log_probs_extremes():
  logits = np.full((2, NUM_CLASSES * S), -1e4, np.float32)
  logits[0, 5] = logits[1, 3] = 1e4
  value, gradient = jax.jit(
    jax.value_and_grad(
      lambda z: jnp.sum(
        lelp_jax.class_log_probs(z, num_classes=NUM_CLASSES, temperature=1.0)
      )
    )
  )(logits)
  # Two classes of each row at -2e4, and log 4 for those that are uniform.
  assert float(value) == pytest.approx(-8e4 + 4 * np.log(4), rel=1e-6)
  chex.assert_tree_all_finite(gradient)


def test_lelp_loss_float64_under_x64(rng):
  student = rng.normal(size=(BATCH, NUM_CLASSES * S)) * 3
  logits = rng.normal(size=(BATCH, NUM_CLASSES * S)) * 3
  teacher = np.array([reference.log_softmax(row) for row in logits])
  teacher = teacher.reshape(BATCH, NUM_CLASSES, S)
  with jax.enable_x64(True):
    loss = lelp_loss(student, teacher, temperature=2.0)
    terms = lelp_loss_terms(student, teacher, temperature=2.0)
  assert loss.dtype == terms[0].dtype == terms[1].dtype == jnp.float64
  np.testing.assert_allclose(
    loss, expected_over(reference.lelp_loss, student, teacher, 2.0), rtol=1e-12
  )
  np.testing.assert_allclose(
    np.stack(terms, axis=1),
    expected_over(reference.lelp_loss_terms, student, teacher, 2.0),
    rtol=1e-11,
  )


# --- Student logits of -inf --------------------------------------------------


def test_absent_logits_have_no_part_in_the_slope_of_the_temperature(rng):
  student, teacher = make_inputs(rng)
  keep = np.arange(NUM_CLASSES * S) % S > 0  # A subclass less in each class.
  absent = np.where(keep, student, -np.inf).astype(np.float32)
  fewer = teacher[..., 1:]
  fewer -= np.log(np.exp(fewer).sum(axis=(1, 2), keepdims=True))
  padding = np.full_like(teacher[..., :1], -np.inf)
  masked = np.concatenate([padding, fewer], axis=-1)
  for loss in (
    lambda z, t, tau: lelp_loss(z, t, temperature=tau),
    lambda z, t, tau: sum(lelp_loss_terms(z, t, temperature=tau)),
    lambda z, t, tau: class_log_probs(
      z, num_classes=NUM_CLASSES, temperature=tau
    ),
  ):
    slope = jax.jit(
      jax.grad(lambda tau, z, t, loss=loss: jnp.sum(loss(z, t, tau)))
    )
    np.testing.assert_allclose(
      slope(2.0, absent, masked), slope(2.0, student[:, keep], fewer), rtol=1e-4
    )


def test_terms_of_a_class_that_neither_side_has():
  # Its probability underflows on the teacher's side.
  teacher = np.float32([[[np.log(0.5)] * 2, [-200, -201]]])
  student = np.float32([[1, 0, -np.inf, -np.inf]])
  whole, gradient = loss_and_gradient(student, teacher, 1.0)
  terms = lelp_loss_terms(student, teacher, temperature=1.0)
  np.testing.assert_allclose(np.sum(terms), whole, rtol=1e-6)
  assert float(terms[0][0]) == pytest.approx(0, abs=1e-6)
  split = sum(term_gradients(student, teacher, 1.0))
  np.testing.assert_allclose(split, gradient, atol=1e-6)
  assert np.isfinite(gradient).all()


def test_lelp_loss_keeps_its_arguments_alone_for_the_gradient():
  """Nothing else of the size B x C x S, also of a mask and of bfloat16."""
  student = jnp.ones((8, 60), jnp.bfloat16)
  teacher = jnp.full((8, 3, 20), -np.log(60), jnp.bfloat16)
  where = jnp.ones((3, 20), bool)

  def loss(student, teacher):
    return lelp_jax.lelp_loss(student, teacher, temperature=2.0, where=where)

  pull_back = jax.jit(lambda *x: jax.vjp(loss, *x)[1])(student, teacher)
  large = [x for x in jax.tree.leaves(pull_back) if np.size(x) >= 8 * 60]
  assert [x.dtype for x in large] == [jnp.bfloat16, jnp.bfloat16]
  tangent = jax.jit(lambda x, t: jax.jvp(loss, x, t)[1])(
    (student, teacher), (jnp.ones_like(student), jnp.zeros_like(teacher))
  )
  np.testing.assert_allclose(tangent, 0, atol=1e-2)
