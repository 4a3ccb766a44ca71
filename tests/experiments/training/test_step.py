"""Compiled programs: cells in a stack, devices, convolutions."""

import jax
import numpy as np
import pytest

from experiments import identity
from experiments import specs
from experiments.distributed import mesh as mesh_lib
from experiments.training import loop
from experiments.training import states as states_lib
from experiments.training import step
from tests.experiments import tiny
from tests.experiments.training_runs import assert_equal_steps
from tests.experiments.training_runs import chunk
from tests.experiments.training_runs import initial
from tests.experiments.training_runs import knowing_teacher
from tests.experiments.training_runs import loss_and_gradient
from tests.experiments.training_runs import make_run
from tests.experiments.training_runs import method_run
from tests.experiments.training_runs import one_step
from tests.experiments.training_runs import one_step_cell
from tests.experiments.training_runs import use_one_device
from tests.experiments.training_runs import vector


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
  return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def teacher(teachers):
  return knowing_teacher("lelp", teachers)


# Every method on every family: test_methods_models.py.
def test_8_devices_equal_1(teachers, monkeypatch):
  cell = one_step_cell("lelp")
  run = method_run(cell, teachers)
  assert run.program.mesh.devices.shape == (1, 8)
  found = loss_and_gradient(run)
  use_one_device(monkeypatch)
  single = method_run(cell, teachers)
  step.build_program.cache_clear()
  assert single.program.mesh.devices.shape == (1, 1)
  assert_equal_steps(found, loss_and_gradient(single))


def test_a_teacher_cut_over_the_devices_gives_the_same(teacher):
  cell = one_step_cell("lelp")
  whole = make_run([cell], teacher)
  split = make_run([specs.replace(cell, {"split_teacher": True})], teacher)
  assert split.fingerprint == whole.fingerprint
  for run, share in ((whole, 1), (split, 8)):
    kernel = run.inputs.teacher.params["Dense_0"]["kernel"]
    assert kernel.addressable_shards[0].data.size * share == kernel.size
  assert_equal_steps(loss_and_gradient(split), loss_and_gradient(whole))


# 24 cells, and mapped cells, whose bits are the same: test_stacked_sweep.py.
def test_stacked_cells_equal_single_runs(teacher):
  """Cells of different S, temperatures and trials."""
  first = specs.replace(one_step(tiny.cell("lelp")), {"stack.cells": "vmap"})
  cells = [
    specs.replace(
      first,
      {
        "trial": trial,
        "subspace.num_subclasses": size,
        "loss.temperature": temperature,
      },
    )
    for trial in range(2)
    for size, temperature in ((2, 1.0), (3, 4.0))
  ]
  stack = make_run(cells, teacher)
  states, metrics = chunk(stack)
  students = states_lib.students(stack, states)
  for i, (cell, student) in enumerate(zip(cells, students, strict=True)):
    single = make_run([cell], teacher)
    own_states, own_metrics = chunk(single)
    np.testing.assert_allclose(
      metrics["loss"][i], own_metrics["loss"][0], rtol=1e-5
    )
    found = vector(student[0])
    expected = vector(next(states_lib.students(single, own_states))[0])
    error = np.linalg.norm(found - expected)
    assert error <= 1e-5 * np.linalg.norm(expected)


def test_convolutions_on_cpu_are_stepped_and_equal_the_scan(
  teacher, monkeypatch
):
  length = {"student.num_steps": 3, "student.steps_per_chunk": 3}
  cell = specs.replace(tiny.cell(), length)
  scanned, _ = chunk(make_run([cell], teacher))
  monkeypatch.setattr(step, "_is_scanned", lambda spec, mesh: False)
  step.build_program.cache_clear()
  stepped, _ = chunk(make_run([cell], teacher))
  step.build_program.cache_clear()
  np.testing.assert_allclose(
    vector(scanned.params), vector(stepped.params), atol=1e-6
  )


def test_mapped_cells_on_a_cpu_are_programs_and_equal_the_loop(
  teacher, monkeypatch
):
  cells = [
    specs.replace(
      tiny.cell(),
      {
        "stack.cells": "map",
        "student.num_steps": 3,
        "student.steps_per_chunk": 3,
        "subspace.num_subclasses": size,
        "loss.temperature": temperature,
      },
    )
    for size, temperature in ((2, 1.0), (3, 4.0))
  ]

  def results():
    run = make_run(cells, teacher)
    states, metrics = chunk(run)
    scores, _ = loop.evaluate(run, states, run.validation)
    fetched = mesh_lib.fetch((states.params, metrics, scores), run.program.mesh)
    return run, fetched

  looped, expected = results()
  assert looped.program.mesh.size > 1
  use_one_device(monkeypatch)
  monkeypatch.setattr(step, "_is_scanned", lambda spec, mesh: False)
  monkeypatch.setattr(jax.lax, "map", None)
  apart, found = results()
  # A chunk in two parts, as after an interruption, has the same bits.
  states = None
  for first, length in ((0, 1), (1, 2)):
    states, _ = apart.program.train_chunk(
      initial(apart) if states is None else states,
      apart.inputs,
      apart.data(),
      np.int32(first),
      length=length,
    )
  step.build_program.cache_clear()
  jax.tree.map(np.testing.assert_array_equal, found[0], states.params)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
    found,
    expected,
  )


def test_stacks_compile_once_for_all_columns(teacher):
  first = tiny.cell()
  second = specs.replace(
    first, {"column": "split1", "data.options.split_seed": 1}
  )
  runs = [make_run([cell], teacher) for cell in (first, second)]
  assert runs[0].program is runs[1].program
  digests = [identity.teacher_digest(cell) for cell in (first, second)]
  assert digests[0] != digests[1]


def test_static_settings_of_a_loss_are_compiled_in(teachers):
  """They are Python values to the loss, and part of the program's spec."""
  cell = one_step_cell("crd_bank")
  run = method_run(cell, teachers)
  assert run.spec.loss.num_negatives == 16
  other = method_run(specs.replace(cell, {"loss.num_negatives": 8}), teachers)
  assert other.program is not run.program
