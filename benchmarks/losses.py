"""Compares each loss with a student's step and with its formula in torch.

Value and gradient are timed on batches of the paper's size and embeddings of
ResNet's width. The step trains ResNet-20 with cross entropy. The torch versions
are the published formulas, written plainly (`torch_losses.py`). LELP with its
targets, CRD within a batch and the auxiliary loss of Subclass Distillation have
no torch version. CRD's bank has 10,000 rows, and each example is compared with
1,024 of them.
"""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from benchmarks import timing
from benchmarks.models import ours
from benchmarks.row import Row
from lelp_jax import baselines

_B, _D, _C, _S, _T = 64, 256, 10, 10, 4.0
_M, _K = 10_000, 1024  # Rows of CRD's bank, and negatives per example.


def arrays() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)

  def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)

  return {
    "student": normal(_B, _D),
    "teacher": normal(_B, _D),
    "student_logits": normal(_B, _C),
    "teacher_logits": normal(_B, _C),
    "subclass_logits": normal(_B, _C * _S),
    "directions": normal(_C, _S, _D) / 16,
    "means": normal(_C, _D),
    "variance_logits": normal(_D),
    "labels": rng.integers(0, _C, _B).astype(np.int32),
    "bank": normal(2, _M, _D) / _D**0.5,
    "ids": rng.integers(0, _M, (_B, 1 + _K)).astype(np.int32),
  }


# Losses with a target, and the reasons why they may miss it.
_NOTES = {
  "rkd_distance": (
    "torch's formula reads a Gram matrix, which loses the digits of rows far "
    "from the origin; ours reads B x B x D differences"
  ),
  "rkd_angle": (
    "two thirds of the time go to three products of B matrices of shape B x "
    "D, which take XLA on a CPU twice as long as torch"
  ),
}
# By name: the array to differentiate by, and the loss as a function of that
# array and all arrays.
LOSSES: dict[str, tuple[str, Callable[..., jax.Array]]] = {
  "lelp": (
    "subclass_logits",
    lambda x, a: lelp_jax.lelp_loss(
      x,
      lelp_jax.log_subsplit(
        a["teacher"],
        a["teacher_logits"],
        lelp_jax.Subspaces(a["directions"], a["means"]),
        temperature=_T,
        subclass_temperature=0.5,
      ),
      temperature=_T,
    ),
  ),
  "kd": (
    "student_logits",
    lambda x, a: baselines.kd_loss(x, a["teacher_logits"], temperature=_T),
  ),
  "embedding": (
    "student",
    lambda x, a: baselines.embedding_loss(x, a["teacher"]),
  ),
  "fitnet": ("student", lambda x, a: baselines.hint_loss(x, a["teacher"])),
  "vid": (
    "student",
    lambda x, a: baselines.vid_loss(x, a["teacher"], a["variance_logits"]),
  ),
  "rkd_distance": (
    "student",
    lambda x, a: baselines.rkd_distance_loss(x, a["teacher"]),
  ),
  "rkd_angle": (
    "student",
    lambda x, a: baselines.rkd_angle_loss(x, a["teacher"]),
  ),
  "crd": (
    "student",
    lambda x, a: baselines.crd_loss(
      baselines.unit_rows(x),
      baselines.unit_rows(a["teacher"]),
      temperature=0.07,
      dataset_size=50_000,
    ),
  ),
  "info_nce": (
    "student",
    lambda x, a: baselines.info_nce_loss(
      baselines.unit_rows(x),
      baselines.unit_rows(a["teacher"]),
      temperature=0.07,
    ),
  ),
  "dkd": (
    "student_logits",
    lambda x, a: baselines.dkd_loss(
      x, a["teacher_logits"], a["labels"], temperature=_T, nontarget_weight=8.0
    ),
  ),
  "dist": (
    "student_logits",
    lambda x, a: baselines.dist_loss(x, a["teacher_logits"], temperature=_T),
  ),
  "standardized_kd": (
    "student_logits",
    lambda x, a: baselines.standardized_kd_loss(
      x, a["teacher_logits"], temperature=_T
    ),
  ),
  "subclass_auxiliary": (
    "subclass_logits",
    lambda x, a: baselines.subclass_auxiliary_loss(x, temperature=1.0),
  ),
}


def _crd_bank(x: jax.Array, a: dict[str, jax.Array]) -> jax.Array:
  bank = baselines.CRDBank(*a["bank"], log_normalizers=jnp.full(2, 10.0))
  losses, _ = baselines.crd_bank_loss(
    baselines.unit_rows(x),
    baselines.unit_rows(a["teacher"]),
    bank,
    a["ids"][:, 0],
    a["ids"][:, 1:],
    temperature=0.07,
  )
  return losses


LOSSES["crd_bank"] = ("student", _crd_bank)


def our_loss(name: str) -> Callable[[], Any]:
  argument, function = LOSSES[name]
  given = {k: jnp.asarray(v) for k, v in arrays().items()}
  run = jax.jit(jax.value_and_grad(lambda x, a: jnp.mean(function(x, a))))
  return lambda: run(given[argument], given)


def torch_loss(name: str) -> Callable[[], Any] | None:
  import torch

  from benchmarks import torch_losses

  function = getattr(torch_losses, name, None)
  if function is None:
    return None
  given = {k: torch.as_tensor(v) for k, v in arrays().items()}
  given["labels"], given["ids"] = given["labels"].long(), given["ids"].long()
  x = given[LOSSES[name][0]].requires_grad_()

  def run() -> None:
    x.grad = None
    function(x, given).backward()

  return run


def rows(full: bool) -> Iterator[Row]:
  """Yields each loss beside a student's step and its formula in torch."""
  step = "ResNet-20's forward and backward pass"
  taken = timing.milliseconds(
    {step: ours("resnet20")["forward+backward"]}, repeats=5
  )
  size = f"B = {_B}, D = {_D}, C = {_C}"
  for name in LOSSES:
    functions = {"ours": our_loss(name)}
    peer = torch_loss(name)
    if peer is not None:
      functions["torch"] = peer
    times = timing.milliseconds(functions) | taken
    label = f"{name} loss and gradient"
    yield timing.row(f"{label} beside a step", size, times, step)
    if peer is not None:
      yield timing.row(
        label,
        size,
        times,
        "torch",
        target=1.0 if name in _NOTES else None,
        note=_NOTES.get(name, ""),
      )
