"""The distillation methods, by the name that a config uses.

To add a method, add its `Method` to `METHODS`; see CONTRIBUTING.md.
"""

from experiments.methods import clustering
from experiments.methods import contrastive
from experiments.methods import features
from experiments.methods import labels
from experiments.methods import lelp
from experiments.methods import lelp_centroids
from experiments.methods import random_ensemble
from experiments.methods import subclass
from experiments.methods.base import Method

# In the order of the paper's tables.
METHODS: dict[str, Method] = {
  "standard": labels.STANDARD,
  "vanilla": labels.VANILLA,
  "embedding": features.EMBEDDING,
  "fitnet": features.FITNET,
  "vid": features.VID,
  "rkd": features.RKD,
  "rkd_distance": features.RKD_DISTANCE,
  "crd": contrastive.CRD,
  "crd_bank": contrastive.CRD_BANK,
  "info_nce": contrastive.INFO_NCE,
  "dkd": labels.DKD,
  "dist": labels.DIST,
  "standardized_kd": labels.STANDARDIZED,
  "subclass": subclass.SUBCLASS,
  "lelp": lelp.LELP,
  "random_ensemble": random_ensemble.RANDOM_ENSEMBLE,
  "oracle": labels.ORACLE,
  "lelp_centroids": lelp_centroids.LELP_CENTROIDS,
  **clustering.HARD,
  **clustering.SOFT,
}
# Methods that train a teacher or projections before the students.
_PREPARATIONS = {
  "fitnet_pretraining": features.FITNET_PRETRAINING,
  "crd_pretraining": contrastive.CRD_PRETRAINING,
  "subclass_teacher": subclass.SUBCLASS_TEACHER,
}


def method_named(name: str) -> Method:
  """Returns the method with a name, also one that prepares students."""
  return (METHODS | _PREPARATIONS)[name]
