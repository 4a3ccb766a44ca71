"""ResNet and MobileNet: Linen modules, beside Keras and their definitions."""

import functools
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from lelp_jax.models import from_linen
from lelp_jax.models.mobilenet import MobileNet
from lelp_jax.models.resnet import ResNet
from tests.goldens import keras_models

PREACT = "preact_planes16_32_64"
# The shallowest ResNets; a few channels, and images small enough for them to
# matter.
MOBILENET = MobileNet(
  3, 1 / 16, 2, stem_stride=1, strides=(1, 2, 1) + 10 * (1,), dropout_rate=0.0
)
TINY = {
  "keras_v2": ResNet(3, 11),
  PREACT: ResNet(3, 11, PREACT),
  "mobilenet": MOBILENET,
}
DROPOUT = MOBILENET.clone(dropout_rate=0.5)


@pytest.fixture(name="images")
def fixture_images(rng):
  return rng.normal(size=[16, 6, 5, 3]).astype(np.float32)


@functools.cache
def shapes_of(module, shape):
  images = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(module.init, jax.random.key(0), images)


def random_variables(module, images):
  """Params and batch statistics as in the goldens, of the images' dtype."""
  return traverse_util.path_aware_map(
    lambda path, leaf: keras_models.random_array(
      "/".join(path[1:]), leaf.shape
    ).astype(images.dtype),
    shapes_of(module, images.shape),
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
def applied(module):
  return jax.jit(module.apply)


def inference(module, variables, images):
  """Embeddings and logits by name, by the running statistics."""
  embeddings, logits = jax.device_get(applied(module)(variables, images))
  return {"embeddings": embeddings, "logits": logits}


@functools.cache
def trained(module):
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
    trained(module)(variables, images, key)
  )
  return {"embeddings": embeddings, "logits": logits}, state["batch_stats"]


# --- The published networks ---------------------------------------------------


def counts(module):
  """Numbers of params without the head, with it, and of batch statistics."""
  shapes = shapes_of(module, (1, 32, 32, 3))
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))
  head, total, stats = (
    sum(leaf.size for leaf in jax.tree.leaves(tree))
    for tree in (
      shapes["params"]["head"],
      shapes["params"],
      shapes["batch_stats"],
    )
  )
  return total - head, total, stats


@pytest.mark.parametrize(
  ("module", "body", "total", "batch_stats"),
  [
    (ResNet(10, 20), 568_032, 570_602, 3_488),
    (ResNet(100, 56), 1_660_768, 1_686_468, 10_400),
    (ResNet(100, 92), 2_753_504, 2_779_204, 17_312),
    (MobileNet(1000, 1, 1), 3_206_976, 4_231_976, 21_888),
    (MobileNet(10, 2, 1), 12_693_120, 12_713_610, 43_776),
    (MobileNet(10, 1, 2), 6_401_120, 6_411_370, 31_808),
    (MobileNet(100, 2, 2), 25_360_576, 25_565_476, 63_616),
  ],
)
def test_counts(module, body, total, batch_stats):
  assert counts(module) == (body, total, batch_stats)


def test_preact_counts():
  _, total, _ = counts(ResNet(10, 56, PREACT))
  assert round(total / 1e6, 2) == 0.59


def golden(case):
  """The outputs of Keras, which tests/goldens/keras_models.py stored."""
  path = pathlib.Path(keras_models.__file__).with_name(f"keras_{case}.npz")
  with np.load(path) as file:
    arrays = dict(file)
  return {k: arrays.pop(k) for k in ("embeddings", "logits")}, arrays


@pytest.mark.parametrize(
  ("case", "module"),
  [("resnet20", ResNet(10, 20)), ("mobilenet", MobileNet(10, 0.5, 2))],
)
def test_inference_equals_keras(case, module):
  images = keras_models.random_array(*keras_models.IMAGES)
  variables = random_variables(module, images)
  assert_close(inference(module, variables, images), golden(case)[0], 1e-5)


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


@pytest.mark.slow
@pytest.mark.parametrize(
  ("case", "module", "num_arrays"),
  [
    ("resnet20", ResNet(10, 20), 12),
    ("mobilenet", MobileNet(10, 0.5, 2, dropout_rate=0.0), 11),
  ],
)
def test_training_on_eight_devices_equals_keras(case, module, num_arrays):
  """Compares outputs, statistics and gradients of a step on all devices.

  Each has one image: BatchNorm must see them all, and nothing is gathered. The
  numbers are of float64, since layers with BatchNorm amplify the rounding of
  float32.
  """
  assert jax.device_count() == 8
  module = module.clone(compute_dtype=np.float64)
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  with jax.enable_x64(True):
    images = keras_models.random_array(*keras_models.IMAGES).astype(np.float64)
    arguments = (
      jax.device_put(
        random_variables(module, images), jax.NamedSharding(mesh, jax.P())
      ),
      jax.device_put(images, jax.NamedSharding(mesh, jax.P("data"))),
    )
    run = jax.jit(functools.partial(training_pass, module))
    compiled = run.lower(*arguments).compile()
    arrays = compiled(*arguments)
  assert "all-gather" not in compiled.as_text()
  _, expected = golden(case)
  assert len(expected) == num_arrays
  assert_close(arrays, expected, 1e-4)


def test_preact_equals_its_definition(images):
  module = ResNet(3, 20, PREACT)
  variables = random_variables(module, images)

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
  assert_close(inference(module, variables, images), expected, 1e-5)


# --- Values at the start ------------------------------------------------------


def initial_kernels(module, *names):
  """Initial kernels, and biases where there are some."""

  @jax.jit
  def init(key):
    params = module.init(key, jnp.ones([1, 32, 32, 3]))["params"]
    flat = traverse_util.flatten_dict(params, sep="/")
    return {k: v for k, v in flat.items() if k.rpartition("/")[0] in names}

  return jax.device_get(init(jax.random.key(0)))


def test_keras_v2_initial_values_are_he_normal():
  layers = initial_kernels(ResNet(1_000, 11), "head", "stage2_block0/conv2")
  kernel = layers["head/kernel"]
  deviation = np.sqrt(2 / 256)
  np.testing.assert_allclose(kernel.std(), deviation, rtol=0.01)
  # Of a normal distribution cut at two deviations, then rescaled.
  assert 0.99 < np.abs(kernel).max() / (2 * deviation / 0.87962566) <= 1
  kernel = layers["stage2_block0/conv2/kernel"]
  assert kernel.shape == (3, 3, 128, 128)
  np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.01)
  bias = layers["stage2_block0/conv2/bias"]
  np.testing.assert_array_equal(bias, np.zeros(128))


def test_preact_initial_values_are_pytorch_code_s():
  layers = initial_kernels(
    ResNet(1_000, 11, PREACT), "head", "stage2_block0/conv3"
  )
  kernel = layers["head/kernel"]
  assert 0.999 < np.abs(kernel).max() * np.sqrt(256) <= 1
  kernel = layers["stage2_block0/conv3/kernel"]
  assert kernel.shape == (64, 256)
  np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 256), rtol=0.02)
  assert np.abs(kernel).max() > 3 * kernel.std()


def test_mobilenet_initial_values_are_uniform_within_glorot_s_bounds():
  # Keras counts [3, 3, channels, 2] as 9 channels to 9 * 2.
  fans = {
    "conv1": 9 * (3 + 8),
    "conv_dw_12": 9 * (128 + 2),
    "conv_pw_12": 256 + 256,
    "head": 256 + 100,
  }
  layers = initial_kernels(MobileNet(100, 0.25, 2), *fans)
  for name, fan in fans.items():
    scaled = layers[f"{name}/kernel"] * np.sqrt(fan / 6)
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
  ("module", "size", "width"),
  [
    (TINY["keras_v2"], (7, 2, 4), 256),
    (TINY[PREACT], (7, 2, 4), 256),
    (MOBILENET.clone(strides=13 * (1,)), (1, 1, 3), 64),
    (MobileNet(3, 1 / 16), (31, 31, 3), 64),  # They make 16, 8, 4, 2 and 1.
  ],
)
def test_images_of_any_size(module, size, width):
  images = jnp.ones([2, *size])
  (embeddings, logits), variables = jax.eval_shape(
    lambda key: module.init_with_output(key, images), jax.random.key(0)
  )
  chex.assert_shape((embeddings, logits), [(2, width), (2, 3)])
  channels = [
    leaf.shape[-2]
    for leaf in jax.tree.leaves(variables["params"])
    if leaf.ndim == 4 and leaf.shape[:2] == (3, 3)
  ]
  assert size[-1] in channels


@pytest.mark.parametrize("variant", ["keras_v2", PREACT])
def test_resnet_of_single_pixels_is_finite(variant):
  images = np.ones([2, 1, 1, 1], np.float32)
  variables = random_variables(TINY[variant], images)
  outputs = inference(TINY[variant], variables, images)
  chex.assert_shape(outputs["embeddings"], (2, 256))
  chex.assert_tree_all_finite(outputs)


# --- Training and inference ---------------------------------------------------


@pytest.mark.parametrize(
  ("name", "rate"), [("keras_v2", 0.01), (PREACT, 0.1), ("mobilenet", 0.01)]
)
def test_inference_by_the_statistics_of_a_batch_is_training(name, rate, images):
  """The rate is how much of a batch's statistics the running ones take on."""
  module = DROPOUT if name == "mobilenet" else TINY[name]
  variables = random_variables(module, images)
  before = inference(module, variables, images)
  train, update = training(TINY[name], variables, images)
  assert not np.allclose(before["logits"], train["logits"], atol=0.1)
  stats = jax.tree.map(lambda leaf: leaf / rate, update)
  after = inference(module, {**variables, "batch_stats": stats}, images)
  assert_close(after, train, 1e-4)


def test_dropout_in_training(images):
  variables = random_variables(DROPOUT, images)
  kept, _ = training(MOBILENET, variables, images)
  dropped, _ = training(DROPOUT, variables, images, jax.random.key(0))
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


def test_dropout_of_mobilenet_is_on_by_default():
  model = from_linen(MobileNet(3, 1 / 16), head="head")
  images = jnp.ones([1, 32, 32, 3])
  variables = jax.eval_shape(model.init, jax.random.key(0), images)
  with pytest.raises(ValueError, match="key"):
    jax.eval_shape(
      lambda *variables: model.apply(*variables, images, train=True), *variables
    )


@pytest.mark.parametrize(
  "name", ["keras_v2", pytest.param("mobilenet", marks=pytest.mark.slow)]
)
def test_bfloat16_is_near_float32(name, images):
  if name == "keras_v2":
    images = images[:2]  # Convolutions in bfloat16 are slow on CPU.
  exact_module = TINY[name]
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


# --- Errors -------------------------------------------------------------------


@pytest.mark.parametrize(
  ("module", "options", "shape", "message"),
  [
    (ResNet, {}, (2, 8, 8), r"images.*\[B, H, W, channels\].*\(2, 8, 8\)"),
    (ResNet, {"depth": 21}, (2, 8, 8, 3), r"depth.*21"),
    (ResNet, {"depth": 2}, (2, 8, 8, 3), r"depth.*11.*2"),
    (ResNet, {"depth": "20"}, (2, 8, 8, 3), r"depth.*'20'"),
    (ResNet, {"variant": "v1"}, (2, 8, 8, 3), r"variant.*'v1'"),
    (MobileNet, {}, (2, 32, 32), r"images.*\[B, H, W, channels\]"),
    (MobileNet, {}, (2, 64, 30, 3), r"\(2, 64, 30, 3\).*block 12.*stride 2"),
    (
      MobileNet,
      {"width_multiplier": 0.03},
      (2, 32, 32, 3),
      r"width_multiplier.*0\.03",
    ),
    (
      MobileNet,
      {"depth_multiplier": 0},
      (2, 32, 32, 3),
      r"depth_multiplier.*0",
    ),
    (MobileNet, {"stem_stride": 0}, (2, 32, 32, 3), r"stem_stride.*0"),
    (MobileNet, {"strides": (1, 2)}, (2, 32, 32, 3), r"strides.*13.*\(1, 2\)"),
    (
      MobileNet,
      {"strides": 12 * (1,) + (0,)},
      (2, 32, 32, 3),
      r"strides.*0",
    ),
  ],
)
def test_bad_arguments(module, options, shape, message):
  if module is MobileNet:
    options = {"width_multiplier": 1 / 16, **options}
  error = TypeError if options.get("depth") == "20" else ValueError
  with pytest.raises(error, match=message):
    jax.eval_shape(
      module(3, **options).init, jax.random.key(0), jnp.ones(shape)
    )
