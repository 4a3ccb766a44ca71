"""Algorithm 3: the loss, its two terms and the prediction."""

from functools import partial

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


def sum_of(function, **options):
  """The sum over the batch, whose gradient is each example's own."""
  return lambda *args: jnp.sum(function(*args, **options))


# --- The loss ----------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
@pytest.mark.parametrize("batch", [(), (BATCH,), (2, 3)])
def test_lelp_loss_matches_reference(rng, batch, temperature):
  student, teacher = make_inputs(rng, batch)
  loss = lelp_jax.lelp_loss(student, teacher, temperature=temperature)
  assert loss.shape == batch
  np.testing.assert_allclose(
    loss,
    expected_over(reference.lelp_loss, student, teacher, temperature),
    rtol=2e-6,
    atol=1e-6,
  )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**31),
  temperature=st.floats(0.5, 20),
  scale=st.floats(0.01, 300),
)
def test_lelp_loss_matches_reference_everywhere(seed, temperature, scale):
  student, teacher = make_inputs(np.random.default_rng(seed), scale=scale)
  loss, (class_term, subclass_term) = (
    function(student, teacher, temperature=temperature)
    for function in (lelp_jax.lelp_loss, lelp_jax.lelp_loss_terms)
  )
  # Roundings of log-probabilities of this size, times tau^2.
  size = np.max(np.abs(student)) / temperature + np.max(np.abs(teacher))
  tolerance = {"rtol": 1e-5, "atol": 1e-6 * temperature**2 * (1 + size)}
  expected = expected_over(reference.lelp_loss, student, teacher, temperature)
  expected_terms = expected_over(
    reference.lelp_loss_terms, student, teacher, temperature
  )
  np.testing.assert_allclose(loss, expected, **tolerance)
  np.testing.assert_allclose(class_term, expected_terms[:, 0], **tolerance)
  np.testing.assert_allclose(subclass_term, expected_terms[:, 1], **tolerance)
  np.testing.assert_allclose(class_term + subclass_term, loss, **tolerance)
  for value in (loss, class_term, subclass_term):
    assert np.all(np.asarray(value) >= -tolerance["atol"])


def test_lelp_loss_layout_is_class_major(rng):
  # Subclasses of one class are contiguous: with the other layout this student
  # would be the teacher.
  _, teacher = make_inputs(rng)
  flat = teacher.reshape(BATCH, -1)
  strided = teacher.swapaxes(1, 2).reshape(BATCH, -1)
  np.testing.assert_allclose(
    lelp_jax.lelp_loss(flat, teacher, temperature=1.0), 0, atol=1e-5
  )
  loss = lelp_jax.lelp_loss(strided, teacher, temperature=1.0)
  assert np.all(np.asarray(loss) > 0.1)


def test_lelp_loss_zero_at_equality(rng):
  _, teacher = make_inputs(rng)
  for temperature in (1.0, 5.0):
    # The student's logits at which softmax(z / tau) is the teacher.
    student = (teacher.reshape(BATCH, -1) * temperature) + np.float32(2.5)
    loss = partial(lelp_jax.lelp_loss, temperature=temperature)
    np.testing.assert_allclose(
      loss(student, teacher), 0, atol=2e-6 * temperature**2
    )
    gradient = jax.grad(sum_of(loss))(student, teacher)
    np.testing.assert_allclose(gradient, 0, atol=2e-6 * temperature)


def test_lelp_loss_invariant_to_a_shift_of_the_student(rng):
  student, teacher = make_inputs(rng)
  loss = partial(lelp_jax.lelp_loss, temperature=3.0)
  np.testing.assert_allclose(
    loss(student + np.float32(100), teacher),
    loss(student, teacher),
    rtol=1e-4,
    atol=1e-4,
  )


def test_lelp_loss_permutes_with_the_batch(rng):
  student, teacher = make_inputs(rng)
  order = np.array([3, 0, 4, 1, 2])
  loss = partial(lelp_jax.lelp_loss, temperature=3.0)
  np.testing.assert_allclose(
    loss(student[order], teacher[order]),
    loss(student, teacher)[order],
    rtol=1e-6,
  )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_lelp_loss_gradient_is_numerical(rng, temperature):
  student, teacher = make_inputs(rng)
  gradient = jax.grad(sum_of(lelp_jax.lelp_loss, temperature=temperature))(
    student, teacher
  )
  for n in range(BATCH):
    expected = reference.gradient(
      lambda z, n=n: reference.lelp_loss(z, teacher[n], temperature),
      student[n],
    )
    np.testing.assert_allclose(gradient[n], expected, atol=2e-6 * temperature)


@pytest.mark.parametrize("function", ["loss", "class", "subclass"])
def test_lelp_loss_check_grads(rng, function):
  student, teacher = make_inputs(rng)
  with jax.enable_x64(True):
    student, teacher = jnp.float64(student), jnp.float64(teacher)

    def value(z):
      if function == "loss":
        return lelp_jax.lelp_loss(z, teacher, temperature=2.0)
      terms = lelp_jax.lelp_loss_terms(z, teacher, temperature=2.0)
      return terms[0] if function == "class" else terms[1]

    check_grads(value, (student,), order=2, modes=["fwd", "rev"])


def test_lelp_loss_terms_gradients_add_up(rng):
  student, teacher = make_inputs(rng)
  gradient = jax.grad(sum_of(lelp_jax.lelp_loss, temperature=3.0))
  terms = jax.grad(
    lambda z, t: sum(
      jnp.sum(term) for term in lelp_jax.lelp_loss_terms(z, t, temperature=3.0)
    )
  )
  np.testing.assert_allclose(
    terms(student, teacher), gradient(student, teacher), atol=1e-5
  )


def test_lelp_loss_no_gradient_to_the_teacher(rng):
  student, teacher = make_inputs(rng)
  for function in (
    lelp_jax.lelp_loss,
    lambda *args, **kw: sum(lelp_jax.lelp_loss_terms(*args, **kw)),
  ):
    gradient = jax.grad(sum_of(function, temperature=2.0), argnums=1)(
      student, teacher
    )
    np.testing.assert_array_equal(gradient, np.zeros_like(teacher))


# --- Spec 2.5, properties 1 and 8: relation to vanilla distillation ----------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_lelp_loss_one_subclass_is_kd(rng, temperature):
  student = rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32) * 4
  teacher = rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32) * 4
  subspaces = lelp_jax.Subspaces(
    directions=jnp.asarray(rng.normal(size=(NUM_CLASSES, 1, 6)), jnp.float32),
    means=jnp.asarray(rng.normal(size=(NUM_CLASSES, 6)), jnp.float32),
  )
  log_probs = lelp_jax.log_subsplit(
    rng.normal(size=(BATCH, 6)).astype(np.float32),
    teacher,
    subspaces,
    temperature=temperature,
    subclass_temperature=0.3,
  )
  lelp = sum_of(lelp_jax.lelp_loss, temperature=temperature)
  kd = sum_of(baselines.kd_loss, temperature=temperature)
  value, gradient = jax.value_and_grad(lelp)(student, log_probs)
  expected, expected_gradient = jax.value_and_grad(kd)(student, teacher)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(gradient, expected_gradient, atol=2e-6)
  class_term, subclass_term = lelp_jax.lelp_loss_terms(
    student, log_probs, temperature=temperature
  )
  np.testing.assert_allclose(
    class_term,
    baselines.kd_loss(student, teacher, temperature=temperature),
    rtol=1e-5,
  )
  np.testing.assert_allclose(subclass_term, 0, atol=1e-5)


def test_lelp_loss_terms_class_term_is_kd_of_the_sums(rng):
  student, _ = make_inputs(rng)
  teacher = rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32) * 3
  within = jax.nn.log_softmax(
    jnp.asarray(rng.normal(size=(BATCH, NUM_CLASSES, S)), jnp.float32)
  )
  tau = 2.0
  log_probs = jax.nn.log_softmax(teacher / tau)[..., None] + within
  class_term, _ = lelp_jax.lelp_loss_terms(student, log_probs, temperature=tau)
  # A student of C logits whose tempered softmax has these class sums.
  summed = tau * lelp_jax.class_log_probs(
    student, num_classes=NUM_CLASSES, temperature=tau
  )
  np.testing.assert_allclose(
    class_term,
    baselines.kd_loss(summed, teacher, temperature=tau),
    rtol=1e-5,
    atol=1e-6,
  )


def test_lelp_loss_uniform_subclasses_have_kd_as_class_term(rng):
  # beta -> infinity: the subclasses carry nothing, the class term is KD's.
  student = rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32) * 3
  teacher = rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32) * 3
  subspaces = lelp_jax.Subspaces(
    directions=jnp.asarray(rng.normal(size=(NUM_CLASSES, S, 6)), jnp.float32),
    means=jnp.zeros((NUM_CLASSES, 6)),
  )
  log_probs = lelp_jax.log_subsplit(
    rng.normal(size=(BATCH, 6)).astype(np.float32),
    teacher,
    subspaces,
    temperature=2.0,
    subclass_temperature=1e8,
  )
  spread = np.repeat(student, S, axis=1)  # The student is uniform, too.
  class_term, subclass_term = lelp_jax.lelp_loss_terms(
    spread, log_probs, temperature=2.0
  )
  expected = baselines.kd_loss(student, teacher, temperature=2.0)
  np.testing.assert_allclose(class_term, expected, rtol=1e-5, atol=1e-6)
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
  return log_probs


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["one subclass", "one class", "nearly"])
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_lelp_loss_extremes(rng, size, kind, temperature):
  student = rng.normal(size=(BATCH, NUM_CLASSES * S)).astype(np.float32)
  student = np.clip(student, -1, 1) * np.float32(size)
  student[0, :4] = [size, -size, size, -size]
  student[1, 6] = -size  # Against the teacher's certainty.
  teacher = np.tile(certain_teacher(kind), (BATCH, 1, 1))
  loss = partial(lelp_jax.lelp_loss, temperature=temperature)
  expected = expected_over(reference.lelp_loss, student, teacher, temperature)
  tolerance = {"rtol": 1e-5, "atol": 1e-5 * temperature**2}
  for function in (loss, jax.jit(loss)):
    np.testing.assert_allclose(
      function(student, teacher), expected, **tolerance
    )
  terms = lelp_jax.lelp_loss_terms(student, teacher, temperature=temperature)
  expected_terms = expected_over(
    reference.lelp_loss_terms, student, teacher, temperature
  )
  # The subclass term is a difference of numbers as large as the loss.
  tolerance["atol"] += 1e-6 * temperature * size
  np.testing.assert_allclose(terms[0], expected_terms[:, 0], **tolerance)
  np.testing.assert_allclose(terms[1], expected_terms[:, 1], **tolerance)
  gradient = jax.grad(sum_of(loss))(student, teacher)
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
  for term in (0, 1):
    gradient = jax.grad(
      lambda z, term=term: jnp.sum(
        lelp_jax.lelp_loss_terms(z, teacher, temperature=temperature)[term]
      )
    )(student)
    chex.assert_tree_all_finite(gradient)


def test_lelp_loss_opposite_certainties(rng):
  # Both sides at logits of 1e4, on different subclasses.
  student = np.full((1, NUM_CLASSES * S), -1e4, np.float32)
  student[0, 0] = 1e4
  teacher_logits = np.full((1, NUM_CLASSES * S), -1e4, np.float32)
  teacher_logits[0, 7] = 1e4
  teacher = jax.nn.log_softmax(teacher_logits).reshape(1, NUM_CLASSES, S)
  value, gradient = jax.value_and_grad(
    sum_of(lelp_jax.lelp_loss, temperature=1.0)
  )(student, teacher)
  assert float(value) == pytest.approx(2e4, rel=1e-6)
  expected = np.zeros((1, NUM_CLASSES * S))
  expected[0, 0], expected[0, 7] = 1, -1
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


# --- The prediction ----------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("batch", [(), (BATCH,), (2, 3)])
def test_class_log_probs_match_reference(rng, batch, temperature):
  logits, _ = make_inputs(rng, batch)
  log_probs = lelp_jax.class_log_probs(
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
  np.testing.assert_allclose(
    jnp.sum(jnp.exp(log_probs), axis=-1), np.ones(batch), rtol=1e-5
  )


def test_class_log_probs_temperature_changes_the_winner():
  # many middling subclasses beat one tall one only when tempered.
  logits = np.array([5.0, -9, -9, -9, 3, 3, 3, 3], np.float32)
  winners = [
    int(
      jnp.argmax(
        lelp_jax.class_log_probs(logits, num_classes=2, temperature=tau)
      )
    )
    for tau in (0.5, 4.0)
  ]
  assert winners == [0, 1]


def test_class_log_probs_of_a_perfect_student_is_the_teacher(rng):
  _, teacher = make_inputs(rng)
  student = 3.0 * teacher.reshape(BATCH, -1)
  np.testing.assert_allclose(
    lelp_jax.class_log_probs(student, num_classes=NUM_CLASSES, temperature=3.0),
    jax.nn.logsumexp(teacher, axis=-1),
    atol=1e-5,
  )


def test_class_log_probs_extremes(rng):
  logits = np.full((2, NUM_CLASSES * S), -1e4, np.float32)
  logits[0, 5] = logits[1, 3] = 1e4
  value, gradient = jax.value_and_grad(
    lambda z: jnp.sum(
      lelp_jax.class_log_probs(z, num_classes=NUM_CLASSES, temperature=1.0)
    )
  )(logits)
  assert np.isfinite(value)
  chex.assert_tree_all_finite(gradient)


# --- where: subclasses that exist --------------------------------------------


def padded(array, s, filler):
  """`[..., C, S]` with `filler` up to `s` subclasses."""
  widths = [(0, 0)] * (array.ndim - 1) + [(0, s - array.shape[-1])]
  return np.pad(array, widths, constant_values=filler)


@pytest.mark.parametrize("teacher_filler", [-np.inf, 0.0])
@pytest.mark.parametrize("student_filler", [0.0, 50.0, -1e4])
def test_lelp_loss_masked_equals_unpadded(rng, student_filler, teacher_filler):
  student, teacher = make_inputs(rng)
  wide = S + 3
  where = np.tile(np.arange(wide) < S, (NUM_CLASSES, 1))
  wide_student = padded(
    student.reshape(BATCH, NUM_CLASSES, S), wide, student_filler
  ).reshape(BATCH, -1)
  wide_teacher = padded(teacher, wide, teacher_filler)

  def values(z, log_p, where):
    options = {"temperature": 3.0, "where": where}
    loss = lelp_jax.lelp_loss(z, log_p, **options)
    class_term, subclass_term = lelp_jax.lelp_loss_terms(z, log_p, **options)
    predicted = lelp_jax.class_log_probs(z, num_classes=NUM_CLASSES, **options)
    # Unequal weights: no gradient can hide behind another.
    total = jnp.sum(loss + 2.0 * class_term + 3.0 * subclass_term) + jnp.sum(
      predicted * jnp.arange(3.0)[None]
    )
    return total, (loss, class_term, subclass_term, predicted)

  def check(grad):
    (_, outputs), gradient = grad(wide_student, wide_teacher, where)
    chex.assert_trees_all_close(outputs, expected, rtol=1e-5, atol=1e-5)
    gradient = gradient.reshape(BATCH, NUM_CLASSES, wide)
    np.testing.assert_allclose(
      gradient[..., :S].reshape(BATCH, -1), expected_gradient, atol=2e-5
    )
    np.testing.assert_array_equal(gradient[..., S:], 0)

  grad = jax.value_and_grad(values, has_aux=True)
  (_, expected), expected_gradient = grad(student, teacher, None)
  check(grad)
  check(jax.jit(grad))


def test_lelp_loss_ragged_mask(rng):
  where = np.array(
    [[False, True, False, True], [True] * 4, [False, False, True, False]]
  )
  student, _ = make_inputs(rng)
  logits = np.where(where, rng.normal(size=(BATCH, NUM_CLASSES, S)), -np.inf)
  teacher = np.array(
    jax.nn.log_softmax(logits.reshape(BATCH, -1).astype(np.float32))
  ).reshape(BATCH, NUM_CLASSES, S)
  loss, gradient = jax.value_and_grad(
    sum_of(lelp_jax.lelp_loss, temperature=2.0, where=where)
  )(student, teacher)
  total = 0.0
  for n in range(BATCH):
    log_q = reference.log_softmax(
      student[n].reshape(NUM_CLASSES, S)[where] / 2.0
    )
    log_p = teacher[n][where].astype(np.float64)
    total += 4.0 * reference.kl_divergence(log_p, log_q)
  assert float(loss) == pytest.approx(total, rel=1e-5)
  chex.assert_tree_all_finite(gradient)
  np.testing.assert_array_equal(
    gradient.reshape(BATCH, NUM_CLASSES, S)[:, ~where], 0
  )
  assert np.all(gradient.reshape(BATCH, NUM_CLASSES, S)[:, where] != 0)


def test_lelp_loss_stacked_cells(rng):
  # Cells of S = 2 and 4 and of two temperatures, in one vmapped call.
  wheres = np.array(
    [
      np.tile(np.arange(S) < 2, (NUM_CLASSES, 1)),
      np.ones((NUM_CLASSES, S), bool),
    ]
  )
  small_student, small_teacher = make_inputs(rng, s=2)
  student, teacher = make_inputs(rng)
  students = np.stack(
    [
      padded(small_student.reshape(BATCH, NUM_CLASSES, 2), S, 9.0).reshape(
        BATCH, -1
      ),
      student,
    ]
  )
  teachers = np.stack([padded(small_teacher, S, -np.inf), teacher])

  def loss(z, log_p, temperature, where):
    return lelp_jax.lelp_loss(z, log_p, temperature=temperature, where=where)

  stacked = jax.jit(jax.vmap(loss))(
    students, teachers, np.array([1.0, 4.0], np.float32), wheres
  )
  np.testing.assert_allclose(
    stacked[0], loss(small_student, small_teacher, 1.0, None), rtol=1e-5
  )
  np.testing.assert_allclose(
    stacked[1], loss(student, teacher, 4.0, None), rtol=1e-5
  )


def test_masked_chain_from_embedding_to_loss(rng):
  # Algorithms 2 and 3 together, as a training step calls them.
  width, wide = 6, S + 2
  directions = rng.normal(size=(NUM_CLASSES, wide, width))
  means = rng.normal(size=(NUM_CLASSES, width))
  h = rng.normal(size=(BATCH, width)).astype(np.float32)
  z = rng.normal(size=(BATCH, NUM_CLASSES)).astype(np.float32)
  student = rng.normal(size=(BATCH, NUM_CLASSES, wide)).astype(np.float32)
  where = np.tile(np.arange(wide) < S, (NUM_CLASSES, 1))

  def loss(student, s, where):
    subspaces = lelp_jax.Subspaces(
      directions=jnp.asarray(directions[:, :s], jnp.float32),
      means=jnp.asarray(means, jnp.float32),
    )
    teacher = lelp_jax.log_subsplit(
      h, z, subspaces, temperature=2.0, subclass_temperature=0.5, where=where
    )
    flat = student[..., :s].reshape(BATCH, -1)
    return jnp.sum(
      lelp_jax.lelp_loss(flat, teacher, temperature=2.0, where=where)
    )

  grad = jax.value_and_grad(loss)
  value, gradient = grad(student, wide, where)
  expected, expected_gradient = grad(student, S, None)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)


# --- jit, vmap, devices, dtypes ----------------------------------------------


def test_lelp_loss_traced_temperature(rng):
  student, teacher = make_inputs(rng)
  taus = jnp.array([1.0, 3.0, 10.0])
  for function in (lelp_jax.lelp_loss, lelp_jax.lelp_loss_terms):
    swept = jax.jit(
      jax.vmap(
        lambda tau, function=function: function(
          student, teacher, temperature=tau
        )
      )
    )(taus)
    for i, tau in enumerate((1.0, 3.0, 10.0)):
      one = function(student, teacher, temperature=tau)
      chex.assert_trees_all_close(
        jax.tree.map(lambda leaf, i=i: leaf[i], swept),
        one,
        rtol=1e-5,
        atol=1e-5,
      )
  predicted = jax.jit(
    lambda tau: lelp_jax.class_log_probs(
      student, num_classes=NUM_CLASSES, temperature=tau
    )
  )(taus[1])
  np.testing.assert_allclose(
    predicted,
    lelp_jax.class_log_probs(student, num_classes=NUM_CLASSES, temperature=3.0),
    atol=1e-6,
  )


def test_lelp_loss_same_under_vmap_and_on_eight_devices(rng):
  student, teacher = make_inputs(rng, batch=(16,))
  loss = partial(lelp_jax.lelp_loss, temperature=2.0)
  expected = loss(student, teacher)
  np.testing.assert_allclose(
    jax.vmap(loss)(student, teacher), expected, rtol=1e-5
  )
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.NamedSharding(mesh, jax.P("data"))
  sharded = jax.jit(loss)(*jax.device_put((student, teacher), rows))
  np.testing.assert_allclose(sharded, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_lelp_loss_low_precision_input_gives_float32(rng, dtype):
  student, teacher = make_inputs(rng)
  low = jnp.asarray(student, dtype), jnp.asarray(teacher, dtype)
  wide = [array.astype(jnp.float32) for array in low]
  for function in (
    partial(lelp_jax.lelp_loss, temperature=2.0),
    partial(lelp_jax.lelp_loss_terms, temperature=2.0),
    lambda z, _: lelp_jax.class_log_probs(
      z, num_classes=NUM_CLASSES, temperature=2.0
    ),
  ):
    result, expected = function(*low), function(*wide)
    chex.assert_trees_all_equal_dtypes(result, expected)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(result))
    chex.assert_trees_all_close(result, expected, rtol=1e-6)


def test_lelp_loss_float64_under_x64(rng):
  student = rng.normal(size=(BATCH, NUM_CLASSES * S)) * 3
  logits = rng.normal(size=(BATCH, NUM_CLASSES * S)) * 3
  teacher = np.array([reference.log_softmax(row) for row in logits])
  teacher = teacher.reshape(BATCH, NUM_CLASSES, S)
  with jax.enable_x64(True):
    loss = lelp_jax.lelp_loss(student, teacher, temperature=2.0)
    terms = lelp_jax.lelp_loss_terms(student, teacher, temperature=2.0)
    predicted = lelp_jax.class_log_probs(
      student, num_classes=NUM_CLASSES, temperature=2.0
    )
    single = lelp_jax.lelp_loss(
      student.astype(np.float32), teacher.astype(np.float32), temperature=2.0
    )
  assert single.dtype == jnp.float32
  for result in (loss, *terms, predicted):
    assert result.dtype == jnp.float64
  np.testing.assert_allclose(
    loss,
    expected_over(reference.lelp_loss, student, teacher, 2.0),
    rtol=1e-12,
  )
  np.testing.assert_allclose(
    np.stack(terms, axis=-1),
    expected_over(reference.lelp_loss_terms, student, teacher, 2.0),
    rtol=1e-11,
  )


# --- Arguments that are refused ----------------------------------------------

BAD_CALLS = {
  "head of C outputs": (
    ValueError,
    "student_logits",
    {"student_logits": np.ones((BATCH, NUM_CLASSES), np.float32)},
  ),
  "head one output too wide": (
    ValueError,
    "student_logits",
    {"student_logits": np.ones((BATCH, NUM_CLASSES * S + 1), np.float32)},
  ),
  "integer student": (
    TypeError,
    "student_logits",
    {"student_logits": np.ones((BATCH, NUM_CLASSES * S), np.int32)},
  ),
  "scalar student": (
    ValueError,
    "student_logits",
    {"student_logits": np.float32(0)},
  ),
  "flat teacher": (
    ValueError,
    "teacher_log_probs",
    {"teacher_log_probs": np.zeros((BATCH, NUM_CLASSES * S), np.float32)},
  ),
  "vector teacher": (
    ValueError,
    "teacher_log_probs",
    {"teacher_log_probs": np.zeros(NUM_CLASSES * S, np.float32)},
  ),
  "integer teacher": (
    TypeError,
    "teacher_log_probs",
    {"teacher_log_probs": np.zeros((BATCH, NUM_CLASSES, S), np.int32)},
  ),
  "one teacher row for all": (
    ValueError,
    "teacher_log_probs",
    {"teacher_log_probs": np.zeros((1, NUM_CLASSES, S), np.float32)},
  ),
  "zero temperature": (ValueError, "temperature", {"temperature": 0.0}),
  "negative temperature": (
    ValueError,
    "temperature",
    {"temperature": np.float32(-1)},
  ),
  "transposed mask": (
    ValueError,
    "where",
    {"where": np.ones((S, NUM_CLASSES), bool)},
  ),
  "float mask": (TypeError, "where", {"where": np.ones((NUM_CLASSES, S))}),
}


@pytest.mark.parametrize("name", ["lelp_loss", "lelp_loss_terms"])
@pytest.mark.parametrize("case", BAD_CALLS)
def test_lelp_loss_refuses(rng, case, name):
  error, argument, changes = BAD_CALLS[case]
  student, teacher = make_inputs(rng)
  arguments = {
    "student_logits": student,
    "teacher_log_probs": teacher,
    "temperature": 2.0,
    **changes,
  }
  with pytest.raises(error, match=argument):
    getattr(lelp_jax, name)(
      arguments.pop("student_logits"),
      arguments.pop("teacher_log_probs"),
      **arguments,
    )


@pytest.mark.parametrize(
  ("error", "argument", "changes"),
  [
    (ValueError, "logits", {"logits": np.ones((2, 7), np.float32)}),
    (ValueError, "logits", {"logits": np.float32(1)}),
    (TypeError, "logits", {"logits": np.ones((2, 12), np.int32)}),
    (ValueError, "num_classes", {"num_classes": 0}),
    (ValueError, "temperature", {"temperature": 0.0}),
    (ValueError, "temperature", {"temperature": -3.0}),
    (ValueError, "where", {"where": np.ones((S, NUM_CLASSES), bool)}),
    (TypeError, "where", {"where": np.ones((NUM_CLASSES, S))}),
  ],
)
def test_class_log_probs_refuses(error, argument, changes):
  arguments = {
    "logits": np.ones((2, 12), np.float32),
    "num_classes": NUM_CLASSES,
    "temperature": 1.0,
    **changes,
  }
  with pytest.raises(error, match=argument):
    lelp_jax.class_log_probs(arguments.pop("logits"), **arguments)


def test_lelp_loss_names_the_shapes():
  with pytest.raises(ValueError, match=r"\(2, 7\)"):
    lelp_jax.lelp_loss(
      np.ones((2, 7), np.float32),
      np.zeros((2, 3, 4), np.float32),
      temperature=1.0,
    )
