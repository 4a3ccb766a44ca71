"""Tiny text models for tests, and what transformers computed for others."""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.models.albert import albert
from lelp_jax.models.albert import AlbertConfig
from lelp_jax.models.bert import bert
from lelp_jax.models.bert import BertConfig

_SIZES = {
  "hidden_size": 8,
  "num_heads": 2,
  "intermediate_size": 12,
  "vocab_size": 20,
  "max_positions": 10,
  "initializer_range": 0.3,
}
CONFIG = AlbertConfig(num_layers=3, embedding_size=6, **_SIZES)
DROPOUT = dataclasses.replace(
  CONFIG, hidden_dropout=0.2, attention_dropout=0.3, classifier_dropout=0.4
)
BERT = BertConfig(num_layers=1, **_SIZES)
ROBERTA = dataclasses.replace(BERT, padding_id=1, type_vocab_size=1)
DISTILBERT = dataclasses.replace(
  BERT, type_vocab_size=0, pooler_activation="relu"
)


def model_of(config, **options):
  """The model of a config, with three outputs."""
  build = bert if isinstance(config, BertConfig) else albert
  return build(config, 3, **options)


def inputs(lengths=(7, 4, 1), length=7, padding_id=0):
  """Rows of tokens of some lengths, padded."""
  rng = np.random.default_rng(0)
  shape = (len(lengths), length)
  tokens = np.arange(length)[None] < np.asarray(lengths)[:, None]
  ids = rng.integers(2, 20, shape)
  return {
    "input_ids": jnp.asarray(np.where(tokens, ids, padding_id)),
    "attention_mask": jnp.asarray(tokens, jnp.int32),
    "token_type_ids": jnp.asarray(rng.integers(0, 2, shape)),
  }


def shapes(model):
  """Shapes of the params of a model."""
  ids = {"input_ids": jnp.ones([1, 2], int)}
  return jax.eval_shape(model.init, jax.random.key(0), ids)[0]


@functools.cache
def params(config=CONFIG):
  """Params with biases and scales that count."""
  leaves, tree = jax.tree.flatten(shapes(model_of(config)))
  rng = np.random.default_rng(1)
  return tree.unflatten(
    jnp.asarray(0.5 * rng.normal(size=leaf.shape), jnp.float32)
    for leaf in leaves
  )


@functools.cache
def apply(config, **options):
  """The compiled model."""
  return jax.jit(model_of(config, **options).apply, static_argnames="train")


def outputs(config, inputs, train=False, seed=None, **options):
  """Embeddings and logits; one compilation for each config and shape."""
  key = None if seed is None else jax.random.key(seed)
  run = apply(config, **options)
  result, _ = run(params(config), {}, inputs, train=train, key=key)
  return jax.device_get(result)


def loss_and_gradient(config, inputs, train=False, **options):
  """Value and gradient of a function of both outputs."""

  def loss(params):
    outputs, _ = model_of(config, **options).apply(
      params, {}, inputs, train=train, key=jax.random.key(0)
    )
    return jnp.sum(jnp.sin(outputs.logits)) + jnp.sum(outputs.embeddings**3)

  return jax.jit(jax.value_and_grad(loss))(params(config))


@functools.cache
def golden(name):
  """Config, weights by name, inputs, gradients and other arrays of a fixture.

  The scripts of tests/goldens/ computed them with transformers.
  """
  path = pathlib.Path(__file__).parents[1] / "goldens" / f"{name}.npz"
  parts = {"weights": {}, "inputs": {}, "gradients": {}, "": {}}
  with np.load(path) as file:
    for key, array in file.items():
      *part, rest = key.split("/")
      parts["".join(part)][rest] = array
  config = json.loads(str(parts[""]["config"]))
  return config, *(parts[k] for k in ("weights", "inputs", "", "gradients"))


def classifier_gradient(model, params, inputs):
  """The goldens' gradient, of a mean cross entropy, and the logits."""

  def loss(params):
    logits = model.apply(params, {}, inputs)[0].logits
    log_probs = jax.nn.log_softmax(logits)
    labels = jnp.array([0, 2, 1, 2])
    return -jnp.mean(jnp.take_along_axis(log_probs, labels[:, None], 1)), logits

  return jax.jit(jax.grad(loss, has_aux=True))(params)
