"""The leading directions of wide embeddings, against a full decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from lelp_jax import _leading
from tests.lelp_jax.spectra import assert_orthogonal_to

# The library decomposes this width whole: the tests lower its threshold.
WIDTH, K = 384, 20
_INDEX = np.arange(1, WIDTH + 1.0)
SPECTRA = {
  "equal": np.ones(WIDTH),
  "nearly equal": 1 - 1e-3 * _INDEX / WIDTH,
  "linear": 1 - _INDEX / (WIDTH + 1),
  "slow": _INDEX**-0.5,
  "fast": _INDEX**-2.0,
  "step": np.where(_INDEX <= 75, 1, 0.5),
  "spikes": np.where(_INDEX <= 3, 1e3, 1 - 0.5 * _INDEX / WIDTH),
  "rank 5": np.where(_INDEX <= 5, 1 / _INDEX, 0),
}


@pytest.fixture(autouse=True, scope="module")
def leading_is_used():
  with pytest.MonkeyPatch.context() as patch:
    assert _leading.is_faster(1024, K)
    patch.setattr(_leading, "_SMALLEST_WIDTH", WIDTH)
    yield


@pytest.fixture(name="axes", scope="module")
def fixture_axes():
  rows = np.random.default_rng(0).normal(size=(WIDTH, WIDTH))
  return np.linalg.qr(rows.astype(np.float32))[0]


def moments_of(axes, spectrum):
  """Moments of one class about given axes."""
  covariance = (axes * spectrum.astype(np.float32)) @ axes.T
  return lelp_jax.ClassMoments(
    count=jnp.full(1, 64.0),
    mean=jnp.zeros((1, WIDTH)),
    scatter=64 * jnp.asarray((covariance + covariance.T) / 2)[None],
  )


@pytest.mark.parametrize("name", SPECTRA)
def test_leading_directions_capture_the_variance(axes, name):
  # The head takes away the first axis: its eigenvalue is not among the rest.
  spectrum = np.concatenate([[2.0], SPECTRA[name][:-1]])
  head = axes[:, :1]
  found = lelp_jax.principal_directions(
    moments_of(axes, spectrum), head, num_directions=K
  )
  rows = np.asarray(found.directions[0], np.float64)
  np.testing.assert_allclose(rows @ rows.T, np.eye(K), atol=1e-5)
  assert_orthogonal_to(rows, head)
  captured = np.sum((rows @ axes) ** 2 * spectrum) / spectrum[1 : K + 1].sum()
  assert captured >= 1 - 1e-5
  np.testing.assert_allclose(
    found.variances[0].sum(), spectrum[1 : K + 1].sum(), rtol=2e-5
  )
  assert int(found.rank[0]) == min(K, np.sum(spectrum > 0) - 1)


def test_leading_directions_are_the_exact_ones_where_these_are_apart(
  axes, monkeypatch
):
  moments = moments_of(axes, SPECTRA["fast"])
  found = lelp_jax.principal_directions(moments, num_directions=K)
  monkeypatch.setattr(_leading, "_SMALLEST_WIDTH", WIDTH + 1)
  # Another number of directions: the program is compiled once for each.
  exact = lelp_jax.principal_directions(moments, num_directions=K + 1)
  assert int(found.rank[0]) == K < K + 1 < int(exact.rank[0])
  np.testing.assert_allclose(
    found.directions[:, :10], exact.directions[:, :10], atol=2e-3
  )


def test_leading_says_that_it_is_not_accurate(axes, monkeypatch):
  spectrum = SPECTRA["linear"].astype(np.float32)
  covariance, basis = (axes * spectrum) @ axes.T, np.zeros((WIDTH, 1), "f")

  def is_accurate():
    # Another function each time: it is compiled for the present constants.
    find = jax.jit(lambda *arrays: _leading.leading(arrays[0], K, arrays[1]))
    return bool(find(covariance, basis).is_accurate)

  assert is_accurate()
  monkeypatch.setattr(_leading, "_MOST_SWEEPS", 1)
  assert not is_accurate()
