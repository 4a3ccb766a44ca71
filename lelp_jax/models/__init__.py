"""The models by name, and adapters for a user's own.

`MODELS[name](num_outputs, **options)` is a `ModelFns`; the options are the
attributes of the module, such as `compute_dtype`.

Examples:
  >>> import jax
  >>> model = MODELS["mlp"](3, features=(8,))
  >>> images = jax.numpy.ones([2, 4, 4, 1])
  >>> params, state = model.init(jax.random.key(0), images)
  >>> outputs, state = model.apply(params, state, images)
  >>> outputs.logits.shape
  (2, 3)
"""

import functools
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from lelp_jax import _checks
from lelp_jax.models.albert import Albert
from lelp_jax.models.albert import albert_of_size
from lelp_jax.models.albert import ALBERT_SIZES
from lelp_jax.models.cnn import Cnn
from lelp_jax.models.grafting import graft_pretrained
from lelp_jax.models.interface import from_linen
from lelp_jax.models.interface import from_nnx
from lelp_jax.models.interface import Head
from lelp_jax.models.interface import ModelFns
from lelp_jax.models.interface import Outputs
from lelp_jax.models.mlp import Mlp
from lelp_jax.models.mobilenet import MobileNet
from lelp_jax.models.resnet import ResNet

__all__ = [
  "MODELS",
  "Outputs",
  "Head",
  "ModelFns",
  "from_linen",
  "from_nnx",
  "graft_pretrained",
  "Mlp",
  "Cnn",
  "ResNet",
  "MobileNet",
  "Albert",
]


def _bundled(
  module: Callable[..., nn.Module], **fixed: Any
) -> Callable[..., ModelFns]:
  def make(num_outputs: int, **options: Any) -> ModelFns:
    _checks.check_at_least("num_outputs", num_outputs, 1)
    return from_linen(module(num_outputs, **fixed, **options), head="head")

  return make


MODELS: dict[str, Callable[..., ModelFns]] = {
  "mlp": _bundled(Mlp),
  "cnn": _bundled(Cnn),
  "resnet20": _bundled(ResNet, depth=20),
  "resnet56": _bundled(ResNet, depth=56),
  "resnet92": _bundled(ResNet, depth=92),
  "mobilenet": _bundled(MobileNet),
  "mobilenet_wd2": _bundled(MobileNet, width_multiplier=2, depth_multiplier=2),
  **{
    f"albert_{size}": functools.partial(albert_of_size, size)
    for size in ALBERT_SIZES
  },
}
