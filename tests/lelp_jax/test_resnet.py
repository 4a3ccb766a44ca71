import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models import from_linen
from lelp_jax.models.resnet import ResNet
from tests.lelp_jax import vision

PREACT = "preact_planes16_32_64"
TINY = {  # The shallowest of each variant.
  "keras_v2": ResNet(3, 11),
  PREACT: ResNet(3, 11, PREACT),
}


@pytest.fixture(name="images")
def fixture_images(rng):
  return rng.normal(size=[16, 6, 5, 3]).astype(np.float32)


# --- The published networks ---------------------------------------------------


@pytest.mark.parametrize(
  ("depth", "num_outputs", "body", "total", "batch_stats"),
  [
    (20, 10, 568_032, 570_602, 3_488),
    (56, 100, 1_660_768, 1_686_468, 10_400),
    (92, 100, 2_753_504, 2_779_204, 17_312),
  ],
)
def test_keras_v2_counts(depth, num_outputs, body, total, batch_stats):
  counts = vision.counts(ResNet(num_outputs, depth))
  assert counts == (body, total, batch_stats)


def test_preact_counts():
  _, total, _ = vision.counts(ResNet(10, 56, PREACT))
  assert round(total / 1e6, 2) == 0.59


def test_inference_equals_keras():
  vision.assert_inference_equals_keras(ResNet(10, 20), "resnet20")


@pytest.mark.slow
def test_training_on_eight_devices_equals_keras():
  module = ResNet(10, 20, compute_dtype=np.float64)
  vision.assert_training_equals_keras(module, "resnet20", 12)


def test_preact_equals_its_definition(images):
  module = ResNet(3, 20, PREACT)
  variables = vision.random_variables(module, images)

  def conv(x, layer, stride=1):
    kernel = layer["kernel"]
    if kernel.ndim == 2:
      kernel = kernel[None, None]
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      [(pad, pad)] * 2,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  def norm_relu(x, layer, stats):
    scale = layer["scale"] / jnp.sqrt(stats["var"] + 1e-5)
    shift = layer["bias"] - stats["mean"] * scale
    return jax.nn.relu(x * scale[None, None, None] + shift[None, None, None])

  @jax.jit
  def reference(variables, images):
    params, stats = variables["params"], variables["batch_stats"]
    x = conv(images, params["stem"])
    for stage in range(3):
      for block in range(2):
        p, s = (tree[f"stage{stage}_block{block}"] for tree in (params, stats))
        stride = 2 if stage > 0 and block == 0 else 1
        y = conv(norm_relu(x, p["norm1"], s["norm1"]), p["conv1"])
        y = conv(norm_relu(y, p["norm2"], s["norm2"]), p["conv2"], stride)
        y = conv(norm_relu(y, p["norm3"], s["norm3"]), p["conv3"])
        x = y + (conv(x, p["shortcut"], stride) if block == 0 else x)
    x = norm_relu(x, params["norm"], stats["norm"]).mean(axis=(1, 2))
    logits = x @ params["head"]["kernel"] + params["head"]["bias"][None]
    return {"embeddings": x, "logits": logits}

  expected = reference(variables, images)
  outputs = vision.inference(module, variables, images)
  vision.assert_close(outputs, expected, 1e-5)


# --- Values at the start ------------------------------------------------------


def initial_layers(variant):
  """Initial params of the head, of 1000 outputs, and of the last block."""
  module = ResNet(1_000, 11, variant)

  @jax.jit
  def init(key):
    params = module.init(key, jnp.ones([1, 4, 4, 3]))["params"]
    return {"head": params["head"], **params["stage2_block0"]}

  return jax.device_get(init(jax.random.key(0)))


def test_keras_v2_initial_values_are_he_normal():
  layers = initial_layers("keras_v2")
  kernel = layers["head"]["kernel"]
  deviation = np.sqrt(2 / 256)
  np.testing.assert_allclose(kernel.std(), deviation, rtol=0.01)
  # Of a normal distribution cut at two deviations, then rescaled.
  assert 0.99 < np.abs(kernel).max() / (2 * deviation / 0.87962566) <= 1
  kernel = layers["conv2"]["kernel"]
  assert kernel.shape == (3, 3, 128, 128)
  np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.01)
  np.testing.assert_array_equal(layers["conv2"]["bias"], np.zeros(128))


def test_preact_initial_values_are_pytorch_code_s():
  layers = initial_layers(PREACT)
  kernel = layers["head"]["kernel"]
  assert 0.999 < np.abs(kernel).max() * np.sqrt(256) <= 1
  kernel = layers["conv3"]["kernel"]
  assert kernel.shape == (64, 256)
  np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 256), rtol=0.02)
  assert np.abs(kernel).max() > 3 * kernel.std()


# --- Training and inference ---------------------------------------------------


@pytest.mark.parametrize(
  ("variant", "rate"), [("keras_v2", 0.01), (PREACT, 0.1)]
)
def test_batch_norm_in_training_and_inference(variant, rate, images):
  module = TINY[variant]
  vision.assert_inference_by_batch_statistics(module, module, images, rate)


def test_bfloat16_is_near_float32(images):
  # Convolutions in bfloat16 are slow on CPU.
  vision.assert_bfloat16_is_near_float32(TINY["keras_v2"], images[:2])


@pytest.mark.parametrize("variant", TINY)
def test_images_of_any_size(variant):
  model = from_linen(TINY[variant], head="head")
  images = jnp.ones([2, 7, 2, 4])
  params, state = jax.eval_shape(model.init, jax.random.key(0), images)
  assert params["stem"]["kernel"].shape == (3, 3, 4, 16)
  outputs, _ = jax.eval_shape(model.apply, params, state, images)
  chex.assert_shape(outputs.embeddings, (2, 256))
  images = np.ones([2, 1, 1, 1], np.float32)
  variables = vision.random_variables(TINY[variant], images)
  outputs = vision.inference(TINY[variant], variables, images)
  chex.assert_shape(outputs["embeddings"], (2, 256))
  chex.assert_tree_all_finite(outputs)


# --- Errors -------------------------------------------------------------------


@pytest.mark.parametrize(
  ("attributes", "shape", "message"),
  [
    ({}, (2, 8, 8), r"images.*\[B, H, W, channels\].*\(2, 8, 8\)"),
    ({"depth": 21}, (2, 8, 8, 3), r"depth.*21"),
    ({"depth": 2}, (2, 8, 8, 3), r"depth.*11.*2"),
    ({"variant": "v1"}, (2, 8, 8, 3), r"variant.*'v1'"),
  ],
)
def test_bad_arguments(attributes, shape, message):
  module = ResNet(3, **attributes)
  with pytest.raises(ValueError, match=message):
    module.init(jax.random.key(0), jnp.ones(shape))


def test_depth_must_be_an_int():
  with pytest.raises(TypeError, match=r"depth.*'20'"):
    ResNet(3, "20").init(jax.random.key(0), jnp.ones([2, 8, 8, 3]))
