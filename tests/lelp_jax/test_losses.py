"""Properties of every loss, against its float64 reference.

The losses and their inputs are in loss_cases.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import lelp_jax
from lelp_jax import baselines
from tests import reference
from tests.lelp_jax import baseline_reference
from tests.lelp_jax import loss_cases
from tests.lelp_jax.loss_cases import BATCH
from tests.lelp_jax.loss_cases import CASES
from tests.lelp_jax.loss_cases import compiled
from tests.lelp_jax.loss_cases import in_float64
from tests.lelp_jax.loss_cases import make_inputs
from tests.lelp_jax.loss_cases import numerical_gradient
from tests.lelp_jax.loss_cases import TEMPERATURE
from tests.lelp_jax.loss_cases import WIDTH

_ANY_AXES = "kd", "embedding", "fitnet", "vid", "dkd", "standardized_kd"
_ANY_AXES = (*_ANY_AXES, *loss_cases.LELP)
_CONTRAST = "crd", "crd_bank", "info_nce"
every_case = pytest.mark.parametrize("name", CASES)


def test_every_loss_is_here():
  functions = {name for name in baselines.__all__ if name.endswith("_loss")}
  assert len(loss_cases.BASELINES) == len(functions)


@every_case
def test_loss_and_gradients_match_reference(rng, name):
  case = CASES[name]
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


@every_case
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  temperature=st.floats(0.5, 20),
  scale=st.floats(0.01, 300),
)
def test_losses_match_reference_everywhere(name, seed, temperature, scale):
  student, teacher, rows = make_inputs(np.random.default_rng(seed), np.float64)
  rtol = 1e-5
  if name == "dist":  # Columns of saturated probabilities are but rounding.
    scale, rtol = min(scale, 10), 1e-4
  if name not in _CONTRAST:
    student, teacher = scale * student, scale * teacher
  student, teacher = map(np.float32, (student, teacher))
  loss, _, _ = compiled(CASES[name])(student, teacher, rows, temperature)
  arrays = in_float64(student, teacher)
  expected = CASES[name].expected(*arrays, rows, temperature)
  # Roundings of log probabilities of this size, times tau^2.
  size = max(np.abs(student).max(), np.abs(teacher).max()) / temperature
  atol = 1e-6 * temperature**2 * (1 + size)
  np.testing.assert_allclose(loss, expected, rtol=rtol, atol=atol)


@every_case
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
  # Public code for DKD has a gradient of NaN from 400 at a temperature of 4.
  gaps = np.array([400, 420, 5e3, 1e4, -400, -420, -5e3, -1e4])[:, None]
  apart = np.where(np.arange(WIDTH)[None] == 0, gaps, 0)
  some_constant = np.where(np.arange(BATCH)[:, None] % 3 == 0, 3.0, some)
  return {
    "large": (1e4 * signs, 1e4 * signs[::-1]),
    "far apart": (apart, apart),
    "far apart, opposed": (apart, -apart),
    "zeros": (zeros, zeros),
    "zero student": (zeros, some),
    "zero teacher": (some, zeros),
    "equal": (some, some),
    "identical rows": (ones * some[:1], ones * some[1:2]),
    "identical students": (ones * some[:1], some),
    "some rows identical": (some[[0, 1, 1, 2, 3, 4, 4, 4]], some),
    "constant logits": (ones * some[:, :1], some),
    "some constant logits": (some_constant, some),
    "a class that nobody predicts": (
      some - 30 * np.eye(WIDTH)[3],
      some[::-1] - 30 * np.eye(WIDTH)[3],
    ),
    "saturated teacher": (some, 1e4 * hot),
    "saturated student": (1e4 * hot, some),
    "saturated and wrong": (1e4 * hot, 1e4 * hot[::-1]),
    "one": (some[:1], some[1:2]),
    "one zero": (zeros[:1], some[:1]),
    "tiny": (1e-30 * some, 1e-30 * some[::-1]),
  }


@every_case
def test_extremes_are_finite_and_right(name):
  case = CASES[name]
  for extreme, inputs in extreme_inputs().items():
    if extreme.startswith("one") and name in _ANY_AXES:
      continue  # No row sees another: test_leading_axes_are_examples.
    student, teacher = map(np.float32, inputs)
    if name in _CONTRAST:  # Unit rows, or zeros.
      student, teacher = (
        np.float32([baseline_reference.unit(row) for row in side])
        for side in (student, teacher)
      )
    rows = np.arange(len(student))
    loss, gradient, _ = compiled(case)(student, teacher, rows, TEMPERATURE)
    expected = case.expected(*in_float64(student, teacher), rows, TEMPERATURE)
    rtol, atol = 2e-5, 2e-6
    if name.startswith("subclass_term"):
      # It is a difference of numbers as large as the loss.
      atol += 1e-6 * TEMPERATURE * np.abs(student).max()
    if (name, extreme) == ("dkd", "large"):
      # Where the label ties, its probability is known to the digits that the
      # logits have behind the point.
      rtol = 2e-4
    np.testing.assert_allclose(
      loss, expected, rtol=rtol, atol=atol, err_msg=extreme
    )
    assert np.all(np.isfinite(gradient)), extreme


# --- Divergences of logits ----------------------------------------------------


@pytest.mark.parametrize("name", ["kd", "dkd", "lelp", "class_term"])
@pytest.mark.parametrize(
  "extreme", [x for x in extreme_inputs() if x.startswith(("far", "satur"))]
)
def test_gradients_at_extremes_are_numerical(name, extreme):
  # A loss through log(softmax) has a gradient of NaN or zero.
  inputs, rows = extreme_inputs()[extreme], np.arange(BATCH)
  student, teacher = map(np.float32, inputs)
  _, gradient, _ = compiled(CASES[name])(student, teacher, rows, TEMPERATURE)
  expected = numerical_gradient(
    lambda s: CASES[name].expected(s, np.float64(teacher), rows, TEMPERATURE),
    np.float64(student),
  )
  np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 20.0, 100.0, 1e3, 1e4])
@pytest.mark.parametrize("name", ["kd", "dkd"])
def test_digits_at_high_temperatures(rng, name, temperature):
  student, teacher, rows = make_inputs(rng)
  run, expected = compiled(CASES[name]), CASES[name].expected
  teacher += np.float32(7)  # An offset of one side costs none either.
  loss, _, _ = run(3 * student, teacher, rows, temperature)
  pair = in_float64(3 * student, teacher)
  np.testing.assert_allclose(
    loss, expected(*pair, rows, temperature), rtol=2e-5
  )
  same, _, _ = run(student, student, rows, temperature)
  np.testing.assert_allclose(same, 0, atol=1e-6)


@pytest.mark.parametrize("side", ["teacher", "both"])
@pytest.mark.parametrize(
  "name",
  ["kd", "dkd", "lelp", "class_term", "subclass_term", "class_log_probs"],
)
def test_absent_classes_have_no_part(rng, name, side):
  """Logits of -inf, with a class's label, are as good as very small ones."""
  student, teacher, rows = make_inputs(rng)
  absent = np.arange(WIDTH)[None] % 2 == 0
  rows = 2 * rows + 1

  @jax.jit
  def everything(student, teacher):
    def total(student, tau):
      return jnp.sum(CASES[name].loss(student, teacher, rows, tau))

    return jax.value_and_grad(total, (0, 1))(student, 2.0)

  found, expected = (
    everything(
      np.where(absent, logit, student) if side == "both" else student,
      np.where(absent, logit, teacher),
    )
    for logit in (np.float32(-np.inf), np.float32(-1e4))
  )
  for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# --- What others computed -----------------------------------------------------


def golden_logits(num_classes=10):
  return (
    np.float32(5 * baseline_reference.golden(8, 10, a, b))[:, :num_classes]
    for a, b in ((0.9, 0.3), (1.1, 0.4))
  )


def kd(temperature):
  return jax.jit(baselines.kd_loss)(*golden_logits(), temperature=temperature)


def dkd(num_classes, target, nontarget):
  return jax.jit(baselines.dkd_loss)(
    *golden_logits(num_classes),
    np.arange(8) % num_classes,
    temperature=4.0,
    target_weight=target,
    nontarget_weight=nontarget,
  )


def dist(temperature, inter, intra):
  return jax.jit(baselines.dist_loss)(
    *golden_logits(),
    temperature=temperature,
    inter_weight=inter,
    intra_weight=intra,
  )


def standardized(temperature, logits=None):
  """The authors divide by C - 1 in the standard deviation, we by C."""
  student, teacher = logits or golden_logits()
  ratio = student.shape[-1] / (student.shape[-1] - 1)
  loss = jax.jit(baselines.standardized_kd_loss)(
    student, teacher, temperature=temperature * ratio**0.5
  )
  return loss / ratio


def subclass(temperature):
  logits, _ = golden_logits()
  function = jax.jit(baselines.subclass_auxiliary_loss)
  return function(logits, temperature=temperature)


def class_gap():
  """Returns the difference of both class log probabilities of a row."""
  logits, _ = golden_logits()
  log_probs = lelp_jax.class_log_probs(logits, num_classes=2, temperature=1.0)
  return log_probs[0, 1] - log_probs[0, 0]


GOLDEN = [
  # RepDistiller's distiller_zoo/KD.py: sum over classes, mean over the batch.
  (kd, (1.0,), 4.4328523),
  (kd, (4.0,), 10.4477940),
  # mdistiller's distillers/DKD.py at T = 4, without warm-up and cross entropy.
  (dkd, (10, 1.0, 0.0), 0.9268378),
  (dkd, (10, 0.0, 1.0), 10.5229797),
  (dkd, (10, 1.0, 8.0), 85.1106720),
  (dkd, (3, 1.0, 0.0), 1.6551317),
  (dkd, (3, 0.0, 1.0), 3.9619744),
  (dkd, (3, 1.0, 8.0), 33.3509254),
  (dkd, (2, 1.0, 0.0), 2.4525640),
  (dkd, (2, 0.0, 1.0), 0.0),
  (dkd, (2, 1.0, 8.0), 2.4525640),
  # The formula of DIST's authors, 1e-8 included, evaluated in PyTorch.
  (dist, (1.0, 1.0, 0.0), 0.9772477),
  (dist, (1.0, 0.0, 1.0), 0.9930117),
  (dist, (4.0, 1.0, 0.0), 16.1752167),
  (dist, (4.0, 0.0, 1.0), 16.3283997),
  (dist, (4.0, 2.0, 0.5), 2 * 16.1752167 + 0.5 * 16.3283997),
  # The formula of logit standardization, 1e-7 included, evaluated in PyTorch.
  (standardized, (1.0,), 0.7681739),
  (standardized, (2.0,), 0.8784589),
  (standardized, (4.0,), 0.9138793),
  # The notebook of google-research/subclass_distillation.
  (subclass, (1.0,), -0.75139713),
  (subclass, (0.1,), -1.87282076),
  (class_gap, (), 5.23251984 - 5.20736775),
]


@pytest.mark.parametrize(("function", "arguments", "expected"), GOLDEN)
def test_golden_values(function, arguments, expected):
  loss = np.mean(function(*arguments))
  assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_standardized_kd_has_the_losses_of_the_papers_toy_case():
  # Sun et al., figure 2: losses of the two students after standardization.
  teacher = np.float32([-1.162, 1.162, 0.387, -0.387])
  student = np.float32([-1.320, 0.660, 0.880, -0.220])
  loss = standardized(1.0, (student, teacher))
  assert float(loss) == pytest.approx(0.0995, abs=2e-4)
  assert float(standardized(1.0, (3 * teacher + 1, teacher))) < 1e-6
