"""Random flips and shifts of images, on the device."""

import jax
import jax.numpy as jnp


def random_flip_and_shift(
  key: jax.Array, images: jax.Array, *, max_shift: int, flip: bool
) -> jax.Array:
  """Mirrors and shifts images ``[B, H, W, channels]`` at random.

  With `flip` each image is mirrored with probability 1/2. It is shifted along
  each axis by a number of pixels that is uniform on
  the integers from -max_shift to max_shift. Pixels from outside repeat the
  nearest pixel of the edge.

  """
  if images.ndim != 4:
    raise ValueError(
      f"images must have shape [B, H, W, channels], got {images.shape}."
    )
  if not isinstance(max_shift, int):
    raise TypeError(f"max_shift must be an int, got {max_shift!r}.")
  if max_shift < 0:
    raise ValueError(f"max_shift must be at least 0, got {max_shift}.")
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
    images = jax.vmap(_window, in_axes=(0, 0, None))(
      padded, starts, images.shape[1:]
    )
  return images


def _window(
  image: jax.Array, start: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
  """Cuts a part with the given shape out of one image, from a corner."""
  return jax.lax.dynamic_slice(image, (start[0], start[1], 0), shape)


def shift_pixels(fraction: float, size: int) -> int:
  """Converts a share of a size to pixels: at least 1, unless it is 0."""
  if not 0 <= fraction < 1:
    raise ValueError(f"fraction must lie in [0, 1), got {fraction}.")
  return max(1, round(fraction * size)) if fraction else 0
