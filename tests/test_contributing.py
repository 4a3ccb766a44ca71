"""CONTRIBUTING.md, followed to the letter."""

import contextlib
import dataclasses
import functools
import inspect
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np

from experiments.io.json_files import read_json
from experiments.training import data
from experiments.training import inference
from experiments.training import step
from experiments.training import sweep
from tests.experiments import tiny

_ROOT = pathlib.Path(__file__).parents[1]
_PAGE = (_ROOT / "CONTRIBUTING.md").read_text()
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
  (code,) = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)
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


def test_the_map_of_a_run_is_the_path_of_an_image(tmp_path):
  section = _PAGE.split("## How a run works")[1].split("\n## ")[0]
  listed = re.findall(r"^\d+\. `([^`]*)`", section, re.MULTILINE)
  cell = tiny.cell("lelp", teacher__outputs="cached", teacher__max_shift=0.1)
  for cached in (
    data._load_splits,
    step.build_program,
    inference._compiled,
  ):
    cached.cache_clear()
  with _modules_with_images() as found:
    sweep.run_cells([cell], tmp_path)
  assert list(tmp_path.glob("cells/**/result.json"))
  assert set(listed) == found
  assert len(listed) == len(found) <= 22


@contextlib.contextmanager
def _modules_with_images():
  """Yields the set of files with a function that takes or returns images."""
  found, busy = set(), False

  def trace(frame, event, returned):
    nonlocal busy
    code = frame.f_code
    name = _traced(code.co_filename)
    if busy or name is None or code.co_name[0] == "<":
      return
    values = [returned]
    if event == "call":
      names, *starred, given = inspect.getargvalues(frame)
      values = [given[x] for x in (*names, *starred) if x in given]
    busy = True
    if any(map(_has_images, values)):
      found.add(name)
    busy = False

  sys.setprofile(trace)
  try:
    yield found
  finally:
    sys.setprofile(None)


@functools.cache
def _traced(filename):
  """The path in the repository of a module on the map, None for others."""
  path = pathlib.Path(filename)
  if not path.is_relative_to(_ROOT):
    return None
  package, *folders = (path := path.relative_to(_ROOT)).parts
  if package not in ("experiments", "lelp_jax"):
    return None
  # Files and devices serve all others.
  return None if folders[0] in ("io", "distributed") else path.as_posix()


def _has_images(value, depth=3):
  """Whether a value holds images of the digits, or tracers of some."""
  if isinstance(value, np.ndarray | jax.Array):
    return value.shape[-3:] == (8, 8, 1)
  if not depth or isinstance(value, type):
    return False
  if dataclasses.is_dataclass(value):
    value = vars(value)
  if isinstance(value, dict):
    value = list(value.values())
  if not isinstance(value, list | tuple):
    return False
  return any(_has_images(item, depth - 1) for item in value)
