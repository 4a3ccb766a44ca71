"""Normalization layers that also run with jax_numpy_dtype_promotion="strict".

Flax's layers rely on implicit promotion when a narrow dtype meets their float32
statistics.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def batch_norm(x: jax.Array, *, train: bool, **attributes: Any) -> jax.Array:
  """Applies Linen's BatchNorm to the last axis of an array.

  Args:
    x: Float, shape ``[B, ..., channels]``.
    train: Whether to use the statistics of the batch, over the global batch,
      and to update the running ones.
    **attributes: Attributes of `flax.linen.BatchNorm`, such as ``dtype``.

  Returns:
    The normalized array.
  """
  with jax.numpy_dtype_promotion("standard"):
    return nn.BatchNorm(not train, **attributes)(x)


def layer_norm(x: jax.Array, epsilon: float, name: str) -> jax.Array:
  """Applies Linen's LayerNorm to the last axis of an array.

  Args:
    x: Float, shape ``[B, ..., channels]``.
    epsilon: Added to each variance.
    name: Name of the layer.

  Returns:
    The normalized array, in the dtype of ``x``. It is computed in float32,
    since bfloat16 would lose the epsilon.
  """
  norm = nn.LayerNorm(
    epsilon, dtype=jnp.float32, use_fast_variance=False, name=name
  )
  with jax.numpy_dtype_promotion("standard"):
    return norm(x).astype(x.dtype)
