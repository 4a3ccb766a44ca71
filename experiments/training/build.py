"""Builds the `Run` of a stack from its cells, its data and its teacher."""

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.batches import Feed
from experiments.data.dataset import Arrays
from experiments.data.dataset import NO_LABEL
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.methods import method_named
from experiments.methods.base import loss_statics
from experiments.methods.base import Setup
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import CellSpec
from experiments.training.information import adjusted_mutual_information
from experiments.training.models import in_steps
from experiments.training.models import Weights
from experiments.training.pretrained import check_head
from experiments.training.pretrained import starting_weights
from experiments.training.step import build_program
from experiments.training.types import model_fields
from experiments.training.types import ProgramSpec
from experiments.training.types import Run
from experiments.training.types import Teacher

# Training sets above this size stay on the host with placement "auto".
_MOST_BYTES_ON_DEVICE = 2**30


def build_run(
  cells: Sequence[CellSpec],
  splits: Splits,
  *,
  teacher: Teacher | None,
  names: Sequence[str],
  loss_params: Any = None,
) -> Run:
  """Prepares a stack of cells for `loop.train`.

  Args:
    cells: The cells of the stack.
    splits: The data. Cells train on `splits.transfer`, or on `splits.train` if
      there is no teacher.
    teacher: The teacher, or None for cells that are teachers themselves.
    names: A name for each cell. A checkpoint with other names is refused.
    loss_params: Pre-trained parameters of the loss, or None.

  Returns:
    The run.

  Raises:
    ValueError: If the cells do not fit the data.
  """
  first, task = cells[0], splits.task
  statistics, width = None, 0
  if teacher is not None:
    splits, statistics = _with_teacher_outputs(first, splits, teacher)
    width = statistics.width
  train = _examples(first, splits, teacher)
  arrays = training_arrays(train)
  spec, sizes = program_spec(cells, task, arrays, width)
  # A teacher is trained as the student of a cell without a teacher, but its
  # fields are those of config.teacher.
  path = "config.student" if teacher else "config.teacher"
  start = starting_weights(spec.student, task, path)
  if not spec.student.num_steps:
    outputs = spec.num_classes * spec.num_subclasses
    check_head(start, spec.student, outputs, path)
  setups = [Setup(cell, task, width, statistics, max(sizes)) for cell in cells]
  method = method_named(first.method)
  shared_targets, targets = stack_targets(setups)
  scalars = [method.scalars(cell) for cell in cells]
  details = [method.details(setup) for setup in setups]
  # Without cached outputs this would take another pass of the teacher.
  if teacher and teacher.outputs.mode == "cached" and "fine_labels" in train:
    for number, setup in enumerate(setups):
      own = {name: array[number] for name, array in targets.items()}
      details[number]["subclass_information"] = adjusted_mutual_information(
        setup.teacher, shared_targets | own, np.asarray(train["fine_labels"])
      )
  return Run(
    cells=cells,
    spec=spec,
    program=build_program(spec),
    sizes=sizes,
    pretrained=Weights(start.params, start.model_state) if start else None,
    loss_params=loss_params,
    details=tuple(details),
    shared_targets=shared_targets,
    targets=targets,
    hyperparameters={k: np.stack([s[k] for s in scalars]) for k in scalars[0]},
    # With cached outputs the teacher does not have to be on the devices.
    teacher=teacher.weights
    if teacher and teacher.outputs.mode == "inline"
    else None,
    # Trials that share the order of their batches share its seed.
    data_seed=np.int32(0 if first.data.shared_batch_order else first.trial),
    train=arrays
    if spec.on_device
    else Feed(arrays, spec.student.batch_size, first.data.length_window),
    validation=splits.validation,
    test=splits.test,
    fingerprint={
      "names": list(names),
      "spec": spec,
      # A teacher that is trained again from the same config may differ.
      "teacher": {"parameters": teacher.parameters_sha256} if teacher else None,
      "pretrained": start.digest if start else None,
      "data": splits.digest,
    },
    example_ids=train.get("ids"),
    num_unlabelled=int((~train["is_labelled"]).sum())
    if "is_labelled" in train
    else 0,
  )


def _examples(
  cell: CellSpec, splits: Splits, teacher: Teacher | None
) -> Arrays:
  """Returns the examples that a cell trains on, each with a label.

  Examples without a label are left out if the method needs labels. Otherwise
  they get the class that the teacher predicts (A-11).
  """
  if teacher is None:
    return splits.train
  transfer = splits.transfer
  is_labelled = transfer["labels"] != NO_LABEL
  if is_labelled.all():
    return transfer
  if method_named(cell.method).needs_labels:
    return {name: array[is_labelled] for name, array in transfer.items()}
  labels = teacher.statistics.transfer_labels
  return {**transfer, "labels": labels, "is_labelled": is_labelled}


def training_arrays(train: Arrays) -> dict[str, Any]:
  """Returns the arrays of a split that the train step reads.

  The array "rows" holds the position of each example in the split.
  """
  rows = np.arange(len(train["labels"]), dtype=np.int32)
  return {**model_fields(train), "rows": rows}


def program_spec(
  cells: Sequence[CellSpec],
  task: Task,
  arrays: Mapping[str, Any],
  teacher_width: int,
) -> tuple[ProgramSpec, tuple[int, ...]]:
  """Returns the spec of a stack's program, and S of each cell."""
  first, num_examples = cells[0], len(arrays["labels"])
  num_subclasses = method_named(first.method).num_subclasses
  sizes = tuple(
    num_subclasses(Setup(cell, task, teacher_width)) for cell in cells
  )
  teacher = dataclasses.replace(first.teacher, seed=0)
  spec = ProgramSpec(
    method=first.method,
    loss=loss_statics(first),
    student=in_steps(first.student, num_examples),
    teacher=teacher if teacher_width else None,
    teacher_width=teacher_width,
    num_classes=task.num_classes,
    num_subclasses=max(sizes),
    num_cells=len(cells),
    num_examples=num_examples,
    shapes=_shapes(arrays),
    input_scale=task.scale,
    cells=first.stack.cells,
    on_device=_on_device(first.data.placement, arrays),
  )
  return spec, sizes


def stack_targets(
  setups: Sequence[Setup],
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns the targets that all cells share, and the stacked targets of each.

  Raises ValueError if a method with subclasses does not say which ones exist.
  """
  first = setups[0]
  method = method_named(first.cell.method)
  parts = [method.targets(setup) for setup in setups]
  shared = method.shared_targets(first)
  if first.max_subclasses > 1 and "where" not in shared | parts[0]:
    raise ValueError(
      f"method {first.cell.method!r} has {first.max_subclasses} subclasses per "
      'class, but does not say which exist: its targets need "where", bool '
      "[C, S]."
    )
  return shared, jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


def _with_teacher_outputs(
  cell: CellSpec, splits: Splits, teacher: Teacher
) -> tuple[Splits, TeacherStatistics]:
  """Adds the teacher's cached outputs to the examples of a stack.

  Returns the splits and the statistics of the teacher. With
  ``outputs="inline"`` nothing is added.
  """
  cache, statistics = teacher.outputs, teacher.statistics
  if cache.mode == "inline":
    return splits, statistics
  if cache.mode == "cached":
    arrays = cache.whole
  else:
    principal, cached = cache.coordinates(
      statistics, cell.subspace, cell.teacher.num_coordinates
    )
    arrays = {"embeddings": cached["coordinates"], "logits": cached["logits"]}
    # What is computed of the embeddings stays shared.
    statistics = dataclasses.replace(statistics, coordinates=principal)

  def with_outputs(part: Arrays, *names: str) -> Arrays:
    rows = {f"teacher_{k}": cache.rows(arrays[k], part) for k in names}
    return {**part, **rows}

  needed = method_named(cell.method).outputs_for(cell)
  names = ("logits",) if needed == "logits" else ("logits", "embeddings")
  splits = dataclasses.replace(
    splits,
    transfer=with_outputs(splits.transfer, *names),
    validation=with_outputs(splits.validation, "logits"),
    test=with_outputs(splits.test, "logits"),
  )
  return splits, statistics


def _shapes(
  arrays: Mapping[str, Any],
) -> tuple[tuple[str, tuple[int, ...] | None], ...]:
  """Returns the shape of one example's inputs and embeddings, None for text."""
  return tuple(
    (name, None if isinstance(array, Ragged) else array.shape[1:])
    for name, array in arrays.items()
    if name in ("inputs", "embeddings")
  )


def _on_device(placement: str, arrays: Mapping[str, Any]) -> bool:
  """Returns whether the training examples are put on the devices.

  Raises ValueError for texts with placement "device".
  """
  text = any(isinstance(array, Ragged) for array in arrays.values())
  if text and placement == "device":
    raise ValueError(
      'config.data.placement="device" is for images and vectors: texts are '
      'padded batch by batch on the host. Use "auto".'
    )
  if text or placement != "auto":
    return placement == "device"
  size = sum(array.nbytes for array in arrays.values())
  return size <= _MOST_BYTES_ON_DEVICE
