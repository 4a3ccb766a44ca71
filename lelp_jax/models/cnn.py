"""A small convolutional network for small images, such as 8x8 to 32x32."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lelp_jax import _checks
from lelp_jax.models import _norm
from lelp_jax.models.architecture import Architecture


class Cnn(nn.Module):
  """Blocks of convolution, BatchNorm, ReLU and pooling, and a linear head.

  Attributes:
    num_outputs: Number of logits ``n``.
    features: Number of channels of each block, which has a 3x3 convolution
      and a 2x2 max pooling.
    width: Width of the ReLU layer after the blocks, the embedding's ``D``.
    batch_norm: Whether the blocks have BatchNorm (over the global batch).
    compute_dtype: Dtype below the head. Params and head are float32.
  """

  num_outputs: int
  features: Sequence[int] = (16, 32)
  width: int = 64
  batch_norm: bool = True
  compute_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Computes embeddings and logits.

    Args:
      images: Float, shape ``[B, H, W, channels]``.
      train: Whether BatchNorm uses the batch's own statistics and updates
        the running ones, in collection ``"batch_stats"``.

    Returns:
      The embeddings, ``[B, D]`` in ``compute_dtype``, and the logits,
      ``[B, n]``, float32.

    Raises:
      ValueError: If images have another rank.

    Examples:
      >>> model = Cnn(num_outputs=3, features=(4,), width=8)
      >>> images = jnp.ones([2, 6, 6, 1])
      >>> variables = jax.jit(model.init)(jax.random.key(0), images)
      >>> embeddings, logits = jax.jit(model.apply)(variables, images)
      >>> embeddings.shape, logits.shape
      ((2, 8), (2, 3))
    """
    _checks.check_rank("images", images, 4, "[B, H, W, channels]")
    dtype = self.compute_dtype
    x = images.astype(dtype)
    for channels in self.features:
      # A bias before BatchNorm would have no effect.
      bias = not self.batch_norm
      x = nn.Conv(channels, (3, 3), use_bias=bias, dtype=dtype)(x)
      if self.batch_norm:
        x = _norm.batch_norm(x, train=train, dtype=dtype, momentum=0.9)
      # "SAME" keeps the last row of an odd size, and 1x1 stays 1x1.
      x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2), padding="SAME")
    x = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    x = nn.relu(nn.Dense(self.width, dtype=dtype)(x))
    logits = nn.Dense(self.num_outputs, dtype=jnp.float32, name="head")(x)
    return x, logits


MODELS = {
  "cnn": Architecture(
    Cnn, reads="image", free_options=frozenset({"compute_dtype"})
  )
}
