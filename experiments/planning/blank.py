"""Stand-ins of the right shape for data and teachers that are not there."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lelp_jax
from experiments.data import load
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.data.datasets import DATASETS
from experiments.data.prepared import Prepared
from experiments.methods.clusterer import Clustering
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import CellSpec
from experiments.specs import TeacherSpec
from lelp_jax.models import MODELS
from lelp_jax.models import Outputs

_EMBEDDING_WIDTH = 768  # Sentence-T5's.
_OWN_IMAGE_SIZE = 32  # Where config.data.image_size does not say.


@dataclasses.dataclass(frozen=True)
class Assumed:
  """What nobody knows before the data are there.

  Attributes:
    length: Tokens of every text; None for the longest that the data allow.
    num_examples: Of a user's own training data.
    num_classes: Of a user's own data.
  """

  length: int | None = None
  num_examples: int = 10_000
  num_classes: int = 2


def splits(cell: CellSpec, assumed: Assumed) -> Splits:
  """Returns data as a cell describes them, every value zero.

  The number of examples is the published one, divided as real data are; texts
  all have the same length. No file is read.

  Args:
    cell: A cell; its data, selection and models matter.
    assumed: What they leave open.

  Returns:
    The splits. What they hold takes next to no memory.

  Raises:
    ValueError: If there cannot be such data.
  """
  spec = cell.data
  ready = spec.dataset in (*load.READY, *load.MADE_UP)
  if ready and not spec.source:
    return load.load(spec, cell.selection, None)
  task, counts, longest = _described(cell, assumed)
  # Labels are real, as what is held out depends on them.
  arrays = {}
  for split, count in counts.items():
    labels = np.repeat(np.arange(len(count), dtype=np.int32), count)
    arrays[split] = {"labels": labels, "inputs": labels}
  prepared = Prepared(pathlib.Path(task.name), task, arrays)
  divided = load.divide(prepared, spec, cell.selection)
  reads = {cell.teacher.input_field, cell.student.input_field}

  def filled(given: dict[str, Any]) -> dict[str, Any]:
    size = len(given["labels"])
    made = {"inputs": _inputs(task, size, longest), "labels": given["labels"]}
    if "embeddings" in reads:
      vectors = (size, _EMBEDDING_WIDTH)
      made["embeddings"] = np.broadcast_to(np.float32(0), vectors)
    if task.fine_to_class:
      made["fine_labels"] = given["labels"]
    return made

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
  """Task, examples of each class by split, longest text."""
  if cell.data.source:
    length = assumed.length or cell.data.max_length
    return *_own(cell, assumed), length
  dataset = DATASETS[cell.data.dataset]
  length = assumed.length or dataset.max_length or 0
  return dataset.task, dict(dataset.published), length


def _own(
  cell: CellSpec, assumed: Assumed
) -> tuple[Task, dict[str, tuple[int, ...]]]:
  """A user's own data, as many of each class."""
  models = (cell.teacher.model, cell.student.model)
  text = any(MODELS[model].reads == "tokens" for model in models)
  side = cell.data.image_size or _OWN_IMAGE_SIZE
  task = Task(
    name=cell.data.dataset,
    num_classes=assumed.num_classes,
    image_shape=None if text else (side, side, 3),
    scale=1.0 if text else 255.0,
  )
  each = max(1, assumed.num_examples // assumed.num_classes)
  return task, {"train": (each,) * assumed.num_classes}


def _inputs(task: Task, size: int, length: int) -> Any:
  if task.image_shape is not None:
    return np.broadcast_to(np.uint8(0), (size, *task.image_shape))
  values = np.broadcast_to(np.uint16(0), (size * length,))
  return Ragged(values, np.arange(size + 1, dtype=np.int64) * length)


class _Statistics(TeacherStatistics):
  """Of a teacher without values, whose embeddings nobody can cluster."""

  def clustering(
    self, algorithm: str, scope: str, num_clusters: int, targets: str
  ) -> Clustering:
    """Returns one cluster with all examples."""
    del algorithm, scope
    classes, size = self.moments.mean.shape[0], len(self.transfer_labels)
    memberships = np.zeros((size, classes), np.int32)
    return Clustering(
      assignments=np.zeros(size, np.int32),
      memberships=memberships if targets == "soft" else None,
      where=np.ones((classes, num_clusters), np.bool_),
      summary={},
    )


def with_statistics(
  function: Callable[[TeacherStatistics], Any],
  num_classes: int,
  head_kernel: Any,
  transfer_labels: np.ndarray,
) -> Any:
  """Returns the shapes of what a function makes from a teacher's statistics.

  Args:
    function: Takes `TeacherStatistics`.
    num_classes: C.
    head_kernel: Shape of the weights of the teacher's head, ``[D, n]``.
    transfer_labels: Classes of the students' training examples.
  """
  width = head_kernel.shape[0]
  sides: list[Any] = [
    jax.ShapeDtypeStruct((num_classes, *shape), jnp.float32)
    for shape in ((), (width,), (width, width))
  ]
  moments = lelp_jax.ClassMoments(*sides)

  def on(moments, kernel):
    return function(
      _Statistics(lambda: moments, kernel, transfer_labels, _no_outputs)
    )

  return jax.eval_shape(on, moments, head_kernel)


def _no_outputs() -> Outputs:
  raise ValueError("a plan has no outputs of a teacher.")


def teacher_like(model: Any, spec: TeacherSpec, splits: Splits) -> Any:
  """Returns the shapes of a teacher's parameters and state.

  Args:
    model: Its `ModelFns`.
    spec: The teacher.
    splits: The data.
  """
  part = splits.train[spec.input_field]
  shape = (1,) if isinstance(part, Ragged) else part.shape[1:]
  example = MODELS[spec.model].input_shapes(1, shape)
  return jax.eval_shape(model.init, jax.random.key(0), example)
