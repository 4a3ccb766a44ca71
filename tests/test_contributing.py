"""The method of CONTRIBUTING.md, followed to the letter."""

import os
import pathlib
import re
import subprocess
import sys

from experiments.io.json_files import read_json

_ROOT = pathlib.Path(__file__).parents[1]
_CONFIG = """
from tests.experiments import tiny

def get_config(arg=""):
  config = tiny.config("standard")
  config.sweep.methods = {"pulled": {"loss": {"feature_weight": (0.5,)}}}
  config.sweep.num_trials = 1
  del config.sweep.columns["split1"]
  return config
"""


def test_a_method_from_outside_the_package_is_trained(tmp_path):
  page = (_ROOT / "CONTRIBUTING.md").read_text()
  (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
  (tmp_path / "outside.py").write_text(code)
  (tmp_path / "tiny_sweep.py").write_text(_CONFIG)
  environment = os.environ | {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(_ROOT),
  }
  subprocess.run(
    [sys.executable, "outside.py", "--config=tiny_sweep.py", "--workdir=runs"],
    cwd=tmp_path,
    env=environment,
    check=True,
  )
  (path,) = tmp_path.glob("runs/cells/**/result.json")
  result = read_json(path)
  assert result["num_extra_parameters"] == 8
  assert result["train"]["feature_term"] > 0
  assert result["hyperparameters"] == {
    "temperature": 2.0,
    "feature_weight": 0.5,
  }
