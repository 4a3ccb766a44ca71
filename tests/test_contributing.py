"""The method of CONTRIBUTING.md, followed to the letter."""

import os
import pathlib
import re
import subprocess
import sys

from experiments.runtime.metric_writer import read_json

_ROOT = pathlib.Path(__file__).parents[1]
# In a process of its own: the page imports a command, with its flags.
_PROGRAM = """
import pathlib
from experiments.training import runs
from experiments.training.methods import METHODS
from tests import tiny
before = set(METHODS)
import outside
assert set(METHODS) - before == {"pulled"}
config = tiny.config("standard")
config.method = "pulled"
config.loss.feature_weight = 0.5
print(*runs.run_cells([config], pathlib.Path("runs")))
"""


def test_a_method_from_outside_the_package_is_trained(tmp_path):
  page = (_ROOT / "CONTRIBUTING.md").read_text()
  (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
  (tmp_path / "outside.py").write_text(code)
  environment = os.environ | {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": f"{_ROOT}{os.pathsep}{tmp_path}",
  }
  command = [sys.executable, "-c", _PROGRAM]
  printed = subprocess.run(
    command,
    cwd=tmp_path,
    env=environment,
    check=True,
    stdout=subprocess.PIPE,
    text=True,
  ).stdout
  result = read_json(tmp_path / printed.strip() / "result.json")
  assert result["num_extra_parameters"] == 8
  assert result["train"]["feature_term"] > 0
  assert result["hyperparameters"] == {
    "temperature": 2.0,
    "feature_weight": 0.5,
  }
