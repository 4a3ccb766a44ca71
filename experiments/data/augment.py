"""Random flips and shifts of images, in JAX."""

import jax
import jax.numpy as jnp


def random_flip_and_shift(
  key: jax.Array, images: jax.Array, *, max_shift: int, flip: bool
) -> jax.Array:
  """Mirrors and shifts images ``[B, H, W, channels]`` at random.

  With `flip`, each image is mirrored horizontally with probability 1/2. Along
  both axes it is shifted by a uniformly random number of pixels from -max_shift
  to max_shift. Pixels from outside the image repeat the nearest edge pixel.
  """
  batch = images.shape[0]
  flip_key, shift_key = jax.random.split(key)
  if flip:
    mirrored = jax.random.bernoulli(flip_key, shape=(batch, 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
  if max_shift:
    # One slice per image: gathering pixel by pixel is slow on a TPU.
    starts = jax.random.randint(shift_key, (batch, 2), 0, 2 * max_shift + 1)
    margin = (max_shift, max_shift)
    padded = jnp.pad(images, ((0, 0), margin, margin, (0, 0)), mode="edge")
    shape = images.shape[1:]
    images = jax.vmap(
      lambda image, start: jax.lax.dynamic_slice(image, (*start, 0), shape)
    )(padded, starts)
  return images


def shift_pixels(fraction: float, size: int) -> int:
  """Converts a fraction of a size to pixels: at least 1, unless it is 0."""
  return max(1, round(fraction * size)) if fraction else 0
