"""Relational KD: what is its own; the rest is in test_losses.py."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import baselines
from tests.lelp_jax import baseline_reference

LOSSES = ("rkd_distance_loss", "rkd_angle_loss")
compiled = {
  name: jax.jit(jax.value_and_grad(getattr(baselines, name))) for name in LOSSES
}
WIDE, LONG = (64, 2**16), (640, 8)
both_losses = pytest.mark.parametrize("name", LOSSES)


def test_golden_values():
  # RepDistiller's distiller_zoo/RKD.py (the authors' own code), on these rows.
  student = np.float32(baseline_reference.golden(8, 6, 0.7, 0.1))
  teacher = np.float32(baseline_reference.golden(8, 10, 1.3, 0.2))
  distance, to_distance = compiled["rkd_distance_loss"](student, teacher)
  angle, to_angle = compiled["rkd_angle_loss"](student, teacher)
  assert float(distance) == pytest.approx(0.2952615, rel=1e-5)
  assert float(angle) == pytest.approx(0.2701881, rel=1e-5)
  assert float(25 * distance + 50 * angle) == pytest.approx(
    20.8909416, rel=1e-5
  )
  norm = np.linalg.norm(25 * to_distance + 50 * to_angle)
  assert norm == pytest.approx(32.83352, rel=1e-5)


@both_losses
@pytest.mark.parametrize(
  ("centre", "spread"), [(100, 1e-3), (1, 0.05), ("two classes", 1e-2)]
)
def test_rows_far_from_the_origin_keep_their_digits(rng, name, centre, spread):
  # |a|^2 + |b|^2 - 2ab in float32 is off by 36 distances here (first case).
  if centre == "two classes":
    # The digits of the distances within a class are what the method is about.
    centre = 100 * rng.normal(size=(2, 16))[np.arange(8) % 2]
  student = np.float32(centre + spread * rng.normal(size=(8, 16)))
  teacher = np.float32(rng.normal(size=(8, 12)))
  loss, _ = compiled[name](student, teacher)
  expected = getattr(baseline_reference, name)(
    *map(np.float64, (student, teacher))
  )
  assert float(loss) == pytest.approx(expected, rel=2e-6)


@both_losses
def test_chunks_change_nothing(rng, name, monkeypatch):
  student, teacher = rng.normal(size=(2, 12, 5)).astype(np.float32)
  expected = compiled[name](student, teacher)
  module = importlib.import_module("lelp_jax.baselines.rkd")
  mesh = jax.make_mesh(
    (4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.NamedSharding(mesh, jax.P("data"))
  sharded = jax.device_put((student, teacher), rows)
  # One vertex at a time, and four, of which every device has one.
  for entries, arrays in ((1, (student, teacher)), (4 * 12 * 12, sharded)):
    monkeypatch.setattr(module, "_MAX_ENTRIES", entries)
    chunked = jax.jit(jax.value_and_grad(getattr(module, name)))
    loss, gradient = chunked(*arrays)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-5, atol=1e-8)


def test_memory_stays_bounded():
  # All differences of 64 rows of width 2**16, or all cosines of 640 rows, are
  # 1 GiB a network.
  for name, shape in zip((*LOSSES, LOSSES[1]), (WIDE, WIDE, LONG), strict=True):
    rows = jax.ShapeDtypeStruct(shape, jnp.float32)
    memory = compiled[name].lower(rows, rows).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2**29, (name, shape)


@both_losses
def test_equal_rows_have_no_gradient_between_them(rng, name):
  # Public code has a floor of 1e-12 and a gradient of its reciprocal.
  student, teacher = rng.normal(size=(2, 6, 5)).astype(np.float32)
  student[3] = student[1]
  _, gradient = compiled[name](student, teacher)
  assert np.linalg.norm(gradient) < 10
  one = student[:1], teacher[:1]
  for pair in ((np.ones_like(student), teacher), one):
    _, gradient = compiled[name](*pair)
    np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
