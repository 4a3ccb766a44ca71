"""A loss or a state that stops being finite: what is said, what is kept."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.data import batches
from experiments.io.json_files import read_json
from experiments.io.metrics import read_metrics
from experiments.training import initial
from experiments.training import program
from experiments.training import runs
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny

ROW = 37


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
  folder = tmp_path_factory.mktemp("teachers")
  config = tiny.config()
  teacher_lib.load_or_train(config, runs.load_splits(config), folder)
  return folder


@pytest.fixture
def poisoned(monkeypatch):
  """Students see floats, one image of which is NaN."""
  load = runs.load_splits

  def with_one(config, workdir=None):
    splits = load(config, workdir)
    inputs = splits.transfer["inputs"].astype(np.float32)
    inputs[ROW] = np.nan
    ids = np.arange(len(inputs)) + 1000
    transfer = {**splits.transfer, "inputs": inputs, "ids": ids}
    return dataclasses.replace(splits, transfer=transfer)

  monkeypatch.setattr(runs, "load_splits", with_one)


@pytest.fixture
def unscanned(monkeypatch):
  monkeypatch.setattr(program, "_scanned", lambda *_: False)
  program.build.cache_clear()
  yield
  program.build.cache_clear()


def order_of_batches():
  """The rows of the first ten batches, from the keys as they are documented."""
  key = jax.random.fold_in(jax.random.key(0), initial.STUDENT)
  key = jax.random.split(jax.random.fold_in(key, initial.DATA))[0]
  order = batches.chunk_indices(
    key, 0, num_steps=10, num_examples=100, batch_size=10
  )
  return np.asarray(order)


@pytest.mark.parametrize(
  "way", ["scanned", "fed", pytest.param("stepped", marks=pytest.mark.slow)]
)
def test_the_step_and_the_rows_of_its_batch_are_named(
  tmp_path, teachers, poisoned, request, way
):
  config = tiny.config("standard", trial=1)
  config.student.batch_size, config.student.steps_per_chunk = 10, 2
  config.data.placement = "host" if way == "fed" else "device"
  if way == "stepped":
    request.getfixturevalue("unscanned")
  with pytest.raises(FloatingPointError) as caught:
    runs.run_cells([config], tmp_path, teacher_directory=teachers)
  order = order_of_batches()
  ((before, _),) = np.argwhere(order == ROW)
  good = before - before % 2
  assert good > 0
  (saved,) = tmp_path.glob(f"checkpoints/*/{good}")
  (path,) = tmp_path.glob("cells/**/nonfinite.json")
  assert read_json(path) == {
    "cell": "/".join(path.parts[-3:-1]),
    "step": before + 1,
    "rows": order[before].tolist(),
    "ids": (order[before] + 1000).tolist(),
    "checkpoint": str(saved),
  }
  message = str(caught.value)
  for part in (
    f"not finite at step {before + 1} (in 1 of 1 cells: ",
    f"ids {', '.join(map(str, order[before] + 1000))} of the training set",
    f"The last good checkpoint is step {good}, {saved}.",
  ):
    assert part in message
  assert "\n" not in message
  lines = read_metrics(path.with_name("metrics.jsonl"))
  assert [line["step"] for line in lines] == list(range(2, good + 1, 2))


def test_a_state_that_the_last_update_spoiled_is_not_saved(tmp_path, teachers):
  """The loss and the gradient of the chunk are finite, the weights are not."""
  config = tiny.config("standard")
  config.student.optimizer, config.student.learning_rate = "sgd", 3e38
  config.student.weight_decay = 1e10
  config.student.num_steps = config.student.steps_per_chunk = 1
  with pytest.raises(
    FloatingPointError, match=r"at step 1 .* No checkpoint was saved before"
  ):
    runs.run_cells([config], tmp_path, teacher_directory=teachers)
  assert not list(tmp_path.glob("checkpoints/*/[0-9]*"))
  assert not list(tmp_path.glob("cells/**/result.json"))


def test_the_cells_concerned_are_named_and_long_batches_cut(tmp_path, teachers):
  configs = [tiny.config("vanilla", trial) for trial in range(3)]
  for config in configs:
    config.student.batch_size = 80
  configs[1].loss.temperature = 1e30  # The loss is its square.
  with pytest.raises(FloatingPointError, match="in 1 of 3 cells") as caught:
    runs.run_cells(configs, tmp_path, teacher_directory=teachers)
  assert "/trial1). Its batch" in str(caught.value)
  assert "and 16 more of the training set" in str(caught.value)
  (path,) = tmp_path.glob("cells/**/nonfinite.json")
  assert path.parent.name == "trial1"
  assert len(set(read_json(path)["rows"])) == 80
