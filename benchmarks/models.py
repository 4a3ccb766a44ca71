"""Compares the speed and memory of each model with the same model in torch.

Both frameworks run in one process, in turns, on the same device and in float32.
The time to start (compilation, or torch's first pass) and the peak memory above
that of the imports, parameters included, are measured in a separate process for
each framework, which runs two forward and backward passes.
"""

import dataclasses
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import apart
from benchmarks import timing
from benchmarks.row import Row
from lelp_jax.models import MODELS

_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Case:
  """A model, its inputs and its counterpart in torch.

  Attributes:
    batch: Number of examples.
    shape: Shape of one example; ``(L,)`` for token ids.
    peer: ``(torch_models module) -> torch module``.
    options: Options of our model.
  """

  batch: int
  shape: tuple[int, ...]
  peer: Callable[[Any], Any]
  options: dict[str, Any] = dataclasses.field(default_factory=dict)


_IMAGE = (32, 32, 3)
CASES = {
  "mlp": Case(
    64, (768,), lambda t: t.mlp(768, 4096, 2), {"features": (4096, 4096)}
  ),
  "resnet20": Case(64, _IMAGE, lambda t: t.resnet(20, 2)),
  "resnet56": Case(64, _IMAGE, lambda t: t.resnet(56, 2)),
  "resnet92": Case(64, _IMAGE, lambda t: t.resnet(92, 2)),
  "mobilenet": Case(64, _IMAGE, lambda t: t.mobilenet(1, 1, 2)),
  "mobilenet_wd2": Case(64, _IMAGE, lambda t: t.mobilenet(2, 2, 2)),
  "albert_base": Case(8, (128,), lambda t: t.Albert(768, 12, 12, 3072, 2)),
  "albert_large": Case(8, (128,), lambda t: t.Albert(1024, 24, 16, 4096, 2)),
}
_DEFAULT = ("mlp", "resnet20", "resnet56", "mobilenet", "albert_base")
# Targets of the ratio to torch's time, forward and backward on a CPU.
_TARGETS = {
  "resnet20": 1.2,
  "resnet56": 1.2,
  "mobilenet": 1.2,
  "albert_base": 1.0,
}
_CONVOLUTIONS = (
  "XLA's 3x3 convolutions run at 70 to 200 GFLOP/s on two cores, those of "
  "oneDNN in torch at 160 to 240"
)
# The reasons for missed targets, from profiles.
_NOTES = {
  "resnet20": _CONVOLUTIONS,
  "resnet56": _CONVOLUTIONS,
  "mobilenet": (
    "half of the time goes to matrix products with few rows and to the sums "
    "in BatchNorm and in the gradients of depthwise kernels"
  ),
  "albert_base": (
    "a fifth of the time goes to copies: the loop over the layers stores what "
    "the backward pass reads, and gradients of kernels transpose an operand "
    "first"
  ),
}
_MOST_OF_RESNET = 0.6  # MobileNet's target, as a share of ResNet-20's time.


def _inputs(name: str) -> np.ndarray:
  case, rng = CASES[name], np.random.default_rng(0)
  if MODELS[name].reads == "tokens":
    return rng.integers(
      5, MODELS[name].vocab_size(), (case.batch, *case.shape)
    ).astype(np.int32)
  return rng.normal(size=(case.batch, *case.shape)).astype(np.float32)


def ours(name: str) -> dict[str, Callable[[], Any]]:
  """Returns the passes of our model; the first call of each compiles it."""
  model = MODELS[name](2, **CASES[name].options)
  inputs: Any = jnp.asarray(_inputs(name))
  if MODELS[name].reads == "tokens":
    inputs = {"input_ids": inputs, "attention_mask": jnp.ones_like(inputs)}
  key = jax.random.key(0)
  params, state = jax.jit(model.init)(key, inputs)
  labels = jnp.arange(CASES[name].batch) % 2

  @jax.jit
  def forward(params, state, inputs):
    return model.apply(params, state, inputs)[0].logits

  @jax.jit
  def backward(params, state, inputs, labels):
    def loss(params):
      outputs, new = model.apply(params, state, inputs, train=True, key=key)
      log_probs = jax.nn.log_softmax(outputs.logits)
      picked = jnp.take_along_axis(log_probs, labels[:, None], axis=-1)
      return -picked.mean(), new

    return jax.value_and_grad(loss, has_aux=True)(params)

  return {
    "forward": lambda: forward(params, state, inputs),
    "forward+backward": lambda: backward(params, state, inputs, labels),
  }


def theirs(name: str) -> dict[str, Callable[[], Any]]:
  """Returns the passes of torch's model, which wait for a GPU to finish."""
  import torch

  from benchmarks import torch_models

  device = "cuda" if torch.cuda.is_available() else "cpu"
  model = CASES[name].peer(torch_models).to(device)
  inputs = torch.as_tensor(_inputs(name))
  if MODELS[name].reads != "tokens":
    # Channels first, stored in the channels-last format, are fastest in torch.
    inputs = inputs.movedim(-1, 1) if inputs.ndim == 4 else inputs
    model = model.to(memory_format=torch.channels_last)
  inputs = inputs.to(device)

  def call(backward: bool) -> None:
    torch_models.run(model.train(backward), inputs, backward)
    if device == "cuda":
      torch.cuda.synchronize()

  return {
    "forward": lambda: call(False),
    "forward+backward": lambda: call(True),
  }


def _peak_mib(framework: str) -> float:
  """Returns the peak memory so far, of the GPU or of this process."""
  if jax.default_backend() != "cpu" and framework == "ours":
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use", 0) / _MIB
  if framework == "torch":
    import torch

    if torch.cuda.is_available():
      return torch.cuda.max_memory_allocated() / _MIB
  return apart.peak_mib()


def start_and_peak(name: str, framework: str) -> tuple[float, float]:
  """Returns by how much the first pass is slower, and the peak memory."""
  before = _peak_mib(framework)
  run = (ours if framework == "ours" else theirs)(name)["forward+backward"]
  times = []
  for _ in range(2):
    start = time.perf_counter()
    jax.block_until_ready(run())
    times.append(time.perf_counter() - start)
  return times[0] - times[1], _peak_mib(framework) - before


def rows(full: bool) -> Iterator[Row]:
  """Yields the passes of each model beside torch's."""
  passes = {}
  for name in CASES if full else _DEFAULT:
    mine, peer = ours(name), theirs(name)
    for kind in mine:
      times = timing.milliseconds(
        {"ours": mine[kind], "torch": peer[kind]}, repeats=5
      )
      if kind == "forward+backward":
        passes[name] = times["ours"]
      yield timing.row(
        f"{name}, {kind}",
        f"batch {CASES[name].batch}",
        times,
        "torch",
        target=_TARGETS.get(name) if kind == "forward+backward" else None,
        note=_NOTES.get(name, ""),
      )
  yield timing.row(
    "mobilenet, forward+backward",
    "batch 64, beside resnet20",
    {"ours": passes["mobilenet"], "resnet20": passes["resnet20"]},
    "resnet20",
    target=_MOST_OF_RESNET,
  )
  for name in ("resnet56", "mobilenet", "albert_base") if full else ():
    size = f"batch {CASES[name].batch}"
    # Run one after the other, in new processes.
    mine = apart.call(start_and_peak, name, "ours")
    peer = apart.call(start_and_peak, name, "torch")
    label = f"{name}, start without a cache"
    yield Row(label, size, mine[0], "s", "torch", peer[0])
    yield Row(f"{name}, peak memory", size, mine[1], "MiB", "torch", peer[1])
