"""Class moments against float64 loops, in one batch, streamed and merged."""

import dataclasses
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import lelp_jax
from tests import reference

WIDTH = 24
COUNTS = (2500, 1200, 391, 5)  # Together 4096: 64 batches of 64.
NUM_CLASSES = len(COUNTS)


def data_with_large_mean(rng):
  """Classes whose mean is 1000 times their spread in every coordinate."""
  labels = rng.permutation(np.repeat(np.arange(NUM_CLASSES), COUNTS))
  mixing = rng.normal(size=(NUM_CLASSES, WIDTH, WIDTH)) / np.sqrt(WIDTH)
  means = 1000 * rng.uniform(1, 2, size=(NUM_CLASSES, WIDTH))
  noise = rng.normal(size=(len(labels), WIDTH))
  embeddings = means[labels] + np.einsum("nd,nde->ne", noise, mixing[labels])
  return embeddings.astype(np.float32), labels.astype(np.int32)


def relative_errors(scatter, expected):
  """Frobenius norm of the error of each class over that of its scatter."""
  error = np.asarray(scatter, np.float64) - expected
  return np.linalg.norm(error, axis=(1, 2)) / np.linalg.norm(
    expected, axis=(1, 2)
  )


def assert_moments_close(actual, expected):
  """Two moments agree to float32 rounding, class by class."""
  np.testing.assert_allclose(actual.count, expected.count, rtol=1e-6)
  np.testing.assert_allclose(actual.mean, expected.mean, rtol=2e-5, atol=2e-5)
  error = np.asarray(actual.scatter) - np.asarray(expected.scatter)
  norms = np.linalg.norm(expected.scatter, axis=(1, 2))
  np.testing.assert_array_less(
    np.linalg.norm(error, axis=(1, 2)), 2e-5 * norms + 1e-10
  )


moments_of = jax.jit(lelp_jax.class_moments, static_argnames="num_classes")
merge = jax.jit(lelp_jax.merge_moments)


@pytest.mark.parametrize("order", ["one batch", "shuffled", "sorted", "tree"])
def test_moments_of_a_large_mean(rng, order):
  embeddings, labels = data_with_large_mean(rng)
  if order == "sorted":  # Most classes are absent from most batches.
    by_class = np.argsort(labels, kind="stable")
    embeddings, labels = embeddings[by_class], labels[by_class]
  count = 1 if order == "one batch" else 64
  batches = [
    moments_of(x, y, num_classes=NUM_CLASSES)
    for x, y in zip(
      np.split(embeddings, count), np.split(labels, count), strict=True
    )
  ]
  while order == "tree" and len(batches) > 1:  # As replicas would merge.
    batches = list(map(merge, batches[::2], batches[1::2]))
  moments = reduce(merge, batches)
  count, mean, scatter = reference.class_moments(
    embeddings, labels, NUM_CLASSES
  )
  np.testing.assert_array_equal(moments.count, count)
  np.testing.assert_allclose(moments.mean, mean, rtol=1e-6)
  np.testing.assert_allclose(
    moments.scatter,
    moments.scatter.swapaxes(1, 2),
    atol=1e-6 * np.linalg.norm(scatter, axis=(1, 2)).min(),
  )
  # Means kept to float32 alone, their roundings a ten thousandth of the spread
  # here, would leave errors of 1e-5 and more.
  assert np.all(relative_errors(moments.scatter, scatter) < 1e-6)


def small_data(rng, classes=3):
  """48 rows, 6 wide, of up to four classes: one shape, compiled once."""
  embeddings = rng.normal(size=(48, 6)) * rng.uniform(0.5, 3, size=6) + 5.0
  return embeddings.astype(np.float32), rng.integers(0, classes, size=48)


def small_moments(embeddings, labels, where=None):
  """Moments of four classes, un-jitted by us."""
  return lelp_jax.class_moments(embeddings, labels, num_classes=4, where=where)


def assert_matches_reference(moments, embeddings, labels, where=None):
  """Agreement with float64 to float32 rounding, absent classes zero."""
  count, mean, scatter = reference.class_moments(embeddings, labels, 4, where)
  np.testing.assert_allclose(moments.count, count, rtol=1e-6)
  np.testing.assert_allclose(moments.mean, mean, rtol=1e-6)
  np.testing.assert_allclose(
    moments.scatter, scatter, rtol=1e-5, atol=1e-5 * np.abs(scatter).max()
  )
  for c in np.flatnonzero(count == 0):
    np.testing.assert_array_equal(moments.scatter[c], np.zeros((6, 6)))


@pytest.mark.parametrize("kind", ["mask", "weights"])
def test_class_moments_of_masks_and_weights_match_reference(rng, kind):
  embeddings, labels = small_data(rng)
  where = rng.uniform(size=48) < 0.6
  padded = np.where(where[:, None], embeddings, np.float32(np.nan))
  anything = np.where(where, labels, rng.choice([-7, 4, 99], size=48))
  if kind == "weights":
    where = np.where(where, rng.gamma(0.7, size=48), 0).astype(np.float32)
  for function in (small_moments, jax.jit(small_moments)):
    moments = function(padded, anything, where)
    assert_matches_reference(moments, embeddings, labels, where)


def test_class_moments_count_examples_of_positive_weight(rng):
  embeddings, labels = small_data(rng)
  weights = rng.gamma(0.7, size=48).astype(np.float32)
  weights[::7] = 0.0
  expected = np.bincount(labels[weights > 0], minlength=4)
  moments = small_moments(embeddings, labels, weights)
  np.testing.assert_array_equal(moments.num_examples, expected)
  merged = merge(moments, small_moments(embeddings, labels))
  np.testing.assert_array_equal(
    merged.num_examples, expected + np.bincount(labels, minlength=4)
  )
  nothing = dataclasses.replace(moments, num_examples=None)
  assert merge(nothing, moments).num_examples is None
  assert np.all(merge(moments, nothing).num_examples >= 2 * expected)


def test_class_moments_identical_rows_have_no_scatter(rng):
  row = rng.normal(size=6).astype(np.float32) * 100
  # 47 is no power of two: the mean of equal rows rounds.
  embeddings, labels = np.tile(row, (48, 1)), np.zeros(48, int)
  moments = small_moments(embeddings, labels, np.arange(48) < 47)
  # Negligible: what a mean off by two roundings leaves behind.
  negligible = 47 * (2 * np.finfo(np.float32).eps * np.linalg.norm(row)) ** 2
  np.testing.assert_allclose(moments.mean[0], row, rtol=3e-7)
  assert np.linalg.norm(moments.scatter[0]) <= negligible
  twice = merge(moments, moments)
  assert np.linalg.norm(twice.scatter[0]) <= 2 * negligible


# A partition by masks keeps the shapes, and so the compiled functions.
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), offset=st.floats(-30, 30))
def test_merge_moments_associative_and_commutative(seed, offset):
  generator = np.random.default_rng(seed)
  x, y = small_data(generator)
  part = generator.integers(0, 4, size=48)  # A part may lack a class.
  # Every part is at a mean of its own: the steps are part of the scatter.
  x = x + np.float32(offset) + np.float32(2) * part[:, None].astype("f") ** 2
  a, b, c = (small_moments(x, y, part == i) for i in range(3))
  expected = lelp_jax.ClassMoments(
    *reference.class_moments(x, y, 4, where=part < 3)
  )
  for moments in (
    small_moments(x, y, part < 3),
    merge(merge(a, b), c),
    merge(a, merge(b, c)),
    merge(c, merge(b, a)),
  ):
    assert_moments_close(moments, expected)


@pytest.mark.parametrize("empty", ["masked", "no rows"])
def test_merge_moments_empty_is_identity(rng, empty):
  x, y = small_data(rng)
  if empty == "masked":
    nothing = small_moments(np.full_like(x, np.nan), y, np.zeros(48, bool))
  else:
    nothing = small_moments(x[:0], y[:0])
  # The square of the distance to an empty class's placeholder overflows.
  far = small_moments(np.float32(1e15) * x, y)
  far = dataclasses.replace(far, mean=np.float32(1e5) * far.mean)
  for moments in (small_moments(x, y), far):
    for merged in (merge(moments, nothing), merge(nothing, moments)):
      np.testing.assert_array_equal(merged.count, moments.count)
      np.testing.assert_allclose(merged.mean, moments.mean, rtol=2e-7)
      np.testing.assert_allclose(merged.scatter, moments.scatter, rtol=1e-6)
  for leaf in jax.tree.leaves(merge(nothing, nothing)):
    np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


# --- scan, dtypes ------------------------------------------------------------


def test_merge_moments_starts_from_zeros(rng):
  # The carry of a scan over batches, as anybody would write it.
  x, y = small_data(rng)
  zeros = lelp_jax.ClassMoments(
    count=jnp.zeros(4), mean=jnp.zeros((4, 6)), scatter=jnp.zeros((4, 6, 6))
  )
  moments = small_moments(x, y)
  total, _ = jax.lax.scan(
    lambda a, b: (lelp_jax.merge_moments(a, b), None),
    zeros,
    jax.tree.map(lambda leaf: leaf[None], moments),
  )
  assert_matches_reference(total, x, y)


def test_class_moments_of_a_mask_on_a_device_under_strict_promotion():
  with jax.numpy_dtype_promotion("strict"):
    moments = lelp_jax.class_moments(
      jnp.ones((4, 2)),
      jnp.zeros(4, int),
      num_classes=1,
      where=jnp.ones(4, bool),
    )
  assert moments.count.tolist() == [4]


def test_class_moments_float64_under_x64(rng):
  x, y = small_data(rng)
  wide = x + rng.normal(size=x.shape) * 1e-9 + 100.0
  part = np.arange(48) < 20
  with jax.enable_x64(True):
    moments = small_moments(wide, y)
    merged = merge(small_moments(wide, y, part), small_moments(wide, y, ~part))
  count, mean, scatter = reference.class_moments(wide, y, 4)
  for result in (moments, merged):
    assert result.mean.dtype == result.scatter.dtype == jnp.float64
    np.testing.assert_array_equal(result.count, count)
    np.testing.assert_allclose(result.mean, mean, rtol=1e-13)
    assert np.all(relative_errors(result.scatter[:3], scatter[:3]) < 1e-12)


def test_class_moments_labels_of_a_narrow_type():
  """The number of classes may be more than the type of the labels holds."""
  largest = np.iinfo(np.int8).max
  labels = np.array([0, 1, largest, 2], np.int8)
  moments = lelp_jax.class_moments(
    jnp.ones((4, 3)), jnp.asarray(labels), num_classes=int(largest) + 1
  )
  expected = np.zeros(int(largest) + 1)
  expected[labels] = 1
  np.testing.assert_array_equal(moments.count, expected)
