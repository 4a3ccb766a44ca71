"""One process and two compute the same: losses, gradients."""

import pathlib

import jax
import numpy as np
import optax
import pytest

import lelp_jax
from experiments import specs
from experiments.distributed import mesh as mesh_lib
from experiments.methods import METHODS
from lelp_jax import baselines
from lelp_jax.models import MODELS
from lelp_jax.models import Outputs
from lelp_jax.train_step import make_train_step
from lelp_jax.train_step import TrainState
from tests.experiments import training_runs
from tests.experiments.processes import run_together

# With two classes these losses' gradients are, in part or whole, rounding.
DEGENERATE = {"dist", "standardized_kd"}
TRAINED = [*sorted(METHODS), "subclass_teacher"]


def step_of(method, teachers, placement="auto"):
  """Loss and gradient of the first step, on all devices there are."""
  cell = training_runs.one_step_cell(method)
  cell = specs.replace(cell, {"data.placement": placement})
  run = training_runs.method_run(cell, pathlib.Path(teachers))
  return training_runs.loss_and_gradient(run)


BODY = """
import pathlib
import numpy as np
from experiments.distributed import mesh as mesh_lib
from experiments.distributed import processes
from tests.experiments.distributed import test_processes_agree as here

folder = pathlib.Path({folder!r})
for number, (function, arguments) in enumerate({calls!r}):
  loss, gradient = getattr(here, function)(*arguments)
  if processes.is_main_process():
    np.savez(folder / str(number), loss=loss, gradient=gradient)
"""


def on_two_processes(folder, calls):
  """What the functions of this file return on 2 processes x 4 devices."""
  run_together(
    BODY.format(folder=str(folder), calls=calls),
    count=2,
    devices=4,
    timeout=900,
  )
  files = [np.load(folder / f"{i}.npz") for i in range(len(calls))]
  return [(file["loss"], file["gradient"]) for file in files]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
  """A folder with the teachers that one process trained."""
  folder = tmp_path_factory.mktemp("teachers")
  for method in ("lelp", "subclass"):
    training_runs.knowing_teacher(method, folder)
  return str(folder)


@pytest.mark.slow
def test_every_method_on_two_processes_equals_one(tmp_path, teachers):
  calls = [("step_of", (name, teachers)) for name in TRAINED]
  calls += [("step_of", ("rkd", teachers, "host")), ("deep", ("resnet20",))]
  *found, deep_found = on_two_processes(tmp_path, calls)
  different = {}
  for (_, arguments), step in zip(calls[:-1], found, strict=True):
    expected = step_of(*arguments)
    try:
      if arguments[0] in DEGENERATE:
        np.testing.assert_allclose(step[0], expected[0], rtol=1e-6)
      else:
        training_runs.assert_equal_steps(step, expected)
    except AssertionError as error:
      different[arguments[0]] = str(error)
  assert not different
  assert_equal_deep(deep_found, deep("resnet20", 1))


def deep(name, num_devices=8):
  """Loss and gradient of LELP, RKD and CRD's bank together, in float64.

  Depth amplifies float32's rounding beyond comparison.
  """
  with jax.enable_x64(True):
    options = {"mlp": {"features": (16,) * 8}, "resnet20": {}}[name]
    model = MODELS[name](4, compute_dtype=np.float64, **options)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(16, 8, 8, 3))
    rows = rng.permutation(40)[:16].astype(np.int32)
    negatives = rng.integers(0, 40, (16, 8)).astype(np.int32)
    targets = jax.nn.log_softmax(rng.normal(size=(16, 4))).reshape(16, 2, 2)
    vectors = rng.normal(size=(16, 16))

    def apply(params, model_state, inputs, *, train, key):
      outputs, state = model.apply(
        params, model_state, inputs, train=train, key=key
      )
      # Bundled heads are float32.
      kernel, bias = model.head(params)
      logits = outputs.embeddings @ kernel + bias[None]
      return Outputs(outputs.embeddings, logits), state

    def loss_fn(given):
      student, (log_probs, vectors) = given.student, given.targets
      lelp = lelp_jax.lelp_loss(student.logits, log_probs, temperature=2.0)
      rkd = baselines.rkd_angle_loss(student.embeddings, vectors)
      units = [
        baselines.unit_rows(x[:, :16]) for x in (student.embeddings, vectors)
      ]
      crd, bank = baselines.crd_bank_loss(
        *units, given.loss_state, rows, negatives, temperature=0.5
      )
      return lelp.mean() + rkd + crd.mean(), ({}, bank)

    params, model_state = model.init(jax.random.key(0), inputs)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    tx = optax.sgd(1.0)
    bank = baselines.CRDBank.init(jax.random.key(1), num_examples=40, width=16)
    state = TrainState.create(
      params, model_state, tx, jax.random.key(2), loss_state=bank
    )
    mesh = mesh_lib.make_mesh(1, 16, jax.devices()[:num_devices])
    state = mesh_lib.place(state, mesh_lib.replicated(mesh))
    batch, targets = mesh_lib.place(
      ({"inputs": inputs}, (targets, vectors)), mesh_lib.batch_sharding(mesh)
    )
    step = jax.jit(make_train_step(apply, loss_fn, tx))
    new, metrics = step(state, batch, {}, targets)
    loss, new_params = mesh_lib.fetch((metrics["loss"], new.params), mesh)
    start, end = (
      np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
      for tree in (params, new_params)
    )
    return loss, start - end


def assert_equal_deep(found, expected):
  assert expected[1].dtype == np.float64
  np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
  error = np.linalg.norm(found[1] - expected[1])
  assert error <= 1e-9 * np.linalg.norm(expected[1])
  assert np.linalg.norm(expected[1]) > 1e-3
