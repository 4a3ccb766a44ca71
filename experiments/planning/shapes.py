"""Builds the run of a stack from shapes alone, without data or a teacher."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.data import load
from experiments.data.batches import Feed
from experiments.data.dataset import Arrays
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.data.datasets import DATASETS
from experiments.data.prepared import Prepared
from experiments.distributed import mesh as mesh_lib
from experiments.methods import method_named
from experiments.methods.base import Setup
from experiments.methods.statistics import Centroids
from experiments.methods.statistics import Clustering
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import CellSpec
from experiments.specs import ClusteringSpec
from experiments.training import build
from experiments.training.models import model_fns
from experiments.training.models import Weights
from experiments.training.step import build_program
from experiments.training.types import Run
from experiments.training.types import StepInputs
from experiments.training.types import TrainingData
from lelp_jax.models import MODELS
from lelp_jax.models import Outputs
from lelp_jax.train_step import TrainState

Arguments = tuple[TrainState, StepInputs, TrainingData, jax.ShapeDtypeStruct]

_EMBEDDING_WIDTH = 768  # Width of Sentence-T5's embeddings.
_OWN_IMAGE_SIZE = 32  # Assumed if config.data.image_size is not set.
_ZERO = np.float32(0)


@dataclasses.dataclass(frozen=True)
class Assumed:
  """Properties of data that a config does not give.

  Attributes:
    length: Number of tokens of every text; None for the maximum length of the
      data set.
    num_examples: Number of training examples of a user's own data.
    num_classes: Number of classes of a user's own data.
  """

  length: int | None = None
  num_examples: int = 10_000
  num_classes: int = 2


def blank_splits(cell: CellSpec, assumed: Assumed | None = None) -> Splits:
  """Returns the data of a cell with zeros in place of all inputs.

  The data have the published number of examples and are split like the real
  ones. All texts have the same length. No file is read, and the arrays take
  almost no memory.
  """
  spec = cell.data
  if spec.dataset in (*load.READY, *load.MADE_UP) and not spec.source:
    return load.load(spec, cell.selection, None)
  task, counts, length = _described(cell, assumed or Assumed())
  # Labels have their real counts, which determine the held-out examples.
  arrays = {}
  for split, count in counts.items():
    labels = np.repeat(np.arange(len(count), dtype=np.int32), count)
    arrays[split] = {"labels": labels, "inputs": labels}
  prepared = Prepared(pathlib.Path(task.name), task, arrays)
  divided = load.divide(prepared, spec, cell.selection)

  def filled(part: Arrays) -> dict[str, Any]:
    labels = part["labels"]
    filled = {"inputs": _inputs(task, len(labels), length), "labels": labels}
    if "embeddings" in (cell.teacher.input_field, cell.student.input_field):
      shape = (len(labels), _EMBEDDING_WIDTH)
      filled["embeddings"] = np.broadcast_to(_ZERO, shape)
    if task.fine_to_class:
      filled["fine_labels"] = labels
    return filled

  return Splits(
    task,
    train=filled(divided.train),
    transfer=filled(divided.transfer),
    validation=filled(divided.validation),
    test=filled(divided.test),
  )


def _described(
  cell: CellSpec, assumed: Assumed
) -> tuple[Task, dict[str, tuple[int, ...]], int]:
  """Returns the task, the class counts of each split, and the text length."""
  spec = cell.data
  if not spec.source:
    dataset = DATASETS[spec.dataset]
    length = assumed.length or dataset.max_length or 0
    return dataset.task, dict(dataset.published), length
  models = (cell.teacher.model, cell.student.model)
  text = any(MODELS[model].reads == "tokens" for model in models)
  side = spec.image_size or _OWN_IMAGE_SIZE
  task = Task(
    name=spec.dataset or "own",
    num_classes=assumed.num_classes,
    image_shape=None if text else (side, side, 3),
    scale=1.0 if text else 255.0,
  )
  each = max(1, assumed.num_examples // assumed.num_classes)
  counts = {"train": (each,) * assumed.num_classes}
  return task, counts, assumed.length or spec.max_length


def _inputs(task: Task, size: int, length: int) -> np.ndarray | Ragged:
  if task.image_shape is not None:
    return np.broadcast_to(np.uint8(0), (size, *task.image_shape))
  values = np.broadcast_to(np.uint16(0), (size * length,))
  return Ragged(values, np.arange(size + 1, dtype=np.int64) * length)


def abstract_run(
  cells: Sequence[CellSpec], splits: Splits, devices: Sequence[jax.Device]
) -> Run:
  """Returns the run of `build.build_run`, with shapes in place of arrays."""
  first, task = cells[0], splits.task
  mode, method = first.teacher.outputs, method_named(first.method)
  if mode == "coordinates":
    raise ValueError(
      'config.teacher.outputs must be "inline" or "cached" for a plan, got '
      f"{mode!r}: cached coordinates cannot be planned."
    )
  num_outputs = task.num_classes * first.teacher.subclass.num_subclasses
  model = model_fns(first.teacher, num_outputs)
  part = splits.train[first.teacher.input_field]
  shape = (1,) if isinstance(part, Ragged) else part.shape[1:]
  example = MODELS[first.teacher.model].input_shapes(1, shape)
  teacher = Weights(*jax.eval_shape(model.init, jax.random.key(0), example))
  kernel = model.head(teacher.params).kernel
  width = kernel.shape[0]
  train = build.training_arrays(splits.transfer)
  if mode == "cached":
    size = len(train["labels"])
    train["teacher_logits"] = np.broadcast_to(_ZERO, (size, num_outputs))
    if method.outputs_for(first) != "logits":
      train["teacher_embeddings"] = np.broadcast_to(_ZERO, (size, width))
  spec, sizes = build.program_spec(cells, task, train, width)
  shared, targets = _with_statistics(
    lambda statistics: build.stack_targets(
      [Setup(cell, task, width, statistics, max(sizes)) for cell in cells]
    ),
    task.num_classes,
    kernel,
    train["labels"],
  )
  return Run(
    cells=cells,
    spec=spec,
    program=build_program(spec, tuple(devices)),
    sizes=sizes,
    shared_targets=shared,
    targets=targets,
    hyperparameters={
      name: _shape(np.zeros(len(cells), np.float32))
      for name in method.scalars(first)
    },
    teacher=teacher if mode == "inline" else None,
    data_seed=_shape(np.int32(0)),
    train=jax.tree.map(_shape, train)
    if spec.on_device
    else Feed(train, spec.student.batch_size, first.data.length_window),
    validation={},
    test={},
    fingerprint={},
  )


def arguments(run: Run) -> Arguments:
  """Returns shapes and shardings of the arguments of `Program.train_chunk`."""
  mesh = run.program.mesh
  states = jax.eval_shape(
    functools.partial(run.program.init, sizes=run.sizes), run.trials
  )
  states = mesh_lib.place(states, mesh_lib.cell_sharding(mesh))
  first = mesh_lib.place(_shape(np.int32(0)), mesh_lib.replicated(mesh))
  return states, run.inputs, run.data(), first


def _shape(array: Any) -> Any:
  return jax.ShapeDtypeStruct(np.shape(array), array.dtype)


class _AbstractStatistics(TeacherStatistics):
  """Statistics from tracers, with made-up clusters.

  Clustering needs concrete embeddings.
  """

  def clustering(
    self, algorithm: str, targets: str, spec: ClusteringSpec, rtol: float
  ) -> Clustering:
    """Returns clusters that all exist, with every example in the first."""
    classes, size = self.moments.mean.shape[0], len(self.transfer_labels)
    memberships = np.zeros((size, classes), np.int32)
    return Clustering(
      assignments=np.zeros(size, np.int32),
      memberships=memberships if targets == "soft" else None,
      where=np.ones((classes, spec.num_clusters), np.bool_),
      summary={},
    )

  def centroids(
    self, num_clusters: int, *, null_space: str, rtol: float
  ) -> Centroids:
    """Returns clusters that all exist, with centroids of zero."""
    classes, width = self.moments.mean.shape
    return Centroids(
      centroids=np.zeros((classes, num_clusters, width), np.float32),
      variance=1.0,
      soft_variance=1.0,
      where=np.ones((classes, num_clusters), np.bool_),
      summary={},
    )


def _with_statistics(
  function: Callable[[TeacherStatistics], Any],
  num_classes: int,
  head_kernel: jax.Array,
  labels: np.ndarray,
) -> Any:
  """Returns the shapes of a function's results, given a teacher's statistics.

  The shapes of the statistics follow from the arguments.
  """
  width = head_kernel.shape[0]
  parts: list[Any] = [
    jax.ShapeDtypeStruct((num_classes, *shape), jnp.float32)
    for shape in ((), (width,), (width, width))
  ]

  def call(moments: lelp_jax.ClassMoments, kernel: jax.Array) -> Any:
    return function(
      _AbstractStatistics(lambda: moments, kernel, lambda: labels, _no_outputs)
    )

  return jax.eval_shape(call, lelp_jax.ClassMoments(*parts), head_kernel)


def _no_outputs() -> Outputs:
  raise ValueError("a plan cannot use the outputs of a teacher.")
