"""Flips and shifts against NumPy: every output is one of the allowed ones."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import augment
from experiments.distributed import mesh as mesh_lib


def variants(image, max_shift, flip):
  """Every result for one image, by (flipped, rows, columns)."""
  height, width, _ = image.shape
  found = {}
  for flipped in (False, True) if flip else (False,):
    turned = image[:, ::-1] if flipped else image
    margin = (max_shift, max_shift)
    padded = np.pad(turned, (margin, margin, (0, 0)), mode="edge")
    for row in range(2 * max_shift + 1):
      for column in range(2 * max_shift + 1):
        window = padded[row : row + height, column : column + width]
        found[flipped, row - max_shift, column - max_shift] = window
  return found


def drawn(images, max_shift, flip, seed=0):
  """The variant that was drawn for each image; fails if it is none."""
  shift = jax.jit(
    partial(augment.random_flip_and_shift, max_shift=max_shift, flip=flip)
  )
  results = np.asarray(shift(jax.random.key(seed), images))
  assert results.dtype == images.dtype
  assert results.shape == images.shape
  names = []
  for image, result in zip(np.asarray(images), results, strict=True):
    possible = variants(image, max_shift, flip)
    (name,) = [k for k, v in possible.items() if np.array_equal(v, result)]
    names.append(name)
  return np.array(names)


def images_of(shape, dtype, rng):
  """Images with no two pixels alike, so that no two variants are."""
  values = rng.permuted(np.tile(np.arange(np.prod(shape[1:])), (shape[0], 1)))
  return values.reshape(shape).astype(dtype)


@pytest.mark.parametrize(
  ("shape", "dtype", "max_shift", "flip"),
  [
    ((600, 5, 6, 3), np.uint8, 1, True),
    ((600, 8, 8, 1), np.uint8, 2, False),
    ((300, 6, 5, 2), np.float32, 0, True),
    ((300, 4, 6, 1), np.int32, 1, True),
  ],
)
def test_each_image_is_one_of_numpys_variants_and_all_occur(
  rng, shape, dtype, max_shift, flip
):
  names = drawn(images_of(shape, dtype, rng), max_shift, flip)
  number = (1 + flip) * (2 * max_shift + 1) ** 2
  kinds, counts = np.unique(names, axis=0, return_counts=True)
  assert len(kinds) == number
  # Uniform over the variants: each count within 5 standard deviations.
  mean = shape[0] / number
  assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)


def test_shifts_larger_than_the_image_repeat_its_edge():
  images = jnp.arange(12.0).reshape(1, 3, 4, 1)
  shift = jax.jit(
    partial(augment.random_flip_and_shift, max_shift=9, flip=False)
  )
  for seed in range(20):
    moved = shift(jax.random.key(seed), images)
    assert set(np.unique(moved)) <= set(range(12))


def test_the_key_decides_on_any_number_of_devices(rng):
  images = images_of((16, 6, 6, 2), np.uint8, rng)
  shift = jax.jit(
    partial(augment.random_flip_and_shift, max_shift=2, flip=True)
  )
  expected = shift(jax.random.key(0), images)
  assert (shift(jax.random.key(1), images) != expected).any()
  for count in (1, 8):
    mesh = mesh_lib.make_mesh(1, 16, jax.devices()[:count])
    placed = mesh_lib.place(images, mesh_lib.batch_sharding(mesh))
    key = mesh_lib.place(jax.random.key(0), mesh_lib.replicated(mesh))
    np.testing.assert_array_equal(shift(key, placed), expected)


@pytest.mark.parametrize(
  ("fraction", "size", "pixels"),
  [(0.1, 32, 3), (0.1, 8, 1), (0.01, 8, 1), (0, 32, 0), (0.5, 8, 4)],
)
def test_shift_pixels(fraction, size, pixels):
  assert augment.shift_pixels(fraction, size) == pixels
