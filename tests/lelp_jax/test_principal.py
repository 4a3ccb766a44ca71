"""Algorithm 1, first half: principal directions off the head's span."""

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

NULL_SPACES = ["weights", "weight_differences", "none"]


@pytest.mark.parametrize("null_space", NULL_SPACES)
def test_principal_directions_match_reference(head, data, null_space):
  embeddings, labels = data
  # With span(W) or a part of it left in, its few large directions come first
  # and the gap moves behind them.
  k = S + {"weights": 0, "weight_differences": 1, "none": 3}[null_space]
  principal = lelp_jax.principal_directions(
    spectra.moments_of(embeddings, labels),
    head,
    num_directions=WIDTH,
    null_space=null_space,
  )
  removed, kept = reference.head_bases(head, WIDTH, null_space)
  directions, variances = spectra.reference_principal(
    embeddings, labels, kept, k
  )
  spectra.assert_same_spans(principal.directions[:, :k], directions)
  np.testing.assert_allclose(principal.variances[:, :k], variances, rtol=1e-5)
  np.testing.assert_allclose(
    spectra.gram(principal.directions[:, :k]),
    np.tile(np.eye(k), (3, 1, 1)),
    atol=1e-5,
  )
  spectra.assert_orthogonal_to(principal.directions, removed)
  _, mean, scatter = reference.class_moments(embeddings, labels, NUM_CLASSES)
  np.testing.assert_allclose(principal.means, mean, rtol=1e-5, atol=1e-5)
  # Of the class before the projection: what the head's span holds is seen.
  total = np.trace(scatter, axis1=1, axis2=2) / COUNTS
  np.testing.assert_allclose(principal.total_variance, total, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
  ("kind", "null_space", "removed_rank"),
  [
    ("full", "weights", 3),
    ("collapsed", "weights", 2),
    ("zero", "weights", 0),
    ("full", "weight_differences", 2),
    ("collapsed", "weight_differences", 2),
    ("full", "none", 0),
  ],
)
def test_principal_directions_remove_the_rank_of_the_head(
  rng, moments, kind, null_space, removed_rank, dtype
):
  # orthogonalising a collapsed head column by column would remove an
  # arbitrary third direction.
  kernel = spectra.make_head(rng, collapsed=kind == "collapsed")
  head = jnp.asarray(0 * kernel if kind == "zero" else kernel, dtype)
  singular = np.linalg.svd(np.asarray(head, np.float64), compute_uv=False)
  if kind == "collapsed" and dtype == jnp.bfloat16:
    # Rounding alone lifts the last singular value far above float32's eps.
    assert 1e-4 < singular[-1] / singular[0] < 5e-3
  principal = lelp_jax.principal_directions(
    moments, head, num_directions=WIDTH, null_space=null_space
  )
  np.testing.assert_array_equal(principal.rank, WIDTH - removed_rank)
  removed, kept = reference.head_bases(head, WIDTH, null_space)
  assert removed.shape[1] == removed_rank
  spectra.assert_orthogonal_to(principal.directions, removed)
  # Nothing but the removed directions is lost.
  for c in range(NUM_CLASSES):
    covariance = np.asarray(moments.scatter[c] / moments.count[c], np.float64)
    np.testing.assert_allclose(
      np.sum(principal.variances[c]),
      np.trace(kept.T @ covariance @ kept),
      rtol=1e-5,
    )


def test_principal_directions_rtol_decides_the_rank(rng):
  # Singular values that relate as 1, 0.5 and 0.01, along known axes.
  left = np.linalg.qr(rng.normal(size=(WIDTH, 3)))[0]
  right = np.linalg.qr(rng.normal(size=(3, 3)))[0]
  head = (left * [1e-6, 5e-7, 1e-8] @ right.T).astype(np.float32)
  moments = spectra.moments_of(*spectra.make_data(rng, head))
  for rtol, removed_rank in ((5e-3, 3), (0.02, 2), (0.6, 1)):
    principal = lelp_jax.principal_directions(
      moments, head, num_directions=WIDTH, rtol=rtol
    )
    np.testing.assert_array_equal(principal.rank, WIDTH - removed_rank)
    spectra.assert_orthogonal_to(principal.directions, left[:, :removed_rank])


@pytest.mark.parametrize(("bad", "width"), [(np.nan, 8), (np.inf, 4)])
def test_a_traced_head_that_is_not_finite_gives_nan(rng, bad, width):
  # With 4 dimensions the head of four classes spans everything.
  head = rng.normal(size=(width, 4)).astype(np.float32)
  head[0, 0] = bad
  embeddings = rng.normal(size=(60, width)).astype(np.float32)
  moments = lelp_jax.ClassMoments(
    *map(np.float32, reference.class_moments(embeddings, np.arange(60) % 4, 4))
  )
  directions = jax.jit(
    lambda *args: lelp_jax.principal_directions(*args, num_directions=2)
  )(moments, head).directions
  assert np.isnan(directions).any()
