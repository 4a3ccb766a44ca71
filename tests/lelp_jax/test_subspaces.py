"""Algorithm 1, whole: rotated, scaled subspaces in the null space."""

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

fit = partial(lelp_jax.fit_subspaces, num_subclasses=S)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"null_space": "none", "num_subclasses": S + 3},
    {"rotation": "none", "key": None},
    {"where": np.arange(sum(spectra.COUNTS)) % 3 > 0},
    {"normalization": "none"},
    {"normalization": "per_direction"},
    {"normalization": "per_direction", "rotation": "none"},
  ],
  ids=lambda options: "-".join(options),
)
def test_fit_subspaces_matches_reference(head, data, options):
  embeddings, labels = data
  where = options.get("where", np.ones(len(labels), bool))
  padded = np.where(where[:, None], embeddings, np.float32(np.nan))
  subspaces = fit(padded, labels, head, **{"key": jax.random.key(0), **options})
  embeddings, labels = embeddings[where], labels[where]
  s = options.get("num_subclasses", S)
  _, kept = reference.head_bases(
    head, WIDTH, options.get("null_space", "weights")
  )
  count, mean, scatter = reference.class_moments(
    embeddings, labels, NUM_CLASSES
  )
  directions, _ = spectra.reference_principal(embeddings, labels, kept, s)
  assert subspaces.directions.shape == (NUM_CLASSES, s, WIDTH)
  spectra.assert_same_spans(subspaces.directions, directions)
  np.testing.assert_allclose(subspaces.means, mean, rtol=1e-5, atol=1e-5)
  for c in range(NUM_CLASSES):
    # The random matrix is orthogonal up to scalars. Given this matrix, the
    # reference arrives at the same directions.
    mixed = np.asarray(subspaces.directions[c], np.float64) @ directions[c].T
    matrix = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(s), atol=2e-4)
    if options.get("rotation") == "none":
      np.testing.assert_allclose(matrix, np.eye(s), atol=2e-4)
    rows, statistics = matrix @ directions[c], (scatter[c], count[c])
    expected = {
      "none": rows,
      "max": reference.rotate_and_normalize(directions[c], matrix, *statistics),
      "per_direction": rows
      / np.sqrt(reference.variances_along(rows, *statistics))[:, None],
    }[options.get("normalization", "max")]
    np.testing.assert_allclose(subspaces.directions[c], expected, atol=2e-4)


def test_fit_subspaces_one_seed_one_answer(rng, head, data):
  embeddings, labels = data
  first = fit(embeddings, labels, head, key=jax.random.key(6))
  again = fit(embeddings, labels, head, key=jax.random.key(6))
  chex.assert_trees_all_equal(first, again)
  other = fit(embeddings, labels, head, key=jax.random.key(7))
  assert not np.allclose(first.directions, other.directions, atol=0.01)
  # Another order of the rows changes the last bits of the covariance. Signs
  # left to the eigensolver would then be free to change the rotated rows.
  for _ in range(3):
    order = rng.permutation(len(labels))
    key = jax.random.key(6)
    shuffled = fit(embeddings[order], labels[order], head, key=key)
    np.testing.assert_allclose(shuffled.directions, first.directions, atol=2e-4)


# --- The halves --------------------------------------------------------------


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"null_space": "weight_differences", "rotation": "none"},
    {"null_space": "none", "normalization": "per_direction"},
    {"normalization": "none", "num_subclasses": 19},  # Beyond the rank of 17.
  ],
  ids=str,
)
def test_fit_subspaces_is_the_composition_of_its_halves(head, data, options):
  embeddings, labels = data
  options = {"num_subclasses": S, **options}

  def quiet(function, *args, **kwargs):
    return spectra.quietly(function, *args, key=jax.random.key(10), **kwargs)

  whole = quiet(lelp_jax.fit_subspaces, embeddings, labels, head, **options)
  moments = spectra.moments_of(embeddings, labels)
  from_moments = lelp_jax.fit_subspaces_from_moments
  streamed = quiet(from_moments, moments, head, **options)
  chex.assert_trees_all_close(streamed, whole, atol=1e-6)
  null_space = options.pop("null_space", "weights")
  for num_directions in (options["num_subclasses"], WIDTH):
    # A cache of more principal directions than subclasses serves them all.
    principal = lelp_jax.principal_directions(
      moments, head, num_directions=num_directions, null_space=null_space
    )
    halves = quiet(lelp_jax.subspaces_from_principal, principal, **options)
    chex.assert_trees_all_close(halves, whole, atol=1e-5)


# --- Heads with one logit ----------------------------------------------------


@pytest.mark.parametrize("bias", [2, 2.0, np.int64(2), np.float64(2)])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_binary_head_takes_any_number_in_the_dtype_of_the_kernel(bias, shape):
  for dtype in (np.float32, jnp.bfloat16):
    kernel = jnp.asarray([[1.0], [3.0]], dtype)
    with jax.enable_x64(True):
      given = np.full(shape, bias) if shape else bias
      columns, biases = lelp_jax.binary_head(kernel, given)
    assert columns.dtype == biases.dtype == dtype
    np.testing.assert_array_equal(biases, [0, 2])
    np.testing.assert_array_equal(columns, [[0, 1], [0, 3]])


# --- Dtypes ------------------------------------------------------------------


def test_fit_subspaces_float64_under_x64(rng):
  head = spectra.make_head(rng).astype(np.float64)
  embeddings, labels = spectra.make_data(rng, head)
  embeddings = embeddings + rng.normal(size=embeddings.shape) * 1e-9
  with jax.enable_x64(True):
    subspaces = fit(embeddings, labels, head, key=jax.random.key(25))
  assert subspaces.directions.dtype == subspaces.means.dtype == jnp.float64
  _, kept = reference.head_bases(head, WIDTH)
  directions, _ = spectra.reference_principal(embeddings, labels, kept, S)
  spectra.assert_same_spans(subspaces.directions, directions, 1e-11)
  count, _, scatter = reference.class_moments(embeddings, labels, NUM_CLASSES)
  for c in range(NUM_CLASSES):
    variances = reference.variances_along(
      np.asarray(subspaces.directions[c]), scatter[c], count[c]
    )
    assert variances.max() == pytest.approx(1, abs=1e-11)


# --- The paper's largest width -----------------------------------------------


@pytest.mark.slow
def test_fit_subspaces_at_width_4096(rng):
  width, num_classes, s, count = 4096, 5, 200, 300
  head = spectra.make_head(rng, num_classes=num_classes, width=width)
  labels = np.repeat(np.arange(num_classes), count)
  # 299 directions of a decaying spectrum, about a mean of ten times it.
  factors = rng.normal(size=(num_classes, count, width)) / np.sqrt(width)
  scales = 1.0 / np.sqrt(1.0 + np.arange(count))
  rows = rng.normal(size=(num_classes, count, count)) * scales @ factors
  rows += 10.0 * rng.uniform(size=(num_classes, 1, width)) / np.sqrt(width)
  embeddings = rows.reshape(-1, width).astype(np.float32)
  key = jax.random.key(30)
  subspaces = fit(embeddings, labels, head, num_subclasses=s, key=key)
  chex.assert_tree_all_finite(subspaces)
  removed, _ = reference.head_bases(head, width)
  spectra.assert_orthogonal_to(subspaces.directions, removed)
  for c in range(num_classes):
    directions = np.asarray(subspaces.directions[c], np.float64)
    spectra.assert_orthonormal_up_to_scale(directions)
    centered = embeddings[labels == c].astype(np.float64)
    centered -= centered.mean(axis=0)
    centered -= centered @ removed @ removed.T
    variances = np.mean((centered @ directions.T) ** 2, axis=0)
    assert variances.max() == pytest.approx(1, abs=1e-3)
    # The spectrum has no gap after 200: the captured variance is compared.
    singular = np.linalg.svd(centered, compute_uv=False)
    best = np.sum(singular[:s] ** 2) / count
    captured = variances.sum() / (directions[0] @ directions[0])
    assert captured == pytest.approx(best, rel=1e-4)
