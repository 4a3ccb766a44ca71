"""Types that the modules of training share: programs, runs, teachers."""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import results
from experiments.data.batches import Feed
from experiments.data.dataset import Arrays
from experiments.distributed import mesh as mesh_lib
from experiments.io import digests
from experiments.methods.base import LossStatics
from experiments.methods.statistics import TeacherStatistics
from experiments.specs import CellSpec
from experiments.specs import ModelSpec
from experiments.specs import TeacherSpec
from experiments.training.models import Weights
from experiments.training.teacher_cache import TeacherCache
from lelp_jax import metrics as metrics_lib
from lelp_jax.models import MODELS
from lelp_jax.train_step import TrainState

# Names of the arrays that models and losses may read.
MODEL_FIELDS = (
  "inputs",
  "embeddings",
  "labels",
  "fine_labels",
  "is_labelled",
  "teacher_embeddings",
  "teacher_logits",
)


def model_fields(arrays: Arrays) -> dict[str, Any]:
  """Returns the arrays that models and losses read."""
  return {name: arrays[name] for name in MODEL_FIELDS if name in arrays}


@dataclasses.dataclass(frozen=True)
class ProgramSpec:
  """Static description of a program; equal specs share one compilation.

  Attributes:
    method: Name of the method, for `experiments.methods.method_named`.
    loss: Settings of the loss that are compiled in.
    student: The student and its training, whose lengths are in steps.
    teacher: The teacher, with its seed set to 0; None without a teacher.
    teacher_width: Width of the teacher's embeddings, 0 without a teacher.
    num_classes: C.
    num_subclasses: The largest S of the stack.
    num_cells: Number of cells in the stack.
    num_examples: Number of training examples.
    shapes: Shapes of one example's "inputs" and "embeddings", where they exist;
      None in place of a shape for text.
    input_scale: Divisor of stored inputs.
    cells: How cells run on a device: "auto", "vmap" or "map".
    on_device: Whether the training examples are on the devices; otherwise
      batches come from a `Feed`.
  """

  method: str
  loss: LossStatics
  student: ModelSpec
  teacher: TeacherSpec | None
  teacher_width: int
  num_classes: int
  num_subclasses: int
  num_cells: int
  num_examples: int
  shapes: tuple[tuple[str, tuple[int, ...] | None], ...]
  input_scale: float
  cells: str
  on_device: bool = True

  def example(self) -> Any:
    """Returns the smallest inputs with which the student can be initialized."""
    shape = dict(self.shapes)[self.student.input_field]
    architecture = MODELS[self.student.model]
    shapes = architecture.input_shapes(1, shape or (1,))
    return jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)


class StepInputs(NamedTuple):
  """Arguments of a step that stay the same throughout a training.

  Attributes:
    teacher: Weights of the teacher; None without a teacher or with cached
      outputs.
    shared_targets: Targets that all cells have in common.
    targets: Targets of each cell, with a leading cell axis on each array.
    hyperparameters: Scalars by name, ``[cells]`` each.
  """

  teacher: Weights | None
  shared_targets: dict[str, Any]
  targets: dict[str, Any]
  hyperparameters: dict[str, Any]


class TrainingData(NamedTuple):
  """Training examples and the seed of their order.

  Attributes:
    examples: Arrays on the devices, or a `Feed` of arrays on the host.
    seed: Seed of batch order and augmentation, int32.
  """

  examples: dict[str, Any] | Feed
  seed: jax.typing.ArrayLike


@dataclasses.dataclass(frozen=True)
class Program:
  """The compiled functions of a `ProgramSpec`.

  Attributes:
    mesh: Devices, with axes ("cell", "data").
    init: ``(trials [cells], *, sizes, pretrained=None, loss_params=None) ->
      states``, see `states.initial_states`.
    train_chunk: ``(states, StepInputs, TrainingData, first_step, *, length,
      after_step=None) ->
      (states, metrics)``, of `length` steps. Metrics are means over the steps,
      ``[cells]``, except `step.FIRST_NONFINITE`.
    eval_batch: ``(states, StepInputs, batch) -> (dict of Mean, class log
      probabilities [cells, B, C])``. The means have a leading cell axis.
    metric_shapes: Takes the arguments of `train_chunk` and returns the shapes
      of its metrics.
    lower: Takes the arguments of `train_chunk`, or their shapes and shardings,
      and returns the lowered program of an accelerator: a whole chunk, or one
      step if batches come from a `Feed`.
  """

  mesh: jax.sharding.Mesh
  init: Callable[..., TrainState]
  train_chunk: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
  eval_batch: Callable[..., tuple[dict[str, metrics_lib.Mean], jax.Array]]
  metric_shapes: Callable[..., dict[str, jax.ShapeDtypeStruct]]
  lower: Callable[..., jax.stages.Lowered]


@dataclasses.dataclass(frozen=True)
class Teacher:
  """A frozen teacher.

  Attributes:
    weights: Its weights.
    statistics: Statistics from which methods prepare their targets.
    summary: Record of the teacher in the results of its students.
    outputs: Its outputs on examples without augmentation.
    seconds: Seconds that "training", the forward pass of one "example" and
      "moments" took. "moments" is absent until they are computed.
  """

  weights: Weights
  statistics: TeacherStatistics
  summary: results.TeacherSummary
  outputs: TeacherCache
  seconds: dict[str, float | None]

  @functools.cached_property
  def parameters_sha256(self) -> str:
    """SHA-256 of the weights, which tells apart teachers of the same config."""
    return digests.of_arrays(self.weights)


@dataclasses.dataclass(frozen=True)
class Run:
  """A stack of cells, ready to be trained.

  Attributes:
    cells: The cells.
    spec: Settings that its program is compiled for.
    program: The compiled functions.
    sizes: S of each cell.
    shared_targets: See `StepInputs`, as for the next three.
    targets: Targets of each cell.
    hyperparameters: Scalars, ``[cells]`` each.
    teacher: Weights of the teacher, or None.
    data_seed: Seed of batch order and augmentation, int32.
    train: Examples to train on: arrays for the devices, or a `Feed`.
    validation: Held-out examples, evaluated after each chunk.
    test: Examples evaluated at the end.
    fingerprint: Values that must be equal to continue a checkpoint.
    example_ids: Ids of the training examples in their data set, int ``[N]``.
    num_unlabelled: Number of the training examples that have no label.
    pretrained: Weights to start from, with or without a head, or None.
    loss_params: Parameters of the loss to start from, or None.
    details: Further fields of each cell's `results.CellResult`.
  """

  cells: Sequence[CellSpec]
  spec: ProgramSpec
  program: Program
  sizes: tuple[int, ...]
  shared_targets: dict[str, Any]
  targets: dict[str, Any]
  hyperparameters: Mapping[str, np.ndarray]
  teacher: Weights | None
  data_seed: np.int32
  train: Arrays | Feed
  validation: Arrays
  test: Arrays
  fingerprint: Mapping[str, Any]
  example_ids: np.ndarray | None = None
  num_unlabelled: int = 0
  pretrained: Weights | None = None
  loss_params: Any = None
  details: tuple[dict[str, Any], ...] = ()

  @property
  def trials(self) -> np.ndarray:
    """Seed of each cell, int32, ``[cells]``."""
    return np.array([cell.trial for cell in self.cells], np.int32)

  @functools.cached_property
  def inputs(self) -> StepInputs:
    """The arguments of a step that stay the same, on the devices."""
    mesh = self.program.mesh
    cells, everywhere = mesh_lib.cell_sharding(mesh), mesh_lib.replicated(mesh)
    return StepInputs(
      teacher=mesh_lib.place_split(self.teacher, mesh)
      if self.cells[0].split_teacher
      else mesh_lib.place(self.teacher, everywhere),
      shared_targets=mesh_lib.place(self.shared_targets, everywhere),
      targets=mesh_lib.place(self.targets, cells),
      hyperparameters=mesh_lib.place(dict(self.hyperparameters), cells),
    )

  def data(self) -> TrainingData:
    """Returns the training examples, on the devices unless they are a feed."""
    everywhere = mesh_lib.replicated(self.program.mesh)
    examples = self.train
    if not isinstance(examples, Feed):
      examples = mesh_lib.place(dict(examples), everywhere)
    return TrainingData(examples, mesh_lib.place(self.data_seed, everywhere))


@dataclasses.dataclass(frozen=True)
class Trained:
  """A stack after its training.

  Attributes:
    states: The last states, with a leading cell axis on each array.
    train_metrics: Means over the last chunk, ``[cells]`` each.
    step_seconds: Seconds per step of the stack, see `Monitor.step_seconds`.
    continued: Whether the training continued from a checkpoint.
  """

  states: TrainState
  train_metrics: dict[str, np.ndarray]
  step_seconds: float | None
  continued: bool
