"""Class moments against float64 loops, in one batch, streamed and merged."""

import dataclasses
from functools import partial
from functools import reduce

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import lelp_jax
from tests import jaxprs
from tests import reference

WIDTH = 24
COUNTS = (2500, 1200, 391, 5)  # Together 4096: 64 batches of 64.
NUM_CLASSES = len(COUNTS)


def data_with_large_mean(rng, ratio=1000.0, counts=COUNTS, width=WIDTH):
  """Classes whose mean is `ratio` times their spread in every coordinate."""
  labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
  mixing = rng.normal(size=(len(counts), width, width)) / np.sqrt(width)
  means = ratio * rng.uniform(1, 2, size=(len(counts), width))
  noise = rng.normal(size=(len(labels), width))
  embeddings = means[labels] + np.einsum("nd,nde->ne", noise, mixing[labels])
  return embeddings.astype(np.float32), labels.astype(np.int32)


def relative_errors(scatter, expected):
  """Frobenius norm of the error of each class over that of its scatter."""
  error = np.asarray(scatter, np.float64) - expected
  return np.linalg.norm(error, axis=(1, 2)) / np.linalg.norm(
    expected, axis=(1, 2)
  )


def assert_moments_accurate(moments, embeddings, labels):
  """The issue's bounds: 1e-4 from 1,000 examples on, 1e-3 below."""
  count, mean, scatter = reference.class_moments(
    embeddings, labels, NUM_CLASSES
  )
  np.testing.assert_array_equal(moments.count, count)
  np.testing.assert_allclose(moments.mean, mean, rtol=1e-6)
  errors = relative_errors(moments.scatter, scatter)
  limits = np.where(count >= 1000, 1e-4, 1e-3)
  assert np.all(errors <= limits), errors


def assert_moments_close(actual, expected, tolerance=1e-5):
  """Two moments agree to float32 rounding, class by class."""
  np.testing.assert_allclose(actual.count, expected.count, rtol=1e-6)
  np.testing.assert_allclose(
    actual.mean, expected.mean, rtol=tolerance, atol=tolerance
  )
  error = np.asarray(actual.scatter) - np.asarray(expected.scatter)
  norms = np.linalg.norm(expected.scatter, axis=(1, 2))
  np.testing.assert_array_less(
    np.linalg.norm(error, axis=(1, 2)), tolerance * norms + 1e-10
  )


moments_of = jax.jit(lelp_jax.class_moments, static_argnames="num_classes")
merge = jax.jit(lelp_jax.merge_moments)


def test_class_moments_large_mean_in_one_batch(rng):
  embeddings, labels = data_with_large_mean(rng)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  assert_moments_accurate(moments, embeddings, labels)


@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_merge_moments_large_mean_in_64_batches(rng, order):
  embeddings, labels = data_with_large_mean(rng)
  if order == "sorted":  # Most classes are absent from most batches.
    by_class = np.argsort(labels, kind="stable")
    embeddings, labels = embeddings[by_class], labels[by_class]
  batches = [
    moments_of(x, y, num_classes=NUM_CLASSES)
    for x, y in zip(np.split(embeddings, 64), np.split(labels, 64), strict=True)
  ]
  assert_moments_accurate(reduce(merge, batches), embeddings, labels)


def test_merge_moments_large_mean_in_8_parts(rng):
  embeddings, labels = data_with_large_mean(rng)
  parts = [
    moments_of(x, y, num_classes=NUM_CLASSES)
    for x, y in zip(np.split(embeddings, 8), np.split(labels, 8), strict=True)
  ]
  while len(parts) > 1:  # As replicas would: a tree, not a chain.
    parts = [merge(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
  assert_moments_accurate(parts[0], embeddings, labels)


def test_class_moments_large_mean_defeats_sums_of_squares(rng):
  # What the bounds above forbid: E[x x^T] - E[x] E[x]^T in float32.
  embeddings, labels = data_with_large_mean(rng)
  _, _, expected = reference.class_moments(embeddings, labels, NUM_CLASSES)
  rows = embeddings[labels == 0]
  naive = rows.T @ rows - len(rows) * np.outer(rows.mean(0), rows.mean(0))
  assert relative_errors(naive[None], expected[:1])[0] > 1e-2


def test_merge_moments_means_apart(rng):
  # The parts of a class may differ: the step between them is part of the
  # scatter. Every part is at a mean of its own here.
  shifts = rng.normal(size=(4, WIDTH)) * 3.0
  x = rng.normal(size=(4, 50, WIDTH)) + shifts[:, None]
  x = x.astype(np.float32)
  y = rng.integers(0, 3, size=(4, 50))
  parts = [moments_of(a, b, num_classes=3) for a, b in zip(x, y, strict=True)]
  count, mean, scatter = reference.class_moments(
    x.reshape(-1, WIDTH), y.ravel(), 3
  )
  merged = reduce(merge, parts)
  np.testing.assert_array_equal(merged.count, count)
  np.testing.assert_allclose(merged.mean, mean, rtol=1e-5, atol=1e-6)
  assert np.all(relative_errors(merged.scatter, scatter) < 1e-5)


def test_class_moments_absent_class_is_zero(rng):
  embeddings = rng.normal(size=(20, 6)).astype(np.float32)
  labels = np.where(rng.uniform(size=20) < 0.5, 0, 2)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=4)
  for c in (1, 3):
    assert float(moments.count[c]) == 0.0
    np.testing.assert_array_equal(moments.mean[c], np.zeros(6))
    np.testing.assert_array_equal(moments.scatter[c], np.zeros((6, 6)))
  _, _, expected = reference.class_moments(embeddings, labels, 4)
  np.testing.assert_allclose(moments.scatter, expected, rtol=1e-5, atol=1e-5)


def test_class_moments_mask_hides_rows(rng):
  embeddings = rng.normal(size=(40, 6)).astype(np.float32)
  labels = rng.integers(0, 3, size=40)
  where = rng.uniform(size=40) < 0.6
  padded = np.where(where[:, None], embeddings, np.nan)
  anything = np.where(where, labels, rng.choice([-7, 3, 99], size=40))
  for function in (lelp_jax.class_moments, moments_of):
    moments = function(padded, anything, num_classes=3, where=where)
    expected = function(embeddings[where], labels[where], num_classes=3)
    assert_moments_close(moments, expected)
    chex.assert_tree_all_finite(moments)


def test_class_moments_weights_match_reference(rng):
  embeddings = (rng.normal(size=(60, 6)) + 5.0).astype(np.float32)
  labels = rng.integers(0, 3, size=60)
  weights = rng.gamma(0.7, size=60).astype(np.float32)
  weights[::7] = 0.0
  embeddings[::7] = np.nan
  labels[::7] = -1
  moments = lelp_jax.class_moments(
    embeddings, labels, num_classes=3, where=weights
  )
  count, mean, scatter = reference.class_moments(embeddings, labels, 3, weights)
  np.testing.assert_allclose(moments.count, count, rtol=1e-6)
  np.testing.assert_allclose(moments.mean, mean, rtol=1e-6)
  assert np.all(relative_errors(moments.scatter, scatter) < 1e-5)


def test_class_moments_weight_two_is_a_row_twice(rng):
  embeddings = rng.normal(size=(30, 5)).astype(np.float32)
  labels = rng.integers(0, 2, size=30)
  times = rng.integers(0, 4, size=30)
  moments = lelp_jax.class_moments(
    embeddings, labels, num_classes=2, where=times.astype(np.float32)
  )
  repeated = lelp_jax.class_moments(
    np.repeat(embeddings, times, axis=0),
    np.repeat(labels, times),
    num_classes=2,
  )
  assert_moments_close(moments, repeated)


def test_class_moments_identical_rows_have_no_scatter(rng):
  row = rng.normal(size=8).astype(np.float32) * 100.0
  embeddings = np.tile(row, (77, 1))  # 77 is no power of two: means round.
  labels = np.zeros(77, np.int32)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=2)
  # Negligible: what a mean off by two roundings leaves behind.
  negligible = 77 * (2 * np.finfo(np.float32).eps * np.linalg.norm(row)) ** 2
  np.testing.assert_allclose(moments.mean[0], row, rtol=3e-7)
  assert np.linalg.norm(moments.scatter[0]) <= negligible
  twice = lelp_jax.merge_moments(moments, moments)
  assert np.linalg.norm(twice.scatter[0]) <= 2 * negligible


def test_class_moments_scatter_is_symmetric_and_positive(rng):
  embeddings, labels = data_with_large_mean(rng, counts=(300, 40, 9))
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=3)
  scatter = np.asarray(moments.scatter, np.float64)
  scale = np.linalg.norm(scatter, axis=(1, 2))
  asymmetry = np.abs(scatter - scatter.swapaxes(1, 2)).max(axis=(1, 2))
  assert np.all(asymmetry <= 1e-6 * scale)
  smallest = np.linalg.eigvalsh(scatter).min(axis=1)
  assert np.all(smallest > -1e-6 * scale)


# A partition by masks keeps the shapes, and so the compiled functions.
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), offset=st.floats(-30, 30))
def test_merge_moments_associative_and_commutative(seed, offset):
  generator = np.random.default_rng(seed)
  x = (generator.normal(size=(48, 5)) + offset).astype(np.float32)
  y = generator.integers(0, 3, size=48).astype(np.int32)
  part = generator.integers(0, 4, size=48)  # A part may lack a class.
  a, b, c = (moments_of(x, y, num_classes=3, where=part == i) for i in range(3))
  left = merge(merge(a, b), c)
  assert_moments_close(left, merge(a, merge(b, c)), 2e-5)
  assert_moments_close(left, merge(c, merge(b, a)), 2e-5)
  whole = moments_of(x, y, num_classes=3, where=part < 3)
  assert_moments_close(left, whole, 2e-5)


@pytest.mark.parametrize("empty", ["masked", "no rows"])
def test_merge_moments_empty_is_identity(rng, empty):
  x = rng.normal(size=(30, 5)).astype(np.float32) + 3.0
  y = rng.integers(0, 3, size=30)
  moments = lelp_jax.class_moments(x, y, num_classes=4)
  if empty == "masked":
    nothing = lelp_jax.class_moments(
      np.full_like(x, np.nan), y, num_classes=4, where=np.zeros(30, bool)
    )
  else:
    nothing = lelp_jax.class_moments(x[:0], y[:0], num_classes=4)
  for merged in (
    lelp_jax.merge_moments(moments, nothing),
    lelp_jax.merge_moments(nothing, moments),
  ):
    np.testing.assert_array_equal(merged.count, moments.count)
    np.testing.assert_allclose(merged.mean, moments.mean, rtol=2e-7)
    np.testing.assert_allclose(merged.scatter, moments.scatter, rtol=1e-6)
  still_nothing = lelp_jax.merge_moments(nothing, nothing)
  for leaf in jax.tree.leaves(still_nothing):
    np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_class_moments_same_under_jit_and_vmap(rng):
  x = rng.normal(size=(3, 50, 6)).astype(np.float32) + 2.0
  y = rng.integers(0, 3, size=(3, 50))
  w = rng.uniform(size=(3, 50)) < 0.7
  function = partial(lelp_jax.class_moments, num_classes=3)
  mapped = jax.jit(jax.vmap(lambda a, b, c: function(a, b, where=c)))(x, y, w)
  for i in range(3):
    one = jax.tree.map(lambda leaf, i=i: leaf[i], mapped)
    assert_moments_close(one, function(x[i], y[i], where=w[i]))
    assert_moments_close(one, jax.jit(function)(x[i], y[i], where=w[i]))


def test_merge_moments_same_under_scan_and_vmap(rng):
  x = rng.normal(size=(6, 20, 5)).astype(np.float32) - 4.0
  y = rng.integers(0, 2, size=(6, 20))
  batches = jax.vmap(partial(lelp_jax.class_moments, num_classes=3))(x, y)
  first = jax.tree.map(lambda leaf: leaf[0], batches)
  rest = jax.tree.map(lambda leaf: leaf[1:], batches)
  total, _ = jax.lax.scan(
    lambda a, b: (lelp_jax.merge_moments(a, b), None), first, rest
  )
  whole = lelp_jax.class_moments(x.reshape(-1, 5), y.ravel(), num_classes=3)
  assert_moments_close(total, whole, 2e-5)
  doubled = jax.vmap(lelp_jax.merge_moments)(batches, batches)
  np.testing.assert_allclose(doubled.count, 2 * batches.count)
  np.testing.assert_allclose(
    doubled.scatter, 2 * batches.scatter, rtol=1e-5, atol=1e-5
  )


def test_class_moments_same_on_eight_devices(rng):
  embeddings, labels = data_with_large_mean(rng, counts=(500, 200, 68))
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.NamedSharding(mesh, jax.P("data"))
  where = np.arange(768) < 750
  sharded = jax.device_put((embeddings, labels, where), rows)
  assert len(sharded[0].addressable_shards) == 8
  function = partial(lelp_jax.class_moments, num_classes=3)
  alone = function(embeddings, labels, where=where)
  for call in (function, jax.jit(function)):
    moments = call(sharded[0], sharded[1], where=sharded[2])
    # At a mean of 1,000 times the spread the two orders of adding differ.
    assert_moments_close(moments, alone, 1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_class_moments_low_precision_input_is_exact(rng, dtype):
  low = jnp.asarray(rng.normal(size=(70, 6)) * 10 + 30, dtype)
  labels = rng.integers(0, 3, size=70)
  moments = lelp_jax.class_moments(low, labels, num_classes=3)
  wide = lelp_jax.class_moments(low.astype(jnp.float32), labels, num_classes=3)
  chex.assert_trees_all_equal_dtypes(moments, wide)
  assert moments.scatter.dtype == jnp.float32
  chex.assert_trees_all_close(moments, wide, rtol=1e-6)


def test_class_moments_float64_under_x64(rng):
  x = rng.normal(size=(40, 6)) + 100.0
  y = rng.integers(0, 3, size=40)
  with jax.enable_x64(True):
    moments = lelp_jax.class_moments(jnp.asarray(x), y, num_classes=3)
    half = lelp_jax.class_moments(x[:20], y[:20], num_classes=3)
    rest = lelp_jax.class_moments(x[20:], y[20:], num_classes=3)
    merged = lelp_jax.merge_moments(half, rest)
    single = lelp_jax.class_moments(x.astype(np.float32), y, num_classes=3)
    for result in (moments, merged):
      assert result.mean.dtype == result.scatter.dtype == jnp.float64
    assert single.mean.dtype == single.scatter.dtype == jnp.float32
  count, mean, scatter = reference.class_moments(x, y, 3)
  for result in (moments, merged):
    np.testing.assert_array_equal(result.count, count)
    np.testing.assert_allclose(result.mean, mean, rtol=1e-13)
    assert np.all(relative_errors(result.scatter, scatter) < 1e-12)


def test_class_moments_is_a_frozen_pytree(rng):
  x = rng.normal(size=(9, 4)).astype(np.float32)
  moments = lelp_jax.class_moments(x, np.arange(9) % 3, num_classes=3)
  fields = [field.name for field in dataclasses.fields(moments)]
  assert fields == ["count", "mean", "scatter"]
  leaves, treedef = jax.tree.flatten(moments)
  assert [leaf.shape for leaf in leaves] == [(3,), (3, 4), (3, 4, 4)]
  assert isinstance(jax.tree.unflatten(treedef, leaves), lelp_jax.ClassMoments)
  with pytest.raises(dataclasses.FrozenInstanceError):
    moments.count = moments.mean


def test_class_moments_products_are_highest():
  x, y = jnp.ones((40, 6)), jnp.arange(40) % 3
  function = partial(lelp_jax.class_moments, num_classes=3)
  jaxprs.assert_products_are_highest(function, x, y)
  jaxprs.assert_products_are_highest(
    lambda x, y, w: function(x, y, where=w), x, y, x[:, 0] > 0
  )


BAD_CALLS = {
  "embeddings of one axis": (
    ValueError,
    "embeddings",
    {"embeddings": np.ones(8, np.float32)},
  ),
  "embeddings of three axes": (
    ValueError,
    "embeddings",
    {"embeddings": np.ones((8, 2, 2), np.float32)},
  ),
  "integer embeddings": (
    TypeError,
    "embeddings",
    {"embeddings": np.ones((8, 4), np.int32)},
  ),
  "float labels": (TypeError, "labels", {"labels": np.zeros(8)}),
  "too few labels": (ValueError, "labels", {"labels": np.zeros(7, int)}),
  "one-hot labels": (ValueError, "labels", {"labels": np.eye(8, dtype=int)}),
  "label too large": (ValueError, "labels", {"labels": np.arange(8)}),
  "negative label": (ValueError, "labels", {"labels": np.arange(8) - 7}),
  "no classes": (ValueError, "num_classes", {"num_classes": 0}),
  "short where": (ValueError, "where", {"where": np.ones(7, bool)}),
  "wide where": (ValueError, "where", {"where": np.ones((8, 4), bool)}),
  "negative where": (
    ValueError,
    "where",
    {"where": np.linspace(-1, 1, 8, dtype=np.float32)},
  ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_class_moments_refuses(case):
  error, name, arguments = BAD_CALLS[case]
  good = {
    "embeddings": np.ones((8, 4), np.float32),
    "labels": np.arange(8) % 3,
    "num_classes": 3,
  }
  lelp_jax.class_moments(**good)
  with pytest.raises(error, match=name):
    lelp_jax.class_moments(**{**good, **arguments})


def test_class_moments_names_the_shapes():
  with pytest.raises(ValueError, match=r"\(7,\)"):
    lelp_jax.class_moments(
      np.ones((8, 4), np.float32), np.zeros(7, int), num_classes=3
    )


@pytest.mark.parametrize("mismatch", ["classes", "widths"])
def test_merge_moments_refuses_other_shapes(mismatch):
  x, y = np.ones((8, 4), np.float32), np.zeros(8, int)
  a = lelp_jax.class_moments(x, y, num_classes=3)
  b = (
    lelp_jax.class_moments(x, y, num_classes=2)
    if mismatch == "classes"
    else lelp_jax.class_moments(x[:, :3], y, num_classes=3)
  )
  # Shapes that would broadcast silently are the ones to worry about.
  with pytest.raises(ValueError, match=r"shape"):
    lelp_jax.merge_moments(a, b)
  one = lelp_jax.class_moments(x, y, num_classes=1)
  with pytest.raises(ValueError, match=r"shape"):
    lelp_jax.merge_moments(a, one)
