"""Compares LELP with vanilla distillation and plain labels in an optax loop.

The task is to tell odd digits from even ones. The teacher learns from 1,000 of
scikit-learn's images, and students from 100. The teacher's embeddings tell all
ten digits apart, but its logits do not. The plot is written to digits.png.
"""

import functools

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn import datasets

import lelp_jax
from lelp_jax.baselines import kd_loss
from lelp_jax.models import MODELS

cross_entropy = optax.softmax_cross_entropy_with_integer_labels
# Chosen on the validation images of three other random splits.
S, TAU, BETA = 10, 2.0, 8.0
STUDENTS = ("labels", "vanilla", "LELP")  # LELP has an output per subclass.
MODEL = {name: MODELS["mlp"](2, features=(32, 32)) for name in STUDENTS}
MODEL["LELP"] = MODELS["mlp"](2 * S, features=(32, 32))
MODEL["teacher"] = MODELS["mlp"](2, features=(256,))


@functools.partial(jax.jit, static_argnames=("name", "steps"))
def train(name, data, key, steps):
  """Returns the parameters of a model after some steps of Adam."""
  init_key, rows_key = jax.random.split(key)
  params, _ = MODEL[name].init(init_key, data["x"][:1])
  tx = optax.adam(2e-3)

  def loss_fn(params, rows):
    batch = {name: array[rows] for name, array in data.items()}
    z = MODEL[name].apply(params, {}, batch["x"])[0].logits
    if name == "LELP":
      return lelp_jax.lelp_loss(z, batch["log_p"], temperature=TAU).mean()
    if name == "vanilla":
      return kd_loss(z, batch["z"], temperature=TAU).mean()
    return cross_entropy(z, batch["y"]).mean()

  def step(state, rows):
    params, opt_state = state
    updates, opt_state = tx.update(jax.grad(loss_fn)(params, rows), opt_state)
    return (optax.apply_updates(params, updates), opt_state), None

  rows = jax.random.randint(rows_key, (steps, 50), 0, len(data["x"]))
  return jax.lax.scan(step, (params, tx.init(params)), rows)[0][0]


def run_split(split, steps):
  """Trains all models on a random split; returns their test accuracies."""
  x, y = datasets.load_digits(return_X_y=True)
  order = np.random.default_rng(split).permutation(len(x))
  x, y = np.float32(x[order] / 16), y[order] % 2
  teacher_key, key, *keys = jax.random.split(jax.random.key(split), 5)
  # Train the teacher on labels, freeze it, and run it once on each image.
  params = train("teacher", {"x": x[:1000], "y": y[:1000]}, teacher_key, steps)
  (h, z), _ = MODEL["teacher"].apply(params, {}, x)
  # Step 1 of LELP: fit subspaces to the embeddings of its training images.
  kernel = MODEL["teacher"].head(params).kernel
  subspaces = lelp_jax.fit_subspaces(
    h[:1000], y[:1000], kernel, num_subclasses=S, key=key
  )
  # Step 2: split its two classes into 2 x S subclasses.
  log_p = lelp_jax.log_subsplit(
    h, z, subspaces, temperature=TAU, subclass_temperature=BETA
  )
  # Step 3: train the students, and test them on the last 500 images only.
  scores = {"teacher": z[-500:]}
  few = {"x": x[:100], "y": y[:100], "z": z[:100], "log_p": log_p[:100]}
  for name, key in zip(STUDENTS, keys, strict=True):
    params = train(name, few, key, steps)
    z = MODEL[name].apply(params, {}, x[-500:])[0].logits
    scores[name] = lelp_jax.class_log_probs(z, num_classes=2, temperature=TAU)
  return {k: 100 * np.mean(v.argmax(-1) == y[-500:]) for k, v in scores.items()}


def main(splits=10, steps=1000, plot="digits.png"):
  """Prints test accuracies, and gains paired by split, and plots them."""
  found = [run_split(split, steps) for split in range(splits)]
  table = {name: np.array([f[name] for f in found]) for name in found[0]}
  for name in STUDENTS[:2]:
    table[f"LELP - {name}"] = table["LELP"] - table[name]
  for name, values in table.items():
    error = np.std(values, ddof=1) / splits**0.5
    print(f"{name:<15} {np.mean(values):6.2f} ± {error:.2f}")
  for split in found:
    plt.plot(STUDENTS, [split[name] for name in STUDENTS], "o-", color="0.8")
  plt.plot(STUDENTS, [table[name].mean() for name in STUDENTS], "ks-")
  plt.ylabel("Test accuracy (%): splits, and their mean")
  plt.savefig(plot)


if __name__ == "__main__":
  main()
