"""Stacks of cells, one step or chunk of them, and how two steps compare."""

import jax
import numpy as np

from experiments.distributed import mesh as mesh_lib
from experiments.training import jobs
from experiments.training import loop
from experiments.training import runs
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny


def make_job(configs, teacher):
  splits = runs.load_splits(configs[0])
  return jobs.make_job(
    configs,
    splits,
    train=splits.transfer,
    teacher=teacher,
    names=[str(c.trial) for c in configs],
  )


def knowing_teacher(method, folder):
  """A teacher long enough in training to know something, for a method.

  A loss near zero has no relative error.
  """
  config = tiny.config("standard")
  config.method = method
  config.teacher.num_steps = config.teacher.steps_per_chunk = 200
  if method == "subclass":
    config.teacher.subclass.num_subclasses = 3
  return teacher_lib.load_or_train(config, runs.load_splits(config), folder)


def method_job(config, folder):
  """A job of a config of one step; of the method "subclass_teacher", too.

  Subclass Distillation has a teacher of its own, which it trains by a method
  of its own.
  """
  if config.method == "subclass_teacher":
    return make_job([subclass_teacher(config)], None)
  if config.method == "subclass":
    config.teacher.subclass.num_subclasses = 3
  return make_job([config], knowing_teacher(config.method, folder))


def subclass_teacher(config):
  """A config of Subclass Distillation's teacher, trained as the student is."""
  config.teacher = config.student
  config.teacher.seed = 0
  config.teacher.subclass = {"num_subclasses": 3}
  # With 1 the two terms nearly cancel: rounding has no relative error.
  config.teacher.subclass.auxiliary_weight = 0.1
  config.teacher.subclass.auxiliary_temperature = 1.0
  return teacher_lib._as_cell(config)


def chunk(job):
  """States and metrics after one chunk from the start."""
  states = job.program.init(job.trials, sizes=job.sizes)
  mesh = job.program.mesh
  states = mesh_lib.place(states, mesh_lib.cell_sharding(mesh))
  return job.program.train_chunk(
    states,
    *loop.placed(job),
    np.int32(0),
    length=job.spec.recipe["steps_per_chunk"],
  )


def vector(tree) -> np.ndarray:
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def loss_and_gradient(job):
  """Of the first step, on any devices: a config of `_one_step`."""
  mesh = job.program.mesh
  states = job.program.init(job.trials, sizes=job.sizes)
  trained = states.params, states.loss_params
  start = vector(trained)
  states, metrics = chunk(job)
  trained = states.params, states.loss_params
  # A step of gradient descent of rate one is the gradient.
  gradient = start - vector(mesh_lib.fetch(trained, mesh))
  return mesh_lib.fetch(metrics["loss"], mesh), gradient


def assert_equal_steps(found, expected, tolerances=(1e-6, 1e-5)):
  """Within relative tolerances of the loss, and of the gradient as a vector."""
  (loss, gradient), (expected_loss, expected_gradient) = found, expected
  np.testing.assert_allclose(loss, expected_loss, rtol=tolerances[0])
  error = np.linalg.norm(gradient - expected_gradient)
  assert error <= tolerances[1] * np.linalg.norm(expected_gradient)
  assert np.linalg.norm(expected_gradient) > 1e-3


def one_step(config):
  """A config of a single step of plain gradient descent."""
  for fields in (config.student,):
    fields.num_steps = fields.steps_per_chunk = 1
    fields.optimizer, fields.momentum = "sgd", 0.0
    fields.learning_rate = 1.0
  return config


def one_step_config(method):
  """A config for `loss_and_gradient`; batches for 1 to 8 devices."""
  config = one_step(tiny.config("standard"))
  config.method = method
  config.loss.num_negatives = 16
  config.clustering.num_clusters = 3
  config.student.batch_size = 48
  return config
