"""Compares our input pipelines with torch's DataLoader and training steps.

All read the same memory-mapped arrays: images of CIFAR's size and texts of
SST-2's lengths. The "on device" pipeline gathers and augments inside a compiled
program, as training does with image sets that fit in memory. The training steps
show how many examples per second are needed. They are those of the smallest
models of the paper's families; larger models need fewer examples.
"""

import functools
import itertools
import pathlib
import tempfile
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from benchmarks.row import Row
from experiments.data import augment
from experiments.data import batches
from experiments.data.dataset import gather
from experiments.data.dataset import Ragged
from experiments.distributed import mesh as mesh_lib
from lelp_jax.models import MODELS

_BATCH = 128
_STEPS = 100
_TINY_ALBERT = {
  "num_layers": 2,
  "hidden_size": 64,
  "num_heads": 2,
  "intermediate_size": 128,
}


def images(folder: pathlib.Path) -> dict[str, Any]:
  """Writes and maps images of CIFAR's size and number."""
  rng = np.random.default_rng(0)
  shape = (50_000, 32, 32, 3)
  np.save(folder / "images.npy", rng.integers(0, 256, shape, dtype=np.uint8))
  inputs = np.load(folder / "images.npy", mmap_mode="r")
  return {"inputs": inputs, "labels": rng.integers(0, 2, 50_000, np.int32)}


def texts(folder: pathlib.Path) -> dict[str, Any]:
  """Writes and maps token ids with lengths like those of SST-2."""
  rng = np.random.default_rng(0)
  lengths = np.clip(rng.lognormal(2.3, 0.7, 67_349), 3, 66).astype(int)
  ids = rng.integers(
    5, MODELS["albert_base"].vocab_size(), lengths.sum()
  ).astype(np.uint16)
  np.save(folder / "tokens.npy", ids)
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  ragged = Ragged(np.load(folder / "tokens.npy", mmap_mode="r"), offsets)
  return {
    "inputs": ragged,
    "labels": rng.integers(0, 2, len(lengths), np.int32),
  }


def fed(arrays: dict[str, Any], window: int) -> Iterator[Any]:
  """Reads batches through our pipeline from the host."""
  sharding = mesh_lib.batch_sharding(mesh_lib.make_mesh(1, _BATCH))
  source = batches.Feed(arrays, _BATCH, window)
  return source.batches(jax.random.key(0), 0, _STEPS, sharding)


def on_device(arrays: dict[str, Any]) -> Callable[[], Iterator[Any]]:
  """Gathers and augments batches of arrays that are on the device."""
  placed = {k: jnp.asarray(np.asarray(v)) for k, v in arrays.items()}
  rows = batches.chunk_indices(
    jax.random.key(0),
    0,
    num_steps=_STEPS,
    num_examples=len(placed["labels"]),
    batch_size=_BATCH,
  )

  @jax.jit
  def batch(placed, rows, step):
    found = gather(placed, rows[step])
    key = jax.random.fold_in(jax.random.key(1), step)
    found["inputs"] = augment.random_flip_and_shift(
      key, found["inputs"], max_shift=3, flip=True
    )
    return found

  return lambda: (batch(placed, rows, step) for step in range(_STEPS))


def loader(arrays: dict[str, Any]) -> Callable[[], Iterator[Any]]:
  """Reads the same arrays with torch's DataLoader, padding to the longest."""
  import torch

  class Examples(torch.utils.data.Dataset):
    def __len__(self) -> int:
      return len(arrays["labels"])

    def __getitem__(self, i: int) -> Any:
      row = torch.from_numpy(np.array(arrays["inputs"][i]))
      return row.to(torch.int32), int(arrays["labels"][i])

  def collate(examples: list[Any]) -> Any:
    rows, labels = zip(*examples, strict=True)
    pad = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    return pad, torch.tensor(labels)

  def run() -> Iterator[Any]:
    made = torch.utils.data.DataLoader(
      Examples(),
      _BATCH,
      shuffle=True,
      num_workers=2,
      collate_fn=collate,
      multiprocessing_context="fork",  # As is usual in a script on Linux.
    )
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # JAX warns of deadlocks after a fork.
      yield from itertools.islice(made, _STEPS)

  return run


def rate(iterator: Callable[[], Iterator[Any]]) -> float:
  """Returns examples per second, the best of three runs."""
  best = 0.0
  for _ in range(3):
    start = time.perf_counter()
    for batch in iterator():
      jax.block_until_ready(batch)
    best = max(best, _BATCH * _STEPS / (time.perf_counter() - start))
  return best


def step_rate(name: str, batch: dict[str, Any], **options: Any) -> float:
  """Returns the examples per second that a training step consumes."""
  model, tx = MODELS[name](2, **options), optax.adam(1e-3)
  inputs = batch["inputs"]
  if not isinstance(inputs, dict):
    inputs = inputs.astype(jnp.float32) / 255
  params, state = jax.jit(model.init)(jax.random.key(0), inputs)

  @jax.jit
  def step(params, opt_state, inputs, labels):
    def loss(params):
      outputs, _ = model.apply(
        params, state, inputs, train=True, key=jax.random.key(1)
      )
      losses = optax.softmax_cross_entropy_with_integer_labels
      return losses(outputs.logits, labels).mean()

    updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  run = functools.partial(step, params, tx.init(params), inputs)
  took = timing.milliseconds({"step": lambda: run(batch["labels"])}, repeats=3)
  return 1e3 * _BATCH / took["step"]


def rows(full: bool) -> Iterator[Row]:
  """Yields each pipeline beside torch's and beside a training step."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    pixels, words = images(folder), texts(folder)
    rates = {
      "images, on the device": rate(on_device(pixels)),
      "images, from the host": rate(lambda: fed(pixels, 1)),
      "texts, by length": rate(lambda: fed(words, 32)),
      "texts, at random": rate(lambda: fed(words, 1)),
    }
    peers = {"images": rate(loader(pixels)), "texts": rate(loader(words))}
    image, text = (next(iter(fed(arrays, 1))) for arrays in (pixels, words))
    steps = {
      "images": ("ResNet-20's step", step_rate("resnet20", image)),
      "texts": (
        "the step of an ALBERT of width 64",
        step_rate("albert_base", text, **_TINY_ALBERT),
      ),
    }
  for kind, value in rates.items():
    data = kind.split(",")[0]
    step, need = steps[data]
    for reference, other in (("torch's DataLoader", peers[data]), (step, need)):
      yield Row(
        kind if other is not need else f"{kind}, beside a step",
        f"batches of {_BATCH}",
        value,
        "examples/s",
        reference,
        other,
        larger_is_better=True,
      )
