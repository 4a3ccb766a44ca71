"""What every comparison loss has to keep, each against its float64 reference.

The losses and their inputs are in baseline_cases.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import baselines
from tests import jaxprs
from tests.lelp_jax import baseline_reference
from tests.lelp_jax.baseline_cases import BATCH
from tests.lelp_jax.baseline_cases import CASES
from tests.lelp_jax.baseline_cases import compiled
from tests.lelp_jax.baseline_cases import in_float64
from tests.lelp_jax.baseline_cases import make_inputs
from tests.lelp_jax.baseline_cases import numerical_gradient
from tests.lelp_jax.baseline_cases import TEMPERATURE
from tests.lelp_jax.baseline_cases import WIDTH

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_every_loss_is_here():
  functions = {name for name in baselines.__all__ if name.endswith("_loss")}
  assert len(CASES) == len(functions)


@every_case
def test_loss_matches_reference(rng, case):
  student, teacher, rows = make_inputs(rng)
  loss, *_ = compiled(case)(student, teacher, rows, TEMPERATURE)
  assert loss.shape == ((BATCH,) if case.per_example else ())
  assert loss.dtype == jnp.float32
  expected = case.expected(*in_float64(student, teacher), rows, TEMPERATURE)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


@every_case
def test_float64_loss_and_gradients_match_reference(rng, case):
  student, teacher, rows = make_inputs(rng, np.float64)
  with jax.enable_x64(True):
    loss, to_student, to_teacher = compiled(case)(
      student, teacher, rows, TEMPERATURE
    )
    single = jax.eval_shape(
      compiled(case), *map(np.float32, (student, teacher)), rows, TEMPERATURE
    )
  assert loss.dtype == np.float64
  assert single[0].dtype == np.float32
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
  in_float32 = compiled(case)(
    *map(np.float32, (student, teacher)), rows, TEMPERATURE
  )
  np.testing.assert_allclose(in_float32[1], to_student, rtol=1e-4, atol=1e-5)


@every_case
def test_loss_permutes_with_the_batch(rng, case):
  student, teacher, rows = make_inputs(rng)
  order = rng.permutation(BATCH)
  loss, gradient, _ = compiled(case)(student, teacher, rows, TEMPERATURE)
  permuted = compiled(case)(student[order], teacher[order], order, TEMPERATURE)
  expected = loss[order] if case.per_example else loss
  np.testing.assert_allclose(permuted[0], expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(permuted[1], gradient[order], rtol=1e-4, atol=1e-6)


@every_case
def test_bfloat16_is_read_exactly_and_close_to_float32(rng, case):
  student, teacher, rows = make_inputs(rng)
  low = jnp.asarray(student, jnp.bfloat16), jnp.asarray(teacher, jnp.bfloat16)
  loss = jax.jit(case.loss)(*low, rows, TEMPERATURE)
  assert loss.dtype == jnp.float32
  wide = [np.asarray(array, np.float32) for array in low]
  same, *_ = compiled(case)(*wide, rows, TEMPERATURE)
  np.testing.assert_allclose(loss, same, rtol=2e-6, atol=1e-6)
  # Rounding the inputs to 8 bits, 0.4 percent, is all that is lost.
  exact, *_ = compiled(case)(student, teacher, rows, TEMPERATURE)
  np.testing.assert_allclose(loss, exact, rtol=0.03, atol=0.02)


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


@every_case
def test_extremes_are_finite_and_right(case):
  for name, inputs in extreme_inputs().items():
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


@every_case
def test_same_on_eight_devices(rng, case):
  arguments = make_inputs(rng)
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  shards = jax.device_put(arguments, jax.NamedSharding(mesh, jax.P("data")))
  sharded = compiled(case)(*shards, TEMPERATURE)
  assert len(sharded[1].sharding.device_set) == 8
  single = compiled(case)(*arguments, TEMPERATURE)
  np.testing.assert_allclose(sharded[0], single[0], rtol=1e-6, atol=1e-6)
  for ours, theirs in zip(sharded[1:], single[1:], strict=True):
    difference = np.linalg.norm(ours - theirs)
    assert difference <= 1e-5 * np.linalg.norm(theirs)


@every_case
def test_maps_over_temperatures(rng, case):
  student, teacher, rows = make_inputs(rng)
  swept = jax.jit(jax.vmap(lambda tau: case.loss(student, teacher, rows, tau)))(
    jnp.array([1.0, 4.0])
  )
  for loss, tau in zip(swept, (1.0, 4.0), strict=True):
    expected = case.expected(*in_float64(student, teacher), rows, tau)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  "case",
  [case for case in CASES.values() if case.products],
  ids=[name for name, case in CASES.items() if case.products],
)
def test_products_ask_for_full_precision(rng, case):
  student, teacher, rows = make_inputs(rng)
  jaxprs.assert_products_are_highest(
    lambda s, t: compiled(case)(s, t, rows, TEMPERATURE), student, teacher
  )


@pytest.mark.parametrize(
  "name", [name for name, case in CASES.items() if not case.products]
)
def test_other_losses_have_no_products(rng, name):
  student, teacher, rows = make_inputs(rng)
  with pytest.raises(AssertionError, match="no matrix product"):
    jaxprs.assert_products_are_highest(
      lambda s, t: CASES[name].loss(s, t, rows, TEMPERATURE), student, teacher
    )


@pytest.mark.parametrize(
  "name", ["crd", "info_nce", "kd", "dkd", "subclass", "dist"]
)
def test_temperature_has_to_be_positive(rng, name):
  student, teacher, rows = make_inputs(rng)
  for bad in (0.0, -1.0):
    with pytest.raises(ValueError, match="temperature must be positive"):
      CASES[name].loss(student, teacher, rows, bad)


@pytest.mark.parametrize("name", [name for name in CASES if name != "subclass"])
def test_pairs_that_do_not_fit_are_refused(rng, name):
  student, teacher, rows = make_inputs(rng)
  case = CASES[name]
  for changed in (teacher[:-1], teacher[0]):
    with pytest.raises(ValueError, match=r"must have .*shape") as error:
      case.loss(student, changed, rows, TEMPERATURE)
    assert "\n" not in str(error.value)
    assert str(changed.shape) in str(error.value)
  if not name.startswith("rkd"):
    with pytest.raises(ValueError, match=r"shape \[(B|\.\.\.), "):
      case.loss(student, teacher[:, :-1], rows, TEMPERATURE)
  for arguments in ((student, teacher.astype(int)), (student > 0, teacher)):
    with pytest.raises(TypeError, match="must be floating point"):
      case.loss(*arguments, rows, TEMPERATURE)
