"""Typed description of a run: the fields of a validated config.

`experiments.configs.validate` makes these from a `ConfigDict`, and from the
`config.json` of a finished run. Field names are those of
`experiments.configs.base`, which explains each of them. All classes are
frozen and hashable, so that they can be keys of compiled programs.
"""

import dataclasses
from typing import Any

from flax.core import FrozenDict


@dataclasses.dataclass(frozen=True)
class DataSpec:
  """Data set, its division and where it lives: `config.data`."""

  dataset: str
  options: FrozenDict[str, Any]
  data_dir: str
  merge_classes: int
  num_labelled: int
  transfer: str
  transfer_fraction: float
  split_seed: int
  source: str
  train: str
  validation: str
  test: str
  text_column: str
  image_column: str
  label_column: str
  image_size: int
  tokenizer: str
  max_length: int
  placement: str
  length_window: int
  embeddings: str
  shared_batch_order: bool


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """Model and its training: `config.student`, and most of `config.teacher`."""

  model: str
  options: FrozenDict[str, Any]
  input_field: str
  init: str
  init_head: str
  num_steps: int
  num_epochs: float
  batch_size: int
  optimizer: str
  momentum: float
  nesterov: bool
  learning_rate: float
  schedule: str
  schedule_boundaries: tuple[float, ...]
  schedule_factors: tuple[float, ...]
  weight_decay: float
  max_shift: float
  flip: bool
  steps_per_chunk: int
  eval_batch_size: int


@dataclasses.dataclass(frozen=True)
class SubclassTeacherSpec:
  """Head and auxiliary loss of Subclass Distillation's teacher."""

  num_subclasses: int
  auxiliary_weight: float
  auxiliary_temperature: float


@dataclasses.dataclass(frozen=True)
class TeacherSpec(ModelSpec):
  """Teacher: `config.teacher`."""

  seed: int
  outputs: str
  num_coordinates: int
  subclass: SubclassTeacherSpec


@dataclasses.dataclass(frozen=True)
class LossSpec:
  """Hyperparameters of the losses: `config.loss`."""

  temperature: float
  subclass_temperature: float
  hard_label_weight: float
  feature_weight: float
  nontarget_weight: float
  subclass_weight: float
  contrast_temperature: float
  contrast_width: int
  num_negatives: int
  projection: str
  prediction_temperature: str


@dataclasses.dataclass(frozen=True)
class SubspaceSpec:
  """Subspaces of LELP and its ablations: `config.subspace`."""

  kind: str
  num_subclasses: int
  num_projections: int
  null_space: str
  rtol: float
  rotation: str
  seed: int
  normalization: str
  rank_deficient: str


@dataclasses.dataclass(frozen=True)
class ClusteringSpec:
  """Clusters of the teacher's embeddings: `config.clustering`."""

  num_clusters: int
  scope: str


@dataclasses.dataclass(frozen=True)
class PretrainingSpec:
  """Training of projections before the students: `config.pretraining`."""

  num_steps: int
  num_epochs: float
  steps_per_chunk: int
  learning_rate: float


@dataclasses.dataclass(frozen=True)
class StackSpec:
  """How cells of one program are run: `config.stack`."""

  cells: str
  max_cells: int


@dataclasses.dataclass(frozen=True)
class CellSpec:
  """One student: a column of a table, a method, hyperparameters, a trial.

  Attributes:
    column: Column of the table; names a folder.
    row: Row of the table; names a folder. Never empty.
    method: Key of `experiments.methods.METHODS`.
    trial: Seed of initialisation, dropout, rotation and data order.
    selection: Examples that choose hyperparameters, "heldout" or "test".
    data: See the class, as for the next ones.
    teacher: Teacher.
    student: Student.
    loss: Hyperparameters of the loss.
    subspace: Subspaces of LELP.
    clustering: Clusters of the teacher's embeddings.
    pretraining: Training of projections.
    stack: How stacked cells are run.
    split_teacher: Whether the teacher's arrays are cut over devices:
      `config.mesh.teacher` is "fsdp".
    loggers: Names of metric loggers beside `metrics.jsonl`.
    profile: First and last step to trace with JAX's profiler, or None.
    varied: Dotted names of the fields that the cell's row of the sweep sets
      or varies.
  """

  column: str
  row: str
  method: str
  trial: int
  selection: str
  data: DataSpec
  teacher: TeacherSpec
  student: ModelSpec
  loss: LossSpec
  subspace: SubspaceSpec
  clustering: ClusteringSpec
  pretraining: PretrainingSpec
  stack: StackSpec
  split_teacher: bool
  loggers: tuple[str, ...]
  profile: tuple[int, int] | None
  varied: tuple[str, ...] = ()
