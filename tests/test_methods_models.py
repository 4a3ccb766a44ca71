"""Every method on every family of architectures, equal and unequal widths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import pair
from experiments.data.types import Ragged
from experiments.data.types import Splits
from experiments.data.types import Task
from experiments.runtime import mesh as mesh_lib
from experiments.training import jobs
from experiments.training import loop
from experiments.training import program
from experiments.training import teacher as teacher_lib
from experiments.training.methods import METHODS

pytestmark = pytest.mark.slow  # A program each: some ten minutes in all.
_NUM_EXAMPLES = 48
_ALBERT = {
  "vocab_size": 20,
  "embedding_size": 8,
  "intermediate_size": 16,
  "num_layers": 1,
  "num_heads": 2,
}
# The smallest of each family: model, the student's options, those of a wider
# teacher. A ResNet's embeddings are always 256 wide, so the wider teacher of
# its students is another network.
_FAMILIES = {
  "mlp": ("mlp", {"features": (8,)}, ("mlp", {"features": (12,)})),
  "cnn": (
    "cnn",
    {"features": (4, 4), "width": 8},
    ("cnn", {"features": (4, 4), "width": 12}),
  ),
  "resnet": ("resnet20", {}, ("mlp", {"features": (12,)})),
  "mobilenet": (
    "mobilenet",
    {"width_multiplier": 0.125, "stem_stride": 1},
    ("mobilenet", {"width_multiplier": 0.25, "stem_stride": 1}),
  ),
  "albert": (
    "albert_base",
    _ALBERT | {"hidden_size": 8},
    ("albert_base", _ALBERT | {"hidden_size": 12}),
  ),
}


def _splits(family: str) -> Splits:
  rng = np.random.default_rng(0)
  fine = np.arange(_NUM_EXAMPLES, dtype=np.int32) % 4
  if family == "albert":
    lengths = rng.integers(3, 9, _NUM_EXAMPLES)
    inputs = Ragged.concatenate(
      [rng.integers(2, 20, n) for n in lengths], np.int32
    )
  else:
    inputs = rng.integers(0, 256, (_NUM_EXAMPLES, 16, 16, 3)).astype(np.uint8)
  arrays = {
    "inputs": inputs,
    "labels": fine % 2,
    "fine_labels": fine,
    "ids": np.arange(_NUM_EXAMPLES, dtype=np.int32),
  }
  shape = None if family == "albert" else (16, 16, 3)
  task = Task("toy", 2, (0, 1, 0, 1), image_shape=shape, scale=255.0)
  return Splits(task, arrays, arrays, arrays, arrays, "toy")


def _config(family: str, widths: str):
  model, options, wider = _FAMILIES[family]
  config = pair.get_config("smoke=True")
  config.student.model, config.student.options = model, options
  config.teacher.model, config.teacher.options = model, options
  if widths == "unequal":
    config.teacher.model, config.teacher.options = wider
  for fields in (config.teacher, config.student):
    fields.num_steps = fields.steps_per_chunk = 2
    fields.batch_size = 16
    fields.max_shift, fields.flip = 0.0, False
  config.data.length_window = 1
  config.loss.num_negatives = 8
  config.clustering.num_clusters = 2
  return config


@functools.cache
def _teacher(family: str, widths: str, subclasses: int, folder):
  config = _config(family, widths)
  config.teacher.subclass.num_subclasses = subclasses
  return teacher_lib.load_or_train(config, _splits(family), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  yield tmp_path_factory.mktemp("teachers")
  _teacher.cache_clear()


@pytest.fixture(autouse=True)
def few_programs():
  """Forgets compiled programs: hundreds of them end a process in a crash."""
  yield
  program.build.cache_clear()
  jax.clear_caches()


@pytest.mark.parametrize("widths", ["equal", "unequal"])
@pytest.mark.parametrize("family", _FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_two_steps_of_every_method(folder, method, family, widths):
  config = _config(family, widths)
  config.method = method
  subclasses = 2 if method == "subclass" else 1
  config.teacher.subclass.num_subclasses = subclasses
  splits = _splits(family)
  teacher = _teacher(family, widths, subclasses, folder)
  job = jobs.make_job(
    [config], splits, train=splits.train, teacher=teacher, names=["toy"]
  )
  states = mesh_lib.place(
    job.program.init(job.trials, sizes=job.sizes),
    mesh_lib.cell_sharding(job.program.mesh),
  )
  start = jax.device_get((states.params, states.loss_params))
  states, metrics = job.program.train_chunk(
    states, *loop.placed(job), jnp.int32(0), length=2
  )
  assert np.isfinite(metrics["loss"]).all()
  moved = [
    np.any(before != after)
    for before, after in zip(
      jax.tree.leaves(start),
      jax.tree.leaves((states.params, states.loss_params)),
      strict=True,
    )
  ]
  # Biases before a BatchNorm have gradients of zero, whatever the loss.
  assert np.mean(moved) > 0.5
  found = loop.evaluate(job, states, splits.test)
  assert 0 <= found["accuracy"][0] <= 1
