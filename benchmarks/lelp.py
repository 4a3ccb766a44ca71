"""Compares `lelp_loss` on a large batch with the sum of its operands and torch.

Value and gradient read two arrays and write one. So does the sum of the two
arrays, which is a lower bound. As in the commands, freed memory is kept for the
next arrays. Otherwise the kernel would clear new pages in every call, for torch
as well.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from benchmarks.row import Row
from experiments import cli
from lelp_jax import lelp_loss

_B, _C, _S, _T = 8192, 10, 100, 4.0


@jax.jit
def ours(student: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
  def mean(student: jax.Array) -> jax.Array:
    return jnp.mean(lelp_loss(student, targets, temperature=_T))

  return jax.value_and_grad(mean)(student)


@jax.jit
def operands(student: jax.Array, targets: jax.Array) -> jax.Array:
  return student + targets.reshape(student.shape)


def rows(full: bool) -> Iterator[Row]:
  """Yields `lelp_loss` beside both references."""
  import torch

  from benchmarks import torch_losses

  cli.reuse_freed_memory()
  rng = np.random.default_rng(0)
  logits, other = rng.normal(size=(2, _B, _C * _S)).astype(np.float32)
  student = jnp.asarray(logits)
  targets = jax.nn.log_softmax(other).reshape(_B, _C, _S)
  x = torch.as_tensor(logits).requires_grad_()
  given = torch.as_tensor(np.array(targets).reshape(_B, -1))

  def in_torch() -> None:
    x.grad = None
    torch_losses.lelp_loss(x, given, _T).backward()

  times = timing.milliseconds(
    {
      "ours": lambda: ours(student, targets),
      "torch": in_torch,
      "their sum": lambda: operands(student, targets),
    },
    repeats=60,
  )
  size = f"B = {_B:,}, C = {_C}, S = {_S}"
  yield timing.row(
    "lelp_loss and gradient beside its operands",
    size,
    times,
    "their sum",
    target=3.0,
    note="two exponentials and a write per entry take as long as two sums; "
    "XLA on a CPU also stores four arrays between its loops, and reads them "
    "again.",
  )
  yield timing.row(
    "lelp_loss and gradient",
    size,
    times,
    "torch",
    target=0.7,
    note="XLA on a CPU stores four arrays between its loops, as torch does.",
  )
