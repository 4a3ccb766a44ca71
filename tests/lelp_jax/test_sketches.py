"""Sketches of class covariances, against float64 products and exact fits."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from tests import reference
from tests.lelp_jax import spectra
from tests.lelp_jax.spectra import COUNTS
from tests.lelp_jax.spectra import NUM_CLASSES
from tests.lelp_jax.spectra import S
from tests.lelp_jax.spectra import WIDTH

SIZE = 9
sketch_of = partial(lelp_jax.class_sketch, num_classes=NUM_CLASSES)


@pytest.fixture(name="probe", scope="module")
def fixture_probe():
  rows = np.random.default_rng(7).normal(size=(WIDTH, SIZE))
  return np.linalg.qr(rows)[0].astype(np.float32)


def assert_sketch_of(sketch, embeddings, labels, probe, where=None):
  """The sketch has the products of float64 moments with the probe."""
  count, mean, scatter = reference.class_moments(
    embeddings, labels, NUM_CLASSES, where
  )
  products = scatter @ np.asarray(probe, np.float64)
  tolerance = 1e-6 * np.abs(scatter).max()
  np.testing.assert_allclose(sketch.count, count, rtol=1e-6)
  np.testing.assert_allclose(sketch.mean, mean, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(sketch.products, products, atol=10 * tolerance)
  trace = np.trace(scatter, axis1=1, axis2=2)
  np.testing.assert_allclose(sketch.squares, trace, rtol=1e-5)


@pytest.mark.parametrize("weighed", [False, True])
def test_class_sketch_is_the_product_with_the_scatter(
  rng, data, probe, weighed
):
  embeddings, labels = data
  where = None
  if weighed:  # Some rows are left out.
    where = rng.integers(0, 3, size=len(labels)).astype(np.float32)
    embeddings = np.where(where[:, None] > 0, embeddings, np.float32(np.nan))
  sketch = sketch_of(embeddings, labels, probe=probe, where=where)
  assert_sketch_of(sketch, embeddings, labels, probe, where)
  if not weighed:
    np.testing.assert_array_equal(sketch.num_examples, COUNTS)


def test_merge_sketches_is_the_sketch_of_the_union(rng, data, probe):
  embeddings, labels = data
  part = np.where(labels == 0, 0, rng.integers(0, 3, size=len(labels)))
  # Class 0 is absent from two parts, and the means of the parts differ.
  embeddings = embeddings + np.float32(5) * part[:, None].astype(np.float32)
  a, b, c = (
    sketch_of(embeddings, labels, probe=probe, where=part == i)
    for i in range(3)
  )
  merge = lelp_jax.merge_sketches
  for merged in (merge(merge(a, b), c), merge(a, merge(c, b))):
    assert_sketch_of(merged, embeddings, labels, probe)
  nothing = sketch_of(embeddings[:0], labels[:0], probe=probe)
  for merged in (merge(a, nothing), merge(nothing, a)):
    np.testing.assert_array_equal(merged.products, a.products)


def test_merge_sketches_of_other_probes_are_refused(data, probe):
  a = sketch_of(*data, probe=probe)
  b = dataclasses.replace(a, probe=2 * a.probe)
  with pytest.raises(ValueError, match="probe"):
    lelp_jax.merge_sketches(a, b)
  b = dataclasses.replace(a, probe=a.probe[:, :4], products=a.products[..., :4])
  with pytest.raises(ValueError, match="products"):
    lelp_jax.merge_sketches(a, b)


@pytest.mark.parametrize("null_space", ["weights", "none"])
def test_sketch_of_all_columns_is_exact(head, data, null_space):
  embeddings, labels = data
  options = {"num_classes": NUM_CLASSES, "size": WIDTH}
  probe = lelp_jax.sketch_probe(*data, key=jax.random.key(0), **options)
  found = lelp_jax.principal_directions(
    sketch_of(embeddings, labels, probe=probe),
    head,
    num_directions=S,
    null_space=null_space,
  )
  _, kept = reference.head_bases(head, WIDTH, null_space)
  directions, variances = spectra.reference_principal(
    embeddings, labels, kept, S
  )
  np.testing.assert_allclose(found.directions, directions, atol=1e-3)
  np.testing.assert_allclose(found.variances, variances, rtol=1e-4)
  total = [
    embeddings[labels == c].var(axis=0).sum() for c in range(NUM_CLASSES)
  ]
  np.testing.assert_allclose(found.total_variance, total, rtol=1e-5)


def test_sketch_of_a_class_of_low_rank_is_exact(rng, head, probe):
  # Four examples have rank three; the other columns complete the basis.
  embeddings, labels = spectra.make_data(rng, head, counts=(4, 500, 456))
  found = lelp_jax.principal_directions(
    sketch_of(embeddings, labels, probe=probe), head, num_directions=SIZE
  )
  removed, kept = reference.head_bases(head, WIDTH)
  _, _, scatter = reference.class_moments(embeddings, labels, NUM_CLASSES)
  _, expected = reference.principal_directions(scatter[0], 4, kept, 3)
  assert int(found.rank[0]) == 3
  np.testing.assert_allclose(found.variances[0, :3], expected, rtol=1e-3)
  assert not found.variances[0, 3:].any()
  spectra.assert_orthogonal_to(found.directions, removed)
  rows = np.asarray(found.directions[0], np.float64)
  np.testing.assert_allclose(rows @ rows.T, np.eye(SIZE), atol=1e-5)


def test_sketch_of_classes_without_variance_is_zero(rng, head, probe):
  embeddings, labels = spectra.make_data(rng, head, counts=(953, 0, 7))
  embeddings[labels == 2] = 30 * rng.normal(size=WIDTH).astype(np.float32)
  found = lelp_jax.principal_directions(
    sketch_of(embeddings, labels, probe=probe), head, num_directions=S
  )
  np.testing.assert_array_equal(np.asarray(found.rank)[1:], [0, 0])
  assert not found.directions[1:].any()
  assert np.all(np.isfinite(found.directions))


def test_sketch_has_no_more_directions_than_columns(head, data, probe):
  sketch = sketch_of(*data, probe=probe)
  message = f"num_directions must be at most {SIZE}"
  with pytest.raises(ValueError, match=message):
    lelp_jax.principal_directions(sketch, head, num_directions=SIZE + 1)


def wide_data(rng):
  """Embeddings with a slow decay, most of the variance along the head."""
  width, counts = 128, (400, 300)
  head = rng.normal(size=(width, 2)).astype(np.float32)
  axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
  rows = rng.normal(size=(sum(counts), width)) * np.arange(1, width + 1) ** -0.5
  rows = rows @ axes + 2 * rng.normal(size=(len(rows), 2)) @ head.T
  return rows.astype(np.float32), np.repeat([0, 1], counts), head


def test_fit_subspaces_by_a_sketch_captures_the_variance(rng):
  embeddings, labels, head = wide_data(rng)
  found = lelp_jax.fit_subspaces(
    embeddings,
    labels,
    head,
    num_subclasses=10,
    key=jax.random.key(0),
    method="sketch",
  )
  removed, kept = reference.head_bases(head, 128)
  spectra.assert_orthogonal_to(found.directions, removed)
  counts, _, scatters = reference.class_moments(embeddings, labels, 2)
  shares = []
  for count, scatter, rows in zip(
    counts, scatters, found.directions, strict=True
  ):
    _, exact = reference.principal_directions(scatter, count, kept, 10)
    captured = np.trace(reference.projector(rows) @ scatter) / count
    shares.append(captured / exact.sum())
  assert min(shares) >= 0.99
  assert min(shares) < 1 - 1e-5  # It is a sketch.


def test_probe_of_a_sample_captures_more_than_a_random_one(rng):
  embeddings, labels, head = wide_data(rng)
  probe = lelp_jax.sketch_probe(
    embeddings[::4], labels[::4], num_classes=2, size=30, key=jax.random.key(0)
  )
  np.testing.assert_allclose(probe.T @ probe, np.eye(30), atol=1e-5)
  random = jax.random.normal(jax.random.key(0), probe.shape)
  captured = [
    lelp_jax.principal_directions(
      lelp_jax.class_sketch(embeddings, labels, num_classes=2, probe=x),
      head,
      num_directions=10,
    ).variances.sum()
    for x in (probe, random)
  ]
  assert captured[0] > 1.05 * captured[1]


def test_probe_of_a_sample_without_examples_is_random(data):
  where = np.zeros(len(data[1]), bool)
  options = {"num_classes": NUM_CLASSES, "size": SIZE, "where": where}
  probe = lelp_jax.sketch_probe(*data, key=jax.random.key(0), **options)
  np.testing.assert_allclose(probe.T @ probe, np.eye(SIZE), atol=1e-5)


def test_fit_subspaces_from_a_sketch_warns_of_missing_rank(rng, head, probe):
  embeddings, labels = spectra.make_data(rng, head, counts=(4, 500, 456))
  sketch = sketch_of(embeddings, labels, probe=probe)
  fit = partial(
    lelp_jax.fit_subspaces_from_moments,
    sketch,
    head,
    num_subclasses=S,
    rotation="none",
    key=None,
  )
  with pytest.warns(UserWarning, match="num_subclasses=4"):
    fit()
  assert jnp.all(jnp.isfinite(spectra.quietly(fit).directions))
