"""Convolutions in the form in which each backend computes them fast.

Each function can be given to `flax.linen.Conv` as ``conv_general_dilated``: the
parameters and, up to rounding, the results are those of Flax's own.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def depthwise(
  inputs: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: Any,
  **options: Any,
) -> jax.Array:
  """Convolves each channel by itself.

  On CPUs this is a sum of shifted products. For the layers of MobileNet, with
  a batch of 64 on two cores, XLA's own convolution takes 4 to 60 times as long,
  and its gradient 6 to 160 times. Other backends keep the convolution.

  Args:
    inputs: Float, shape ``[B, H, W, channels]``.
    kernel: Float, shape ``[height, width, 1, channels]``.
    strides: Strides along ``H`` and ``W``.
    padding: As for `jax.lax.conv_general_dilated`.
    **options: Other arguments of it, as Flax gives them. Dilation is not
      implemented.

  Returns:
    The channels of the result, in the dtype of the inputs.
  """

  def convolution(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(inputs, kernel, strides, padding, **options)

  def products(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    return _shifted_products(inputs, kernel, strides, padding)

  # Chosen when a program is compiled, not when it is traced: programs are also
  # exported for, and planned on, other platforms than this one.
  return lax.platform_dependent(
    inputs, kernel, cpu=products, default=convolution
  )


def pointwise(
  inputs: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: Any,
  **options: Any,
) -> jax.Array:
  """Convolves with a kernel of one pixel, as a matrix product per pixel.

  XLA's own 1x1 convolutions are slow to differentiate on CPUs.

  Args:
    inputs: Float, shape ``[B, H, W, channels]``.
    kernel: Float, shape ``[1, 1, channels, features]``.
    strides: Strides along ``H`` and ``W``.
    padding: Not read: a kernel of one pixel needs none.
    **options: As Flax gives them; only ``precision`` is read.

  Returns:
    The features, shape ``[B, H', W', features]``.
  """
  rows, columns = strides
  return jnp.matmul(
    inputs[:, ::rows, ::columns],
    kernel[0, 0],
    precision=options.get("precision"),
  )


def _shifted_products(
  inputs: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Any
) -> jax.Array:
  """Sums the products of each pixel of the kernel and the inputs below it."""
  size = kernel.shape[:2]
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(inputs.shape[1:3], size, strides, padding)
  dtype = inputs.dtype
  x = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
  # Without the barrier, XLA computes the padded inputs again for each of the
  # nine products, and again for the kernel's gradient: 12% of MobileNet's time.
  x = lax.optimization_barrier(x)
  # As a convolution does, narrow dtypes are summed in float32.
  wide = jnp.float32 if dtype.itemsize < 4 else dtype
  x, kernel = x.astype(wide), kernel.astype(wide)
  last = [
    (side - extent) // stride * stride
    for side, extent, stride in zip(x.shape[1:3], size, strides, strict=True)
  ]
  total: Any = 0
  for i in range(size[0]):
    for j in range(size[1]):
      rows = slice(i, i + last[0] + 1, strides[0])
      columns = slice(j, j + last[1] + 1, strides[1])
      total += x[:, rows, columns] * kernel[i : i + 1, j : j + 1]
  return total.astype(dtype)
