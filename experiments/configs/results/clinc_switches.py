r"""One switch at a time: why k-means with many clusters wins on CLINC150.

For k-means: hard or soft targets, labels or the teacher's classes, the whole
embedding or the head's null space, and the number of clusters. For LELP with
centroids: the temperature, labels or the teacher's classes, the null space and
the width of the clusters. For LELP: the temperature and the number of
directions. The task is parity, with 15 % of the transfer data, the static
student and three trials of every setting.

  python -m experiments.sweep --workdir=runs/clinc/switches \
    --teacher_dir=runs/clinc/teachers \
    --config=experiments/configs/results/clinc_switches.py
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import dotted
from experiments.configs.results import clinc

_K = 75
_WIDENINGS = (1.0, 3.0, 10.0, 30.0, 100.0)


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of the sweep; the arguments are those of `clinc`."""
  config = clinc.get_config(arg)
  config.title = "Switches on CLINC150 parity, 15 % of the data, static student"
  config.sweep.grid_trials, config.sweep.num_trials = 0, 3
  config.sweep.columns = ConfigDict({"t0": {}})
  config.sweep.methods = ConfigDict(_rows())
  return config


def _rows() -> dict[str, Any]:
  """Returns the rows; each has a difference from the first of its method."""
  kmeans: dict[str, Any] = {"method": "kmeans", "clustering.num_clusters": _K}
  soft = kmeans | {"method": "kmeans_soft", "loss.temperature": 2.0}
  ours = kmeans | {"method": "lelp_centroids", "loss.temperature": 1.0}
  lelp: dict[str, Any] = {
    "loss.temperature": 2.0,
    "loss.subclass_temperature": 0.25,
    "subspace.num_subclasses": 5,
    "method": "lelp",
  }
  flat: dict[str, dict[str, Any]] = {
    "vanilla": {"loss.temperature": 4.0},
    "lelp": lelp,
    "lelp_temperature_1": lelp | {"loss.temperature": 1.0},
    "lelp_temperature_1_s_75": lelp
    | {"loss.temperature": 1.0, "subspace.num_subclasses": _K},
    "kmeans": kmeans,
    "kmeans_5": kmeans | {"clustering.num_clusters": 5},
    "kmeans_20": kmeans | {"clustering.num_clusters": 20},
    "kmeans_null_space": kmeans | {"clustering.null_space": "weights"},
    "kmeans_teachers_classes": kmeans | {"subspace.membership": "teacher"},
    "kmeans_soft": soft,
    "kmeans_soft_temperature_1": soft | {"loss.temperature": 1.0},
    "kmeans_soft_null_space": soft | {"clustering.null_space": "weights"},
    "lelp_centroids": ours,
    "lelp_centroids_temperature_2": ours | {"loss.temperature": 2.0},
    "lelp_centroids_whole": ours | {"subspace.null_space": "none"},
    "lelp_centroids_teachers_classes": ours
    | {"subspace.membership": "teacher"},
  }
  flat |= {
    f"lelp_centroids_widening_{value:g}": ours | {"subspace.widening": value}
    for value in _WIDENINGS
    if value != 10
  }
  return {name: dotted.nested(fields) for name, fields in flat.items()}
