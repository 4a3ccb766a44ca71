"""Data of the tests of Algorithm 1."""

import pytest

from tests.lelp_jax import spectra


@pytest.fixture(name="head")
def fixture_head(rng):
  return spectra.make_head(rng)


@pytest.fixture(name="data")
def fixture_data(rng, head):
  """Embeddings and labels."""
  return spectra.make_data(rng, head)


@pytest.fixture(name="moments")
def fixture_moments(data):
  return spectra.moments_of(*data)
