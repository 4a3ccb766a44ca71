import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.models import from_linen
from lelp_jax.models.mobilenet import MobileNet
from tests.lelp_jax import vision

# A few channels, and images small enough for them to matter.
TINY = MobileNet(
  3, 1 / 16, 2, stem_stride=1, strides=(1, 2, 1) + 10 * (1,), dropout_rate=0.0
)
DROPOUT = TINY.clone(dropout_rate=0.5)


@pytest.fixture(name="images")
def fixture_images(rng):
  return rng.normal(size=[16, 6, 5, 3]).astype(np.float32)


# --- The published network ----------------------------------------------------


@pytest.mark.parametrize(
  ("width", "depth", "num_outputs", "body", "total", "batch_stats"),
  [
    (1, 1, 1000, 3_206_976, 4_231_976, 21_888),
    (2, 1, 10, 12_693_120, 12_713_610, 43_776),
    (1, 2, 10, 6_401_120, 6_411_370, 31_808),
    (2, 2, 100, 25_360_576, 25_565_476, 63_616),
  ],
)
def test_counts(width, depth, num_outputs, body, total, batch_stats):
  counts = vision.counts(MobileNet(num_outputs, width, depth))
  assert counts == (body, total, batch_stats)


def test_inference_equals_keras():
  vision.assert_inference_equals_keras(MobileNet(10, 0.5, 2), "mobilenet")


@pytest.mark.slow
def test_training_on_eight_devices_equals_keras():
  module = MobileNet(10, 0.5, 2, dropout_rate=0.0, compute_dtype=np.float64)
  vision.assert_training_equals_keras(module, "mobilenet", 11)


def test_initial_values_are_uniform_within_glorot_s_bounds():
  module = MobileNet(100, 0.25, 2)

  @jax.jit
  def init(key):
    params = module.init(key, jnp.ones([1, 32, 32, 3]))["params"]
    names = ("conv1", "conv_dw_12", "conv_pw_12", "head")
    return {name: params[name]["kernel"] for name in names}

  kernels = init(jax.random.key(0))
  # Keras counts [3, 3, channels, 2] as 9 channels to 9 * 2.
  fans = {
    "conv1": 9 * (3 + 8),
    "conv_dw_12": 9 * (128 + 2),
    "conv_pw_12": 256 + 256,
    "head": 256 + 100,
  }
  for name, fan in fans.items():
    scaled = np.asarray(kernels[name]) * np.sqrt(fan / 6)
    assert 0.98 < np.abs(scaled).max() <= 1, name
    np.testing.assert_allclose(scaled.std(), 1 / np.sqrt(3), rtol=0.06)


# --- Strides and sizes --------------------------------------------------------


@pytest.mark.parametrize(
  ("options", "size", "pixels"),
  [({}, (32, 64), (1, 2)), ({"stem_stride": 1}, (33, 16), (2, 1))],
)
def test_strides(options, size, pixels):
  module = MobileNet(3, 1 / 16, **options)
  images = jnp.ones([2, *size, 1])
  variables = jax.eval_shape(
    lambda key: module.init(
      key, images, capture_intermediates=True, mutable=True
    ),
    jax.random.key(0),
  )
  maps = variables["intermediates"]["conv_pw_13_bn"]["__call__"][0]
  chex.assert_shape(maps, (2, *pixels, 64))


@pytest.mark.parametrize(
  ("module", "size"),
  [
    (TINY.clone(strides=13 * (1,)), 1),
    (MobileNet(3, 1 / 16), 31),  # 31 pixels make 16, 8, 4, 2 and 1.
  ],
)
def test_smallest_images(module, size):
  images = jnp.ones([2, size, size, 3])
  outputs = jax.eval_shape(
    lambda key: module.init_with_output(key, images)[0], jax.random.key(0)
  )
  chex.assert_shape(outputs, [(2, 64), (2, 3)])


# --- Training and inference ---------------------------------------------------


def test_batch_norm_and_dropout_in_training_and_inference(images):
  vision.assert_inference_by_batch_statistics(TINY, DROPOUT, images, 0.01)


def test_dropout_in_training(images):
  variables = vision.random_variables(DROPOUT, images)
  kept, _ = vision.training(TINY, variables, images)
  dropped, _ = vision.training(DROPOUT, variables, images, jax.random.key(0))
  embeddings = dropped["embeddings"]
  zero = embeddings == 0
  assert 0.4 < zero.mean() < 0.7
  np.testing.assert_allclose(
    embeddings, np.where(zero, 0, 2 * kept["embeddings"]), rtol=1e-5
  )
  # The embeddings are the head's input.
  head = variables["params"]["head"]
  np.testing.assert_allclose(
    dropped["logits"],
    embeddings @ head["kernel"] + head["bias"][None],
    rtol=1e-4,
    atol=1e-5,
  )


def test_dropout_is_on_by_default(images):
  model = from_linen(MobileNet(3, 1 / 16), head="head")
  images = jnp.ones([1, 32, 32, 3])
  variables = jax.eval_shape(model.init, jax.random.key(0), images)
  with pytest.raises(ValueError, match="key"):
    jax.eval_shape(
      lambda *variables: model.apply(*variables, images, train=True), *variables
    )


@pytest.mark.slow
def test_bfloat16_is_near_float32(images):
  vision.assert_bfloat16_is_near_float32(TINY, images)


# --- Errors -------------------------------------------------------------------


@pytest.mark.parametrize(
  ("options", "shape", "message"),
  [
    ({}, (2, 32, 32), r"images.*\[B, H, W, channels\]"),
    ({}, (2, 64, 30, 3), r"\(2, 64, 30, 3\).*block 12.*stride 2"),
    ({"width_multiplier": 0.03}, (2, 32, 32, 3), r"width_multiplier.*0\.03"),
    ({"depth_multiplier": 0}, (2, 32, 32, 3), r"depth_multiplier.*0"),
    ({"stem_stride": 0}, (2, 32, 32, 3), r"stem_stride.*0"),
    ({"strides": (1, 2)}, (2, 32, 32, 3), r"strides.*13.*\(1, 2\)"),
    ({"strides": 12 * (1,) + (0,)}, (2, 32, 32, 3), r"strides.*0"),
  ],
)
def test_bad_arguments(options, shape, message):
  module = MobileNet(3, **{"width_multiplier": 1 / 16, **options})
  images = jnp.ones(shape)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(module.init, jax.random.key(0), images)
