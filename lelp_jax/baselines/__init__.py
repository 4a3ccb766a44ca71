"""Losses that LELP is compared with, one per file, named as in the paper."""

from lelp_jax.baselines.crd import crd_loss
from lelp_jax.baselines.crd import unit_rows
from lelp_jax.baselines.crd_bank import crd_bank_loss
from lelp_jax.baselines.crd_bank import CRDBank
from lelp_jax.baselines.dist import dist_loss
from lelp_jax.baselines.dkd import dkd_loss
from lelp_jax.baselines.embedding import embedding_loss
from lelp_jax.baselines.fitnet import hint_loss
from lelp_jax.baselines.info_nce import info_nce_loss
from lelp_jax.baselines.kd import kd_loss
from lelp_jax.baselines.rkd import rkd_angle_loss
from lelp_jax.baselines.rkd import rkd_distance_loss
from lelp_jax.baselines.standardized_kd import standardized_kd_loss
from lelp_jax.baselines.subclass import subclass_auxiliary_loss
from lelp_jax.baselines.vid import vid_loss

__all__ = [
  "kd_loss",
  "embedding_loss",
  "hint_loss",
  "vid_loss",
  "rkd_distance_loss",
  "rkd_angle_loss",
  "dkd_loss",
  "crd_loss",
  "CRDBank",
  "crd_bank_loss",
  "info_nce_loss",
  "unit_rows",
  "subclass_auxiliary_loss",
  "dist_loss",
  "standardized_kd_loss",
]
