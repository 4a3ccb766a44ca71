"""The random rotation, by Monte Carlo."""

import jax
import numpy as np
import pytest

import lelp_jax
from tests.lelp_jax.spectra import moments_with_spectrum
from tests.lelp_jax.spectra import S

DRAWS = 20_000
SPECTRA = np.array([[9.0, 4.0, 1.0, 0.25], [5.0, 4.0, 3.0, 2.0]])


@pytest.fixture(scope="module")
def principal():
  """Four principal directions in seven dimensions, of spectra SPECTRA."""
  moments = moments_with_spectrum(np.random.default_rng(0), SPECTRA, 7)
  return lelp_jax.principal_directions(
    moments, num_directions=S, null_space="none"
  )


@jax.jit
def draw(principal):
  """DRAWS rotations of the same directions, `[DRAWS, C, S, D]`."""
  return jax.vmap(
    lambda key: (
      lelp_jax.subspaces_from_principal(
        principal, num_subclasses=S, key=key, normalization="none"
      ).directions
    )
  )(jax.random.split(jax.random.key(19), DRAWS))


@pytest.fixture(scope="module")
def rotations(principal):
  """The rotations drawn, `[DRAWS, C, S, S]`: rotated rows times V^T."""
  return np.einsum(
    "ncsd,ckd->ncsk",
    np.asarray(draw(principal), np.float64),
    np.asarray(principal.directions, np.float64),
  )


def test_subspaces_from_principal_haar_entries(rotations):
  np.testing.assert_allclose(
    rotations @ rotations.swapaxes(-1, -2),
    np.broadcast_to(np.eye(S), rotations.shape),
    atol=1e-5,
  )
  # Mean 0 and variance 1/S in every entry. A QR decomposition whose signs
  # nobody corrects fails this: its diagonal is biased.
  standard_error = np.sqrt(1 / (S * DRAWS))
  assert np.abs(rotations.mean(axis=0)).max() < 4.5 * standard_error
  np.testing.assert_allclose((rotations**2).mean(axis=0), 1 / S, rtol=0.05)
  np.testing.assert_allclose(
    (rotations**4).mean(axis=0), 3 / (S * (S + 2)), rtol=0.06
  )
  # Reflections are drawn as often as rotations proper.
  determinants = np.linalg.det(rotations)
  assert np.abs(determinants.mean(axis=0)).max() < 4.5 / np.sqrt(DRAWS)


def test_subspaces_from_principal_classes_are_independent(rotations):
  a, b = rotations.reshape(DRAWS, 2, S * S).swapaxes(0, 1)
  assert np.abs(a.T @ b / DRAWS).max() < 5 / (S * np.sqrt(DRAWS))
  squares = np.corrcoef((a**2).T, (b**2).T)[: S * S, S * S :]
  assert np.abs(squares).max() < 5 / np.sqrt(DRAWS)
