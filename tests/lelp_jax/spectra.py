"""Embeddings with known covariances, and how the tests look at directions.

One shape for nearly all tests of Algorithm 1: compiling takes most of their
time, and the library compiles once a shape.
"""

import warnings

import jax.numpy as jnp
import numpy as np

import lelp_jax
from tests import reference

WIDTH = 20
NUM_CLASSES = 3
S = 4  # The spectra of make_data have their gap after this many directions.
COUNTS = (400, 300, 260)  # Together 960, as in every variation.


def make_head(rng, num_classes=NUM_CLASSES, width=WIDTH, collapsed=False):
  """A head; the kernels of a collapsed one sum to zero: rank C - 1."""
  kernel = rng.normal(size=(width, num_classes))
  kernel *= rng.uniform(0.5, 2, size=num_classes)
  if collapsed:
    kernel -= kernel.mean(axis=1, keepdims=True)
  return kernel.astype(np.float32)


def make_data(rng, head, counts=COUNTS):
  """Rows whose class covariances have a gap after S null space directions.

  Each class has its own axes. The span of the head holds most of the
  variance, so a direction that is not projected shows.
  """
  width = len(head)
  removed, kept = reference.head_bases(head, width)
  free = kept.shape[1]
  deviations = np.concatenate(
    [[6.0, 5.0, 4.0, 3.2], np.linspace(1.0, 0.3, free - S)]
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


def moments_of(embeddings, labels):
  """The library's moments of data from `make_data`."""
  return lelp_jax.class_moments(embeddings, labels, num_classes=NUM_CLASSES)


def moments_with_spectrum(rng, spectra, width):
  """Moments of given spectra about random axes, one spectrum per class."""
  covariances = []
  for spectrum in spectra:
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0][:, : len(spectrum)]
    covariances.append(axes * spectrum @ axes.T)
  counts = np.arange(50.0, 50.0 + len(spectra))
  return lelp_jax.ClassMoments(
    count=jnp.asarray(counts, jnp.float32),
    mean=jnp.asarray(rng.normal(size=(len(spectra), width)) + 3, jnp.float32),
    scatter=jnp.asarray(
      np.array(covariances) * counts[:, None, None], jnp.float32
    ),
  )


def reference_principal(embeddings, labels, kept, num_directions):
  """Reference directions `[C, K, D]` and variances `[C, K]`."""
  count, _, scatter = reference.class_moments(embeddings, labels, NUM_CLASSES)
  pairs = [
    reference.principal_directions(scatter[c], count[c], kept, num_directions)
    for c in range(NUM_CLASSES)
  ]
  return tuple(map(np.array, zip(*pairs, strict=True)))


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


def assert_orthonormal_up_to_scale(rows, tolerance=1e-5):
  """Rows `[S, D]` of one class are orthogonal and of one length."""
  products = gram(rows)
  np.testing.assert_allclose(
    products / products[0, 0], np.eye(len(rows)), atol=tolerance
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
