"""MobileNet, version 1, as in ``keras.applications.MobileNet``.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile
Vision Applications" (2017), with the paddings, channel counts, initial values
and layer names of Keras 3 (``keras/src/applications/mobilenet.py``), except
that Keras' ``conv_preds`` is called ``head``.

The paper's "MobileNet" has both multipliers 1 (D = 1024), its "MobileNetWD2"
both 2 (D = 2048).

Note:
  Keras' ``alpha`` is the width multiplier. Its ``depth_multiplier`` is the
  number of channels that a depthwise convolution makes of each, as here, and
  not the resolution multiplier of Howard et al.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Initializer

from lelp_jax import _checks
from lelp_jax.models import _conv
from lelp_jax.models import _norm
from lelp_jax.models.architecture import Architecture

_CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_kernel_init = nn.initializers.glorot_uniform()


class MobileNet(nn.Module):
  """A stem, thirteen depthwise separable blocks, pooling and a linear head.

  A block is a depthwise 3x3 convolution and a 1x1 convolution across channels,
  each followed by BatchNorm and ReLU6. The embedding is the mean over the
  remaining pixels, after dropout: ``D = int(1024 width_multiplier)``. With
  Keras' strides, one pixel remains of a 32x32 image.

  Attributes:
    num_outputs: Number of logits.
    width_multiplier: Factor for the number of channels of the stem and of the
      1x1 convolutions.
    depth_multiplier: Number of channels that a block's 3x3 convolution makes
      of each channel.
    stem_stride: Stride of the first convolution.
    strides: Strides of the thirteen blocks.
    dropout_rate: Share of the embedding that is zeroed in training.
    compute_dtype: Dtype below the head. BatchNorm's statistics, the params
      and the head are float32.
  """

  num_outputs: int
  width_multiplier: float = 1.0
  depth_multiplier: int = 1
  stem_stride: int = 2
  strides: Sequence[int] = _STRIDES
  dropout_rate: float = 1e-3
  compute_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Computes embeddings and logits.

    Args:
      images: Float, shape ``[B, H, W, channels]``. Each stride of 2 halves
        their sides, which must be 31 pixels or more with Keras' strides.
      train: Whether dropout is on, drawing from the stream ``"dropout"``,
        and BatchNorm uses the batch's own statistics, over the global batch,
        and updates the running ones, in collection ``"batch_stats"``.

    Returns:
      The embeddings, ``[B, D]`` in ``compute_dtype``, and the logits,
      ``[B, num_outputs]``, float32.

    Raises:
      ValueError: If images have another rank or are too small for the
        strides, a multiplier is too small, or there are not 13 strides.

    Examples:
      >>> model = MobileNet(num_outputs=3, width_multiplier=0.25)
      >>> images = jnp.ones([2, 32, 32, 3])
      >>> variables = jax.eval_shape(model.init, jax.random.key(0), images)
      >>> embeddings, logits = jax.eval_shape(model.apply, variables, images)
      >>> embeddings.shape, logits.shape
      ((2, 256), (2, 3))
    """
    self._check(images)
    dtype = self.compute_dtype

    def layer(x, channels, size, name, init=_kernel_init, **options):
      conv = nn.Conv(
        channels,
        (size, size),
        use_bias=False,
        kernel_init=init,
        dtype=dtype,
        name=name,
        **options,
      )
      x = _norm.batch_norm(
        conv(x),
        train=train,
        dtype=dtype,
        momentum=0.99,
        epsilon=1e-3,
        name=f"{name}_bn",
      )
      return nn.relu6(x)

    width = self.width_multiplier
    x = layer(images, int(32 * width), 3, "conv1", strides=self.stem_stride)
    depthwise_init = _depthwise_init(self.depth_multiplier)
    blocks = zip(_CHANNELS, self.strides, strict=True)
    for block, (channels, stride) in enumerate(blocks, start=1):
      if stride > 1 and min(x.shape[1:3]) < 2:
        raise ValueError(
          f"images of shape {images.shape} have fewer than two pixels per side "
          f"before block {block}, which has stride {stride}: use smaller "
          "strides, a smaller stem_stride or larger images."
        )
      # Repeat channels and give each copy one kernel: with several kernels per
      # channel, XLA would gather the global batch on every device.
      x = jnp.repeat(x, self.depth_multiplier, axis=-1)
      x = layer(
        x,
        x.shape[-1],
        3,
        f"conv_dw_{block}",
        depthwise_init,
        strides=stride,
        # With a stride, Keras pads only at the end, whatever the size.
        padding="SAME" if stride == 1 else ((0, 1), (0, 1)),
        feature_group_count=x.shape[-1],
        conv_general_dilated=_conv.depthwise,
      )
      x = layer(
        x,
        int(channels * width),
        1,
        f"conv_pw_{block}",
        conv_general_dilated=_conv.pointwise,
      )
    x = x.mean(axis=(1, 2))
    x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
    logits = nn.Dense(
      self.num_outputs,
      kernel_init=_kernel_init,
      dtype=jnp.float32,
      name="head",
    )(x)
    return x, logits

  def _check(self, images: jax.Array) -> None:
    """Raises unless the images and all attributes are valid."""
    _checks.check_rank("images", images, 4, "[B, H, W, channels]")
    if not self.width_multiplier >= 1 / 32:
      raise ValueError(
        "width_multiplier must be at least 1/32, a stem of one channel, "
        f"got {self.width_multiplier}."
      )
    _checks.check_at_least("depth_multiplier", self.depth_multiplier, 1)
    _checks.check_at_least("stem_stride", self.stem_stride, 1)
    if len(self.strides) != len(_STRIDES):
      raise ValueError(
        f"strides must be {len(_STRIDES)}, one for each block, "
        f"got {len(self.strides)}: {tuple(self.strides)}."
      )
    for stride in self.strides:
      _checks.check_at_least("strides", stride, 1)


def _depthwise_init(multiplier: int) -> Initializer:
  """Returns the initializer of Keras' depthwise kernels.

  It is Glorot's, which computes fans from the last two axes. Keras' kernels
  have shape ``[3, 3, channels, multiplier]``, Flax's ``[3, 3, 1, channels *
  multiplier]``.
  """

  def init(key, shape, dtype=jnp.float32):
    keras_shape = (*shape[:2], shape[3] // multiplier, multiplier)
    return _kernel_init(key, keras_shape, dtype).reshape(shape)

  return init


MODELS = {
  name: Architecture(
    MobileNet,
    reads="image",
    fixed=fixed,
    free_options=frozenset({"dropout_rate", "compute_dtype"}),
  )
  for name, fixed in {
    "mobilenet": {},
    "mobilenet_wd2": {"width_multiplier": 2, "depth_multiplier": 2},
  }.items()
}
