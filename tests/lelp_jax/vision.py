"""What the tests of both image models do with a Linen module."""

import functools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from tests.goldens import keras_models


def counts(module):
  """Numbers of params without the head, with it, and of batch statistics."""
  images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), images)
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))
  params, stats = (
    jax.tree.map(lambda leaf: leaf.size, shapes[name])
    for name in ("params", "batch_stats")
  )
  head = sum(params["head"].values())
  total = sum(jax.tree.leaves(params))
  return total - head, total, sum(jax.tree.leaves(stats))


def golden(case):
  """What Keras computed: see tests/goldens/keras_models.py."""
  path = pathlib.Path(keras_models.__file__).with_name(f"keras_{case}.npz")
  with np.load(path) as arrays:
    return dict(arrays)


def golden_images(dtype):
  return keras_models.random_array(*keras_models.IMAGES).astype(dtype)


@functools.cache
def _shapes(module, shape):
  images = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(module.init, jax.random.key(0), images)


def random_variables(module, images):
  """Params and batch statistics as in the goldens, of the images' dtype."""
  return traverse_util.path_aware_map(
    lambda path, leaf: keras_models.random_array(
      "/".join(path[1:]), leaf.shape
    ).astype(images.dtype),
    _shapes(module, images.shape),
  )


def assert_close(arrays, expected, tolerance):
  """Each array within a tolerance times the largest value expected in it.

  Some gradients are zero: those of biases ahead of BatchNorm.
  """
  for name, array in expected.items():
    np.testing.assert_allclose(
      arrays[name],
      array,
      rtol=0,
      atol=tolerance * max(np.abs(array).max(), 1e-6),
      err_msg=name,
    )


@functools.cache
def _apply(module):
  return jax.jit(module.apply)


def inference(module, variables, images):
  """Embeddings and logits by name, by the running statistics."""
  embeddings, logits = jax.device_get(_apply(module)(variables, images))
  return {"embeddings": embeddings, "logits": logits}


@functools.cache
def _train(module):
  def apply(variables, images, key):
    zeros = jax.tree.map(jnp.zeros_like, variables["batch_stats"])
    return module.apply(
      {**variables, "batch_stats": zeros},
      images,
      train=True,
      rngs=None if key is None else {"dropout": key},
      mutable=["batch_stats"],
    )

  return jax.jit(apply)


def training(module, variables, images, key=None):
  """Embeddings and logits by name, and what is added to running statistics."""
  (embeddings, logits), state = jax.device_get(
    _train(module)(variables, images, key)
  )
  return {"embeddings": embeddings, "logits": logits}, state["batch_stats"]


def training_pass(module, variables, images):
  """Outputs, new running statistics and gradients, by name.

  The gradients are of the goldens' cross entropy.
  """

  def loss(params):
    outputs, state = module.apply(
      {**variables, "params": params},
      images,
      train=True,
      mutable=["batch_stats"],
    )
    return keras_models.cross_entropy(outputs[1]), (outputs, state)

  gradients, (outputs, state) = jax.grad(loss, has_aux=True)(
    variables["params"]
  )
  return {
    "train/embeddings": outputs[0],
    "train/logits": outputs[1],
    **traverse_util.flatten_dict(state["batch_stats"], sep="/"),
    **traverse_util.flatten_dict(gradients, sep="/"),
  }


def training_pass_on_all_devices(module, variables, images):
  """`training_pass` of a batch laid out over devices, and gathered nowhere."""
  mesh = jax.make_mesh(
    (jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  arguments = (
    jax.device_put(variables, jax.NamedSharding(mesh, jax.P())),
    jax.device_put(images, jax.NamedSharding(mesh, jax.P("data"))),
  )
  run = jax.jit(functools.partial(training_pass, module))
  compiled = run.lower(*arguments).compile()
  assert "all-gather" not in compiled.as_text()
  return compiled(*arguments)


def overfit(module, stride, max_steps):
  """Accuracies of each step on 64 images of CIFAR-10, up to the first of 1.

  Adam on all 64 at once, every ``stride``th pixel of them. They are judged by
  the batch's statistics, as in training: running ones of momentum 0.99 need
  hundreds of steps to forget their start.
  """
  if "LELP_DATA" not in os.environ:
    pytest.skip("LELP_DATA is not set")
  folder = pathlib.Path(os.environ["LELP_DATA"]) / "cifar10"
  with np.load(folder / "cifar10_exact_subset.npz") as data:
    images = data["x_train"][:64, ::stride, ::stride] / np.float32(127.5) - 1
    labels = data["y_train"][:64]
  tx = optax.adam(3e-3)

  @jax.jit
  def init(key):
    variables = module.init(key, images)
    return variables, tx.init(variables["params"])

  @jax.jit
  def step(variables, opt_state, key):
    def loss(params):
      (_, logits), state = module.apply(
        {**variables, "params": params},
        images,
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return losses.mean(), (state, (logits.argmax(-1) == labels).mean())

    params = variables["params"]
    gradients, (state, accuracy) = jax.grad(loss, has_aux=True)(params)
    updates, opt_state = tx.update(gradients, opt_state)
    params = optax.apply_updates(params, updates)
    return {"params": params, **state}, opt_state, accuracy

  variables, opt_state = init(jax.random.key(0))
  accuracies = []
  for key in jax.random.split(jax.random.key(1), max_steps):
    variables, opt_state, accuracy = step(variables, opt_state, key)
    accuracies.append(float(accuracy))
    if accuracy == 1:
      break
  return accuracies
