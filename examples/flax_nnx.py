"""Distils an NNX teacher into an NNX student, both of them unmodified modules.

`from_nnx` turns a module and the name of its last layer into pure functions
that return embeddings, logits and the head. The teacher runs inside the
student's training step, on the same shifted images. The task is to tell odd
digits from even ones, on the images of scikit-learn.
"""

import jax
import numpy as np
import optax
from flax import nnx
from sklearn import datasets

import lelp_jax
from lelp_jax import train_step
from lelp_jax.models import from_nnx

S, TAU, BETA = 5, 2.0, 4.0  # Not tuned.


class Classifier(nnx.Module):
  def __init__(self, width, num_outputs, rngs):
    self.conv = nnx.Conv(1, width, (3, 3), strides=2, rngs=rngs)
    self.norm = nnx.BatchNorm(width, rngs=rngs)
    self.hidden = nnx.Linear(16 * width, 4 * width, rngs=rngs)
    self.out = nnx.Linear(4 * width, num_outputs, rngs=rngs)

  def __call__(self, images):
    x = nnx.relu(self.norm(self.conv(images)))
    return self.out(nnx.relu(self.hidden(x.reshape(x.shape[0], -1))))


@nnx.jit  # The teacher is trained on labels, like any NNX module.
def teacher_step(teacher, optimizer, x, y):
  def loss_fn(model):
    loss = optax.softmax_cross_entropy_with_integer_labels(model(x), y)
    return loss.mean()

  optimizer.update(teacher, nnx.grad(loss_fn)(teacher))


def lelp(inputs):
  """Steps 2 and 3 of LELP: the loss of a batch, for `make_distill_step`."""
  (h, logits), subspaces = inputs.teacher, inputs.targets
  log_probs = lelp_jax.log_subsplit(
    h, logits, subspaces, temperature=TAU, subclass_temperature=BETA
  )
  loss = lelp_jax.lelp_loss(inputs.student.logits, log_probs, temperature=TAU)
  return loss.mean(), ({}, inputs.loss_state)


def main(steps=500):
  images, digits = datasets.load_digits(return_X_y=True)
  rng = np.random.default_rng(0)
  order = rng.permutation(len(images))
  x = np.float32(images[order].reshape(-1, 8, 8, 1) / 16)
  y = np.int32(digits[order] % 2)
  train, test = slice(1297), slice(1297, None)

  def batches(number):
    for rows in rng.integers(1297, size=(number, 50)):
      yield np.roll(x[rows], rng.integers(-1, 2, 2), axis=(1, 2)), y[rows]

  teacher_module = Classifier(16, 2, nnx.Rngs(0))
  optimizer = nnx.Optimizer(teacher_module, optax.adam(2e-3), wrt=nnx.Param)
  for images, labels in batches(steps):
    teacher_step(teacher_module, optimizer, images, labels)
  # Turn it into pure functions; `init` returns a copy of its trained weights.
  teacher = from_nnx(teacher_module, head="out")
  params, model_state = teacher.init(jax.random.key(0), x[:1])
  # Step 1 of LELP: fit subspaces in the null space of the teacher's head.
  (h, logits), _ = teacher.apply(params, model_state, x)  # In inference mode.
  kernel, _ = teacher.head(params)
  subspaces = lelp_jax.fit_subspaces(
    h[train], y[train], kernel, num_subclasses=S, key=jax.random.key(1)
  )
  # The student has an output for each of the 2 x S subclasses.
  module, tx = Classifier(8, 2 * S, nnx.Rngs(1)), optax.adam(2e-3)
  student = from_nnx(module, head="out")
  variables = student.init(jax.random.key(2), x[:1])
  state = train_step.TrainState.create(*variables, tx, jax.random.key(3))
  step = train_step.make_distill_step(student.apply, teacher.apply, lelp, tx)
  step, frozen = jax.jit(step), (params, model_state, subspaces)
  for images, _ in batches(3 * steps):
    state, _ = step(state, frozen, {"inputs": images}, {})
  # Put the trained weights back into the module, which then predicts.
  nnx.update(module, state.params)
  nnx.update(module, state.model_state)
  module.eval()
  z = module(x[test])
  scores = lelp_jax.class_log_probs(z, num_classes=2, temperature=TAU)
  for name, found in {"teacher": logits[test], "student": scores}.items():
    accuracy = 100 * np.mean(found.argmax(-1) == y[test])
    print(f"{name}: {accuracy:.1f} % of the test images")


if __name__ == "__main__":
  main()
