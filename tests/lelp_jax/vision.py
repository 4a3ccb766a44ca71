"""Helpers for the tests of both image models, which are Linen modules."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
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
  """The outputs of Keras, which tests/goldens/keras_models.py stored."""
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


def assert_inference_equals_keras(module, case):
  images = golden_images(np.float32)
  variables = random_variables(module, images)
  expected = {name: golden(case)[name] for name in ("embeddings", "logits")}
  assert_close(inference(module, variables, images), expected, 1e-5)


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


def assert_training_equals_keras(module, case, num_arrays):
  """Compares outputs, statistics and gradients of a step on all devices.

  Each has one image: BatchNorm must see them all. The numbers are of float64,
  since layers with BatchNorm amplify the rounding of float32.
  """
  assert jax.device_count() == 8
  with jax.enable_x64(True):
    images = golden_images(np.float64)
    variables = random_variables(module, images)
    arrays = training_pass_on_all_devices(module, variables, images)
  expected = golden(case)
  del expected["embeddings"], expected["logits"]
  assert len(expected) == num_arrays
  assert_close(arrays, expected, 1e-4)


def assert_inference_by_batch_statistics(trained, module, images, rate):
  """With a batch's own statistics, inference is what training was.

  Args:
    trained: The module as it trains, without dropout.
    module: The module that infers.
    images: The batch.
    rate: How much of a batch's statistics are added to the running ones.
  """
  variables = random_variables(module, images)
  before = inference(module, variables, images)
  train, update = training(trained, variables, images)
  assert not np.allclose(before["logits"], train["logits"], atol=0.1)
  stats = jax.tree.map(lambda leaf: leaf / rate, update)
  after = inference(module, {**variables, "batch_stats": stats}, images)
  assert_close(after, train, 1e-4)


def assert_bfloat16_is_near_float32(exact_module, images):
  module = exact_module.clone(compute_dtype="bfloat16")
  variables = random_variables(module, images)
  types = jax.eval_shape(
    functools.partial(training_pass, module), variables, images
  )
  assert types.pop("train/embeddings").dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in types.values()} == {jnp.dtype("float32")}
  exact = inference(exact_module, variables, images)
  rough = inference(module, variables, images)
  assert not np.array_equal(rough["logits"], exact["logits"])
  assert_close(rough, exact, 0.05)
