"""Models by name, and adapters for your own models.

`MODELS[name](num_outputs, **options)` builds a `ModelFns`; the options are the
attributes of the module, such as `compute_dtype`. Each entry of `MODELS` is an
`Architecture`, which also describes what the model reads and how its weights
load.

Examples:
  >>> import jax
  >>> model = MODELS["mlp"](3, features=(8,))
  >>> images = jax.numpy.ones([2, 4, 4, 1])
  >>> params, state = jax.jit(model.init)(jax.random.key(0), images)
  >>> outputs, state = jax.jit(model.apply)(params, state, images)
  >>> outputs.logits.shape
  (2, 3)
"""

from lelp_jax.models.albert import Albert
from lelp_jax.models.architecture import Architecture
from lelp_jax.models.architecture import HuggingFaceFormat
from lelp_jax.models.bert import Bert
from lelp_jax.models.cnn import Cnn
from lelp_jax.models.grafting import graft_pretrained
from lelp_jax.models.huggingface import from_huggingface
from lelp_jax.models.interface import from_linen
from lelp_jax.models.interface import from_nnx
from lelp_jax.models.interface import Head
from lelp_jax.models.interface import ModelFns
from lelp_jax.models.interface import Outputs
from lelp_jax.models.mlp import Mlp
from lelp_jax.models.mobilenet import MobileNet
from lelp_jax.models.registry import MODELS
from lelp_jax.models.resnet import ResNet
from lelp_jax.models.static import Static
from lelp_jax.models.static import static_embeddings

__all__ = [
  "MODELS",
  "Architecture",
  "HuggingFaceFormat",
  "Outputs",
  "Head",
  "ModelFns",
  "from_linen",
  "from_nnx",
  "from_huggingface",
  "graft_pretrained",
  "static_embeddings",
  "Mlp",
  "Cnn",
  "ResNet",
  "MobileNet",
  "Albert",
  "Bert",
  "Static",
]
