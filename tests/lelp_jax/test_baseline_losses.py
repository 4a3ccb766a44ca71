"""Properties of every comparison loss, against its float64 reference.

The losses and their inputs are in baseline_cases.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import baselines
from tests import reference
from tests.lelp_jax import baseline_reference
from tests.lelp_jax.baseline_cases import BATCH
from tests.lelp_jax.baseline_cases import CASES
from tests.lelp_jax.baseline_cases import compiled
from tests.lelp_jax.baseline_cases import in_float64
from tests.lelp_jax.baseline_cases import make_inputs
from tests.lelp_jax.baseline_cases import numerical_gradient
from tests.lelp_jax.baseline_cases import TEMPERATURE
from tests.lelp_jax.baseline_cases import WIDTH

_ANY_AXES = "kd", "embedding", "fitnet", "vid", "dkd", "standardized_kd"
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_every_loss_is_here():
  functions = {name for name in baselines.__all__ if name.endswith("_loss")}
  assert len(CASES) == len(functions)


@every_case
def test_loss_and_gradients_match_reference(rng, case):
  student, teacher, rows = make_inputs(rng, np.float64)
  with jax.enable_x64(True):
    loss, to_student, to_teacher = compiled(case)(
      student, teacher, rows, TEMPERATURE
    )
  assert loss.dtype == jnp.float64
  expected = case.expected(student, teacher, rows, TEMPERATURE)
  np.testing.assert_allclose(loss, expected, rtol=1e-11, atol=1e-13)
  expected = numerical_gradient(
    lambda s: case.expected(s, teacher, rows, TEMPERATURE), student
  )
  np.testing.assert_allclose(to_student, expected, rtol=1e-6, atol=1e-8)
  expected = np.zeros_like(teacher)
  if case.learned_teacher:
    expected = numerical_gradient(
      lambda t: case.expected(student, t, rows, TEMPERATURE), teacher
    )
  np.testing.assert_allclose(to_teacher, expected, rtol=1e-6, atol=1e-8)
  if not case.learned_teacher:
    assert not np.any(to_teacher)
  # In float32, of rounded inputs.
  student, teacher = map(np.float32, (student, teacher))
  loss, gradient, _ = compiled(case)(student, teacher, rows, TEMPERATURE)
  assert loss.shape == ((BATCH,) if case.per_example else ())
  assert loss.dtype == jnp.float32
  expected = case.expected(*in_float64(student, teacher), rows, TEMPERATURE)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(gradient, to_student, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "standardized_kd"])
def test_gradient_of_the_temperature_includes_the_teachers_part(rng, name):
  student, teacher, rows = make_inputs(rng, np.float64)
  case = CASES[name]
  with jax.enable_x64(True):
    gradient = jax.jit(
      jax.grad(lambda tau: jnp.sum(case.loss(student, teacher, rows, tau)))
    )(TEMPERATURE)
  expected = reference.gradient(
    lambda tau: np.sum(case.expected(student, teacher, rows, tau[0])),
    np.array([TEMPERATURE]),
  )
  np.testing.assert_allclose(gradient, expected[0], rtol=1e-6)


@pytest.mark.parametrize("name", _ANY_AXES)
def test_leading_axes_are_examples(rng, name):
  batch = make_inputs(rng)
  stacked = [x.reshape(2, 4, *x.shape[1:]) for x in batch]
  one = [x[0] for x in batch]

  @jax.jit
  def losses(*batches):
    return [CASES[name].loss(*batch, TEMPERATURE) for batch in batches]

  expected, found, first = losses(batch, stacked, one)
  np.testing.assert_allclose(found, expected.reshape(2, 4), rtol=1e-6)
  np.testing.assert_allclose(first, expected[0], rtol=1e-6)


def extreme_inputs():
  signs = np.sign(np.sin(1.0 + np.arange(BATCH * WIDTH))).reshape(BATCH, WIDTH)
  some = np.random.default_rng(1).normal(size=(BATCH, WIDTH))
  hot = np.eye(WIDTH)[np.arange(BATCH) % WIDTH]
  zeros, ones = np.zeros_like(some), np.ones_like(some)
  return {
    "large": (1e4 * signs, 1e4 * signs[::-1]),
    "zeros": (zeros, zeros),
    "zero student": (zeros, some),
    "zero teacher": (some, zeros),
    "equal": (some, some),
    "identical rows": (ones * some[:1], ones * some[1:2]),
    "identical students": (ones * some[:1], some),
    "some rows identical": (some[[0, 1, 1, 2, 3, 4, 4, 4]], some),
    "constant logits": (ones * some[:, :1], some),
    "saturated teacher": (some, 1e4 * hot),
    "saturated student": (1e4 * hot, some),
    "saturated and wrong": (1e4 * hot, 1e4 * hot[::-1]),
    "one": (some[:1], some[1:2]),
    "one zero": (zeros[:1], some[:1]),
    "tiny": (1e-30 * some, 1e-30 * some[::-1]),
  }


@pytest.mark.parametrize("loss", CASES)
def test_extremes_are_finite_and_right(loss):
  case = CASES[loss]
  for name, inputs in extreme_inputs().items():
    if name.startswith("one") and loss in _ANY_AXES:
      continue  # No row sees another: test_leading_axes_are_examples.
    student, teacher = map(np.float32, inputs)
    if case.learned_teacher:  # Unit rows, or zeros.
      student, teacher = (
        np.float32([baseline_reference.unit(row) for row in side])
        for side in (student, teacher)
      )
    rows = np.arange(len(student))
    loss, gradient, _ = compiled(case)(student, teacher, rows, TEMPERATURE)
    expected = case.expected(*in_float64(student, teacher), rows, TEMPERATURE)
    np.testing.assert_allclose(
      loss, expected, rtol=2e-5, atol=2e-6, err_msg=name
    )
    assert np.all(np.isfinite(gradient)), name
