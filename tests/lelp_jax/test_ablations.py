"""The subspaces that the paper compares with: random and coordinate axes."""

from functools import partial

import chex
import jax
import numpy as np
import pytest

import lelp_jax
from tests import reference
from tests.lelp_jax import spectra
from tests.lelp_jax.spectra import NUM_CLASSES
from tests.lelp_jax.spectra import S
from tests.lelp_jax.spectra import WIDTH


def test_random_subspaces_are_random_orthonormal_rows_normalized(head, moments):
  sample = partial(lelp_jax.random_subspaces, moments, num_subclasses=S)
  subspaces = sample(key=jax.random.key(26))
  np.testing.assert_array_equal(subspaces.means, moments.mean)
  np.testing.assert_allclose(
    spectra.variances_of(subspaces.directions, moments).max(axis=1),
    1,
    rtol=1e-5,
  )
  for rows in subspaces.directions:
    spectra.assert_orthonormal_up_to_scale(rows)
  chex.assert_trees_all_equal(subspaces, sample(key=jax.random.key(26)))
  other = sample(key=jax.random.key(27))
  assert not np.allclose(subspaces.directions, other.directions, atol=0.01)
  unit = np.asarray(
    sample(key=jax.random.key(26), normalization="none").directions
  )
  np.testing.assert_allclose(
    spectra.gram(unit), np.tile(np.eye(S), (3, 1, 1)), atol=1e-5
  )
  assert not np.allclose(unit[0], unit[1], atol=0.05)
  # No projection: the head's span is not avoided.
  removed, _ = reference.head_bases(head, WIDTH)
  assert np.abs(unit @ removed).max() > 0.1


def test_random_subspaces_are_uniform(rng):
  moments = spectra.moments_with_spectrum(rng, [[3, 2, 1, 1, 1, 1]], 6)
  draws = 10_000
  rows = jax.jit(
    jax.vmap(
      lambda key: lelp_jax.random_subspaces(
        moments, num_subclasses=2, key=key, normalization="none"
      ).directions[0]
    )
  )(jax.random.split(jax.random.key(28), draws))
  rows = np.asarray(rows, np.float64)
  assert np.abs(rows.mean(axis=0)).max() < 4.5 / np.sqrt(6 * draws)
  np.testing.assert_allclose((rows**2).mean(axis=0), 1 / 6, rtol=0.06)
  np.testing.assert_allclose((rows**4).mean(axis=0), 3 / (6 * 8), rtol=0.1)


def test_identity_subspaces_are_scaled_axes(data):
  embeddings, labels = data
  embeddings[:, 3] *= 7.0
  moments = spectra.moments_of(embeddings, labels)
  deviations = np.array(
    [
      np.std(embeddings[labels == c].astype(np.float64), axis=0)
      for c in range(NUM_CLASSES)
    ]
  )
  axes = np.tile(np.eye(WIDTH), (3, 1, 1))
  subspaces = lelp_jax.identity_subspaces(moments)
  np.testing.assert_array_equal(subspaces.means, moments.mean)
  np.testing.assert_allclose(
    subspaces.directions,
    axes / deviations.max(axis=1)[:, None, None],
    rtol=1e-5,
  )
  whitening = lelp_jax.identity_subspaces(
    moments, normalization="per_direction"
  )
  np.testing.assert_allclose(
    whitening.directions, axes / deviations[..., None], rtol=1e-5
  )
  plain = lelp_jax.identity_subspaces(moments, normalization="none")
  np.testing.assert_array_equal(plain.directions, axes)


@pytest.mark.parametrize("normalization", ["max", "per_direction", "none"])
def test_ablation_subspaces_of_an_empty_class_are_zero(rng, normalization):
  embeddings, labels = spectra.make_data(
    rng, spectra.make_head(rng), counts=(500, 0, 460)
  )
  moments = spectra.moments_of(embeddings, labels)
  random = spectra.quietly(
    lelp_jax.random_subspaces,
    moments,
    num_subclasses=S,
    key=jax.random.key(29),
    normalization=normalization,
  )
  identity = spectra.quietly(
    lelp_jax.identity_subspaces, moments, normalization=normalization
  )
  for subspaces in (random, identity):
    chex.assert_tree_all_finite(subspaces)
    np.testing.assert_array_equal(subspaces.directions[1], 0.0)
    assert np.all(np.linalg.norm(subspaces.directions[0], axis=-1) > 0)
