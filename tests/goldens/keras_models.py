"""Golden values of the vision models: Keras' own, with random weights.

Writes `keras_*.npz` beside itself: embeddings and logits in inference, and
in training mode again these, some running statistics afterwards and some
gradients of `cross_entropy`, by Keras on JAX in float64 (its BatchNorm computes
in float32 even so). Weights and images are not stored: `random_array` makes
them from their names and shapes in our layout. Needs the extra `reference`:

    python -m tests.goldens.keras_models
"""

import os
import pathlib
import zlib

import numpy as np

IMAGES = ("images", (8, 32, 32, 3))
NUM_CLASSES = 10
# Arrays whose running value or gradient is kept. Convolutions before BatchNorm
# have biases without gradient.
KEPT = {
  "resnet20": (
    "stem/kernel",
    "stem_norm/mean",
    "stage0_block0/conv1/kernel",
    "stage0_block0/shortcut/kernel",
    "stage1_block0/norm1/scale",
    "stage2_block0/norm1/var",
    "stage2_block1/norm2/bias",
    "norm/mean",
    "norm/var",
    "head/bias",
  ),
  "mobilenet": (
    "conv1/kernel",
    "conv1_bn/mean",
    "conv_dw_1/kernel",
    "conv_dw_4/kernel",
    "conv_dw_7_bn/var",
    "conv_pw_9_bn/scale",
    "conv_pw_13_bn/mean",
    "conv_pw_13_bn/var",
    "head/bias",
  ),
}


def random_array(name, shape):
  """A float32 array that depends on its name and its shape alone."""
  values = np.random.default_rng(zlib.crc32(name.encode())).uniform(
    -1, 1, shape
  )
  kind = name.split("/")[-1]
  if kind == "kernel":
    values *= np.sqrt(6 / np.prod(shape[:-1]))
  elif kind in ("scale", "var"):
    values = 1 + values / 2
  return values.astype(np.float32)


def resnet20():
  """`resnet_v2` of Keras' example `cifar10_resnet`, depth 20, to the logits.

  The layers are named as ours, with dots.
  """
  from keras import Input
  from keras import layers
  from keras import Model

  def conv(x, filters, size, name, strides=1):
    return layers.Conv2D(
      filters, size, strides=strides, padding="same", name=name
    )(x)

  def norm_relu(x, name):
    x = layers.BatchNormalization(name=name)(x)
    return layers.Activation("relu")(x)

  inputs = Input(IMAGES[1][1:])
  x = norm_relu(conv(inputs, 16, 3, "stem"), "stem_norm")
  filters_in = 16
  for stage in range(3):
    filters_out = filters_in * (4 if stage == 0 else 2)
    for block in range(2):
      name = f"stage{stage}_block{block}"
      strides = 2 if stage > 0 and block == 0 else 1
      y = x if stage == block == 0 else norm_relu(x, f"{name}.norm1")
      y = conv(y, filters_in, 1, f"{name}.conv1", strides)
      y = norm_relu(y, f"{name}.norm2")
      y = conv(y, filters_in, 3, f"{name}.conv2")
      y = norm_relu(y, f"{name}.norm3")
      y = conv(y, filters_out, 1, f"{name}.conv3")
      if block == 0:
        x = conv(x, filters_out, 1, f"{name}.shortcut", strides)
      x = layers.add([x, y])
    filters_in = filters_out
  x = layers.AveragePooling2D(8)(norm_relu(x, "norm"))
  embeddings = layers.Flatten()(x)
  logits = layers.Dense(NUM_CLASSES, name="head")(embeddings)
  return Model(inputs, [embeddings, logits])


def mobilenet():
  """`keras.applications.MobileNet`, both multipliers set, no dropout."""
  import keras

  model = keras.applications.MobileNet(
    input_shape=IMAGES[1][1:],
    alpha=0.5,
    depth_multiplier=2,
    dropout=0.0,
    weights=None,
    classes=NUM_CLASSES,
    classifier_activation=None,
  )
  head = model.get_layer("conv_preds")
  embeddings = keras.layers.Flatten()(head.input)
  return keras.Model(model.input, [embeddings, model.output])


def our_name(variable):
  """Path of a variable of Keras among our params or batch statistics."""
  layer, name = variable.path.split("/")[-2:]
  layer = {"conv_preds": "head"}.get(layer, layer).replace(".", "/")
  names = {
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
  }
  return f"{layer}/{names.get(name, name)}"


def our_shape(variable):
  """Shape of a variable of Keras in our layout, where its order is the same."""
  shape = variable.shape
  if "conv_dw" in variable.path and len(shape) == 4:
    return (*shape[:2], 1, shape[2] * shape[3])
  if shape[:2] == (1, 1) and "conv_pw" not in variable.path:
    return shape[2:]  # Ours is a dense layer.
  return shape


def cross_entropy(logits):
  """Of labels 0, 1, 2, ..., averaged; `logits` is a JAX array."""
  import jax

  rows = np.arange(len(logits))
  return -jax.nn.log_softmax(logits)[rows, rows % NUM_CLASSES].mean()


def golden(case):
  """All arrays of one case."""
  import jax

  model = {"resnet20": resnet20, "mobilenet": mobilenet}[case]()
  for variable in model.weights:
    values = random_array(our_name(variable), our_shape(variable))
    variable.assign(values.reshape(variable.shape))
  images = random_array(*IMAGES).astype(np.float64)
  embeddings, logits = model(images, training=False)

  def loss(trainable, running):
    outputs, running = model.stateless_call(
      trainable, running, images, training=True
    )
    return cross_entropy(outputs[1]), (outputs, running)

  values = [
    [variable.value for variable in variables]
    for variables in (model.trainable_variables, model.non_trainable_variables)
  ]
  gradients, (train_outputs, running) = jax.grad(loss, has_aux=True)(*values)
  arrays = {
    "embeddings": embeddings,
    "logits": logits,
    "train/embeddings": train_outputs[0],
    "train/logits": train_outputs[1],
  }
  for variables, results in (
    (model.trainable_variables, gradients),
    (model.non_trainable_variables, running),
  ):
    for variable, array in zip(variables, results, strict=True):
      if our_name(variable) in KEPT[case]:
        arrays[our_name(variable)] = array.reshape(our_shape(variable))
  missing = set(KEPT[case]) - set(arrays)
  assert not missing, missing
  return {k: np.asarray(v, np.float32) for k, v in arrays.items()}


def main():
  os.environ["KERAS_BACKEND"] = "jax"
  os.environ["JAX_ENABLE_X64"] = "1"
  import keras

  keras.config.set_floatx("float64")
  for case in KEPT:
    path = pathlib.Path(__file__).with_name(f"keras_{case}.npz")
    np.savez_compressed(path, **golden(case))
    print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
  main()
