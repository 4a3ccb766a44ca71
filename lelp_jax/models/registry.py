"""The architectures by name."""

from lelp_jax.models import albert
from lelp_jax.models import bert
from lelp_jax.models import cnn
from lelp_jax.models import mlp
from lelp_jax.models import mobilenet
from lelp_jax.models import resnet
from lelp_jax.models import static
from lelp_jax.models.architecture import Architecture

MODELS: dict[str, Architecture] = {
  **mlp.MODELS,
  **cnn.MODELS,
  **resnet.MODELS,
  **mobilenet.MODELS,
  **albert.MODELS,
  **bert.MODELS,
  **static.MODELS,
}
