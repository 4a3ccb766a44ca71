"""Algorithm 1 against float64, and every property of it that is known."""

import dataclasses
import warnings
from functools import partial
from functools import reduce

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lelp_jax
from tests import jaxprs
from tests import reference

WIDTH = 20
NUM_CLASSES = 3
S = 4  # The spectra below have their gap after this many directions.
COUNTS = (400, 300, 260)  # Together 960, everywhere: one compilation.
NULL_SPACES = ["weights", "weight_differences", "none"]


def make_head(rng, num_classes=NUM_CLASSES, width=WIDTH, collapsed=False):
  """A head; the kernels of a collapsed one sum to zero: rank C - 1."""
  kernel = rng.normal(size=(width, num_classes))
  kernel *= rng.uniform(0.5, 2, size=num_classes)
  if collapsed:
    kernel -= kernel.mean(axis=1, keepdims=True)
  return kernel.astype(np.float32)


def make_data(rng, head, counts=COUNTS, width=WIDTH):
  """Rows whose class covariances have a gap after S null space directions.

  Each class has its own axes. The span of the head holds most of the
  variance, so a direction that is not projected shows.
  """
  removed, kept = reference.head_bases(head, width)
  free = kept.shape[1]
  deviations = np.concatenate(
    [
      [6.0, 5.0, 4.0, 3.2][: min(S, free)],
      np.linspace(1.0, 0.3, max(free - S, 0)),
    ]
  )
  embeddings, labels = [], []
  for c, count in enumerate(counts):
    axes = np.linalg.qr(rng.normal(size=(free, free)))[0]
    rows = (rng.normal(size=(count, free)) * deviations) @ axes @ kept.T
    rows += rng.normal(size=(count, removed.shape[1])) @ removed.T * 9.0
    rows += rng.normal(size=width) * 3.0
    embeddings.append(rows)
    labels.append(np.full(count, c))
  order = rng.permutation(sum(counts))
  return (
    np.concatenate(embeddings)[order].astype(np.float32),
    np.concatenate(labels)[order].astype(np.int32),
  )


def moments_with_spectrum(rng, spectra, width, offset=3.0):
  """Moments of given spectra about random axes, one row of `spectra` a class.

  Returns the moments and the float64 covariances.
  """
  covariances = []
  for spectrum in spectra:
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
    values = np.zeros(width)
    values[: len(spectrum)] = spectrum
    covariances.append(axes * values @ axes.T)
  covariances = np.array(covariances)
  counts = np.arange(50.0, 50.0 + len(spectra))
  moments = lelp_jax.ClassMoments(
    count=jnp.asarray(counts, jnp.float32),
    mean=jnp.asarray(
      rng.normal(size=(len(spectra), width)) + offset, jnp.float32
    ),
    scatter=jnp.asarray(covariances * counts[:, None, None], jnp.float32),
  )
  return moments, covariances


def quietly(function, *args, **kwargs):
  """Calls without the warning on missing rank, where that is not the point."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)
    return function(*args, **kwargs)


def gram(directions):
  """Products of the rows of each class, in float64."""
  directions = np.asarray(directions, np.float64)
  return directions @ directions.swapaxes(-1, -2)


def variances_of(directions, moments):
  """Variance of each class along each of its rows, `[C, S]`, in float64."""
  return np.array(
    [
      reference.variances_along(
        np.asarray(directions[c], np.float64),
        np.asarray(moments.scatter[c], np.float64),
        float(moments.count[c]),
      )
      for c in range(len(directions))
    ]
  )


def assert_orthogonal_to(directions, basis, tolerance=1e-5):
  """Cosines between the rows and an orthonormal basis are roundings."""
  directions = np.asarray(directions, np.float64)
  norms = np.linalg.norm(directions, axis=-1, keepdims=True)
  cosines = directions @ basis / np.where(norms > 0, norms, 1)
  largest = np.abs(cosines).max(initial=0)
  assert largest < tolerance, largest


def assert_same_spans(actual, expected, tolerance=1e-4):
  """The rows of each class span the same space: projectors agree."""
  for a, b in zip(actual, expected, strict=True):
    difference = reference.projector(a) - reference.projector(b)
    assert np.linalg.norm(difference) < tolerance, np.linalg.norm(difference)


def reference_principal(embeddings, labels, kept, num_directions):
  """Reference directions `[C, K, D]` and variances `[C, K]`."""
  count, _, scatter = reference.class_moments(embeddings, labels, NUM_CLASSES)
  pairs = [
    reference.principal_directions(scatter[c], count[c], kept, num_directions)
    for c in range(NUM_CLASSES)
  ]
  return (
    np.array([directions for directions, _ in pairs]),
    np.array([variances for _, variances in pairs]),
  )


# --- principal_directions ----------------------------------------------------


@pytest.mark.parametrize("null_space", NULL_SPACES)
def test_principal_directions_match_reference(rng, null_space):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  # With span(W) or a part of it left in, its few large directions come first
  # and the gap moves behind them.
  extra = {"weights": 0, "weight_differences": 1, "none": 3}[null_space]
  principal = lelp_jax.principal_directions(
    moments, head, num_directions=S + extra, null_space=null_space
  )
  removed, kept = reference.head_bases(head, WIDTH, null_space)
  directions, variances = reference_principal(
    embeddings, labels, kept, S + extra
  )
  assert_same_spans(principal.directions, directions)
  np.testing.assert_allclose(principal.variances, variances, rtol=1e-5)
  np.testing.assert_allclose(
    gram(principal.directions), np.tile(np.eye(S + extra), (3, 1, 1)), atol=1e-5
  )
  assert_orthogonal_to(principal.directions, removed)
  _, mean, scatter = reference.class_moments(embeddings, labels, NUM_CLASSES)
  np.testing.assert_allclose(principal.means, mean, rtol=1e-5, atol=1e-5)
  # Of the class before the projection: what the head's span holds is seen.
  np.testing.assert_allclose(
    principal.total_variance,
    np.trace(scatter, axis1=1, axis2=2) / COUNTS,
    rtol=1e-5,
  )


def test_principal_directions_null_spaces_differ(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  largest = {}
  for null_space in NULL_SPACES:
    principal = lelp_jax.principal_directions(
      moments, head, num_directions=1, null_space=null_space
    )
    largest[null_space] = np.asarray(principal.variances)[:, 0]
  # The head's span holds a variance of 81, the rest at most 36.
  assert np.all(largest["none"] > 60)
  assert np.all(largest["weight_differences"] > 60)
  assert np.all(largest["weights"] < 50)


def test_principal_directions_none_needs_no_head(rng):
  embeddings, labels = make_data(rng, make_head(rng))
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  principal = lelp_jax.principal_directions(
    moments, num_directions=7, null_space="none"
  )
  directions, _ = reference_principal(embeddings, labels, np.eye(WIDTH), 7)
  assert_same_spans(principal.directions, directions)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
  ("collapsed", "null_space", "removed_rank"),
  [
    (False, "weights", 4),
    (True, "weights", 3),
    (False, "weight_differences", 3),
    (True, "weight_differences", 3),
    (False, "none", 0),
  ],
)
def test_principal_directions_remove_the_rank_of_the_head(
  rng, collapsed, null_space, removed_rank, dtype
):
  # orthogonalising a collapsed head column by column would remove an
  # arbitrary fourth direction.
  width = 12
  head = jnp.asarray(
    make_head(rng, num_classes=4, width=width, collapsed=collapsed), dtype
  )
  singular = np.linalg.svd(np.asarray(head, np.float64), compute_uv=False)
  if collapsed and dtype == jnp.bfloat16:
    # Rounding alone lifts the last singular value far above float32's eps.
    assert 1e-4 < singular[-1] / singular[0] < 5e-3
  embeddings = rng.normal(size=(900, width)).astype(np.float32)
  labels = rng.integers(0, 4, size=900)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=4)
  principal = lelp_jax.principal_directions(
    moments, head, num_directions=width, null_space=null_space
  )
  np.testing.assert_array_equal(principal.rank, width - removed_rank)
  removed, kept = reference.head_bases(head, width, null_space)
  assert removed.shape[1] == removed_rank
  assert_orthogonal_to(principal.directions, removed)
  # Nothing but the removed directions is lost.
  for c in range(4):
    covariance = np.asarray(moments.scatter[c] / moments.count[c], np.float64)
    np.testing.assert_allclose(
      np.sum(principal.variances[c]),
      np.trace(kept.T @ covariance @ kept),
      rtol=1e-5,
    )


def test_principal_directions_rtol_decides_the_rank(rng):
  # Singular values 1, 0.5 and 0.01, along known axes.
  left = np.linalg.qr(rng.normal(size=(9, 3)))[0]
  right = np.linalg.qr(rng.normal(size=(3, 3)))[0]
  head = (left * [1.0, 0.5, 0.01] @ right.T).astype(np.float32)
  moments, _ = moments_with_spectrum(rng, [np.arange(9, 0, -1)] * 3, 9)
  for rtol, removed_rank in ((5e-3, 3), (0.02, 2), (0.6, 1)):
    principal = lelp_jax.principal_directions(
      moments, head, num_directions=9, rtol=rtol
    )
    np.testing.assert_array_equal(principal.rank, 9 - removed_rank)
    assert_orthogonal_to(principal.directions, left[:, :removed_rank])


def test_principal_directions_small_head_is_still_removed(rng):
  # The tolerance is relative: a head of tiny weights has the rank it has.
  head = make_head(rng) * np.float32(1e-6)
  embeddings, labels = make_data(rng, head)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  principal = lelp_jax.principal_directions(moments, head, num_directions=S)
  assert_orthogonal_to(
    principal.directions, reference.head_bases(head, WIDTH)[0]
  )


def test_principal_directions_zero_head_removes_nothing(rng):
  moments, covariances = moments_with_spectrum(rng, [[5, 3, 2, 1]] * 2, 4)
  principal = lelp_jax.principal_directions(
    moments, np.zeros((4, 2), np.float32), num_directions=4
  )
  np.testing.assert_array_equal(principal.rank, 4)
  np.testing.assert_allclose(
    np.sum(principal.variances, axis=1),
    np.trace(covariances, axis1=1, axis2=2),
    rtol=1e-5,
  )


def test_principal_directions_signs_are_fixed(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  principal = lelp_jax.principal_directions(moments, head, num_directions=12)
  directions = np.asarray(principal.directions)
  largest = np.take_along_axis(
    directions, np.abs(directions).argmax(-1)[..., None], axis=-1
  )
  assert np.all(largest > 0)
  _, kept = reference.head_bases(head, WIDTH)
  expected, _ = reference_principal(embeddings, labels, kept, S)
  np.testing.assert_allclose(directions[:, :S], expected, atol=2e-4)


def test_principal_directions_rank_counts_examples(rng):
  # N examples have at most N - 1 directions about their mean.
  head = make_head(rng)
  embeddings, labels = make_data(rng, head, counts=(6, 953, 1))
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  principal = lelp_jax.principal_directions(moments, head, num_directions=WIDTH)
  np.testing.assert_array_equal(principal.rank, [5, WIDTH - 3, 0])
  variances = np.asarray(principal.variances)
  assert np.all(variances >= 0)
  assert np.all(np.diff(variances, axis=1) <= 0)
  np.testing.assert_allclose(variances[0, 5:], 0, atol=1e-4)


# --- fit_subspaces: Algorithm 1 as a whole -----------------------------------


@pytest.mark.parametrize("null_space", ["weights", "none"])
def test_fit_subspaces_matches_reference(rng, null_space):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  num_subclasses = S if null_space == "weights" else S + 3
  subspaces = lelp_jax.fit_subspaces(
    embeddings,
    labels,
    head,
    num_subclasses=num_subclasses,
    key=jax.random.key(0),
    null_space=null_space,
  )
  _, kept = reference.head_bases(head, WIDTH, null_space)
  count, mean, scatter = reference.class_moments(
    embeddings, labels, NUM_CLASSES
  )
  directions, _ = reference_principal(embeddings, labels, kept, num_subclasses)
  assert subspaces.directions.shape == (3, num_subclasses, WIDTH)
  assert_same_spans(subspaces.directions, directions)
  np.testing.assert_allclose(subspaces.means, mean, rtol=1e-5, atol=1e-5)
  for c in range(NUM_CLASSES):
    # Whatever was drawn is an orthogonal matrix, up to the one scalar, and
    # the reference, given it, arrives at the same directions.
    mixed = np.asarray(subspaces.directions[c], np.float64) @ directions[c].T
    rotation = mixed / np.linalg.norm(mixed[0])
    np.testing.assert_allclose(
      rotation @ rotation.T, np.eye(num_subclasses), atol=2e-4
    )
    expected = reference.rotate_and_normalize(
      directions[c], rotation, scatter[c], count[c]
    )
    np.testing.assert_allclose(subspaces.directions[c], expected, atol=2e-4)


def test_fit_subspaces_orthogonal_to_head(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  subspaces = lelp_jax.fit_subspaces(
    embeddings, labels, head, num_subclasses=9, key=jax.random.key(1)
  )
  assert_orthogonal_to(
    subspaces.directions, reference.head_bases(head, WIDTH)[0]
  )


@pytest.mark.parametrize("rotation", ["haar", "none"])
def test_fit_subspaces_rows_are_orthogonal_of_one_length(rng, rotation):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  subspaces = lelp_jax.fit_subspaces(
    embeddings,
    labels,
    head,
    num_subclasses=6,
    key=jax.random.key(2),
    rotation=rotation,
  )
  products = gram(subspaces.directions)
  for c in range(NUM_CLASSES):
    np.testing.assert_allclose(
      products[c] / products[c, 0, 0], np.eye(6), atol=1e-5
    )


def test_fit_subspaces_largest_variance_is_one(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  subspaces = lelp_jax.fit_subspaces(
    embeddings, labels, head, num_subclasses=6, key=jax.random.key(3)
  )
  for c in range(NUM_CLASSES):
    rows = embeddings[labels == c].astype(np.float64)
    logits = (rows - rows.mean(0)) @ np.asarray(subspaces.directions[c]).T
    # The examples themselves, with 1/N_c.
    assert np.mean(logits**2, axis=0).max() == pytest.approx(1, abs=1e-5)
    assert np.mean(logits**2, axis=0).min() < 0.95


def test_fit_subspaces_rotation_keeps_the_span(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  fit = partial(
    lelp_jax.fit_subspaces, embeddings, labels, head, num_subclasses=7
  )
  rotated = fit(key=jax.random.key(4))
  plain = fit(key=jax.random.key(4), rotation="none")
  # No gap after seven directions is needed: both start from the same seven.
  assert_same_spans(rotated.directions, plain.directions, 1e-5)
  assert not np.allclose(rotated.directions, plain.directions, atol=0.01)


def test_fit_subspaces_without_rotation_is_scaled_pca(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  # A key is not needed where nothing is drawn.
  subspaces = lelp_jax.fit_subspaces(
    embeddings, labels, head, num_subclasses=S, key=None, rotation="none"
  )
  _, kept = reference.head_bases(head, WIDTH)
  directions, variances = reference_principal(embeddings, labels, kept, S)
  expected = directions / np.sqrt(variances[:, :1])[..., None]
  np.testing.assert_allclose(subspaces.directions, expected, atol=1e-4)


@pytest.mark.parametrize("rotation", ["haar", "none"])
def test_fit_subspaces_normalizations(rng, rotation):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  fits = {
    normalization: lelp_jax.fit_subspaces(
      embeddings,
      labels,
      head,
      num_subclasses=S,
      key=jax.random.key(5),
      rotation=rotation,
      normalization=normalization,
    ).directions
    for normalization in ("max", "per_direction", "none")
  }
  np.testing.assert_allclose(
    gram(fits["none"]), np.tile(np.eye(S), (3, 1, 1)), atol=1e-5
  )
  variances = variances_of(fits["none"], moments)
  np.testing.assert_allclose(
    fits["max"],
    fits["none"] / np.sqrt(variances.max(1))[:, None, None],
    rtol=1e-4,
    atol=1e-6,
  )
  np.testing.assert_allclose(
    fits["per_direction"],
    fits["none"] / np.sqrt(variances)[..., None],
    rtol=1e-4,
    atol=1e-6,
  )


def test_fit_subspaces_one_seed_one_answer(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  fit = partial(lelp_jax.fit_subspaces, num_subclasses=S)
  first = fit(embeddings, labels, head, key=jax.random.key(6))
  again = fit(embeddings, labels, head, key=jax.random.key(6))
  chex.assert_trees_all_equal(first, again)
  other = fit(embeddings, labels, head, key=jax.random.key(7))
  assert not np.allclose(first.directions, other.directions, atol=0.01)
  # Another order of the rows changes the last bits of the covariance. Signs
  # left to the eigensolver would then be free to change the rotated rows.
  for _ in range(3):
    order = rng.permutation(len(labels))
    shuffled = fit(
      embeddings[order], labels[order], head, key=jax.random.key(6)
    )
    np.testing.assert_allclose(shuffled.directions, first.directions, atol=2e-4)


def test_fit_subspaces_classes_are_rotated_independently(rng):
  # The same rows in every class: only the rotations can differ.
  head = make_head(rng)
  embeddings, _ = make_data(rng, head, counts=(320,))
  labels = np.repeat(np.arange(3), 320)
  subspaces = lelp_jax.fit_subspaces(
    np.tile(embeddings, (3, 1)),
    labels,
    head,
    num_subclasses=S,
    key=jax.random.key(8),
  )
  a, b, c = np.asarray(subspaces.directions)
  assert not np.allclose(a, b, atol=0.01)
  assert not np.allclose(b, c, atol=0.01)
  assert_same_spans([a, a], [b, c])


def test_fit_subspaces_streamed_equals_batch(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head, counts=(460, 300, 200))
  embeddings += 50.0  # A mean that sums of squares would not survive.
  batch = lelp_jax.fit_subspaces(
    embeddings, labels, head, num_subclasses=S, key=jax.random.key(9)
  )
  moments_of = jax.jit(partial(lelp_jax.class_moments, num_classes=3))
  streamed = reduce(
    jax.jit(lelp_jax.merge_moments),
    [
      moments_of(x, y)
      for x, y in zip(
        np.split(embeddings, 16), np.split(labels, 16), strict=True
      )
    ],
  )
  fitted = lelp_jax.fit_subspaces_from_moments(
    streamed, head, num_subclasses=S, key=jax.random.key(9)
  )
  assert_same_spans(fitted.directions, batch.directions)
  np.testing.assert_allclose(fitted.means, batch.means, rtol=1e-6)
  np.testing.assert_allclose(fitted.directions, batch.directions, atol=2e-4)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"null_space": "weight_differences", "rotation": "none"},
    {"null_space": "none", "normalization": "per_direction"},
    {"normalization": "none", "num_subclasses": 18},  # Beyond the rank of 17.
  ],
  ids=lambda options: ",".join(map(str, options.values())) or "defaults",
)
def test_fit_subspaces_is_the_composition_of_its_halves(rng, options):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  options = {"num_subclasses": S, **options}
  whole = quietly(
    lelp_jax.fit_subspaces,
    embeddings,
    labels,
    head,
    key=jax.random.key(10),
    **options,
  )
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  chex.assert_trees_all_close(
    quietly(
      lelp_jax.fit_subspaces_from_moments,
      moments,
      head,
      key=jax.random.key(10),
      **options,
    ),
    whole,
    atol=1e-6,
  )
  null_space = options.pop("null_space", "weights")
  for num_directions in (options["num_subclasses"], 20):
    # A cache of more principal directions than subclasses serves them all.
    principal = lelp_jax.principal_directions(
      moments, head, num_directions=num_directions, null_space=null_space
    )
    halves = quietly(
      lelp_jax.subspaces_from_principal,
      principal,
      key=jax.random.key(10),
      **options,
    )
    chex.assert_trees_all_close(halves, whole, atol=1e-5)


def test_fit_subspaces_collapsed_head_keeps_its_last_direction(rng):
  # Rank C - 1 = 2 of three kernels: in 6 dimensions 4 directions are left,
  # and the classes have variance in each.
  head = make_head(rng, width=6, collapsed=True)
  embeddings, labels = make_data(rng, head, width=6)
  for kernel in (head, jnp.asarray(head, jnp.bfloat16)):
    subspaces = lelp_jax.fit_subspaces(
      embeddings, labels, kernel, num_subclasses=4, key=jax.random.key(11)
    )
    removed, _ = reference.head_bases(kernel, 6)
    assert removed.shape[1] == 2
    assert_orthogonal_to(subspaces.directions, removed)
    assert np.all(np.linalg.norm(subspaces.directions, axis=-1) > 0.01)


# --- Not enough rank (A-10) --------------------------------------------------


def deficient_data(rng):
  """D = 10, a head of rank 3, and 4, 60 and 50 examples: ranks 3, 7, 7."""
  head = make_head(rng, width=10)
  embeddings, labels = make_data(rng, head, counts=(4, 60, 50), width=10)
  return embeddings, labels, head


@pytest.mark.parametrize("rotation", ["haar", "none"])
@pytest.mark.parametrize("num_subclasses", [5, 7, 9])
def test_fit_subspaces_completes_the_basis(rng, num_subclasses, rotation):
  embeddings, labels, head = deficient_data(rng)
  with pytest.warns(UserWarning, match="num_subclasses"):
    subspaces = lelp_jax.fit_subspaces(
      embeddings,
      labels,
      head,
      num_subclasses=num_subclasses,
      key=jax.random.key(12),
      rotation=rotation,
    )
  assert subspaces.directions.shape == (3, num_subclasses, 10)
  chex.assert_tree_all_finite(subspaces)
  removed, kept = reference.head_bases(head, 10)
  # In the null space of the head there is room for 7: beyond it, zero rows.
  usable = min(num_subclasses, 7)
  norms = np.linalg.norm(subspaces.directions, axis=-1)
  np.testing.assert_array_equal((norms > 0).sum(axis=1), usable)
  assert_orthogonal_to(subspaces.directions, removed)
  _, _, scatter = reference.class_moments(embeddings, labels, NUM_CLASSES)
  for c, rank in enumerate((3, 7, 7)):
    rows = np.asarray(subspaces.directions[c], np.float64)[norms[c] > 0]
    products = gram(rows)
    np.testing.assert_allclose(
      products / products[0, 0], np.eye(usable), atol=1e-5
    )
    count = np.sum(labels == c)
    variances = reference.variances_along(rows, scatter[c], count)
    assert variances.max() == pytest.approx(1, abs=1e-5)
    # All of the class's variance in the null space is inside the span.
    directions, spectrum = reference.principal_directions(
      scatter[c], count, kept, rank
    )
    if rank <= usable:
      inside = reference.projector(rows)
      np.testing.assert_allclose(directions @ inside, directions, atol=1e-4)
      np.testing.assert_allclose(
        variances.sum() / products[0, 0], spectrum.sum(), rtol=1e-4
      )
    if rotation == "none":
      np.testing.assert_allclose(variances[rank:], 0, atol=1e-5)


def test_fit_subspaces_zero_rows_take_no_part_in_the_rotation(rng):
  embeddings, labels, head = deficient_data(rng)
  subspaces = quietly(
    lelp_jax.fit_subspaces,
    embeddings,
    labels,
    head,
    num_subclasses=9,
    key=jax.random.key(13),
    normalization="none",
  )
  # A 9 x 9 rotation would leave no zero row and lengths below one.
  norms = np.sort(np.linalg.norm(subspaces.directions, axis=-1), axis=1)
  np.testing.assert_array_equal(norms[:, :2], 0)
  np.testing.assert_allclose(norms[:, 2:], 1, atol=1e-5)


def test_fit_subspaces_completion_is_rotated_with_the_rest(rng):
  # Else some subclasses of class 0 would be constant.
  embeddings, labels, head = deficient_data(rng)
  subspaces = quietly(
    lelp_jax.fit_subspaces,
    embeddings,
    labels,
    head,
    num_subclasses=6,
    key=jax.random.key(14),
  )
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=3)
  assert np.all(variances_of(subspaces.directions, moments)[0] > 1e-4)


def test_fit_subspaces_deficient_under_jit(rng):
  # No warning there: warnings are errors in this suite.
  embeddings, labels, head = deficient_data(rng)
  fit = partial(
    lelp_jax.fit_subspaces_from_moments,
    num_subclasses=8,
    key=jax.random.key(15),
  )
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=3)
  traced = jax.jit(
    lambda m, w, k: lelp_jax.fit_subspaces_from_moments(
      m, w, num_subclasses=8, key=k
    )
  )(moments, head, jax.random.key(15))
  eager = quietly(fit, moments, head)
  assert_same_spans(traced.directions, eager.directions)
  np.testing.assert_allclose(
    np.linalg.norm(traced.directions, axis=-1),
    np.linalg.norm(eager.directions, axis=-1),
    rtol=1e-2,
  )


@pytest.mark.parametrize("num_subclasses", [5, 8])
def test_fit_subspaces_can_refuse_missing_rank(rng, num_subclasses):
  embeddings, labels, head = deficient_data(rng)
  fit = partial(
    lelp_jax.fit_subspaces,
    embeddings,
    labels,
    head,
    key=jax.random.key(16),
    rank_deficient="error",
  )
  with pytest.raises(ValueError, match="num_subclasses"):
    fit(num_subclasses=num_subclasses)
  assert fit(num_subclasses=3).directions.shape == (3, 3, 10)


@pytest.mark.parametrize("normalization", ["max", "per_direction", "none"])
@pytest.mark.parametrize("rotation", ["haar", "none"])
@pytest.mark.parametrize("kind", ["empty", "single", "identical"])
def test_fit_subspaces_class_without_variance_is_zero(
  rng, kind, rotation, normalization
):
  head = make_head(rng)
  count = {"empty": 0, "single": 1, "identical": 7}[kind]
  embeddings, labels = make_data(rng, head, counts=(500 - count, count, 460))
  # Seven: the mean of equal rows need not be the row, to the last bit.
  embeddings[labels == 1] = rng.normal(size=WIDTH).astype(np.float32) * 30
  fit = partial(
    lelp_jax.fit_subspaces_from_moments,
    num_subclasses=S,
    rotation=rotation,
    normalization=normalization,
  )
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=3)
  eager = quietly(fit, moments, head, key=jax.random.key(17))
  traced = jax.jit(lambda m, w, k: fit(m, w, key=k))(
    moments, head, jax.random.key(17)
  )
  for subspaces in (eager, traced):
    chex.assert_tree_all_finite(subspaces)
    np.testing.assert_array_equal(subspaces.directions[1], np.zeros((S, WIDTH)))
    assert np.all(np.linalg.norm(subspaces.directions[0], axis=-1) > 0.01)
  principal = lelp_jax.principal_directions(moments, head, num_directions=S)
  chex.assert_tree_all_finite(principal)
  np.testing.assert_array_equal(principal.rank, [S, 0, S])
  np.testing.assert_array_equal(principal.variances[1], np.zeros(S))


def test_fit_subspaces_variance_inside_the_head_only_is_none(rng):
  # A class may vary along the head alone, a lot, and have nothing left.
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  removed, _ = reference.head_bases(head, WIDTH)
  inside = rng.normal(size=(COUNTS[1], 3)) * 9 @ removed.T
  embeddings[labels == 1] = inside.astype(np.float32)
  subspaces = quietly(
    lelp_jax.fit_subspaces,
    embeddings,
    labels,
    head,
    num_subclasses=S,
    key=jax.random.key(18),
  )
  chex.assert_tree_all_finite(subspaces)
  # Zero, or roundings; never the roundings blown up to variance one.
  assert np.all(np.abs(subspaces.directions[1]) < 1.0), "noise was normalised"


# --- The random rotation (spec 2.5, properties 6 and 9) ----------------------

DRAWS = 20_000


def draw_rotated(rng, spectra, num_subclasses, width=7, signs=None):
  """Principal directions of given spectra and DRAWS rotations of them."""
  moments, covariances = moments_with_spectrum(rng, spectra, width)
  principal = lelp_jax.principal_directions(
    moments, num_directions=num_subclasses, null_space="none"
  )
  if signs is not None:
    principal = dataclasses.replace(
      principal, directions=principal.directions * signs
    )
  keys = jax.random.split(jax.random.key(19), DRAWS)
  draw = jax.jit(
    jax.vmap(
      lambda key: (
        lelp_jax.subspaces_from_principal(
          principal,
          num_subclasses=num_subclasses,
          key=key,
          normalization="none",
        ).directions
      )
    )
  )
  return principal, covariances, np.asarray(draw(keys), np.float64)


def test_subspaces_from_principal_haar_variances(rng):
  # Rotated rows of unit length: E[sigma_s^2] = tr(L) / S for every s, and
  # Var[sigma_s^2] = 2 / (S (S + 2)) (tr(L^2) - tr(L)^2 / S).
  spectra = [[9.0, 4.0, 1.0, 0.25], [5.0, 4.0, 3.0, 2.0]]
  _, covariances, rotated = draw_rotated(rng, spectra, S)
  for c, spectrum in enumerate(spectra):
    variances = np.einsum(
      "nsd,de,nse->ns", rotated[:, c], covariances[c], rotated[:, c]
    )
    trace, trace_of_square = np.sum(spectrum), np.sum(np.square(spectrum))
    expected = 2 / (S * (S + 2)) * (trace_of_square - trace**2 / S)
    standard_error = np.sqrt(expected / DRAWS)
    np.testing.assert_array_less(
      np.abs(variances.mean(axis=0) - trace / S), 4.5 * standard_error
    )
    np.testing.assert_allclose(variances.var(axis=0), expected, rtol=0.05)
    # The trace is that of the span, in every draw.
    np.testing.assert_allclose(variances.sum(axis=1), trace, rtol=1e-4)


def test_subspaces_from_principal_haar_moments(rng):
  spectra = [[9.0, 4.0, 1.0, 0.25], [5.0, 4.0, 3.0, 2.0]]
  principal, _, rotated = draw_rotated(rng, spectra, S)
  q = np.einsum(
    "ncsd,ckd->ncsk", rotated, np.asarray(principal.directions, np.float64)
  )
  np.testing.assert_allclose(
    q @ q.swapaxes(-1, -2), np.broadcast_to(np.eye(S), q.shape), atol=1e-5
  )
  # Mean 0 and variance 1/S in every entry. A QR decomposition whose signs
  # nobody corrects fails this: its first column is biased.
  standard_error = np.sqrt(1 / (S * DRAWS))
  assert np.abs(q.mean(axis=0)).max() < 4.5 * standard_error
  np.testing.assert_allclose((q**2).mean(axis=0), 1 / S, rtol=0.05)
  # Fourth moments 3 / (S (S + 2)), and both signs of the determinant.
  np.testing.assert_allclose((q**4).mean(axis=0), 3 / (S * (S + 2)), rtol=0.06)
  assert abs(np.mean(np.linalg.det(q[:, 0]))) < 4.5 / np.sqrt(DRAWS)
  # Independent classes: entries and squares are uncorrelated.
  a, b = q.reshape(DRAWS, 2, -1).swapaxes(0, 1)
  assert np.abs(a.T @ b / DRAWS).max() < 5 / (S * np.sqrt(DRAWS))
  squares = np.corrcoef((a**2).T, (b**2).T)[: S * S, S * S :]
  assert np.abs(squares).max() < 5 / np.sqrt(DRAWS)


def test_subspaces_from_principal_signs_do_not_matter(rng):
  # In distribution: flipped principal directions give rotated rows with the
  # same mean (zero) and second moments, between rows too.
  signs = np.array([1.0, -1.0, 1.0, -1.0], np.float32)[None, :, None]
  spectra = [[9.0, 4.0, 1.0, 0.25]]
  principal, _, rotated = draw_rotated(rng, spectra, S, signs=signs)
  directions = np.asarray(principal.directions[0], np.float64)
  expected = directions.T @ directions / S
  rows = rotated[:, 0]
  standard_error = np.sqrt(1 / DRAWS)
  assert np.abs(rows.mean(axis=0)).max() < 4.5 * standard_error
  for s in range(S):
    for t in range(S):
      second = rows[:, s].T @ rows[:, t] / DRAWS
      np.testing.assert_allclose(
        second, expected * (s == t), atol=4.5 * standard_error
      )


def test_subspaces_from_principal_variances_from_one_draw(rng):
  # The library's own principal.variances must say what the scaling needs,
  # without the scatter: the second half sees only principal directions.
  moments, _ = moments_with_spectrum(
    rng, [[9.0, 4.0, 1.0, 0.25, 0.2, 0.1], [5.0, 4.0, 3.0, 2.0, 1.0, 0.5]], 6
  )
  principal = lelp_jax.principal_directions(
    moments, num_directions=6, null_space="none"
  )
  for num_subclasses in (1, 2, 5):
    subspaces = lelp_jax.subspaces_from_principal(
      principal, num_subclasses=num_subclasses, key=jax.random.key(20)
    )
    np.testing.assert_allclose(
      variances_of(subspaces.directions, moments).max(axis=1), 1, rtol=1e-5
    )


# --- jit, vmap, devices, dtypes ----------------------------------------------


def test_fit_subspaces_same_under_jit_and_vmap(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  fit = partial(lelp_jax.fit_subspaces, num_subclasses=S)
  eager = fit(embeddings, labels, head, key=jax.random.key(21))

  # Without the labels' values their number is the head's.
  def traced(x, y, w, k):
    return fit(x, y, w, key=k)

  chex.assert_trees_all_close(
    jax.jit(traced)(embeddings, labels, head, jax.random.key(21)),
    eager,
    atol=2e-4,
  )
  order = rng.permutation(len(labels))
  keys = jax.random.split(jax.random.key(22), 2)
  mapped = jax.vmap(traced, in_axes=(0, 0, None, 0))(
    np.stack([embeddings, embeddings[order]]),
    np.stack([labels, labels[order]]),
    head,
    keys,
  )
  for i in range(2):
    assert_same_spans(mapped.directions[i], eager.directions)
  assert not np.allclose(mapped.directions[0], mapped.directions[1], atol=0.01)


def test_fit_subspaces_same_on_eight_devices(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.NamedSharding(mesh, jax.P("data"))
  everywhere = jax.NamedSharding(mesh, jax.P())
  fit = partial(lelp_jax.fit_subspaces, num_subclasses=S)
  alone = fit(embeddings, labels, head, key=jax.random.key(23))
  sharded = jax.jit(lambda x, y, w, k: fit(x, y, w, key=k))(
    *jax.device_put((embeddings, labels), rows),
    *jax.device_put((head, jax.random.key(23)), everywhere),
  )
  chex.assert_trees_all_close(sharded, alone, atol=2e-4)


def test_fit_subspaces_low_precision_input_is_float32(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  low = jnp.asarray(embeddings, jnp.bfloat16)
  fit = partial(lelp_jax.fit_subspaces, num_subclasses=S)
  subspaces = fit(low, labels, head, key=jax.random.key(24))
  wide = fit(low.astype(jnp.float32), labels, head, key=jax.random.key(24))
  assert subspaces.directions.dtype == subspaces.means.dtype == jnp.float32
  chex.assert_trees_all_close(subspaces, wide, atol=1e-5)


def test_fit_subspaces_float64_under_x64(rng):
  head = make_head(rng).astype(np.float64)
  embeddings, labels = make_data(rng, head)
  embeddings = embeddings + rng.normal(size=embeddings.shape) * 1e-9
  with jax.enable_x64(True):
    subspaces = lelp_jax.fit_subspaces(
      embeddings, labels, head, num_subclasses=S, key=None, rotation="none"
    )
    assert subspaces.directions.dtype == subspaces.means.dtype == jnp.float64
    rotated = lelp_jax.fit_subspaces(
      embeddings, labels, head, num_subclasses=S, key=jax.random.key(25)
    )
    single = lelp_jax.fit_subspaces(
      embeddings.astype(np.float32),
      labels,
      head.astype(np.float32),
      num_subclasses=S,
      key=jax.random.key(25),
    )
  assert single.directions.dtype == jnp.float32
  _, kept = reference.head_bases(head, WIDTH)
  directions, variances = reference_principal(embeddings, labels, kept, S)
  np.testing.assert_allclose(
    subspaces.directions,
    directions / np.sqrt(variances[:, :1])[..., None],
    atol=1e-11,
  )
  assert_same_spans(rotated.directions, directions, 1e-11)


@pytest.mark.parametrize("num_subclasses", [1, S])
def test_fit_subspaces_products_are_highest(num_subclasses):
  # With few directions of many a solver by products may take over from eigh.
  head = jnp.ones((WIDTH, 3))
  x, y = jnp.ones((30, WIDTH)), jnp.arange(30) % 3
  moments = jax.eval_shape(partial(lelp_jax.class_moments, num_classes=3), x, y)
  jaxprs.assert_products_are_highest(
    partial(lelp_jax.principal_directions, num_directions=num_subclasses),
    moments,
    head,
  )
  jaxprs.assert_products_are_highest(
    lambda x, y, w, k: lelp_jax.fit_subspaces(
      x, y, w, num_subclasses=num_subclasses, key=k
    ),
    x,
    y,
    head,
    jax.random.key(0),
  )


def test_wide_principal_directions_products_are_highest():
  moments = lelp_jax.ClassMoments(
    count=jax.ShapeDtypeStruct((2,), jnp.float32),
    mean=jax.ShapeDtypeStruct((2, 4096), jnp.float32),
    scatter=jax.ShapeDtypeStruct((2, 4096, 4096), jnp.float32),
  )
  jaxprs.assert_products_are_highest(
    partial(lelp_jax.principal_directions, num_directions=100),
    moments,
    jax.ShapeDtypeStruct((4096, 2), jnp.float32),
  )


@pytest.mark.parametrize(
  ("cls", "fields"),
  [
    (
      "PrincipalDirections",
      ["directions", "variances", "means", "total_variance", "rank"],
    ),
    ("Subspaces", ["directions", "means"]),
  ],
)
def test_results_are_frozen_pytrees(rng, cls, fields):
  moments, _ = moments_with_spectrum(rng, [[3, 2, 1]] * 2, 3)
  result = lelp_jax.principal_directions(
    moments, num_directions=2, null_space="none"
  )
  if cls == "Subspaces":
    result = lelp_jax.subspaces_from_principal(
      result, num_subclasses=2, key=jax.random.key(0)
    )
  assert type(result) is getattr(lelp_jax, cls)
  assert [field.name for field in dataclasses.fields(result)] == fields
  assert len(jax.tree.leaves(result)) == len(fields)
  with pytest.raises(dataclasses.FrozenInstanceError):
    result.means = result.directions


# --- The ablations (A-19) ----------------------------------------------------


def test_random_subspaces_are_random_orthonormal_rows_normalized(rng):
  head = make_head(rng)
  embeddings, labels = make_data(rng, head)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  draw = partial(lelp_jax.random_subspaces, moments, num_subclasses=5)
  subspaces = draw(key=jax.random.key(26))
  np.testing.assert_array_equal(subspaces.means, moments.mean)
  np.testing.assert_allclose(
    variances_of(subspaces.directions, moments).max(axis=1), 1, rtol=1e-5
  )
  products = gram(subspaces.directions)
  for c in range(NUM_CLASSES):
    np.testing.assert_allclose(
      products[c] / products[c, 0, 0], np.eye(5), atol=1e-5
    )
  chex.assert_trees_all_equal(subspaces, draw(key=jax.random.key(26)))
  other = draw(key=jax.random.key(27)).directions
  unit = subspaces.directions / np.sqrt(products[:, :1, :1])
  assert not np.allclose(subspaces.directions, other, atol=0.01)
  assert not np.allclose(unit[0], unit[1], atol=0.05)
  # No projection: the head's span is not avoided.
  removed, _ = reference.head_bases(head, WIDTH)
  assert np.abs(np.asarray(unit) @ removed).max() > 0.1
  np.testing.assert_allclose(
    gram(draw(key=jax.random.key(26), normalization="none").directions),
    np.tile(np.eye(5), (3, 1, 1)),
    atol=1e-5,
  )


def test_random_subspaces_are_uniform(rng):
  moments, _ = moments_with_spectrum(rng, [[3, 2, 1, 1, 1, 1]], 6)
  keys = jax.random.split(jax.random.key(28), 10_000)
  rows = jax.jit(
    jax.vmap(
      lambda key: lelp_jax.random_subspaces(
        moments, num_subclasses=2, key=key, normalization="none"
      ).directions[0]
    )
  )(keys)
  rows = np.asarray(rows, np.float64)
  assert np.abs(rows.mean(axis=0)).max() < 4.5 / np.sqrt(6 * 10_000)
  np.testing.assert_allclose((rows**2).mean(axis=0), 1 / 6, rtol=0.06)
  np.testing.assert_allclose((rows**4).mean(axis=0), 3 / (6 * 8), rtol=0.1)


def test_identity_subspaces_are_scaled_axes(rng):
  embeddings, labels = make_data(rng, make_head(rng))
  embeddings[:, 3] *= 7.0
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  variances = np.array(
    [
      np.var(embeddings[labels == c].astype(np.float64), axis=0)
      for c in range(NUM_CLASSES)
    ]
  )
  axes = np.tile(np.eye(WIDTH), (3, 1, 1))
  subspaces = lelp_jax.identity_subspaces(moments)
  np.testing.assert_array_equal(subspaces.means, moments.mean)
  np.testing.assert_allclose(
    subspaces.directions,
    axes / np.sqrt(variances.max(axis=1))[:, None, None],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    lelp_jax.identity_subspaces(
      moments, normalization="per_direction"
    ).directions,
    axes / np.sqrt(variances)[..., None],
    rtol=1e-5,
  )
  np.testing.assert_array_equal(
    lelp_jax.identity_subspaces(moments, normalization="none").directions,
    axes,
  )


@pytest.mark.parametrize("normalization", ["max", "per_direction", "none"])
def test_ablation_subspaces_of_an_empty_class_are_zero(rng, normalization):
  embeddings, labels = make_data(rng, make_head(rng), counts=(500, 0, 460))
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)
  for subspaces in (
    quietly(
      lelp_jax.random_subspaces,
      moments,
      num_subclasses=4,
      key=jax.random.key(29),
      normalization=normalization,
    ),
    quietly(lelp_jax.identity_subspaces, moments, normalization=normalization),
  ):
    chex.assert_tree_all_finite(subspaces)
    np.testing.assert_array_equal(subspaces.directions[1], 0.0)
    assert np.all(np.linalg.norm(subspaces.directions[0], axis=-1) > 0)


# --- Arguments that are refused ----------------------------------------------


def good_moments():
  x = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
  return lelp_jax.class_moments(x, np.arange(40) % 3, num_classes=3)


def good_head():
  return make_head(np.random.default_rng(2), width=8)


BAD_FITS = {
  "transposed head": (ValueError, "head_kernel", lambda: good_head().T),
  "narrow head": (ValueError, "head_kernel", lambda: good_head()[:7]),
  "head of two classes": (
    ValueError,
    "head_kernel",
    lambda: good_head()[:, :2],
  ),
  "head of one axis": (ValueError, "head_kernel", lambda: good_head()[:, 0]),
  "integer head": (
    TypeError,
    "head_kernel",
    lambda: np.ones((8, 3), np.int32),
  ),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_fit_subspaces_refuses_head(case):
  error, name, head = BAD_FITS[case]
  moments = good_moments()
  with pytest.raises(error, match=name):
    lelp_jax.fit_subspaces_from_moments(
      moments, head(), num_subclasses=2, key=jax.random.key(0)
    )
  with pytest.raises(error, match=name):
    lelp_jax.principal_directions(moments, head(), num_directions=2)


BAD_OPTIONS = {
  "num_subclasses": [(0, ValueError), (-1, ValueError), (2.0, TypeError)],
  "null_space": [("logits", ValueError)],
  "rotation": [("random", ValueError)],
  "normalization": [("mean", ValueError)],
  "rank_deficient": [("cap", ValueError)],
}


@pytest.mark.parametrize(
  ("name", "value", "error"),
  [(name, *bad) for name, bads in BAD_OPTIONS.items() for bad in bads],
)
def test_fit_subspaces_refuses_option(name, value, error):
  options = {"num_subclasses": 2, name: value}
  with pytest.raises(error, match=name):
    lelp_jax.fit_subspaces_from_moments(
      good_moments(), good_head(), key=jax.random.key(0), **options
    )
  x = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
  with pytest.raises(error, match=name):
    lelp_jax.fit_subspaces(
      x, np.arange(40) % 3, good_head(), key=jax.random.key(0), **options
    )
  if name != "null_space":
    principal = lelp_jax.principal_directions(
      good_moments(), good_head(), num_directions=2
    )
    with pytest.raises(error, match=name):
      lelp_jax.subspaces_from_principal(
        principal, key=jax.random.key(0), **options
      )


@pytest.mark.parametrize(
  ("error", "name", "changes"),
  [
    (ValueError, "embeddings", {"embeddings": np.ones(8, np.float32)}),
    (TypeError, "embeddings", {"embeddings": np.ones((6, 8), np.int32)}),
    (ValueError, "head_kernel", {"embeddings": np.ones((6, 7), np.float32)}),
    (TypeError, "labels", {"labels": np.zeros(6)}),
    (ValueError, "labels", {"labels": np.zeros(5, int)}),
    (ValueError, "labels", {"labels": np.full(6, 3)}),
    (ValueError, "labels", {"labels": np.full(6, -1)}),
  ],
)
def test_fit_subspaces_refuses_data(error, name, changes):
  x = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)
  arguments = {"embeddings": x, "labels": np.arange(6) % 3, **changes}
  with pytest.raises(error, match=name):
    lelp_jax.fit_subspaces(
      arguments["embeddings"],
      arguments["labels"],
      good_head(),
      num_subclasses=1,
      key=jax.random.key(0),
    )


def test_principal_directions_refuse_bad_number():
  with pytest.raises(ValueError, match="num_directions"):
    lelp_jax.principal_directions(good_moments(), good_head(), num_directions=0)
  with pytest.raises(ValueError, match="null_space"):
    lelp_jax.principal_directions(
      good_moments(), good_head(), num_directions=2, null_space="all"
    )


def test_subspaces_from_principal_needs_enough_directions():
  principal = lelp_jax.principal_directions(
    good_moments(), good_head(), num_directions=2
  )
  with pytest.raises(ValueError, match="num_subclasses"):
    lelp_jax.subspaces_from_principal(
      principal, num_subclasses=3, key=jax.random.key(0)
    )


def test_subspaces_from_principal_haar_needs_a_key():
  principal = lelp_jax.principal_directions(
    good_moments(), good_head(), num_directions=2
  )
  with pytest.raises((ValueError, TypeError), match="key"):
    lelp_jax.subspaces_from_principal(principal, num_subclasses=2)


def test_ablation_subspaces_refuse_options():
  moments = good_moments()
  with pytest.raises(ValueError, match="num_subclasses"):
    lelp_jax.random_subspaces(moments, num_subclasses=0, key=jax.random.key(0))
  with pytest.raises(ValueError, match="normalization"):
    lelp_jax.random_subspaces(
      moments, num_subclasses=2, key=jax.random.key(0), normalization="l2"
    )
  with pytest.raises(ValueError, match="normalization"):
    lelp_jax.identity_subspaces(moments, normalization="l2")


# --- The paper's largest width -----------------------------------------------


@pytest.mark.slow
def test_fit_subspaces_at_width_4096(rng):
  width, num_classes, num_subclasses, count = 4096, 5, 200, 300
  head = make_head(rng, num_classes=num_classes, width=width)
  labels = np.repeat(np.arange(num_classes), count)
  # 299 directions of a decaying spectrum, about a mean of ten times it.
  factors = rng.normal(size=(num_classes, count, width)) / np.sqrt(width)
  scales = 1.0 / np.sqrt(1.0 + np.arange(count))
  rows = rng.normal(size=(num_classes, count, count)) * scales @ factors
  rows += 10.0 * rng.uniform(size=(num_classes, 1, width)) / np.sqrt(width)
  embeddings = rows.reshape(-1, width).astype(np.float32)
  subspaces = lelp_jax.fit_subspaces(
    embeddings,
    labels,
    head,
    num_subclasses=num_subclasses,
    key=jax.random.key(30),
  )
  chex.assert_tree_all_finite(subspaces)
  removed, _ = reference.head_bases(head, width)
  assert_orthogonal_to(subspaces.directions, removed, 1e-4)
  for c in range(num_classes):
    directions = np.asarray(subspaces.directions[c], np.float64)
    products = gram(directions)
    np.testing.assert_allclose(
      products / products[0, 0], np.eye(num_subclasses), atol=1e-4
    )
    centered = embeddings[labels == c].astype(np.float64)
    centered -= centered.mean(axis=0)
    centered -= centered @ removed @ removed.T
    variances = np.mean((centered @ directions.T) ** 2, axis=0)
    assert variances.max() == pytest.approx(1, abs=1e-3)
    # The spectrum has no gap after 200: the captured variance is compared.
    singular = np.linalg.svd(centered, compute_uv=False)
    best = np.sum(singular[:num_subclasses] ** 2) / count
    captured = variances.sum() / products[0, 0]
    assert captured == pytest.approx(best, rel=1e-4)
