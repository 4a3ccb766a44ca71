"""Algorithm 3: what is its own; the rest is in test_losses.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import lelp_jax
from tests import reference

# Temperatures are traced here: one compilation for all of them.
lelp_loss = jax.jit(lelp_jax.lelp_loss)
lelp_loss_terms = jax.jit(lelp_jax.lelp_loss_terms)


@pytest.fixture(name="inputs")
def fixture_inputs(rng):
  """Student logits and normalised teacher log-probabilities."""
  student, teacher = (3 * rng.normal(size=(2, 5, 12))).astype(np.float32)
  return student, np.array(jax.nn.log_softmax(teacher)).reshape(5, 3, 4)


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
  expected, terms = (
    np.array([f(*row, temperature) for row in zip(student, exact, strict=True)])
    for f in (reference.lelp_loss, reference.lelp_loss_terms)
  )
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


def test_lelp_loss_check_grads(inputs):
  # Both modes: forward as well, for Hessian-vector products.
  with jax.enable_x64(True):
    student, teacher = map(jnp.float64, inputs)
    check_grads(
      jax.jit(lambda z: lelp_jax.lelp_loss(z, teacher, temperature=2.0)),
      (student,),
      order=1,
      modes=["fwd", "rev"],
    )


@pytest.mark.parametrize("kind", ["one subclass", "one class", "nearly"])
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_teachers_that_are_certain(rng, size, kind):
  """All the mass is on subclass (1, 2), or on class 1, or nearly."""
  teacher = np.full((3, 4), -2e4 if kind == "nearly" else -np.inf, np.float32)
  teacher[1, 2] = 0.0
  if kind == "one class":
    teacher[1] = np.log([0.4, 0.3, 0.2, 0.1])
  student = np.clip(rng.normal(size=12), -1, 1).astype(np.float32) * size
  student[6] = -size  # Against the teacher's certainty.
  function = jax.jit(jax.value_and_grad(lelp_jax.lelp_loss))
  loss, gradient = function(student, teacher, temperature=4.0)
  arguments = np.float64(student), np.float64(teacher), 4.0
  tolerance = {"rtol": 1e-5, "atol": 2e-4}
  expected = reference.lelp_loss(*arguments)
  np.testing.assert_allclose(loss, expected, **tolerance)
  eager = lelp_jax.lelp_loss(student, teacher, temperature=4.0)
  np.testing.assert_allclose(eager, expected, **tolerance)
  q = np.exp(reference.log_softmax(arguments[0] / 4))
  p = np.exp(arguments[1]).ravel()
  np.testing.assert_allclose(gradient, 4 * (q - p), atol=4e-5)
  # The subclass term is a difference of numbers as large as the loss.
  tolerance["atol"] += 4e-6 * size
  terms = lelp_loss_terms(student, teacher, temperature=4.0)
  expected = reference.lelp_loss_terms(*arguments)
  np.testing.assert_allclose(terms, expected, **tolerance)


def test_terms_of_a_class_that_neither_side_has():
  # Its probability underflows on the teacher's side.
  teacher = np.float32([[np.log(0.5)] * 2, [-200, -201]])
  student = np.float32([1, 0, -np.inf, -np.inf])

  @jax.jit
  def losses(student):
    terms = lelp_jax.lelp_loss_terms(student, teacher, temperature=1.0)
    whole = lelp_jax.lelp_loss(student, teacher, temperature=1.0)
    return jnp.stack([whole, *terms])

  whole, *terms = losses(student)
  np.testing.assert_allclose(sum(terms), whole, rtol=1e-6)
  assert float(terms[0]) == pytest.approx(0, abs=1e-6)
  whole, *terms = jax.jacrev(losses)(student)
  np.testing.assert_allclose(sum(terms), whole, atol=1e-6)
  assert np.isfinite(whole).all()


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
