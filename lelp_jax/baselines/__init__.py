"""What LELP is compared with: one pure loss per file, named as in the paper."""

from lelp_jax.baselines.kd import kd_loss

__all__ = ["kd_loss"]
