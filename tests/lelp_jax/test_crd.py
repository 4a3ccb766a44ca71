"""CRD in the batch and with a bank, and InfoNCE: what is their own.

What they share with all losses is in test_losses.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import baselines
from tests import jaxprs
from tests.lelp_jax import baseline_reference
from tests.lelp_jax import loss_cases

BANK_SIZE, NUM_NEGATIVES, WIDTH, TEMPERATURE = 20, 4, 4, 0.07
IDS = np.array([0, 5, 9])
NEGATIVE_IDS = np.array([[1, 2, 3, 4], [6, 7, 8, 10], [11, 12, 13, 14]])
bank_loss = jax.jit(
  functools.partial(baselines.crd_bank_loss, temperature=TEMPERATURE)
)


def unit_golden(*arguments):
  return np.float32(
    baseline_reference.unit_rows(baseline_reference.golden(*arguments))
  )


def projections():
  return unit_golden(3, 4, 0.9, 0.7), unit_golden(3, 4, 1.7, 0.8)


def fresh_bank():
  return baselines.CRDBank(
    student=jnp.asarray(unit_golden(20, 4, 0.37, 0.5)),
    teacher=jnp.asarray(unit_golden(20, 4, 0.53, 0.6)),
    log_normalizers=jnp.full(2, -jnp.inf),
  )


# --- In the batch ------------------------------------------------------------


def test_info_nce_golden_values():
  student, teacher = projections()
  for pair, expected in (
    ((student, teacher), 4.4189582),
    ((teacher, student), 9.1042490),
  ):
    loss = jax.jit(baselines.info_nce_loss)(*pair, temperature=TEMPERATURE)
    assert np.mean(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dataset_size", [7, 50_000, 1_600_000])
def test_crd_reads_the_size_of_the_dataset(rng, dataset_size):
  rows = baseline_reference.unit_rows(rng.normal(size=(16, 5)))
  student, teacher = np.float32(rows[:8]), np.float32(rows[8:])
  loss = jax.jit(baselines.crd_loss)(
    student, teacher, temperature=0.5, dataset_size=dataset_size
  )
  expected = baseline_reference.crd_loss(
    np.float64(student), np.float64(teacher), 0.5, dataset_size
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["crd", "info_nce"])
def test_small_temperatures_are_right(rng, name):
  # exp(1 / 0.005) overflows in float32, and 1 - h is 0.
  case = loss_cases.CASES[name]
  _, teacher, rows = loss_cases.make_inputs(rng)
  teacher = np.float32(baseline_reference.unit_rows(teacher))
  student = teacher[::-1]
  loss, *gradients = loss_cases.compiled(case)(student, teacher, rows, 0.005)
  expected = case.expected(
    *loss_cases.in_float64(student, teacher), rows, 0.005
  )
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert np.all(np.isfinite(gradients))


# --- With a bank -------------------------------------------------------------


def test_bank_golden_values():
  # RepDistiller's crd/memory.py and crd/criterion.py, two calls on these rows.
  student, teacher = projections()
  losses, bank = bank_loss(student, teacher, fresh_bank(), IDS, NEGATIVE_IDS)
  assert losses.shape == (3,)
  assert float(jnp.mean(losses)) == pytest.approx(
    8.6232996 + 10.4233274, rel=1e-5
  )
  np.testing.assert_allclose(
    np.exp(np.float64(bank.log_normalizers)), [2798816.25, 11255.978], rtol=1e-5
  )
  np.testing.assert_allclose(
    bank.student[0], [0.7358245, 0.6224215, 0.2569453, -0.0716451], rtol=1e-5
  )
  again, after = bank_loss(student, teacher, bank, IDS, NEGATIVE_IDS)
  assert float(jnp.mean(again)) == pytest.approx(
    12.9520330 + 11.4474363, rel=1e-5
  )
  np.testing.assert_array_equal(after.log_normalizers, bank.log_normalizers)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 1.0])
def test_only_rows_of_the_batch_move(momentum):
  student, teacher = projections()
  bank = fresh_bank()
  _, after = bank_loss(
    student, teacher, bank, IDS, NEGATIVE_IDS, momentum=momentum
  )
  for name, rows in (("student", student), ("teacher", teacher)):
    expected = baseline_reference.updated_rows(
      getattr(bank, name), IDS, rows, momentum
    )
    np.testing.assert_allclose(getattr(after, name), expected, atol=1e-6)


def test_a_row_that_cancels_becomes_zero_and_recovers():
  student, teacher = projections()
  bank = fresh_bank()
  opposite = -np.asarray(bank.student)[IDS]
  _, bank = bank_loss(opposite, teacher, bank, IDS, NEGATIVE_IDS)
  np.testing.assert_array_equal(bank.student[IDS], np.zeros((3, 4)))
  losses, bank = bank_loss(student, teacher, bank, IDS, NEGATIVE_IDS)
  assert np.all(np.isfinite(losses))
  np.testing.assert_allclose(bank.student[IDS], student, rtol=1e-6)


@pytest.mark.parametrize("size", [20, 200])
def test_both_ways_to_score_agree_with_the_reference(rng, size):
  # All scores and a choice of them, or a choice of rows and their scores.
  student, teacher = projections()
  rows = [
    np.float32(baseline_reference.unit_rows(rng.normal(size=(size, WIDTH))))
    for _ in range(2)
  ]
  bank = baselines.CRDBank(*map(jnp.asarray, rows), jnp.full(2, -jnp.inf))
  arguments = student, teacher, bank, IDS, NEGATIVE_IDS
  losses, _ = bank_loss(*arguments, temperature=0.2)
  products = jaxprs.products(
    lambda *args: baselines.crd_bank_loss(*args, temperature=0.2), *arguments
  )
  assert products
  jaxprs.assert_highest(products)
  program = jax.make_jaxpr(bank_loss)(*arguments, temperature=0.2)
  shapes = {
    variable.aval.shape
    for equation in jaxprs.equations(program.jaxpr)
    for variable in equation.outvars
  }
  assert ((3, NUM_NEGATIVES + 1, WIDTH) in shapes) == (size == 200)
  assert ((3, size) in shapes) == (size == 20)
  ids = np.concatenate([IDS[:, None], NEGATIVE_IDS], axis=1)
  expected = sum(
    baseline_reference.crd_bank_loss(
      np.float64(anchors), np.float64(others), ids, 0.2
    )[0]
    for anchors, others in ((student, rows[1]), (teacher, rows[0]))
  )
  np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_bank_is_constant_to_the_gradient():
  student, teacher = projections()

  def total(rows):
    bank = baselines.CRDBank(rows, rows, jnp.zeros(2))
    losses, after = baselines.crd_bank_loss(
      student, teacher, bank, IDS, NEGATIVE_IDS, temperature=1.0
    )
    return jnp.sum(losses) + jnp.sum(after.student) + jnp.sum(after.teacher)

  rows = fresh_bank().student
  np.testing.assert_array_equal(
    jax.jit(jax.grad(total))(rows), np.zeros_like(rows)
  )


def test_bank_runs_in_a_scan_and_sharded():
  student, teacher = projections()
  student, teacher = (
    np.concatenate([rows, -rows, rows[:2]]) for rows in (student, teacher)
  )
  bank = baselines.CRDBank.init(jax.random.key(0), num_examples=32, width=WIDTH)
  ids = np.arange(8)
  negative_ids = 8 + (ids[:, None] + 5 * np.arange(4)[None]) % 24

  @jax.jit
  def three_steps(student, teacher, bank, ids, negative_ids):
    def step(bank, _):
      losses, bank = baselines.crd_bank_loss(
        student, teacher, bank, ids, negative_ids, temperature=0.1
      )
      return bank, losses

    return jax.lax.scan(step, bank, length=3)

  single = three_steps(student, teacher, bank, ids, negative_ids)
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.NamedSharding(mesh, jax.P("data"))
  everywhere = jax.NamedSharding(mesh, jax.P())
  bank = baselines.CRDBank(
    jax.device_put(bank.student, rows),
    jax.device_put(bank.teacher, rows),
    jax.device_put(bank.log_normalizers, everywhere),
  )
  sharded = three_steps(
    *jax.device_put((student, teacher), rows),
    bank,
    *jax.device_put((ids, negative_ids), rows),
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6),
    sharded,
    single,
  )


def test_fresh_bank():
  bank = baselines.CRDBank.init(jax.random.key(3), num_examples=500, width=128)
  for rows in (bank.student, bank.teacher):
    assert rows.shape == (500, 128)
    assert rows.dtype == jnp.float32
    norms = np.linalg.norm(rows, axis=1)
    assert norms.mean() == pytest.approx(1, abs=0.01)
    assert np.abs(rows).max() <= (3 / 128) ** 0.5
  assert abs(np.mean(bank.student * bank.teacher)) < 1e-4
  assert np.all(np.isneginf(bank.log_normalizers))
  assert len(jax.tree.leaves(bank)) == 3
  with pytest.raises(ValueError, match="num_examples must be at least 1"):
    baselines.CRDBank.init(jax.random.key(0), num_examples=0, width=4)
