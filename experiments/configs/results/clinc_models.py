r"""The student's capacity and the length of the teacher's training on CLINC150.

Each column changes one thing about the pair of models of `clinc.py`. The task
is parity, with 15 % of the transfer data, four grid points per method and three
trials of the chosen one.

  python -m experiments.sweep --workdir=runs/clinc/models \
    --teacher_dir=runs/clinc/teachers \
    --config=experiments/configs/results/clinc_models.py
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import dotted
from experiments.configs.results import clinc
from experiments.configs.results import common

# The fields of each column that differ from those of the column `base`.
_COLUMNS: dict[str, dict[str, Any]] = {
  "base": {},
  "student_small": {
    "student.options.width": 16,
    "student.options.features": (32,),
  },
  "student_large": {
    "student.options.width": 384,
    "student.options.features": (1024, 1024),
  },
  "teacher_1_epoch": {"teacher.num_epochs": 1.0},
  "teacher_4_epochs": {"teacher.num_epochs": 4.0},
}


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of the sweep; the arguments are those of `clinc`."""
  config = clinc.get_config(arg)
  config.title = f"Models on {config.title}"
  config.sweep.grid_trials, config.sweep.num_trials = 1, 3
  config.sweep.columns_are = "settings"
  config.sweep.columns = ConfigDict(
    {name: dotted.nested(fields) for name, fields in _COLUMNS.items()}
  )
  config.column = "base"
  config.sweep.methods = ConfigDict(common.rows_of_four())
  return config
