"""A tiny ALBERT for tests: its configs, params, inputs and compiled forms."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.models.albert import albert
from lelp_jax.models.albert import AlbertConfig

CONFIG = AlbertConfig(
  hidden_size=8,
  num_layers=3,
  num_heads=2,
  intermediate_size=12,
  vocab_size=20,
  embedding_size=6,
  max_positions=10,
  initializer_range=0.3,
)
DROPOUT = dataclasses.replace(
  CONFIG, hidden_dropout=0.2, attention_dropout=0.3, classifier_dropout=0.4
)


def inputs(lengths=(7, 4, 1), length=7):
  """Rows of tokens of some lengths, padded."""
  rng = np.random.default_rng(0)
  shape = (len(lengths), length)
  tokens = np.arange(length)[None] < np.asarray(lengths)[:, None]
  return {
    "input_ids": jnp.asarray(rng.integers(1, 20, shape) * tokens),
    "attention_mask": jnp.asarray(tokens, jnp.int32),
    "token_type_ids": jnp.asarray(rng.integers(0, 2, shape)),
  }


@functools.cache
def params():
  """Params of three outputs, with biases and scales that count."""
  model = albert(CONFIG, 3)
  leaves, tree = jax.tree.flatten(
    jax.eval_shape(model.init, jax.random.key(0), inputs())[0]
  )
  rng = np.random.default_rng(1)
  return tree.unflatten(
    jnp.asarray(0.5 * rng.normal(size=leaf.shape), jnp.float32)
    for leaf in leaves
  )


@functools.cache
def _apply(config, **options):
  return jax.jit(albert(config, 3, **options).apply, static_argnames="train")


def outputs(config, inputs, train=False, seed=None, **options):
  """Embeddings and logits; one compilation for each config and shape."""
  key = None if seed is None else jax.random.key(seed)
  apply = _apply(config, **options)
  return jax.device_get(apply(params(), {}, inputs, train=train, key=key)[0])


def loss_and_gradient(config, inputs, train=False, **options):
  """Value and gradient of a function of both outputs."""

  def loss(params):
    outputs, _ = albert(config, 3, **options).apply(
      params, {}, inputs, train=train, key=jax.random.key(0)
    )
    return jnp.sum(jnp.sin(outputs.logits)) + jnp.sum(outputs.embeddings**3)

  return jax.jit(jax.value_and_grad(loss))(params())
