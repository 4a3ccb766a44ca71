"""A-10: more subclasses than directions, and classes without variance."""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from tests import reference
from tests.lelp_jax import spectra
from tests.lelp_jax.spectra import NUM_CLASSES
from tests.lelp_jax.spectra import S
from tests.lelp_jax.spectra import WIDTH

ROOM = WIDTH - NUM_CLASSES  # In the null space of the head.
RANKS = (3, ROOM, ROOM)


fit = lelp_jax.fit_subspaces_from_moments


@pytest.fixture(name="deficient")
def fixture_deficient(rng, head):
  """A class of four examples, and so of rank three, and two of full rank."""
  return *spectra.make_data(rng, head, counts=(4, 500, 456)), head


@pytest.mark.parametrize(
  ("s", "rotation"), [(ROOM, "haar"), (ROOM + 2, "haar"), (ROOM + 2, "none")]
)
def test_fit_subspaces_completes_the_basis(deficient, s, rotation):
  embeddings, labels, head = deficient
  options = {"num_subclasses": s, "rotation": rotation}
  with pytest.warns(UserWarning, match="num_subclasses"):
    subspaces = lelp_jax.fit_subspaces(
      *deficient, key=jax.random.key(12), **options
    )
  if s == ROOM + 2 and rotation == "haar":
    # No warning under `jit`: warnings are errors in this suite.
    traced = jax.jit(partial(fit, **options))(
      spectra.moments_of(embeddings, labels), head, key=jax.random.key(12)
    )
    spectra.assert_same_spans(traced.directions, subspaces.directions)
  assert subspaces.directions.shape == (NUM_CLASSES, s, WIDTH)
  chex.assert_tree_all_finite(subspaces)
  removed, kept = reference.head_bases(head, WIDTH)
  usable = min(s, ROOM)  # Beyond, zero rows.
  norms = np.linalg.norm(subspaces.directions, axis=-1)
  np.testing.assert_array_equal((norms > 0).sum(axis=1), usable)
  spectra.assert_orthogonal_to(subspaces.directions, removed)
  _, _, scatter = reference.class_moments(embeddings, labels, NUM_CLASSES)
  for c, rank in enumerate(RANKS):
    rows = np.asarray(subspaces.directions[c], np.float64)[norms[c] > 0]
    spectra.assert_orthonormal_up_to_scale(rows)
    count = np.sum(labels == c)
    variances = reference.variances_along(rows, scatter[c], count)
    assert variances.max() == pytest.approx(1, abs=1e-5)
    if rank <= usable:
      # All of the class's variance in the null space is inside the span.
      _, spectrum = reference.principal_directions(
        scatter[c], count, kept, rank
      )
      np.testing.assert_allclose(
        variances.sum() / (rows[0] @ rows[0]), spectrum.sum(), rtol=1e-4
      )
    if rotation == "none":
      assert np.all(np.diff(variances) < 1e-5)
      np.testing.assert_allclose(variances[rank:], 0, atol=1e-5)


def test_fit_subspaces_completion_is_rotated_with_the_rest(deficient):
  # Else some subclasses of class 0 would be constant.
  *data, head = deficient
  moments, key = spectra.moments_of(*data), jax.random.key(14)
  subspaces = spectra.quietly(fit, moments, head, num_subclasses=ROOM, key=key)
  assert np.all(spectra.variances_of(subspaces.directions, moments)[0] > 1e-4)


@pytest.mark.parametrize("s", [ROOM, ROOM + 2])
def test_fit_subspaces_can_refuse_missing_rank(deficient, s):
  *data, head = deficient
  options = {"num_subclasses": s, "rank_deficient": "error"}
  with pytest.raises(ValueError, match="num_subclasses"):
    fit(spectra.moments_of(*data), head, key=jax.random.key(16), **options)


@pytest.mark.parametrize("rank_deficient", ["complete", "error"])
def test_fit_subspaces_enough_rank_is_no_warning(head, moments, rank_deficient):
  # As many subclasses as there is room: warnings are errors in this suite.
  options = {"num_subclasses": ROOM, "rank_deficient": rank_deficient}
  subspaces = fit(moments, head, key=jax.random.key(17), **options)
  assert np.all(np.linalg.norm(subspaces.directions, axis=-1) > 0.01)


# --- Variance dominated by the head ------------------------------------------


@pytest.mark.parametrize("ratio", [100.0, 1000.0])
def test_principal_directions_under_a_large_variance_along_the_head(rng, ratio):
  """A saturated teacher: nearly all variance lies where the head sees it."""
  width, count = 32, 500
  head = rng.normal(size=(width, 1)).astype(np.float32)
  removed, kept = reference.head_bases(head, width)
  rows = rng.normal(size=(count, width))
  rows += ratio * rng.normal(size=(count, 1)) * removed.T
  rows = rows.astype(np.float32)
  moments = lelp_jax.class_moments(rows, np.zeros(count, int), num_classes=1)
  found = lelp_jax.principal_directions(moments, head, num_directions=width - 1)
  assert int(found.rank[0]) == width - 1
  spectra.assert_orthogonal_to(found.directions, removed)
  _, _, scatter = reference.class_moments(rows, np.zeros(count, int), 1)
  _, spectrum = reference.principal_directions(
    scatter[0], count, kept, width - 1
  )
  # The scatter itself is rounded: relative to the variance along the head.
  np.testing.assert_allclose(
    found.variances[0], spectrum, rtol=1e-4, atol=3e-8 * ratio**2
  )


@pytest.mark.parametrize(
  ("count", "width", "rank"), [(20_000, WIDTH, NUM_CLASSES), (100, 128, 5)]
)
def test_principal_directions_take_no_rounding_for_variance(
  rng, count, width, rank
):
  """All variance lies along the head: what the projection leaves is noise."""
  head = rng.normal(size=(width, rank)).astype(np.float32)
  basis = np.linalg.qr(head.astype(np.float64))[0]
  rows = (rng.normal(size=(count, rank)) + 3.0) @ basis.T
  labels = np.zeros(count, int)
  moments = lelp_jax.class_moments(
    rows.astype(np.float32), labels, num_classes=rank, where=labels == 0
  )
  found = lelp_jax.principal_directions(moments, head, num_directions=S)
  np.testing.assert_array_equal(found.rank, np.zeros(rank))
  np.testing.assert_array_equal(found.directions, np.zeros((rank, S, width)))


@pytest.mark.parametrize("by_hand", [False, True])
def test_rank_does_not_depend_on_the_scale_of_weights(head, data, by_hand):
  """Some directions lie near the bound on rounding, and stay where they are."""
  embeddings, labels = data
  inside = embeddings @ head @ np.linalg.pinv(head)
  embeddings = (embeddings + 200 * inside).astype(np.float32)
  ranks = []
  for weight in (2.0**-20, 1.0, 2.0**10, 2.0**30):
    where = np.full(len(labels), weight, np.float32)
    moments = lelp_jax.class_moments(
      embeddings, labels, num_classes=NUM_CLASSES, where=where
    )
    if by_hand:
      moments = dataclasses.replace(moments, num_examples=None)
    principal = lelp_jax.principal_directions(moments, head, num_directions=S)
    ranks.append(np.asarray(principal.rank))
  assert 0 < ranks[1].min() <= ranks[1].max() < ROOM
  np.testing.assert_array_equal(ranks, np.tile(ranks[1], (4, 1)))


# --- Classes without variance ------------------------------------------------


@pytest.mark.parametrize(
  ("rotation", "normalization"), [("haar", "max"), ("none", "per_direction")]
)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_fit_subspaces_class_without_variance_is_zero(
  rng, head, count, rotation, normalization
):
  # Seven is not a power of two, so the mean of seven equal rows may differ from
  # the row in the last bit.
  embeddings, labels = spectra.make_data(
    rng, head, counts=(500 - count, count, 460)
  )
  embeddings[labels == 1] = rng.normal(size=WIDTH).astype(np.float32) * 30
  moments = spectra.moments_of(embeddings, labels)
  some = partial(
    fit, num_subclasses=S, rotation=rotation, normalization=normalization
  )
  for function in (partial(spectra.quietly, some), jax.jit(some)):
    subspaces = function(moments, head, key=jax.random.key(17))
    chex.assert_tree_all_finite(subspaces)
    np.testing.assert_array_equal(subspaces.directions[1], np.zeros((S, WIDTH)))
    for c in (0, 2):
      assert np.all(np.linalg.norm(subspaces.directions[c], axis=-1) > 0.01)


def test_fit_subspaces_rounding_of_the_mean_is_no_variance(rng, head, moments):
  # The residue of equal rows whose mean is half a rounding error off.
  mean = np.asarray(moments.mean[1])
  residue = rng.normal(size=WIDTH)
  size = np.finfo(np.float32).eps * np.linalg.norm(mean) / 4
  residue *= size / np.linalg.norm(residue)
  scatter = float(moments.count[1]) * np.outer(residue, residue)
  changed = moments.scatter.at[1].set(jnp.float32(scatter))
  moments = dataclasses.replace(moments, scatter=changed)
  key = jax.random.key(17)
  subspaces = spectra.quietly(fit, moments, head, num_subclasses=S, key=key)
  np.testing.assert_array_equal(subspaces.directions[1], np.zeros((S, WIDTH)))


def test_principal_directions_of_a_small_width(rng):
  """Section 3.1: with a trivial null space the step is not applied."""
  embeddings = rng.normal(size=(50, 4)).astype(np.float32)
  moments = lelp_jax.class_moments(embeddings, np.arange(50) % 4, num_classes=4)
  head = rng.normal(size=(4, 4)).astype(np.float32)
  found = lelp_jax.principal_directions(moments, head, num_directions=6)
  plain = lelp_jax.principal_directions(moments, num_directions=6)
  np.testing.assert_array_equal(found.rank, [4, 4, 4, 4])
  np.testing.assert_allclose(found.directions, plain.directions, atol=1e-6)
  # Directions past the width are zero.
  assert plain.directions.shape == (4, 6, 4)
  assert not plain.directions[:, 4:].any()
  assert not plain.variances[:, 4:].any()
  with pytest.warns(UserWarning, match="num_subclasses=6"):
    subspaces = lelp_jax.subspaces_from_principal(
      plain, num_subclasses=6, key=jax.random.key(0)
    )
  assert not subspaces.directions[:, 4:].any()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_fit_subspaces_does_not_depend_on_the_unit(head, data, scale):
  embeddings, labels = data
  fits = [
    lelp_jax.fit_subspaces(
      h, labels, head, num_subclasses=S, key=jax.random.key(0)
    )
    for h in (embeddings, embeddings * np.float32(scale))
  ]
  np.testing.assert_allclose(
    fits[1].directions * scale, fits[0].directions, rtol=1e-3, atol=1e-4
  )
