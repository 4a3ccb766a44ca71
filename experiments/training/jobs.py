"""From configs to a stack ready to train."""

import dataclasses
import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import cells
from experiments.data.batches import Feed
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.methods import hyperparameter_arrays
from experiments.methods import method_named
from experiments.training import loop
from experiments.training.fitting import TeacherStatistics
from experiments.training.initial import ROTATION
from experiments.training.initial import Spec
from experiments.training.pretrained import check_head
from experiments.training.pretrained import starting_weights
from experiments.training.program import build
from experiments.training.recipe import resolved

# Larger training sets stay on the host.
_MOST_ON_DEVICE = 2**30


def make_job(
  configs: Sequence[ConfigDict],
  splits: Splits,
  *,
  train: Mapping[str, np.ndarray],
  teacher: Any,
  names: Sequence[str],
  loss_params: Any = None,
) -> loop.Job:
  """Prepares a stack of cells: sizes, targets, hyperparameters, program.

  Args:
    configs: The cells; `cells.stacks` grouped them.
    splits: The data.
    train: Those of its examples that the stack trains on.
    teacher: A `teacher.Teacher`, or None to train without one.
    names: What is trained: another list refuses its checkpoints.
    loss_params: What the method learns beside the student, where that was
      trained before.

  Returns:
    The stack, ready for `loop.train`.

  Raises:
    ValueError: If a config names something that does not exist.
  """
  first = configs[0]
  method, task = method_named(first.method), splits.task
  example_ids = train.get("ids")
  train = {k: train[k] for k in loop.READ if k in train}
  train["rows"] = np.arange(len(train["labels"]), dtype=np.int32)
  width = teacher.statistics.width if teacher else 0
  spec, sizes = stack_spec(configs, task, train, width)
  start = starting_weights(spec.recipe, task)
  if not spec.recipe["num_steps"]:
    outputs = spec.num_classes * spec.num_subclasses
    check_head(start, spec.recipe["init"], outputs)
  statistics = teacher.statistics if teacher else None
  shared_targets, targets = stack_targets(configs, task, statistics, max(sizes))
  scalars = [hyperparameter_arrays(config) for config in configs]
  return loop.Job(
    spec=spec,
    program=build(spec),
    trials=np.array([config.trial for config in configs], np.int32),
    sizes=sizes,
    shared_targets=shared_targets,
    pretrained=(start.params, start.model_state) if start else (),
    loss_params=loss_params,
    details=tuple(method.details(c, statistics) for c in configs),
    targets=targets,
    hyperparameters={k: np.stack([s[k] for s in scalars]) for k in scalars[0]},
    teacher=(teacher.params, teacher.model_state) if teacher else (),
    # Trials that share the order of their batches have it from one seed.
    data_seed=np.int32(0 if first.data.shared_batch_order else first.trial),
    train=train
    if spec.on_device
    else Feed(train, spec.recipe["batch_size"], first.data.length_window),
    validation=splits.validation,
    fingerprint={
      "names": list(names),
      "spec": _spec_fields(spec),
      # Not its config's: one may be trained again, or in another folder.
      "teacher": {"parameters": teacher.parameters_sha256} if teacher else None,
      "pretrained": start.digest if start else None,
      "data": splits.digest,
    },
    example_ids=example_ids,
    split_teacher=first.mesh.teacher == "fsdp",
  )


def stack_spec(
  configs: Sequence[ConfigDict],
  task: Task,
  train: Mapping[str, Any],
  teacher_width: int,
) -> tuple[Spec, tuple[int, ...]]:
  """Returns what the program of a stack is compiled for.

  Args:
    configs: The cells; `cells.stacks` grouped them.
    task: What there is to learn.
    train: The arrays that the stack trains on.
    teacher_width: Width of the teacher's embeddings, 0 without a teacher.

  Returns:
    The spec, and S of each cell.

  Raises:
    ValueError: If a config names something that does not exist.
  """
  first = configs[0]
  count = method_named(first.method).num_subclasses
  sizes = tuple(count(config, task, teacher_width) for config in configs)
  spec = Spec(
    method=first.method,
    loss=json.dumps(cells.static_loss(first), sort_keys=True),
    teacher_width=teacher_width,
    student=_model_json(first.student, len(train["labels"])),
    teacher=_model_json(first.teacher, 0) if teacher_width else None,
    num_classes=task.num_classes,
    num_subclasses=max(sizes),
    num_cells=len(configs),
    num_examples=len(train["labels"]),
    shapes=_shapes(train),
    input_scale=task.scale,
    cells=first.stack.cells,
    on_device=_on_device(first.data.placement, train),
  )
  return spec, sizes


def stack_targets(
  configs: Sequence[ConfigDict],
  task: Task,
  statistics: TeacherStatistics | None,
  size: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Returns what a method prepares for the cells of a stack.

  Args:
    configs: The cells.
    task: What there is to learn.
    statistics: What is known of the teacher, None without one.
    size: The largest S of the stack.

  Returns:
    The targets that all cells share, and those of each cell, stacked on a
    leading axis.

  Raises:
    ValueError: If a method of subclasses does not say which of them exist.
  """
  method = method_named(configs[0].method)
  parts = [
    method.targets(config, task, statistics, rotation_key(config), size)
    for config in configs
  ]
  shared = method.shared_targets(task, statistics, size)
  if size > 1 and "where" not in shared | parts[0]:
    raise ValueError(
      f"method {configs[0].method!r} has {size} subclasses a class and does "
      'not say which exist: its targets need "where", bool [C, S].'
    )
  return shared, jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


def _spec_fields(spec: Spec) -> dict[str, Any]:
  """A spec as plain data in which each field has its own name."""
  fields: dict[str, Any] = dataclasses.asdict(spec)
  for name in ("loss", "student", "teacher"):
    fields[name] = json.loads(fields[name]) if fields[name] else None
  return json.loads(json.dumps(fields))


def _model_json(fields: ConfigDict, num_examples: int) -> str:
  """A model and its recipe as text: what a program is compiled for."""
  plain = resolved(cells.plain(fields), num_examples)
  plain.pop("seed", None)  # Seeds are arguments.
  return json.dumps(plain, sort_keys=True)


def _shapes(
  arrays: Mapping[str, Any],
) -> tuple[tuple[str, tuple[int, ...] | None], ...]:
  """The shape of one example's parts, None for text."""
  names = [name for name in ("inputs", "embeddings") if name in arrays]
  return tuple(
    (
      name,
      None if isinstance(arrays[name], Ragged) else arrays[name].shape[1:],
    )
    for name in names
  )


def _on_device(placement: str, arrays: Mapping[str, Any]) -> bool:
  """Whether training examples are put on the devices."""
  if placement not in ("auto", "device", "host"):
    raise ValueError(
      'config.data.placement must be "auto", "device" or "host", got '
      f"{placement!r}."
    )
  text = any(isinstance(array, Ragged) for array in arrays.values())
  if text and placement == "device":
    raise ValueError(
      'config.data.placement="device" is for images and vectors: text is '
      'padded batch by batch, on the host. Use "auto".'
    )
  if text or placement != "auto":
    return placement == "device"
  return sum(array.nbytes for array in arrays.values()) <= _MOST_ON_DEVICE


def rotation_key(config: ConfigDict) -> jax.Array:
  """Returns the key of a cell's rotation, or of its random directions (A-9).

  Args:
    config: The cell's config.
  """
  seed = config.subspace.seed
  seed = config.trial if seed < 0 else seed
  return jax.random.fold_in(jax.random.key(seed), ROTATION)
