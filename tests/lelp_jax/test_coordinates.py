"""Coordinates on principal directions stand for embeddings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

import lelp_jax
from tests import reference
from tests.lelp_jax import spectra

K = 7


def fitted(rng, *, offset=0.0):
  """Embeddings, their logits and principal directions off the head's span."""
  head = spectra.make_head(rng)
  embeddings, labels = spectra.make_data(rng, head)
  embeddings = (embeddings + offset).astype(np.float32)
  principal = lelp_jax.principal_directions(
    spectra.moments_of(embeddings, labels), head, num_directions=K
  )
  return embeddings, embeddings @ head / 9, principal


@pytest.mark.parametrize(("offset", "tolerance"), [(0, 2e-5), (500, 2e-4)])
def test_coordinates_match_reference(rng, offset, tolerance):
  # 2e-4: half a unit in the last place of 500, along a direction of 11 entries.
  embeddings, _, principal = fitted(rng, offset=offset)
  found = np.asarray(lelp_jax.principal_coordinates(embeddings, principal))
  directions = np.asarray(principal.directions, np.float64)
  means = np.asarray(principal.means, np.float64)
  for row, h in zip(found, embeddings, strict=True):
    expected = reference.subclass_logits(h, directions, means)
    np.testing.assert_allclose(row, np.ravel(expected), atol=tolerance)


@pytest.fixture(name="pair", scope="module")
def fixture_pair():
  """Embeddings and coordinates, each with its principal directions."""
  embeddings, logits, principal = fitted(np.random.default_rng(1))
  embeddings, logits = embeddings[::9], logits[::9]
  coordinates = lelp_jax.principal_coordinates(embeddings, principal)
  seen = lelp_jax.coordinate_directions(principal)
  return logits, (embeddings, principal), (coordinates, seen)


@functools.partial(jax.jit, static_argnames=("size", "normalization"))
def traced_targets(pairs, logits, size, seed, temperatures, normalization):
  """Targets from each pair of rows and principal directions."""
  results = []
  for rows, principal in pairs:
    subspaces = lelp_jax.subspaces_from_principal(
      principal,
      num_subclasses=size,
      key=jax.random.key(seed),
      normalization=normalization,
    )
    temperature, subclass_temperature = temperatures
    results.append(
      lelp_jax.subsplit(
        rows,
        logits,
        subspaces,
        temperature=temperature,
        subclass_temperature=subclass_temperature,
      )
    )
  return results


@settings(max_examples=12, deadline=None)
@given(
  size=st.sampled_from([2, K]),
  seed=st.integers(0, 99),
  temperatures=st.tuples(
    st.sampled_from([1.0, 10.0]), st.sampled_from([1 / 32, 0.5, 4.0])
  ),
)
def test_targets_are_those_from_embeddings(pair, size, seed, temperatures):
  logits, whole, seen = pair
  # Per direction, scales differ: a variance in the wrong place would show.
  normalization = "max" if size == K else "per_direction"
  expected, found = traced_targets(
    (whole, seen), logits, size, seed, temperatures, normalization
  )
  assert found.shape == (len(logits), 3, size)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def deficient(rng):
  """A class of rank 2 and an empty one, in 6 dimensions with a head of 2."""
  head = rng.normal(size=(6, 2)).astype(np.float32)
  h = rng.normal(size=(3, 6)).astype(np.float32)
  moments = lelp_jax.class_moments(h, jnp.zeros(3, int), num_classes=2)
  principal = lelp_jax.principal_directions(moments, head, num_directions=5)
  return h, h @ head, principal


def test_missing_directions_are_completed_alike(rng):
  """Directions without variance, zero rows and empty classes (A-10)."""
  h, logits, principal = deficient(rng)
  seen = lelp_jax.coordinate_directions(principal)
  exist = np.any(np.asarray(principal.directions) != 0, axis=-1)
  np.testing.assert_array_equal(exist[0], [True] * 4 + [False])
  np.testing.assert_array_equal(np.any(seen.directions != 0, axis=-1), exist)
  coordinates = lelp_jax.principal_coordinates(h, principal)
  results = traced_targets(
    ((h, principal), (coordinates, seen)), logits, 5, 5, (1.0, 0.5), "max"
  )
  with pytest.warns(UserWarning, match="num_subclasses=5 .* 0, 1"):
    lelp_jax.subspaces_from_principal(seen, num_subclasses=5, rotation="none")
  for each in (principal, seen):
    with pytest.raises(ValueError, match=r"\(there are 2, 0\)"):
      lelp_jax.subspaces_from_principal(
        each, num_subclasses=3, rotation="none", rank_deficient="error"
      )
  np.testing.assert_allclose(results[1], results[0], atol=1e-5)
