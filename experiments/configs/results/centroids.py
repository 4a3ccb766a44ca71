r"""LELP with centroids: the number and the width of the clusters.

Is there a rule for K and s^2 that needs no search? CLINC150 parity or Banking77
parity, 15 % of the transfer data, the static student, the first teacher, three
trials of every setting. For Banking77:

  python -m experiments.sweep --workdir=runs/centroids-banking \
    --teacher_dir=runs/teachers --config=experiments/configs/results/\
centroids.py:dataset=banking
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs import dotted
from experiments.configs.results import banking
from experiments.configs.results import clinc

_CONFIGS = {"clinc": clinc, "banking": banking}
_SIZES = (10, 20, 40, 75, 150)
_WIDENINGS = (0.0, 3.0, 10.0, 30.0, 100.0)  # With 0 the data choose s^2.


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of the sweep.

  Args:
    arg: ``dataset=`` clinc or banking, and ``encoder=``.
  """
  given = base.parse_arg(arg, dataset="clinc", encoder="")
  base.one_of("dataset", given.dataset, _CONFIGS)
  config = _CONFIGS[given.dataset].get_config(
    "share=15,teachers=1"
    + (f",encoder={given.encoder}" if given.encoder else "")
  )
  config.title = f"Centroids, {config.title}"
  config.sweep.grid_trials, config.sweep.num_trials = 0, 3
  fixed = {"method": "lelp_centroids", "loss.temperature": 1.0}
  flat: dict[str, dict[str, Any]] = {"vanilla": {"loss.temperature": 8.0}}
  flat |= {
    f"lelp_centroids_{size}_{widening:g}": fixed
    | {"clustering.num_clusters": size, "subspace.widening": widening}
    for size in _SIZES
    for widening in _WIDENINGS
  }
  config.sweep.methods = ConfigDict(
    {name: dotted.nested(fields) for name, fields in flat.items()}
  )
  return config
