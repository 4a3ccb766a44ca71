"""Amount of work in a training: steps, and operations per step."""

import functools
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax.core import FrozenDict

from experiments.data.dataset import NO_LABEL
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.methods import method_named
from experiments.specs import CellSpec
from experiments.specs import ModelSpec
from experiments.training.flops import matmul_flops
from experiments.training.models import in_steps
from lelp_jax.models import MODELS

_WITH_BACKWARD = 3  # Operations of a training step, in forward passes.


class Facts(NamedTuple):
  """Properties of a data set that decide how much work a training is.

  Attributes:
    task: The task.
    num_train: Number of examples that the teacher trains on.
    num_transfer: Number of examples that students train on.
    num_labelled: Number of those that have a label.
    num_examples: Number of all examples.
    shapes: Shape of an example's "inputs" and "embeddings", where it has them;
      of texts the mean length.
  """

  task: Task
  num_train: int
  num_transfer: int
  num_labelled: int
  num_examples: int
  shapes: Mapping[str, tuple[int, ...]]


class Work(NamedTuple):
  """Work of one training.

  Attributes:
    num_steps: Number of steps.
    flops: Operations of matrix products and convolutions in a step.
    num_read: Number of examples that the teacher reads in a step.
  """

  num_steps: int
  flops: int
  num_read: int = 0


def facts_of(splits: Splits) -> Facts:
  """Returns the properties of a data set that decide on the work."""
  labels = splits.transfer["labels"]
  num_train = len(splits.train["labels"])
  num_labelled = int(np.count_nonzero(labels != NO_LABEL))
  # Teacher and students share labelled examples.
  num_examples = max(num_train, num_labelled)
  for part in (splits.unlabelled, splits.validation, splits.test):
    num_examples += 0 if part is None else len(part["labels"])
  shapes = {}
  for name in ("inputs", "embeddings"):
    part = splits.train.get(name)
    if isinstance(part, Ragged):
      shapes[name] = (max(1, math.ceil(part.lengths.mean())),)
    elif part is not None:
      shapes[name] = tuple(part.shape[1:])
  return Facts(
    splits.task,
    num_train=num_train,
    num_transfer=len(labels),
    num_labelled=num_labelled,
    num_examples=num_examples,
    shapes=shapes,
  )


def of_stack(cells: Sequence[CellSpec], facts: Facts) -> Work:
  """Returns the work of cells that are trained together, without a teacher's.

  Args:
    cells: The cells of a stack.
    facts: Properties of their data.
  """
  first = cells[0]
  needs_labels = method_named(first.method).needs_labels
  size = facts.num_labelled if needs_labels else facts.num_transfer
  student = in_steps(first.student, size)
  flops = _WITH_BACKWARD * len(cells) * _forward_flops(student, facts)
  is_inline = first.teacher.outputs == "inline"
  if is_inline:
    flops += _forward_flops(first.teacher, facts)
  batch_size = student.batch_size
  return Work(student.num_steps, batch_size * flops, batch_size * is_inline)


def of_teacher(cell: CellSpec, facts: Facts) -> Work:
  """Returns the work of training the teacher of a cell."""
  teacher = in_steps(cell.teacher, facts.num_train)
  flops = _WITH_BACKWARD * _forward_flops(teacher, facts)
  return Work(teacher.num_steps, teacher.batch_size * flops)


def _forward_flops(spec: ModelSpec, facts: Facts) -> int:
  """Returns the operations of a model on one example."""
  shape = facts.shapes.get(spec.input_field, ())
  return _traced_flops(spec.model, spec.options, facts.task.num_classes, shape)


@functools.lru_cache(maxsize=256)
def _traced_flops(
  name: str,
  options: FrozenDict[str, object],
  num_outputs: int,
  shape: tuple[int, ...],
) -> int:
  model = MODELS[name](num_outputs, **options)
  try:
    inputs = MODELS[name].input_shapes(1, shape)
    weights = jax.eval_shape(model.init, jax.random.key(0), inputs)
    return matmul_flops(
      lambda weights, inputs: model.apply(*weights, inputs, train=False)[0],
      weights,
      inputs,
    )
  except Exception:  # `training.data` refuses such a model, with a reason.
    return 0
