"""Runs of a few cells, their first step or chunk, and how two steps compare."""

import dataclasses
import os
import signal

import jax
import numpy as np

from experiments import specs
from experiments.distributed import mesh as mesh_lib
from experiments.io import checkpoints
from experiments.io.json_files import read_json
from experiments.io.metrics import read_metrics
from experiments.training import step
from experiments.training import teacher as teacher_lib
from experiments.training.build import build_run
from experiments.training.data import load_splits
from tests.experiments import tiny


def make_run(cells, teacher):
  return build_run(
    cells,
    load_splits(cells[0]),
    teacher=teacher,
    names=[str(cell.trial) for cell in cells],
  )


def knowing_teacher(method, folder):
  """A teacher that was trained long enough to know something.

  A loss near zero has no relative error.
  """
  length = {"teacher.num_steps": 200, "teacher.steps_per_chunk": 200}
  if method == "subclass":
    length["teacher.subclass.num_subclasses"] = 3
  cell = specs.replace(tiny.cell("standard"), {"method": method, **length})
  return teacher_lib.load_or_train(cell, load_splits(cell), folder)


def method_run(cell, folder):
  """A run of a cell of one step; of the method "subclass_teacher", too.

  Subclass Distillation has a teacher of its own, which it trains by a method
  of its own.
  """
  if cell.method == "subclass_teacher":
    return make_run([subclass_teacher(cell)], None)
  if cell.method == "subclass":
    cell = specs.replace(cell, {"teacher.subclass.num_subclasses": 3})
  return make_run([cell], knowing_teacher(cell.method, folder))


def subclass_teacher(cell):
  """Subclass Distillation's teacher, with the student's model and training."""
  student = dict(vars(cell.student))
  teacher = specs.TeacherSpec(
    **student,
    outputs="inline",
    # With a weight of 1 the two terms nearly cancel: rounding has no relative
    # error.
    subclass=specs.SubclassTeacherSpec(3, 0.1, 1.0),
  )
  return teacher_lib.as_student(dataclasses.replace(cell, teacher=teacher))


def use_one_device(patch):
  """Lets new programs run on the first device alone."""
  step.build_program.cache_clear()
  make_mesh = mesh_lib.make_mesh
  patch.setattr(
    mesh_lib, "make_mesh", lambda n, b, _: make_mesh(n, b, jax.devices()[:1])
  )


def interrupt(patch, is_due=lambda step: True):
  """Sends SIGTERM whenever the state of a step that is due is saved."""
  save = checkpoints.Checkpoints.save

  def save_and_interrupt(self, step, state):
    save(self, step, state)
    if is_due(step):
      os.kill(os.getpid(), signal.SIGTERM)

  patch.setattr(checkpoints.Checkpoints, "save", save_and_interrupt)


def lines_without_times(path):
  """The lines of a metrics file."""
  return [
    {k: v for k, v in line.items() if k != "wall_time" and k[:5] != "time/"}
    for line in read_metrics(path)
  ]


def left(workdir):
  """Everything that runs leave, by path, without times."""
  found = {}
  for path in sorted(workdir.glob("**/result.json")):
    result = read_json(path)
    result.get("stack", {}).pop("seconds", None)
    result.pop("seconds")
    found[str(path.relative_to(workdir))] = result
  for path in sorted(workdir.glob("**/metrics.jsonl")):
    found[str(path.relative_to(workdir))] = lines_without_times(path)
  for path in sorted(workdir.glob("cells/**/student.msgpack")):
    found[str(path.relative_to(workdir))] = path.read_bytes()
  return found


def initial(run):
  """The states before the first step, laid over the devices."""
  states = run.program.init(run.trials, sizes=run.sizes)
  return mesh_lib.place(states, mesh_lib.cell_sharding(run.program.mesh))


def chunk(run, states=None):
  """States and metrics after the first chunk."""
  return run.program.train_chunk(
    initial(run) if states is None else states,
    run.inputs,
    run.data(),
    np.int32(0),
    length=run.spec.student.steps_per_chunk,
  )


def vector(tree) -> np.ndarray:
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def loss_and_gradient(run):
  """Of the first step, on any devices; the cell is one of `one_step`."""
  mesh = run.program.mesh
  states = initial(run)
  start = vector(mesh_lib.fetch((states.params, states.loss_params), mesh))
  states, metrics = chunk(run, states)
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


def one_step(cell):
  """The cell, trained by a single step of plain gradient descent."""
  return specs.replace(
    cell,
    {
      "student.num_steps": 1,
      "student.steps_per_chunk": 1,
      "student.optimizer": "sgd",
      "student.momentum": 0.0,
      "student.learning_rate": 1.0,
    },
  )


def one_step_cell(method):
  """A cell for `loss_and_gradient`; batches for 1 to 8 devices."""
  return specs.replace(
    one_step(tiny.cell("standard")),
    {
      "method": method,
      "loss.num_negatives": 16,
      "clustering.num_clusters": 3,
      "student.batch_size": 48,
    },
  )
