r"""Figure 5 on CLINC150: the number of subclasses and their temperature.

LELP, plain principal directions, random directions, all coordinates (identity),
LELP with centroids, and k-means, with S from 5 to 100 and beta from 1/64 to 16.
The task is parity, with 15 % of the transfer data, the static student and one
trial.

  python -m experiments.sweep --workdir=runs/clinc/figure5 \
    --teacher_dir=runs/clinc/teachers \
    --config=experiments/configs/results/clinc_figure5.py
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs.results import clinc

_SIZES = (5, 20, 100)
_BETAS = (2.0**-6, 2.0**-4, 0.25, 1.0, 4.0, 16.0)
_KINDS = {
  "lelp": "lelp",
  "lelp_pca": "pca",
  "lelp_random": "random",
}


def get_config(arg: str | None = None) -> ConfigDict:
  """Returns the config of the sweep; the arguments are those of `clinc`."""
  config = clinc.get_config(arg)
  config.title = f"Figure 5 on {config.title}"
  config.name = "figure5"  # The report draws the picture of this name.
  config.sweep.grid_trials, config.sweep.num_trials = 0, 1
  config.sweep.columns = ConfigDict({"t0": {}})
  axes = {"subclass_temperature": _BETAS}
  rows: dict[str, Any] = {
    name: {
      "method": "lelp",
      "subspace": {"kind": kind, "num_subclasses": _SIZES},
      "loss": axes | {"temperature": 2.0},
    }
    for name, kind in _KINDS.items()
  }
  rows["lelp_identity"] = {  # S is always D.
    "method": "lelp",
    "subspace": {"kind": "identity"},
    "loss": axes | {"temperature": 2.0},
  }
  rows["lelp_centroids"] = {
    "clustering": {"num_clusters": _SIZES},
    "loss": axes | {"temperature": 1.0},
  }
  rows["kmeans"] = {"clustering": {"num_clusters": _SIZES}}
  rows["vanilla"] = {"loss": {"temperature": (1.0, 2.0, 4.0)}}
  config.sweep.methods = ConfigDict(rows)
  return config
