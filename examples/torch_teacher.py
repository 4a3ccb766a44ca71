"""Saves the outputs of a PyTorch teacher, and distils them without PyTorch.

LELP needs the inputs of the teacher's last layer (embeddings), its outputs
(logits) and its weights. `experiments.distill --teacher=FOLDER` also reads such
arrays. The task is to tell odd digits from even ones (scikit-learn's images).
"""

import tempfile

import jax
import numpy as np
import optax
from sklearn import datasets

import lelp_jax
from lelp_jax.models import MODELS

S, TAU, BETA = 5, 2.0, 4.0  # Not tuned.
ARRAYS = ("embeddings", "logits", "head_kernel", "head_bias")


def digits():
  """Returns all images, shuffled, and whether they are odd."""
  x, y = datasets.load_digits(return_X_y=True)
  order = np.random.default_rng(0).permutation(len(x))
  return np.float32(x[order] / 16), y[order] % 2


def write_outputs(folder, epochs):
  """Trains a model in torch on 1,000 images and saves its outputs for all."""
  import torch

  torch.manual_seed(0)
  x, y = map(torch.from_numpy, digits())
  model = torch.nn.Sequential(
    torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 2)
  )
  optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
  for _ in range(epochs):
    for rows in torch.randperm(1000).split(50):
      loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()

  # A hook records the last layer's inputs, whatever the rest of the model does.
  head, seen = model[-1], []
  head.register_forward_hook(lambda _, read, out: seen.append(read[0]))
  with torch.inference_mode():
    logits = torch.cat([model.eval()(part) for part in x.split(256)])
  # torch stores the transpose. For one logit, see lelp_jax.binary_head.
  arrays = torch.cat(seen), logits, head.weight.T, head.bias
  for name, array in zip(ARRAYS, arrays, strict=True):
    np.save(f"{folder}/{name}.npy", array.numpy(force=True))


def train_student(folder, steps):
  """Trains a student on 100 images; the last 500 are for testing only."""
  x, y = digits()
  h, logits, kernel, _ = (np.load(f"{folder}/{name}.npy") for name in ARRAYS)
  # Step 1: fit subspaces to the embeddings of the teacher's training images.
  subspaces = lelp_jax.fit_subspaces(
    h[:1000], y[:1000], kernel, num_subclasses=S, key=jax.random.key(0)
  )
  # Step 2: compute the targets of all images, [N, C, S].
  targets = lelp_jax.log_subsplit(
    h, logits, subspaces, temperature=TAU, subclass_temperature=BETA
  )
  # Step 3: the student has an output for each of the 2 x S subclasses.
  student, tx = MODELS["mlp"](2 * S, features=(32, 32)), optax.adam(2e-3)
  params, _ = student.init(jax.random.key(1), x[:1])

  @jax.jit
  def step(params, opt_state, x, targets):
    def loss_fn(params):
      outputs, _ = student.apply(params, {}, x)
      return lelp_jax.lelp_loss(outputs.logits, targets, temperature=TAU).mean()

    updates, opt_state = tx.update(jax.grad(loss_fn)(params), opt_state)
    return optax.apply_updates(params, updates), opt_state

  opt_state = tx.init(params)
  for rows in np.random.default_rng(1).integers(100, size=(steps, 50)):
    params, opt_state = step(params, opt_state, x[rows], targets[rows])
  z = student.apply(params, {}, x[-500:])[0].logits
  p = lelp_jax.class_log_probs(z, num_classes=2, temperature=TAU)
  for name, scores in {"teacher": logits[-500:], "student": p}.items():
    accuracy = 100 * np.mean(scores.argmax(-1) == y[-500:])
    print(f"{name}: {accuracy:.1f} % of the test images")


def main(epochs=30, steps=1000):
  with tempfile.TemporaryDirectory() as folder:
    write_outputs(folder, epochs)
    train_student(folder, steps)


if __name__ == "__main__":
  main()
