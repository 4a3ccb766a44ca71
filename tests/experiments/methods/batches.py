"""A teacher made of arrays, and a random batch for the loss of a method."""

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments import specs
from experiments.data.dataset import Task
from experiments.methods import method_named
from experiments.methods.base import loss_statics
from experiments.methods.base import LossSetup
from experiments.methods.base import Setup
from experiments.methods.statistics import TeacherStatistics
from lelp_jax.models import Outputs
from lelp_jax.train_step import LossInputs
from tests.experiments import tiny

N, WIDTH = 80, 6  # Training examples, and embeddings of the teacher.
# Class 0 has three fine labels and class 1 two: unequal on purpose.
TASK = Task("toy", 2, fine_to_class=(0, 1, 0, 1, 0))
LABELS = np.arange(N) % 2
ROWS = np.array([29, 0, 7, 6, 25, 38, 11])
FINE = np.array([1, 0, 3, 2, 1, 4, 3])


def cell(method, **changes):
  return specs.replace(tiny.cell("standard", **changes), {"method": method})


def statistics(embeddings, labels, kernel, **options) -> TeacherStatistics:
  """Returns those of a teacher with these embeddings and this last layer."""
  embeddings = jnp.asarray(embeddings, jnp.float32)
  kernel = jnp.asarray(kernel, jnp.float32)
  moments = lelp_jax.class_moments(embeddings, labels, num_classes=2)
  outputs = Outputs(embeddings, embeddings @ kernel)
  return TeacherStatistics(
    lambda: moments, kernel, lambda: labels, lambda: outputs, **options
  )


def random_statistics(rng) -> TeacherStatistics:
  embeddings = rng.normal(size=(N, WIDTH))
  return statistics(embeddings, LABELS, rng.normal(size=(WIDTH, 2)))


def setup(cell, statistics, size=1) -> Setup:
  return Setup(cell, TASK, WIDTH, statistics, size)


def loss_inputs(cell, statistics, rng, size=1, width=4) -> LossInputs:
  """Returns inputs for a student of `width`, with `size` outputs per class."""
  method, statics = method_named(cell.method), loss_statics(cell)
  loss_params, loss_state = method.learned(
    LossSetup(statics, width, WIDTH, N, jax.random.key(4))
  )
  made = setup(cell, statistics, size)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=(len(ROWS), *shape)), jnp.float32)

  return LossInputs(
    student=Outputs(normal(width), 2 * normal(2 * size)),
    teacher=Outputs(normal(WIDTH), 2 * normal(2)),
    targets=method.shared_targets(made) | method.targets(made),
    batch={
      "rows": jnp.asarray(ROWS),
      "labels": jnp.asarray(LABELS[ROWS]),
      "fine_labels": jnp.asarray(FINE),
    },
    hyperparameters=vars(statics) | method.scalars(cell),
    loss_params=loss_params,
    loss_state=loss_state,
    key=jax.random.key(0),
  )
