"""ResNets for small images: pre-activation bottlenecks, D = 256.

The paper's "ResNet92" and "ResNet56" have D = 256. Two published networks fit
this (A-20):

* ``"keras_v2"``, the default: ResNet v2 of the Keras example
  ``cifar10_resnet`` (keras-team/keras, ``examples/cifar10_resnet.py``, removed
  in October 2020), 1.66 and 2.75 million parameters for depths 56 and 92.
* ``"preact_planes16_32_64"``: the bottleneck form of ``PreResNet`` in
  samuelstanton/gnosis (``gnosis/models/preresnet.py``), 0.59 and 0.96 million.
  That code uses it from depth 44 on; below, it builds another network.

Both are He et al., "Identity Mappings in Deep Residual Networks" (2016).

Note:
  The Keras example adds 1e-4 times the squared kernels of its convolutions to
  the loss; here weight decay is left to the optimizer.
"""

import functools
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Initializer

from lelp_jax import _checks
from lelp_jax.models import _norm
from lelp_jax.models.architecture import Architecture


class _Variant(NamedTuple):
  """Differences between the two published networks.

  Attributes:
    channels: Number of channels of the 3x3 convolutions, per stage.
    bias: Whether convolutions have a bias.
    stem_norm: Whether BatchNorm and ReLU follow the stem, instead of opening
      the residual branch of the first block.
    stride_first: Whether a block with a stride has it in its first 1x1
      convolution; otherwise in the 3x3 one.
    norm: Momentum and epsilon of BatchNorm.
    kernel_init: Initializer of the convolutions.
    head_init: Initializer of the head's kernel.
  """

  channels: tuple[int, int, int]
  bias: bool
  stem_norm: bool
  stride_first: bool
  norm: dict[str, float]
  kernel_init: Initializer
  head_init: Initializer


_FEATURES = (64, 128, 256)  # Number of channels between blocks, per stage.
_VARIANTS = {
  "keras_v2": _Variant(
    channels=(16, 64, 128),
    bias=True,
    stem_norm=True,
    stride_first=True,
    norm={"momentum": 0.99, "epsilon": 1e-3},
    kernel_init=nn.initializers.he_normal(),
    head_init=nn.initializers.he_normal(),
  ),
  "preact_planes16_32_64": _Variant(
    channels=(16, 32, 64),
    bias=False,
    stem_norm=False,
    stride_first=False,
    # These are PyTorch's defaults: its momentum is one minus this one, and the
    # head's kernel is uniform within 1/sqrt(D).
    norm={"momentum": 0.9, "epsilon": 1e-5},
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    head_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
  ),
}


class _Bottleneck(nn.Module):
  """A shortcut plus convolutions 1x1, 3x3 and 1x1, each after norm and ReLU.

  Attributes:
    channels: Number of channels of the first two convolutions.
    features: Number of channels of the result.
    strides: Strides of the first two convolutions.
    first_norm: Whether BatchNorm and ReLU precede the first convolution.
    projection: Whether the shortcut is a 1x1 convolution.
    conv: Makes a 3x3 convolution.
    dense: Makes a 1x1 convolution.
    norm: Applies BatchNorm.
  """

  channels: int
  features: int
  strides: tuple[int, int]
  first_norm: bool
  projection: bool
  conv: Callable[..., nn.Module]
  dense: Callable[..., nn.Module]
  norm: Callable[..., jax.Array]

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    first, second = self.strides
    y = nn.relu(self.norm(x, name="norm1")) if self.first_norm else x
    y = self.dense(self.channels, name="conv1")(y[:, ::first, ::first])
    y = nn.relu(self.norm(y, name="norm2"))
    y = self.conv(self.channels, strides=second, name="conv2")(y)
    y = nn.relu(self.norm(y, name="norm3"))
    y = self.dense(self.features, name="conv3")(y)
    if self.projection:
      stride = first * second
      x = self.dense(self.features, name="shortcut")(x[:, ::stride, ::stride])
    return x + y


class ResNet(nn.Module):
  """A stem, three stages of ``n`` bottlenecks, pooling and a linear head.

  The stages have 64, 128 and 256 channels, and the second and third halve the
  image. The embedding is the mean over the remaining pixels, after BatchNorm
  and ReLU, so it is never negative: ``D = 256``.

  Attributes:
    num_outputs: Number of logits.
    depth: Number of layers, ``9 n + 2``.
    variant: ``"keras_v2"`` or ``"preact_planes16_32_64"``, see the module.
    compute_dtype: Dtype below the head. BatchNorm's statistics, the params
      and the head are float32.
  """

  num_outputs: int
  depth: int = 56
  variant: str = "keras_v2"
  compute_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Computes embeddings and logits.

    Args:
      images: Float, shape ``[B, H, W, channels]``, of any size.
      train: Whether BatchNorm uses the batch's own statistics, over the
        global batch, and updates the running ones, in collection
        ``"batch_stats"``.

    Returns:
      The embeddings, ``[B, 256]`` in ``compute_dtype``, and the logits,
      ``[B, num_outputs]``, float32.

    Raises:
      ValueError: If images have another rank, the depth is not ``9 n + 2``,
        or there is no such variant.

    Examples:
      >>> model = ResNet(num_outputs=3, depth=11)
      >>> images = jnp.ones([2, 8, 8, 3])
      >>> variables = jax.eval_shape(model.init, jax.random.key(0), images)
      >>> embeddings, logits = jax.eval_shape(model.apply, variables, images)
      >>> embeddings.shape, logits.shape
      ((2, 256), (2, 3))
    """
    _checks.check_rank("images", images, 4, "[B, H, W, channels]")
    _checks.check_option("variant", self.variant, tuple(_VARIANTS))
    variant = _VARIANTS[self.variant]
    blocks = _blocks_per_stage(self.depth)
    dtype = self.compute_dtype
    options = {
      "use_bias": variant.bias,
      "kernel_init": variant.kernel_init,
      "dtype": dtype,
    }
    conv = functools.partial(nn.Conv, kernel_size=(3, 3), padding=1, **options)
    # A matrix product per pixel, since XLA's 1x1 convolutions are slow to
    # differentiate on CPUs.
    dense = functools.partial(nn.Dense, **options)
    norm = functools.partial(
      _norm.batch_norm, train=train, dtype=dtype, **variant.norm
    )
    x = conv(16, name="stem")(images)
    if variant.stem_norm:
      x = nn.relu(norm(x, name="stem_norm"))
    for stage, features in enumerate(_FEATURES):
      for block in range(blocks):
        stride = 2 if stage > 0 and block == 0 else 1
        x = _Bottleneck(
          variant.channels[stage],
          features,
          strides=(stride, 1) if variant.stride_first else (1, stride),
          first_norm=stage + block > 0 or not variant.stem_norm,
          projection=block == 0,
          conv=conv,
          dense=dense,
          norm=norm,
          name=f"stage{stage}_block{block}",
        )(x)
    x = nn.relu(norm(x, name="norm")).mean(axis=(1, 2))
    logits = nn.Dense(
      self.num_outputs,
      kernel_init=variant.head_init,
      dtype=jnp.float32,
      name="head",
    )(x)
    return x, logits


def _blocks_per_stage(depth: int) -> int:
  """Returns the ``n`` of a depth ``9 n + 2``."""
  _checks.check_at_least("depth", depth, 11)
  blocks, rest = divmod(depth - 2, 9)
  if rest:
    raise ValueError(
      f"depth must be 9 n + 2, such as 20, 56, 92 or 110, got {depth}."
    )
  return blocks


MODELS = {
  f"resnet{depth}": Architecture(
    ResNet,
    reads="image",
    fixed={"depth": depth},
    free_options=frozenset({"compute_dtype"}),
  )
  for depth in (20, 56, 92)
}
