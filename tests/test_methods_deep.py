"""Every method on a deep network: 8 devices against one, in float64.

Depth amplifies the rounding of float32 beyond comparison: what is wrong by
more than rounding shows in float64 alone.
"""

import jax
import numpy as np
import pytest

from experiments.runtime import mesh as mesh_lib
from experiments.training import program
from experiments.training.methods import METHODS
from lelp_jax import models
from tests import sweep_of_24
from tests import training_jobs

pytestmark = pytest.mark.slow  # Two programs each: some minutes in all.
_NUM_LAYERS = 12


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
  return tmp_path_factory.mktemp("teachers")


@pytest.fixture(autouse=True)
def float64(monkeypatch):
  """What is named an MLP is one in float64, its head included."""
  monkeypatch.setitem(models.MODELS, "mlp", sweep_of_24.float64_mlp)
  program.build.cache_clear()
  with jax.enable_x64(True):
    yield
  program.build.cache_clear()
  jax.clear_caches()


# With two classes the gradients of DIST and of standardized logits are, in part
# or whole, rounding: test_baseline_losses.py has them on 8 devices with more.
_DEGENERATE = {"dist", "standardized_kd"}


@pytest.mark.parametrize(
  "method", sorted({*METHODS, "subclass_teacher"} - _DEGENERATE)
)
def test_8_devices_equal_1(teachers, monkeypatch, method):
  config = training_jobs.one_step_config(method)
  config.student.options.features = (16,) * _NUM_LAYERS
  found = training_jobs.loss_and_gradient(
    training_jobs.method_job(config, teachers)
  )
  program.build.cache_clear()
  meshes = mesh_lib.make_mesh
  monkeypatch.setattr(
    mesh_lib, "make_mesh", lambda n, b, _: meshes(n, b, jax.devices()[:1])
  )
  single = training_jobs.method_job(config, teachers)
  assert single.program.mesh.size == 1
  loss, gradient = training_jobs.loss_and_gradient(single)
  assert gradient.dtype == np.float64
  np.testing.assert_allclose(found[0], loss, rtol=1e-12)
  error = np.linalg.norm(found[1] - gradient)
  assert error <= 1e-9 * np.linalg.norm(gradient)
  assert np.linalg.norm(gradient) > 1e-6
