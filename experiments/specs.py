"""Typed description of a run: the fields of a validated config.

`experiments.configs.validate` makes these from a `ConfigDict`;
`from_plain` makes them from the `config.json` of a finished run. Field names
are those of `experiments.configs.base`, which explains each of them. All
classes are frozen and hashable, so that they can be keys of compiled programs.

A field's annotation holds what `validate` checks of it: a `Literal` lists the
values that there are, and a `Range` next to the type bounds a number. Fields
marked `STACKED` are numbers or names that a compiled program takes as arrays:
cells that differ only in these are trained together.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Annotated
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import TypeVar

from flax.core import FrozenDict

Spec = TypeVar("Spec")


class Range(NamedTuple):
  """Values that a number may have.

  Attributes:
    contains: Tells whether a value is one of them; NaN never is.
    text: Completes "must ...", for messages.
  """

  contains: Callable[[Any], bool]
  text: str


POSITIVE = Range(lambda x: 0 < x < math.inf, "be positive and finite")
FINITE = Range(lambda x: 0 <= x < math.inf, "be at least 0 and finite")
AT_LEAST_0 = Range(lambda x: x >= 0, "be at least 0")
AT_LEAST_1 = Range(lambda x: x >= 1, "be at least 1")
FRACTION = Range(lambda x: 0 <= x < 1, "lie in [0, 1)")
SHARE = Range(lambda x: 0 < x < 1, "lie in (0, 1)")
STACKED = "stacked"


@dataclasses.dataclass(frozen=True)
class DataSpec:
  """Data set, its division and where it lives: `config.data`.

  `contents` is not a field of a config: it identifies a user's own files.
  """

  dataset: str
  options: FrozenDict[str, Any]
  data_dir: str
  merge_classes: Annotated[int, AT_LEAST_0]
  num_labelled: Annotated[int, AT_LEAST_0]
  transfer: Literal["all", "labelled"]
  transfer_fraction: Annotated[
    float, Range(lambda x: 0 < x <= 1, "lie in (0, 1]")
  ]
  split_seed: Annotated[int, AT_LEAST_0]
  source: Literal["", "files"]
  train: str
  validation: str
  test: str
  text_column: str
  image_column: str
  label_column: str
  image_size: Annotated[int, AT_LEAST_0]
  channels: Literal[0, 1, 3]
  encoding: str
  delimiter: str
  header: bool
  quoting: Literal["auto", "double", "none"]
  validation_fraction: Annotated[float, SHARE]
  test_fraction: Annotated[float, SHARE]
  max_bad_rows: Annotated[float, Range(lambda x: 0 <= x <= 1, "lie in [0, 1]")]
  unlabelled: Literal["refuse", "drop", "transfer"]
  unlabelled_files: str
  tokenizer: str
  max_length: Annotated[
    int, Range(lambda x: x >= 3, "be at least 3, for [CLS], a token and [SEP]")
  ]
  placement: Literal["auto", "device", "host"]
  length_window: Annotated[int, AT_LEAST_1]
  embeddings: str
  shared_batch_order: bool
  contents: str = ""


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """Model and its training: `config.student`, and most of `config.teacher`."""

  model: str
  options: FrozenDict[str, Any]
  input_field: Literal["inputs", "embeddings"]
  init: str
  init_head: Literal["fresh", "pretrained"]
  init_labels: tuple[str, ...]
  num_steps: Annotated[int, AT_LEAST_0]
  num_epochs: Annotated[float, AT_LEAST_0]
  batch_size: Annotated[int, AT_LEAST_1]
  optimizer: Literal["adam", "sgd"]
  momentum: Annotated[float, FRACTION]
  nesterov: bool
  learning_rate: Annotated[float, POSITIVE]
  schedule: Literal["constant", "cosine", "piecewise_constant"]
  schedule_boundaries: tuple[float, ...]
  schedule_factors: tuple[float, ...]
  weight_decay: Annotated[float, AT_LEAST_0]
  max_shift: Annotated[float, FRACTION]
  flip: bool
  steps_per_chunk: Annotated[int, AT_LEAST_0]
  eval_batch_size: Annotated[int, AT_LEAST_1]

  @property
  def is_augmented(self) -> bool:
    """Returns whether training images are shifted or flipped at random."""
    return self.max_shift > 0 or self.flip


@dataclasses.dataclass(frozen=True)
class SubclassTeacherSpec:
  """Head and auxiliary loss of Subclass Distillation's teacher."""

  num_subclasses: Annotated[int, AT_LEAST_1]
  auxiliary_weight: Annotated[float, AT_LEAST_0]
  auxiliary_temperature: Annotated[float, POSITIVE]


@dataclasses.dataclass(frozen=True)
class TeacherSpec(ModelSpec):
  """Teacher: `config.teacher`. Once validated, `outputs` is never "auto"."""

  seed: Annotated[int, AT_LEAST_0]
  allow_chance: bool
  outputs: Literal["auto", "inline", "cached", "coordinates"]
  num_coordinates: Annotated[int, AT_LEAST_0]
  subclass: SubclassTeacherSpec


@dataclasses.dataclass(frozen=True)
class LossSpec:
  """Hyperparameters of the losses: `config.loss`."""

  temperature: Annotated[float, POSITIVE, STACKED]
  subclass_temperature: Annotated[float, POSITIVE, STACKED]
  hard_label_weight: Annotated[
    float, Range(lambda x: 0 <= x <= 1, "lie in [0, 1]"), STACKED
  ]
  feature_weight: Annotated[float, AT_LEAST_0, STACKED]
  nontarget_weight: Annotated[float, AT_LEAST_0, STACKED]
  subclass_weight: Annotated[float, AT_LEAST_0, STACKED]
  contrast_temperature: Annotated[float, POSITIVE, STACKED]
  contrast_width: Annotated[int, AT_LEAST_1]
  num_negatives: Annotated[int, AT_LEAST_1]
  projection: Literal["auto", "always", "never"]
  prediction_temperature: Annotated[Literal["train", "one"], STACKED]


@dataclasses.dataclass(frozen=True)
class SubspaceSpec:
  """Subspaces of LELP and its ablations: `config.subspace`."""

  membership: Literal["labels", "teacher"]
  kind: Literal["lelp", "pca", "random", "identity"]
  num_subclasses: Annotated[int, AT_LEAST_1, STACKED]
  num_projections: Annotated[int, AT_LEAST_1]
  null_space: Annotated[
    Literal["weights", "weight_differences", "none"], STACKED
  ]
  rtol: Annotated[float, AT_LEAST_0]
  rotation: Annotated[Literal["haar", "none"], STACKED]
  seed: Annotated[int, STACKED]
  normalization: Annotated[Literal["max", "per_direction", "none"], STACKED]
  rank_deficient: Literal["complete", "error"]
  widening: Annotated[float, FINITE, STACKED]

  @property
  def used_null_space(self) -> str:
    """The null space that the method uses (A-3): "none" for kind "pca"."""
    return "none" if self.kind == "pca" else self.null_space


@dataclasses.dataclass(frozen=True)
class ClusteringSpec:
  """Clusters of the teacher's embeddings: `config.clustering`."""

  num_clusters: Annotated[int, AT_LEAST_1, STACKED]
  scope: Literal["per_class", "global"]
  null_space: Annotated[
    Literal["weights", "weight_differences", "none"], STACKED
  ]


@dataclasses.dataclass(frozen=True)
class PretrainingSpec:
  """Training of projections before the students: `config.pretraining`."""

  num_steps: Annotated[int, AT_LEAST_0]
  num_epochs: Annotated[float, AT_LEAST_0]
  steps_per_chunk: Annotated[int, AT_LEAST_0]
  learning_rate: Annotated[float, POSITIVE]


@dataclasses.dataclass(frozen=True)
class StackSpec:
  """Execution of the cells of one program: `config.stack`."""

  cells: Literal["auto", "vmap", "map"]
  max_cells: Annotated[int, AT_LEAST_1]


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
    loggers: Names of metric loggers in addition to `metrics.jsonl`.
    profile: First and last step to trace with JAX's profiler, or None.
    varied: Dotted names of the fields that the cell's row of the sweep sets
      or varies.
    name: Name of the table or figure, which reports of `experiments.main` use.
    title: Title of the table or figure.
  """

  column: str
  row: str
  method: str
  trial: int
  selection: Literal["heldout", "test"]
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
  name: str = ""
  title: str = ""


@dataclasses.dataclass(frozen=True)
class SweepSpec:
  """Everything about a sweep except its cells: `config.sweep` and its title."""

  name: str
  title: str
  selection: Literal["heldout", "test"]
  num_trials: Annotated[int, AT_LEAST_1]
  grid_trials: Annotated[int, AT_LEAST_0]
  columns_are: Literal["settings", "splits", "teachers"]
  notes: tuple[str, ...]
  is_smoke: bool
  maps: bool


class Field(NamedTuple):
  """A field of a spec and what its annotation declares.

  Attributes:
    name: Its name.
    type: Its type, without `Annotated`.
    is_section: Whether its values are specs.
    ranges: The ranges that its values lie in.
    is_stacked: Whether compiled programs take it as an array.
    is_required: Whether it has no default.
  """

  name: str
  type: Any
  is_section: bool
  ranges: tuple[Range, ...]
  is_stacked: bool
  is_required: bool


@functools.cache
def fields_of(kind: type) -> tuple[Field, ...]:
  """Returns the fields of a class of specs, in order."""
  hints = typing.get_type_hints(kind, include_extras=True)
  found = []
  for field in dataclasses.fields(kind):
    hint, extras = hints[field.name], ()
    if typing.get_origin(hint) is Annotated:
      hint, *extras = typing.get_args(hint)
    ranges = tuple(extra for extra in extras if isinstance(extra, Range))
    is_section = dataclasses.is_dataclass(hint)
    found.append(
      Field(
        field.name,
        hint,
        is_section,
        ranges,
        is_stacked=STACKED in extras,
        is_required=field.default is dataclasses.MISSING,
      )
    )
  return tuple(found)


@functools.cache
def _fields_by_name(kind: type) -> Mapping[str, Field]:
  return {field.name: field for field in fields_of(kind)}


@functools.cache
def _has_stacked(kind: type) -> bool:
  return any(
    field.is_stacked or (field.is_section and _has_stacked(field.type))
    for field in fields_of(kind)
  )


def without_stacked(spec: Spec) -> Spec:
  """Returns a spec in which all `STACKED` fields are None.

  Two cells have the same program if these are equal for both. The result is for
  comparing, hashing and for reading the other fields.
  """
  changes: dict[str, Any] = {}
  for field in fields_of(type(spec)):
    if field.is_stacked:
      changes[field.name] = None
    elif field.is_section and _has_stacked(field.type):
      changes[field.name] = without_stacked(getattr(spec, field.name))
  return dataclasses.replace(typing.cast(Any, spec), **changes)


def flat(spec: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yields the fields of a spec by dotted name, such as "loss.temperature"."""
  for field in fields_of(type(spec)):
    value = getattr(spec, field.name)
    if field.is_section:
      yield from flat(value, f"{prefix}{field.name}.")
    elif isinstance(value, FrozenDict):
      for name, option in value.items():
        yield f"{prefix}{field.name}.{name}", option
    else:
      yield prefix + field.name, value


def replace(spec: Spec, values: Mapping[str, Any]) -> Spec:
  """Returns a spec with other values of some fields.

  Values are by dotted name, such as "loss.temperature". An option that does not
  exist yet is added. Raises ValueError for an unknown field or a value of
  another type.
  """
  return _replaced(spec, values, "config")


def _replaced(spec: Any, values: Mapping[str, Any], path: str) -> Any:
  fields = _fields_by_name(type(spec))
  changes: dict[str, Any] = {}
  inner: dict[str, dict[str, Any]] = {}
  for name, value in values.items():
    first, _, rest = name.partition(".")
    field = fields.get(first)
    if field is None or (
      not (field.is_section or _is_mapping(field.type))
      if rest
      else field.is_section
    ):
      raise ValueError(f"{path}.{name} is not a field of a cell.")
    if rest:
      inner.setdefault(first, {})[rest] = value
    else:
      changes[first] = _typed(field.type, value, f"{path}.{name}")
  for name, own in inner.items():
    before = getattr(spec, name)
    if fields[name].is_section:
      changes[name] = _replaced(before, own, f"{path}.{name}")
    else:
      changes[name] = _frozen({**before, **own})
  return dataclasses.replace(spec, **changes)


def plain(spec: Any) -> Any:
  """Converts a spec to JSON-compatible data, as `config.json` holds it.

  Dataclasses and mappings become dicts, and tuples lists.
  """
  if dataclasses.is_dataclass(spec):
    names = [field.name for field in dataclasses.fields(spec)]
    return {name: plain(getattr(spec, name)) for name in names}
  if isinstance(spec, Mapping):
    return {name: plain(value) for name, value in spec.items()}
  if isinstance(spec, tuple | list):
    return [plain(value) for value in spec]
  return spec


def from_plain(
  values: Mapping[str, Any], kind: type[Spec] = CellSpec, path: str = "config"
) -> Spec:
  """Makes a spec, or a record of a result, from plain data.

  This is the inverse of `plain`. Types are checked; ranges are not. `path` says
  where the values are from, for messages. Raises ValueError if a field is
  missing, unknown or of another type.
  """
  fields = fields_of(kind)
  unknown = set(values) - {field.name for field in fields}
  missing = [
    field.name
    for field in fields
    if field.is_required and field.name not in values
  ]
  if unknown or missing:
    raise ValueError(
      f"{path} has other fields than this version of experiments reads: "
      f"{sorted(unknown)} are unknown, {missing} are missing."
    )
  return kind(
    **{
      field.name: _typed(field.type, values[field.name], f"{path}.{field.name}")
      for field in fields
      if field.name in values
    }
  )


def _typed(kind: Any, value: Any, name: str) -> Any:
  """Returns a value as its field's type has it."""
  origin, kinds = typing.get_origin(kind), typing.get_args(kind)
  if kind is Any or _is_mapping(kind):
    return _frozen(value)
  if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
    return from_plain(value, typing.cast(type, kind), name)
  if origin is Mapping and isinstance(value, Mapping):
    return {k: _typed(kinds[1], x, f"{name}.{k}") for k, x in value.items()}
  if origin is types.UnionType:  # A type or None.
    return None if value is None else _typed(kinds[0], value, name)
  if origin is tuple and isinstance(value, list | tuple):
    each = kinds if kinds[-1] is not Ellipsis else kinds[:1] * len(value)
    return tuple(_typed(k, x, name) for k, x in zip(each, value, strict=True))
  if origin is Literal:
    if value in kinds:
      return value
    raise ValueError(f"{name} must be one of {list(kinds)}, got {value!r}.")
  if kind is float and type(value) is int:
    return float(value)
  if type(value) is kind:
    return value
  expected = getattr(kind, "__name__", kind)
  raise ValueError(f"{name} must be of type {expected}, got {value!r}.")


def _is_mapping(kind: Any) -> bool:
  return typing.get_origin(kind) is FrozenDict


def _frozen(value: Any) -> Any:
  """Returns mappings as `FrozenDict` and sequences as tuples, throughout."""
  if isinstance(value, Mapping):
    return FrozenDict({name: _frozen(item) for name, item in value.items()})
  if isinstance(value, list | tuple):
    return tuple(_frozen(item) for item in value)
  return value
