"""A sweep as one program: what its cells would be alone, one teacher's pass."""

import dataclasses
import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.distributed import mesh as mesh_lib
from experiments.training.step import build_program
from tests import jaxprs
from tests.experiments import processes
from tests.experiments import sweep_of_24

_FLOAT64 = """
import json
import jax
jax.config.update("jax_enable_x64", True)
from lelp_jax import models
from tests.experiments import sweep_of_24
models.MODELS["mlp"] = sweep_of_24.FLOAT64_MLP
print(json.dumps(sweep_of_24.largest_errors(500)))
"""


@pytest.mark.slow
def test_24_stacked_cells_equal_24_runs_after_500_steps_in_float64():
  run = subprocess.run(
    [sys.executable, "-c", _FLOAT64],
    cwd=processes.ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=True,
  )
  params, loss, moved = json.loads(run.stdout.splitlines()[-1])
  assert params < 1e-9
  assert loss < 1e-9
  assert moved > 0.5


@pytest.fixture(name="make_stack", scope="module")
def fixture_make_stack():
  """A function from how cells run, and which, to their stack."""
  data = sweep_of_24.splits()
  taught = sweep_of_24.teacher(sweep_of_24.cells(1)[0], data)

  def make(mode, some=slice(None)):
    return sweep_of_24.make(sweep_of_24.cells(3, mode)[some], data, taught)

  return make


def test_mapped_cells_of_any_size_equal_padded_runs_to_the_bit(make_stack):
  """Of every S, each alone in a program with the largest head."""
  # Five cells: no number of devices divides them, and all share the batch.
  stack = make_stack("map", slice(0, 24, 5))
  assert stack.sizes == (2, 2, 5, 5, 10)
  start = stack.program.init(stack.trials, sizes=stack.sizes)
  start = jax.tree.map(np.asarray, start_data(start))
  states, metrics = train(stack, stack.program, start, stack.inputs)
  alone = build_program(dataclasses.replace(stack.spec, num_cells=1))
  for cell in range(5):
    cut = functools.partial(jax.tree.map, lambda x, c=cell: x[c : c + 1])
    inputs = stack.inputs._replace(
      targets=cut(stack.inputs.targets),
      hyperparameters=cut(stack.inputs.hyperparameters),
    )
    own, own_metrics = train(stack, alone, cut(start), inputs)
    for name, values in own_metrics.items():
      np.testing.assert_array_equal(values[0], metrics[name][cell])
    moved = jax.tree.map(lambda x, c=cell: np.asarray(x)[c], states.params)
    jax.tree.map(
      lambda x, y: np.testing.assert_array_equal(np.asarray(x)[0], y),
      own.params,
      moved,
    )


def start_data(states):
  """States whose keys are words, so that NumPy can hold them."""
  return dataclasses.replace(states, key=jax.random.key_data(states.key))


def train(run, program, start, inputs):
  """Three steps from a start by one of two programs."""
  states = dataclasses.replace(start, key=jax.random.wrap_key_data(start.key))
  states = mesh_lib.place(states, mesh_lib.cell_sharding(program.mesh))
  everywhere = mesh_lib.replicated(program.mesh)
  inputs, data = mesh_lib.place((inputs, run.data()), everywhere)
  return program.train_chunk(states, inputs, data, jnp.int32(0), length=3)


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_24_cells_take_one_pass_of_the_teacher_per_batch(make_stack, mode):
  stack = make_stack(mode)
  states = jax.eval_shape(
    functools.partial(stack.program.init, sizes=stack.sizes), stack.trials
  )
  chunk = functools.partial(stack.program.train_chunk, length=1)
  jaxpr = jax.make_jaxpr(chunk)(
    states, stack.inputs, stack.data(), jnp.int32(0)
  )
  shapes = [
    (equation.primitive.name, equation.outvars[0].aval.shape)
    for equation in jaxprs.equations(jaxpr.jaxpr)
  ]
  wide = [x for name, x in shapes if name == "dot_general" and x[-1:] == (16,)]
  # One hidden layer of the teacher, without an axis of cells.
  assert wide.count((sweep_of_24.BATCH, 16)) == 1
  assert not [s for s in wide if len(s) > 2 and s[-2] == sweep_of_24.BATCH]
  # Nor are the class means subtracted from its embeddings once per cell.
  assert not [
    x for name, x in shapes if name == "sub" and len(x) > 2 and x[-1] == 16
  ]
