"""The method of CONTRIBUTING.md, followed to the letter."""

import pathlib
import re

from experiments.runtime.metric_writer import read_json
from experiments.training import runs
from experiments.training.methods import METHODS
from tests import tiny

_PAGE = pathlib.Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_a_method_from_outside_the_package_is_trained(tmp_path):
  (code,) = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
  before = dict(METHODS)
  try:
    exec(compile(code, str(_PAGE), "exec"), {"__name__": "outside"})
    assert METHODS.keys() - before.keys() == {"pulled"}
    config = tiny.config("standard")
    config.method = "pulled"
    config.loss.feature_weight = 0.5
    (folder,) = runs.run_cells([config], tmp_path)
  finally:
    METHODS.pop("pulled", None)
  result = read_json(folder / "result.json")
  assert result["num_extra_parameters"] == 8
  assert result["train"]["feature_term"] > 0
  assert result["hyperparameters"] == {
    "temperature": 2.0,
    "feature_weight": 0.5,
  }
