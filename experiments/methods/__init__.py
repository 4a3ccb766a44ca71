"""The methods that are compared, by the name that a config uses.

To add one, put its `Method` into `METHODS`: see CONTRIBUTING.md.
"""

import numpy as np
from ml_collections import ConfigDict

from experiments.methods import clusters
from experiments.methods import contrast
from experiments.methods import features
from experiments.methods import labels
from experiments.methods import lelp
from experiments.methods import subclass
from experiments.methods.base import Method
from experiments.methods.base import scalars

# In the order of the paper's tables.
METHODS: dict[str, Method] = {
  "standard": labels.STANDARD,
  "vanilla": labels.VANILLA,
  "embedding": features.EMBEDDING,
  "fitnet": features.FITNET,
  "vid": features.VID,
  "rkd": features.RKD,
  "rkd_distance": features.RKD_DISTANCE,
  "crd": contrast.CRD,
  "crd_bank": contrast.CRD_BANK,
  "info_nce": contrast.INFO_NCE,
  "dkd": labels.DKD,
  "dist": labels.DIST,
  "standardized_kd": labels.STANDARDIZED,
  "subclass": subclass.SUBCLASS,
  "lelp": lelp.LELP,
  "oracle": labels.ORACLE,
  **clusters.HARD,
  **clusters.SOFT,
}
# Trainings that come before a method's own.
_PREPARATIONS = {
  "fitnet_pretraining": features.FITNET_PRETRAINING,
  "crd_pretraining": contrast.CRD_PRETRAINING,
  "subclass_teacher": subclass.SUBCLASS_TEACHER,
}


def method_named(name: str) -> Method:
  """Returns the method of a name, a preparation's included.

  Args:
    name: A key of `METHODS`, or of what comes before them.

  Raises:
    ValueError: If there is none.
  """
  known = METHODS | _PREPARATIONS
  if name not in known:
    raise ValueError(f"unknown method {name!r}; there are {sorted(METHODS)}.")
  return known[name]


def hyperparameter_arrays(config: ConfigDict) -> dict[str, np.float32]:
  """Returns the scalars of a cell that its compiled program takes.

  Args:
    config: The cell's config.

  Raises:
    ValueError: If its method is unknown or a value out of range.
  """
  return scalars(config, method_named(config.method))
