"""Compares a stack of 8 convolutional students with 8 runs of one student.

ResNet-20 students learn from a ResNet-56 that runs inline, on scikit-learn's
digits enlarged to 32 x 32 pixels. The stack computes the images and the
teacher's outputs once per step for all cells. One run of one student is timed,
and its time is multiplied by eight. As in the commands, freed memory is kept
for the next arrays.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator

from ml_collections import ConfigDict

from benchmarks import sweep
from benchmarks import timing
from benchmarks.row import Row
from experiments import cells
from experiments import cli
from experiments.data.dataset import Arrays
from experiments.data.dataset import Splits
from experiments.training import teacher as teacher_lib
from experiments.training.build import build_run
from experiments.training.data import load_splits

_CELLS, _STEPS = 8, 2


def get_config() -> ConfigDict:
  """Returns the sweep of 8 cells."""
  config = sweep.get_config()
  for fields, model in (
    (config.teacher, "resnet56"),
    (config.student, "resnet20"),
  ):
    fields.model, fields.options = model, ConfigDict()
    fields.batch_size = 64
    fields.num_steps = fields.steps_per_chunk = _STEPS
  config.teacher.num_steps = config.teacher.steps_per_chunk = 1
  config.teacher.outputs = "inline"
  config.data.options.num_transfer = 640
  config.sweep.methods.lelp.subspace.num_subclasses = (5,)
  return config


def _enlarged(splits: Splits) -> Splits:
  """Returns splits with images of 32 x 32 pixels."""
  task = dataclasses.replace(splits.task, image_shape=(32, 32, 1))

  def enlarged(part: Arrays) -> Arrays:
    images = part["inputs"].repeat(4, axis=1).repeat(4, axis=2)
    return {**part, "inputs": images}

  return dataclasses.replace(
    splits,
    task=task,
    train=enlarged(splits.train),
    transfer=enlarged(splits.transfer),
    validation=enlarged(splits.validation),
    test=enlarged(splits.test),
  )


def rows(full: bool) -> Iterator[Row]:
  """Yields the time of the stack, with its cells one by one as reference."""
  cli.reuse_freed_memory()
  expanded = cells.expand(get_config())
  assert len(expanded) == _CELLS
  splits = _enlarged(load_splits(expanded[0]))
  with tempfile.TemporaryDirectory() as name:
    teacher = teacher_lib.load_or_train(
      expanded[0], splits, pathlib.Path(name) / "teachers"
    )
  times = timing.milliseconds(
    {
      str(len(some)): sweep.chunk(
        build_run(some, splits=splits, teacher=teacher, names=[]), _STEPS
      )
      for some in (expanded, expanded[:1])
    },
    repeats=3,
  )
  yield Row(
    "compiled steps of a convolutional stack",
    f"8 ResNet-20, a ResNet-56 inline, {_STEPS} steps of batch 64",
    times[str(_CELLS)] / 1e3,
    "s",
    "8 times one of them",
    _CELLS * times["1"] / 1e3,
    target=0.8,
  )
