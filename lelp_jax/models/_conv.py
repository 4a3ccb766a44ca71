"""Depthwise and 1x1 convolutions that are fast on CPUs, too.

Each function can be passed to `flax.linen.Conv` as ``conv_general_dilated``.
The parameters and, up to rounding, the results are those of Flax's convolution.
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
  """Convolves each channel with its own kernels (depthwise convolution).

  On CPUs, it is computed as a sum of shifted products. For the layers of
  MobileNet, with a batch of 64 on two cores, XLA's convolution takes 4 to 60
  times as long, and its gradient 6 to 160 times. Other backends use XLA's
  convolution.

  Args:
    inputs: Float, shape ``[B, H, W, channels]``.
    kernel: Float, shape ``[height, width, 1, channels]``.
    strides: Strides along ``H`` and ``W``.
    padding: As for `jax.lax.conv_general_dilated`.
    **options: Other arguments of `jax.lax.conv_general_dilated`, as Flax passes
      them. Dilation is not implemented.

  Returns:
    The result, in the dtype of the inputs.
  """

  def convolution(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(inputs, kernel, strides, padding, **options)

  def products(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    return _shifted_products(inputs, kernel, strides, padding)

  # Choose when the program is compiled, not when it is traced: programs are
  # also exported for other platforms, and their memory is estimated there.
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
  """Computes a 1x1 convolution as a matrix product per pixel.

  XLA's 1x1 convolutions are slow to differentiate on CPUs.

  Args:
    inputs: Float, shape ``[B, H, W, channels]``.
    kernel: Float, shape ``[1, 1, channels, features]``.
    strides: Strides along ``H`` and ``W``.
    padding: Ignored, since a 1x1 kernel needs none.
    **options: As Flax passes them; all but ``precision`` are ignored.

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
  """Sums the products of kernel entries and inputs that are shifted by them."""
  size = kernel.shape[:2]
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(inputs.shape[1:3], size, strides, padding)
  dtype = inputs.dtype
  x = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
  # Without the barrier, XLA recomputes the padded inputs for each of the nine
  # products, and again for the kernel's gradient: 12% of MobileNet's time.
  x = lax.optimization_barrier(x)
  # Sum narrow dtypes in float32, as a convolution does.
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
