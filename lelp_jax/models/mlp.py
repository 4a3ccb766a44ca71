"""A multilayer perceptron for small inputs of any shape."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lelp_jax.models.architecture import Architecture


class Mlp(nn.Module):
  """Hidden ReLU layers on flattened inputs, and a linear head.

  Attributes:
    num_outputs: Number of logits ``n``.
    features: Widths of the hidden layers; the last is the embedding's ``D``.
      Empty for a linear model, whose embedding is the flattened input.
    dropout_rate: Share of each hidden layer, the embedding included, that is
      zeroed in training.
    compute_dtype: Dtype of the hidden layers. Params and head are float32.
  """

  num_outputs: int
  features: Sequence[int] = (512, 512)
  dropout_rate: float = 0.0
  compute_dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, inputs: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """Computes embeddings and logits.

    Args:
      inputs: Float, shape ``[B, ...]``.
      train: Whether dropout is on; it then draws from the stream
        ``"dropout"``.

    Returns:
      The embeddings, ``[B, D]`` in ``compute_dtype``, and the logits,
      ``[B, n]``, float32.

    Examples:
      >>> model = Mlp(num_outputs=3, features=(8,))
      >>> images = jnp.ones([2, 4, 4, 1])
      >>> variables = jax.jit(model.init)(jax.random.key(0), images)
      >>> embeddings, logits = jax.jit(model.apply)(variables, images)
      >>> embeddings.shape, logits.shape
      ((2, 8), (2, 3))
    """
    size = math.prod(inputs.shape[1:])  # Not -1: a batch may be empty.
    x = inputs.reshape(inputs.shape[0], size).astype(self.compute_dtype)
    for width in self.features:
      x = nn.relu(nn.Dense(width, dtype=self.compute_dtype)(x))
      x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
    logits = nn.Dense(self.num_outputs, dtype=jnp.float32, name="head")(x)
    return x, logits


MODELS = {
  "mlp": Architecture(
    Mlp,
    reads="array",
    free_options=frozenset({"dropout_rate", "compute_dtype"}),
    is_dense=True,
  )
}
