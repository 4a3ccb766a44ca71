"""Compares a grid of LELP cells in one command with the same cells in torch.

Both train the quickstart's student on the saved outputs of one teacher, and
both times include the start of a process. Our command is `experiments.sweep`:
it also evaluates, writes checkpoints and results, and loads programs that an
earlier run compiled. torch trains the cells one after another, evaluates each
once, and writes nothing. Unless `full`, nine of torch's cells are timed, and
their time is scaled to all.
"""

import itertools
import pathlib
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from benchmarks import apart
from benchmarks.row import Row
from experiments import cells
from experiments.configs import quickstart
from experiments.training import teacher as teacher_lib
from experiments.training.data import load_splits

_TEMPERATURES = (1.0, 2.0)
_SUBCLASS_TEMPERATURES = (1.0, 2.0, 4.0)
_SUBCLASSES = (2, 5, 10)
_TRIALS = 5
_CELLS = 90
_STEPS = 1000


def get_config() -> ConfigDict:
  """Returns the sweep of 90 cells."""
  config = quickstart.get_config()
  config.student.num_steps = _STEPS
  config.sweep.num_trials = _TRIALS
  config.sweep.columns = ConfigDict({"split0": {}})
  config.sweep.methods = ConfigDict(
    {
      "lelp": {
        "loss": {
          "temperature": _TEMPERATURES,
          "subclass_temperature": _SUBCLASS_TEMPERATURES,
        },
        "subspace": {"num_subclasses": _SUBCLASSES},
      }
    }
  )
  return config


def prepare(folder: pathlib.Path) -> None:
  """Trains the teacher, and saves the arrays that torch needs."""
  cell = cells.expand(get_config())[0]
  splits = load_splits(cell)
  teacher = teacher_lib.load_or_train(cell, splits, folder / "teachers")
  everything = teacher.outputs.on(splits.train)
  some = teacher.outputs.on(splits.transfer)
  np.savez(
    folder / "arrays.npz",
    train_embeddings=np.asarray(everything.embeddings),
    train_labels=np.asarray(splits.train["labels"]),
    images=np.asarray(splits.transfer["inputs"], np.float32) / 16,
    embeddings=np.asarray(some.embeddings),
    logits=np.asarray(some.logits),
    test_images=np.asarray(splits.test["inputs"], np.float32) / 16,
    test_labels=np.asarray(splits.test["labels"]),
  )


def sweep_seconds(folder: pathlib.Path, workdir: str) -> float:
  """Returns the seconds of the whole sweep command."""
  seconds = apart.command("sweep", __file__, folder, workdir)
  found = len(list((folder / workdir).glob("cells/**/result.json")))
  assert found == _CELLS, found
  return seconds


def train_in_torch(folder: pathlib.Path, count: int) -> tuple[float, float]:
  """Trains some of the cells; returns seconds per cell and mean accuracy."""
  import torch
  import torch.nn.functional as F

  arrays = {
    name: torch.as_tensor(array)
    for name, array in np.load(folder / "arrays.npz").items()
  }
  images = arrays["images"].flatten(1)
  test_images = arrays["test_images"].flatten(1)
  grid = list(
    itertools.product(
      _TEMPERATURES, _SUBCLASS_TEMPERATURES, _SUBCLASSES, range(_TRIALS)
    )
  )
  start, correct = time.perf_counter(), 0
  for i in range(count):
    temperature, beta, size, trial = grid[i * _CELLS // count]
    torch.manual_seed(trial)
    # Algorithm 1: the principal directions of each class.
    coordinates = []
    for label in range(2):
      rows = arrays["train_embeddings"][arrays["train_labels"] == label]
      mean = rows.mean(0)
      directions = torch.linalg.svd(rows - mean, full_matrices=False)[2][:size]
      found = (arrays["embeddings"] - mean) @ directions.T
      coordinates.append(found / found.std())
    # Algorithm 2: each class's probability is split over its subclasses.
    within = F.softmax(torch.stack(coordinates, 1) / beta, dim=2)
    classes = F.softmax(arrays["logits"] / temperature, dim=1)
    targets = (classes[:, :, None] * within).flatten(1)
    student = torch.nn.Sequential(
      torch.nn.Linear(64, 32),
      torch.nn.ReLU(),
      torch.nn.Linear(32, 32),
      torch.nn.ReLU(),
      torch.nn.Linear(32, 2 * size),
    )
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
    batches = (
      batch
      for _ in range(_STEPS // 4)
      for batch in torch.randperm(100).split(25)
    )
    for batch in batches:
      log_probs = F.log_softmax(student(images[batch]) / temperature, dim=1)
      loss = F.kl_div(log_probs, targets[batch], reduction="batchmean")
      optimizer.zero_grad(set_to_none=True)
      (temperature**2 * loss).backward()
      optimizer.step()
    with torch.inference_mode():
      probs = F.softmax(student(test_images), dim=1)
      labels = probs.reshape(-1, 2, size).sum(2).argmax(1)
      correct += (labels == arrays["test_labels"]).sum().item()
  seconds = time.perf_counter() - start
  return seconds / count, correct / count / len(test_images)


def rows(full: bool) -> Iterator[Row]:
  """Yields the sweep beside torch."""
  count = _CELLS if full else 9
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    apart.call(prepare, folder)
    sweep_seconds(folder, "first")
    ours = sweep_seconds(folder, "second")
    start = time.perf_counter()
    cell, accuracy = apart.call(train_in_torch, folder, count)
    starting = time.perf_counter() - start - count * cell
  assert accuracy > 0.8, accuracy
  timed = "" if full else f", {count} of them timed and scaled"
  yield Row(
    "experiments.sweep of LELP with an MLP student",
    f"{_CELLS} cells of {_STEPS:,} steps on digits",
    ours,
    "s",
    f"torch, one cell after another{timed}",
    starting + _CELLS * cell,
    target=0.1,
    note="the start of the command and the results of 90 cells take 6 s; the "
    "rest goes to the steps, each some 200 small operations on one core.",
  )
