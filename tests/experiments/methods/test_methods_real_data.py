"""Every method on real images: small CNNs on CIFAR-10-bin, 200 steps each.

Reads the folder that LELP_DATA names. Each method is a command of its own, on
one device: eight virtual ones would take turns at two cores.
"""

import os
import subprocess
import sys

import pytest

from experiments.configs import base
from experiments.configs import pair
from experiments.data.prepare import prepare
from experiments.io.json_files import read_json
from experiments.io.metrics import read_metrics
from experiments.methods import METHODS
from tests.experiments import real_originals

DATA = os.environ.get("LELP_DATA")
pytestmark = [
  pytest.mark.slow,  # A minute or two each, on two cores.
  pytest.mark.skipif(DATA is None, reason="LELP_DATA is not set"),
]


def get_config(arg):
  """The config of one method, for the command."""
  given = base.parse_arg(arg, method="", data_dir="")
  config = pair.get_config(
    f"teacher=resnet20,student=resnet20,method={given.method}"
  )
  config.data.data_dir = given.data_dir
  for fields, steps in ((config.teacher, 600), (config.student, 200)):
    fields.model = "cnn"  # Compiles in a moment.
    fields.options = {"features": (16, 32), "width": 64}
    fields.num_epochs, fields.num_steps, fields.steps_per_chunk = 0.0, steps, 50
    # As large as so small batches bear: there are a few hundred steps.
    fields.batch_size, fields.learning_rate = 32, 0.02
  config.pretraining.num_epochs, config.pretraining.num_steps = 0.0, 50
  config.loss.num_negatives = 256
  if given.method == "crd":  # At the usual weight a CNN of this size diverges.
    config.loss.feature_weight = 0.02
  return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("cifar")
  source = real_originals.cifar(DATA, "cifar10", folder / "originals")
  prepare("cifar10_bin", data_dir=folder / "data", source=source, partial=True)
  return folder


@pytest.mark.parametrize("method", METHODS)
def test_a_student_learns_and_follows_its_teacher(folder, method):
  workdir = folder / method
  found = subprocess.run(
    [
      sys.executable,
      *("-m", "experiments.main"),
      f"--config={__file__}:method={method},data_dir={folder / 'data'}",
      f"--workdir={workdir}",
      f"--teacher_dir={folder / 'teachers'}",
    ],
    env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
    capture_output=True,
    text=True,
  )
  assert found.returncode == 0, found.stderr
  (path,) = workdir.glob("cells/**/result.json")
  result = read_json(path)
  assert result["teacher"]["test"]["accuracy"] > 0.7
  first, *_, last = read_metrics(path.with_name("metrics.jsonl"))
  assert last["train/loss"] < first["train/loss"]
  if method == "standardized_kd":  # Of two classes it learns nothing.
    assert abs(result["test"]["accuracy"] - 0.5) < 0.1
    return
  # 1,017 images: chance is 50 % with a standard error of 1.6.
  assert result["test"]["accuracy"] > 0.54
  assert result["test"]["agreement"] > 0.55
