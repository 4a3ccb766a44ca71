"""One process and two compute the same: losses, gradients."""

import pathlib

import numpy as np
import pytest

from experiments import specs
from experiments.methods import METHODS
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
from experiments.distributed import processes
from tests.experiments.distributed import test_processes_agree as here

folder = pathlib.Path({folder!r})
for number, arguments in enumerate({calls!r}):
  loss, gradient = here.step_of(*arguments)
  if processes.is_main_process():
    np.savez(folder / str(number), loss=loss, gradient=gradient)
"""


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
  """A folder with the teachers that one process trained."""
  folder = tmp_path_factory.mktemp("teachers")
  for method in ("lelp", "subclass"):
    training_runs.knowing_teacher(method, folder)
  return str(folder)


@pytest.mark.slow
def test_every_method_on_two_processes_equals_one(tmp_path, teachers):
  calls = [(name, teachers) for name in TRAINED]
  calls.append(("rkd", teachers, "host"))
  body = BODY.format(folder=str(tmp_path), calls=calls)
  run_together(body, count=2, devices=4, timeout=900)
  different = {}
  for number, arguments in enumerate(calls):
    with np.load(tmp_path / f"{number}.npz") as file:
      step = file["loss"], file["gradient"]
    expected = step_of(*arguments)
    try:
      if arguments[0] in DEGENERATE:
        np.testing.assert_allclose(step[0], expected[0], rtol=1e-6)
      else:
        training_runs.assert_equal_steps(step, expected)
    except AssertionError as error:
      different[arguments[0]] = str(error)
  assert not different
