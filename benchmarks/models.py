"""Speed and memory of each model compared with the same model in torch.

  pip install '.[bench]'
  python -m benchmarks.models [resnet56 albert_base ...]

Both frameworks run in one process, in turns, on the same device and in
float32; times of forward and backward passes are given as ratios too. The time
to start (compilation, or torch's first pass) and the peak memory above that of
the imports, parameters included, are measured in a separate process for each
framework, which runs two passes forward and backward.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from lelp_jax.models import MODELS

_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Case:
  """A model and what it is run on.

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


def _inputs(name: str) -> np.ndarray:
  case, rng = CASES[name], np.random.default_rng(0)
  if MODELS[name].reads == "tokens":
    return rng.integers(
      5, MODELS[name].vocab_size(), (case.batch, *case.shape)
    ).astype(np.int32)
  return rng.normal(size=(case.batch, *case.shape)).astype(np.float32)


def ours(name: str) -> dict[str, Callable[[], Any]]:
  """Returns passes of our model, which the first call compiles."""
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
  """Returns passes of torch's model; they wait for a GPU."""
  import torch

  from benchmarks import torch_models

  device = "cuda" if torch.cuda.is_available() else "cpu"
  model = CASES[name].peer(torch_models).to(device)
  inputs = torch.as_tensor(_inputs(name))
  if MODELS[name].reads != "tokens":
    # Channels first, stored with channels last, is fastest in torch.
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
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _apart(name: str, framework: str) -> dict[str, float]:
  """Measures one framework in a separate process."""
  command = [sys.executable, "-m", "benchmarks.models", f"--apart={framework}"]
  done = subprocess.run([*command, name], capture_output=True, text=True)
  if done.returncode:
    raise RuntimeError(done.stderr)
  return json.loads(done.stdout.splitlines()[-1])


def _measure_apart(name: str, framework: str) -> None:
  """Prints the first pass's time over a later one's, and the peak memory."""
  before = _peak_mib(framework)
  run = (ours if framework == "ours" else theirs)(name)["forward+backward"]
  times = []
  for _ in range(2):
    start = time.perf_counter()
    jax.block_until_ready(run())
    times.append(time.perf_counter() - start)
  peak = _peak_mib(framework)
  print(json.dumps({"start": times[0] - times[1], "peak": peak - before}))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("models", nargs="*", help=f"of {', '.join(CASES)}")
  parser.add_argument("--apart", choices=("ours", "torch"))
  parser.add_argument("--repeats", type=int, default=5)
  arguments = parser.parse_args()
  names = arguments.models or _DEFAULT
  if unknown := sorted(set(names) - set(CASES)):
    sys.exit(f"error: unknown models {unknown}; there are {list(CASES)}.")
  try:
    import torch
    import transformers  # noqa: F401
  except ImportError as error:
    sys.exit(f"error: {error}: pip install '.[bench]' for the peers.")
  if arguments.apart:
    _measure_apart(names[0], arguments.apart)
    return
  # First: a child's peak memory counts from its parent's.
  print("One process each: time to start (s), peak memory (MiB)")
  print(f"{'model':<14} {'ours':>8} {'torch':>8} {'ours':>8} {'torch':>8}")
  for name in names:
    mine, peer = _apart(name, "ours"), _apart(name, "torch")
    print(
      f"{name:<14} {mine['start']:>8.2f} {peer['start']:>8.2f} "
      f"{mine['peak']:>8.0f} {peer['peak']:>8.0f}",
      flush=True,
    )
  print(
    f"\n{timing.machine()}, torch {torch.__version__}; float32, milliseconds"
  )
  print(
    f"{'model':<14} {'batch':>5} {'pass':<17} {'ours':>8} {'torch':>8} "
    f"{'ours / torch':>12}"
  )
  for name in names:
    mine, peer = ours(name), theirs(name)
    for kind in mine:
      times = timing.milliseconds(
        {"ours": mine[kind], "torch": peer[kind]}, repeats=arguments.repeats
      )
      print(
        f"{name:<14} {CASES[name].batch:>5} {kind:<17} {times['ours']:>8.1f} "
        f"{times['torch']:>8.1f} {times['ours'] / times['torch']:>12.2f}",
        flush=True,
      )


if __name__ == "__main__":
  main()
