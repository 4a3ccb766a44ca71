"""Amount of work in a training: steps, and operations per step."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
from flax.core import FrozenDict

from experiments.data.dataset import Facts
from experiments.methods import method_named
from experiments.specs import CellSpec
from experiments.specs import ModelSpec
from experiments.training.flops import matmul_flops
from experiments.training.models import in_steps
from lelp_jax.models import MODELS

# A training step has the operations of this number of forward passes.
_WITH_BACKWARD = 3


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


def of_stack(cells: Sequence[CellSpec], facts: Facts) -> Work:
  """Returns the work of training a stack, without training its teacher.

  Args:
    cells: The cells of the stack.
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
  """Returns the operations of a model's forward pass on one example."""
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
  except Exception:  # `data.check_data` reports why such a model fails.
    return 0
