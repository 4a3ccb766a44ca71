import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lelp_jax.models import Cnn
from lelp_jax.models import from_linen
from lelp_jax.models import Mlp
from lelp_jax.models import MODELS
from lelp_jax.models.albert import albert
from lelp_jax.models.mobilenet import MobileNet
from lelp_jax.models.resnet import ResNet
from tests.lelp_jax import tiny_text

OPTIONS = {
  "mlp": {"features": (16, 8), "dropout_rate": 0.5},
  "cnn": {"features": (4, 6), "width": 8},
}


@pytest.fixture(name="images")
def fixture_images(rng):
  return jnp.asarray(rng.normal(size=[4, 8, 8, 1]), jnp.float32)


@functools.cache
def initial(name):
  """Params and state, which do not depend on the images."""
  model = MODELS[name](3, **OPTIONS[name])
  return jax.jit(model.init)(jax.random.key(0), jnp.ones([4, 8, 8, 1]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OPTIONS)
def test_model_shapes_and_dtypes(name, dtype, images):
  model = MODELS[name](3, compute_dtype=dtype, **OPTIONS[name])
  params, state = initial(name)
  chex.assert_trees_all_equal_shapes_and_dtypes(
    jax.eval_shape(model.init, jax.random.key(0), images), (params, state)
  )
  apply = jax.jit(model.apply, static_argnames="train")
  outputs, new_state = apply(
    params, state, images, train=True, key=jax.random.key(1)
  )
  chex.assert_shape(outputs.embeddings, (4, 8))
  chex.assert_shape(outputs.logits, (4, 3))
  assert outputs.embeddings.dtype == dtype
  assert outputs.logits.dtype == jnp.float32
  for leaf in jax.tree.leaves((params, new_state)):
    assert leaf.dtype == jnp.float32
  head = jax.device_get(model.head(params))
  embeddings = np.asarray(outputs.embeddings, np.float32)
  np.testing.assert_allclose(
    outputs.logits, embeddings @ head.kernel + head.bias, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("name", OPTIONS)
def test_model_takes_an_empty_batch(name, images):
  model = MODELS[name](3, **OPTIONS[name])
  params, state = jax.eval_shape(model.init, jax.random.key(0), images)
  outputs, _ = jax.eval_shape(model.apply, params, state, images[:0])
  chex.assert_shape(outputs.embeddings, (0, 8))
  chex.assert_shape(outputs.logits, (0, 3))


@pytest.mark.parametrize("name", OPTIONS)
def test_model_bfloat16_is_near_float32(name, images):
  models = [
    MODELS[name](3, compute_dtype=dtype, **OPTIONS[name])
    for dtype in (jnp.float32, jnp.bfloat16)
  ]
  exact, rough = (
    np.asarray(jax.jit(m.apply)(*initial(name), images)[0].logits)
    for m in models
  )
  error = np.max(np.abs(exact - rough))
  assert 0 < error < 0.05 * np.max(np.abs(exact))


DEEP = {"resnet": ResNet(3, 11), "mobilenet": MobileNet(3, 1 / 16)}


@pytest.mark.parametrize(
  ("name", "dtype"),
  [
    *itertools.product([*OPTIONS, "albert"], ["float32", "bfloat16"]),
    *((name, "bfloat16") for name in DEEP),
  ],
)
def test_models_run_with_strict_promotion(name, dtype):
  """Deep ones without gradients: tracing those of many layers takes seconds."""
  inputs = jnp.ones([2, 32, 32, 1])
  if name == "albert":
    model = albert(tiny_text.DROPOUT, 3, compute_dtype=dtype)
    inputs = tiny_text.inputs()
  elif name in DEEP:
    model = from_linen(DEEP[name].clone(compute_dtype=dtype), head="head")
  else:
    model = MODELS[name](3, compute_dtype=dtype, **OPTIONS[name])

  def run(key):
    params, state = model.init(key, inputs)  # Runs it as in inference.

    def loss(params):
      outputs, new_state = model.apply(
        params, state, inputs, train=True, key=key
      )
      return outputs.logits.sum(), new_state

    return (loss if name in DEEP else jax.grad(loss, has_aux=True))(params)

  with jax.numpy_dtype_promotion("strict"), jax.debug_key_reuse(False):
    jax.eval_shape(run, jax.random.key(0))


@pytest.mark.parametrize("module", [Mlp(3, (8,)), Cnn(3, (4,), 8)])
def test_module_returns_what_the_adapter_captures(module, images):
  variables = jax.jit(module.init)(jax.random.key(0), images)
  embeddings, logits = jax.jit(module.apply)(variables, images)
  model = from_linen(module, head="head")
  params = variables.pop("params")
  outputs, _ = jax.jit(model.apply)(params, variables, images)
  chex.assert_trees_all_close((embeddings, logits), tuple(outputs))


def test_mlp_equals_its_definition(images):
  model = MODELS["mlp"](3, features=(16, 8))
  params, state = jax.jit(model.init)(jax.random.key(0), images)
  apply = jax.jit(model.apply, static_argnames="train")
  outputs, _ = apply(params, state, images, train=True)
  x = np.asarray(images, np.float64).reshape(4, -1)
  for name in ("Dense_0", "Dense_1"):
    layer = jax.tree.map(np.asarray, params[name])
    x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
  np.testing.assert_allclose(outputs.embeddings, x, rtol=1e-4, atol=1e-5)


def test_mlp_without_hidden_layers_is_linear(images):
  model = MODELS["mlp"](3, features=())
  params, state = jax.jit(model.init)(jax.random.key(0), images)
  outputs, _ = jax.jit(model.apply)(params, state, images)
  chex.assert_trees_all_equal(outputs.embeddings, images.reshape(4, -1))


def test_cnn_batch_norm_is_over_the_batch(images):
  model = MODELS["cnn"](3, **OPTIONS["cnn"])
  params, state = initial("cnn")
  assert state["batch_stats"].keys() == {"BatchNorm_0", "BatchNorm_1"}
  assert "bias" not in params["Conv_0"]
  apply = jax.jit(model.apply, static_argnames="train")
  _, new = apply(params, state, images, train=True)
  # Momentum 0.9 from a mean of 0.
  first = jax.jit(nn.Conv(4, (3, 3), use_bias=False).apply)(
    {"params": params["Conv_0"]}, images
  )
  np.testing.assert_allclose(
    new["batch_stats"]["BatchNorm_0"]["mean"],
    0.1 * np.mean(first, axis=(0, 1, 2)),
    rtol=1e-4,
    atol=1e-6,
  )


def test_cnn_without_batch_norm_has_no_state(images):
  model = MODELS["cnn"](3, batch_norm=False, **OPTIONS["cnn"])
  params, state = jax.eval_shape(model.init, jax.random.key(0), images)
  assert state == {}
  assert "bias" in params["Conv_0"]


def test_cnn_pools_small_and_odd_images():
  model = MODELS["cnn"](3, features=(4, 4, 4), width=8)
  images = jnp.ones([2, 3, 5, 1])

  @jax.jit
  def run(key):
    params, state = model.init(key, images)
    # 3x5 -> 2x3 -> 1x2 -> 1x1.
    assert params["Dense_0"]["kernel"].shape == (4, 8)
    return model.apply(params, state, images)

  chex.assert_tree_all_finite(run(jax.random.key(0)))


def test_cnn_refuses_images_without_channels(images):
  model = MODELS["cnn"](3)
  with pytest.raises(ValueError, match=r"\[B, H, W, channels\]"):
    model.init(jax.random.key(0), images[..., 0])


def test_models_refuse_bad_arguments():
  with pytest.raises(ValueError, match=r"num_outputs.*0"):
    MODELS["mlp"](0)
  with pytest.raises(TypeError, match=r"num_outputs.*2\.0"):
    MODELS["mlp"](2.0)
  with pytest.raises(TypeError, match="depth"):
    MODELS["mlp"](2, depth=3)
