"""Typed description of a run: each field of a config, its meaning and default.

`experiments.configs.base` makes configs of the defaults;
`experiments.configs.validate` makes the classes below from a config, and
`from_plain` makes them from the `config.json` of a finished run. All classes
are frozen and hashable, so that they can be keys of compiled programs.

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
NO_OPTIONS: FrozenDict[str, Any] = FrozenDict()


class ConfigSection:
  """A section of a config. Its plain form has all of its fields."""


@dataclasses.dataclass(frozen=True)
class DataSpec(ConfigSection):
  """Data set, its division and where it lives: `config.data`."""

  # "digits", "stand_in" (made-up data for smoke tests), or the name of a data
  # set that experiments.prepare wrote.
  dataset: str = ""
  # Arguments of "digits" and "stand_in".
  options: FrozenDict[str, Any] = NO_OPTIONS
  data_dir: str = "data"  # Folder that experiments.prepare wrote.
  # Merges the classes of CIFAR-100 into this number of classes; 0 keeps them.
  merge_classes: Annotated[int, AT_LEAST_0] = 0
  # Semi-supervised: number of labels that the teacher sees, 0 for all.
  num_labelled: Annotated[int, AT_LEAST_0] = 0
  # Students train on "all" training examples, or on the "labelled" ones that
  # the teacher saw; and on this fraction of them, stratified (Figure 6).
  transfer: Literal["all", "labelled"] = "all"
  transfer_fraction: Annotated[
    float, Range(lambda x: 0 < x <= 1, "lie in (0, 1]")
  ] = 1.0
  # Seed of the choice of labelled examples and of the fraction.
  split_seed: Annotated[int, AT_LEAST_0] = 0

  # "files" reads your own files instead of a data set: tables (.tsv, .csv,
  # .jsonl, .parquet), folders of images, or .npz. The first run converts them
  # and keeps the result in the workdir. Several tables are separated by commas,
  # or named by a pattern such as "part-*.csv" or by their folder.
  source: Literal["", "files"] = ""
  train: str = ""
  validation: str = ""  # By default a part of the training examples.
  test: str = ""  # By default a part of the training examples.
  text_column: str = ""
  # Column of encoded images, or of their paths, relative to the table's folder.
  image_column: str = ""
  label_column: str = ""
  # Images are resized to this height and width; 0 keeps their size.
  image_size: Annotated[int, AT_LEAST_0] = 0
  # 1 makes images grey, 3 coloured; 0 makes them grey if all of them are.
  channels: Literal[0, 1, 3] = 0
  # Text files: the encoding (by default UTF-8, or by the byte order mark), the
  # character between fields (by default the usual one with which the columns
  # exist), whether the first line has the names of the columns (if not, a
  # column is a position from 0), and whether fields may stand in double quotes:
  # "double", "none", or "auto", which is "double" for .csv and "none" for .tsv.
  encoding: str = ""
  delimiter: str = ""
  header: bool = True
  quoting: Literal["auto", "double", "none"] = "auto"
  # Share of the training examples that become validation examples, at most
  # 5,000, and share that become test examples, where none are given.
  validation_fraction: Annotated[float, SHARE] = 0.1
  test_fraction: Annotated[float, SHARE] = 0.2
  # Malformed rows and files are left out, counted and named. More than this
  # share of those of a file stop the command before it trains.
  max_bad_rows: Annotated[
    float, Range(lambda x: 0 <= x <= 1, "lie in [0, 1]")
  ] = 0.01
  # Rows without a label: "refuse" stops the command, "drop" leaves them out,
  # and "transfer" lets students train on those of `train`, with the teacher's
  # outputs as targets. A method that needs a class takes the one that the
  # teacher predicts.
  unlabelled: Literal["refuse", "drop", "transfer"] = "refuse"
  # More files of such examples. Their labels, if any, are ignored, and a folder
  # of images needs no folders of classes.
  unlabelled_files: str = ""
  # A tokenizer.json, spiece.model, folder or id of the Hugging Face hub.
  tokenizer: str = ""
  # Longer texts are cut after this many tokens.
  max_length: Annotated[
    int, Range(lambda x: x >= 3, "be at least 3, for [CLS], a token and [SEP]")
  ] = 128

  # Where the training data are kept: "device", "host" (as text has to be), or
  # "auto", which is on the devices up to 1 GiB.
  placement: Literal["auto", "device", "host"] = "auto"
  # Text: batches are cut from a window of this many batches, sorted by length.
  # 1 makes random batches, each padded to its longest text.
  length_window: Annotated[int, AT_LEAST_1] = 32
  # Folder of precomputed vectors, for `input_field="embeddings"`.
  embeddings: str = ""
  # Trials that see the batches in the same order share a stack and the
  # teacher's forward pass. The paper's trials differ in the order.
  shared_batch_order: bool = False
  # Identifies a user's own files. It is not a field of a config.
  contents: str = ""


@dataclasses.dataclass(frozen=True)
class ModelSpec(ConfigSection):
  """Model and its training: `config.student`, and most of `config.teacher`."""

  model: str = "mlp"  # A key of lelp_jax.models.MODELS.
  # Arguments of its constructor that differ from their defaults.
  options: FrozenDict[str, Any] = NO_OPTIONS
  # Field of an example that the model reads: "inputs", or "embeddings", the
  # precomputed vectors.
  input_field: Literal["inputs", "embeddings"] = "inputs"
  # Initial weights of the body: "random", a folder (of Hugging Face's format,
  # or of a finished run) or an id of the Hugging Face hub.
  init: str = "random"
  # Initial last layer: "fresh", or "pretrained" if `init` has one that fits.
  init_head: Literal["fresh", "pretrained"] = "fresh"
  # The label of each output of that layer, if its config.json has other names.
  init_labels: tuple[str, ...] = ()
  # 0 takes a pretrained teacher as it is.
  num_steps: Annotated[int, AT_LEAST_0] = 1000
  # If positive it replaces num_steps.
  num_epochs: Annotated[float, AT_LEAST_0] = 0.0
  batch_size: Annotated[int, AT_LEAST_1] = 64
  optimizer: Literal["adam", "sgd"] = "adam"
  momentum: Annotated[float, FRACTION] = 0.9  # For "sgd".
  nesterov: bool = False  # For "sgd".
  learning_rate: Annotated[float, POSITIVE] = 1e-3
  # "constant"; "cosine", which ends at 1e-6 as in the paper; or
  # "piecewise_constant", which multiplies the learning rate by a factor from
  # each boundary on. Boundaries are in steps, or in epochs with num_epochs.
  schedule: Literal["constant", "cosine", "piecewise_constant"] = "constant"
  schedule_boundaries: tuple[float, ...] = ()
  schedule_factors: tuple[float, ...] = ()
  # Decoupled, for kernels only.
  weight_decay: Annotated[float, AT_LEAST_0] = 0.0
  # Augmentation: random shift of images, as a fraction of their size.
  max_shift: Annotated[float, FRACTION] = 0.0
  flip: bool = False  # Augmentation: random horizontal flip.
  # Steps per compiled program, 0 for an epoch. After each the model is
  # evaluated and saved.
  steps_per_chunk: Annotated[int, AT_LEAST_0] = 250
  eval_batch_size: Annotated[int, AT_LEAST_1] = 512

  @property
  def is_augmented(self) -> bool:
    """Returns whether training images are shifted or flipped at random."""
    return self.max_shift > 0 or self.flip


@dataclasses.dataclass(frozen=True)
class SubclassTeacherSpec(ConfigSection):
  """Head and auxiliary loss of Subclass Distillation's teacher.

  It is trained for this method alone, and has several outputs per class.
  """

  # Number of outputs per class; 1 for a plain teacher.
  num_subclasses: Annotated[int, AT_LEAST_1] = 1
  auxiliary_weight: Annotated[float, AT_LEAST_0] = 1.0
  auxiliary_temperature: Annotated[float, POSITIVE] = 1.0


@dataclasses.dataclass(frozen=True)
class TeacherSpec(ModelSpec):
  """Teacher: `config.teacher`. Once validated, `outputs` is never "auto"."""

  init_head: Literal["fresh", "pretrained"] = "pretrained"
  seed: Annotated[int, AT_LEAST_0] = 0
  # Whether to go on with a teacher that is not better than naming the most
  # frequent class. It only matters for a user's own files, and for a
  # pretrained teacher that is taken as it is.
  allow_chance: bool = False
  # Where students get the teacher's outputs from: "inline" runs the teacher on
  # each batch; "cached" runs it once on the clean examples and keeps its
  # outputs with the teacher; "coordinates" keeps only coordinates on principal
  # directions. "auto" is "inline" for students whose images are augmented, and
  # "cached" for all others.
  outputs: Literal["auto", "inline", "cached", "coordinates"] = "auto"
  # Directions per class of "coordinates"; 0 for the largest S of the sweep.
  num_coordinates: Annotated[int, AT_LEAST_0] = 0
  subclass: SubclassTeacherSpec = SubclassTeacherSpec()


@dataclasses.dataclass(frozen=True)
class LossSpec(ConfigSection):
  """Hyperparameters of the losses: `config.loss`."""

  temperature: Annotated[float, POSITIVE, STACKED] = 1.0  # tau.
  subclass_temperature: Annotated[float, POSITIVE, STACKED] = 1.0  # beta.
  # alpha of eq. (1).
  hard_label_weight: Annotated[
    float, Range(lambda x: 0 <= x <= 1, "lie in [0, 1]"), STACKED
  ] = 0.0
  # lambda: weight of the loss that compares embeddings.
  feature_weight: Annotated[float, AT_LEAST_0, STACKED] = 1.0
  nontarget_weight: Annotated[float, AT_LEAST_0, STACKED] = 1.0  # beta of DKD.
  # Weight of LELP's second term, within the classes; 1 in the paper.
  subclass_weight: Annotated[float, AT_LEAST_0, STACKED] = 1.0
  # rho of CRD and InfoNCE.
  contrast_temperature: Annotated[float, POSITIVE, STACKED] = 0.07
  # Width of the projections that CRD and InfoNCE compare.
  contrast_width: Annotated[int, AT_LEAST_1] = 128
  # Negatives of CRD with a memory bank.
  num_negatives: Annotated[int, AT_LEAST_1] = 4096
  # Whether a learned linear map takes the student's embeddings to the
  # teacher's width: "always", "never", or "auto", where the widths differ.
  # With "auto" FitNet and the contrasts also have it at equal widths.
  projection: Literal["auto", "always", "never"] = "auto"
  # Temperature of the student's class probabilities when it predicts: "train"
  # for the loss's temperature, or "one".
  prediction_temperature: Annotated[Literal["train", "one"], STACKED] = "train"


@dataclasses.dataclass(frozen=True)
class SubspaceSpec(ConfigSection):
  """Subspaces of LELP and its ablations: `config.subspace`."""

  # Class of an example in the statistics and clusters of each class: its
  # "labels" (of the teacher's training examples; the teacher's class for
  # examples without a label), or the class that the "teacher" predicts, of all
  # examples that students train on.
  membership: Literal["labels", "teacher"] = "labels"
  # "lelp", or an ablation of appendix C.
  kind: Literal["lelp", "pca", "random", "identity"] = "lelp"
  # S, per class.
  num_subclasses: Annotated[int, AT_LEAST_1, STACKED] = 10
  # Method "random_ensemble": the S directions are this number of independent
  # sets, each with a softmax of its own and the same weight.
  num_projections: Annotated[int, AT_LEAST_1] = 1
  # The directions are orthogonal to the head's "weights", to their
  # "weight_differences", or to "none".
  null_space: Annotated[
    Literal["weights", "weight_differences", "none"], STACKED
  ] = "weights"
  # Tolerance of the head's rank.
  rtol: Annotated[float, AT_LEAST_0] = 5e-3
  # Whether the directions are rotated at random, so that they carry equal
  # variances in expectation.
  rotation: Annotated[Literal["haar", "none"], STACKED] = "haar"
  # Seed of the rotation or of random directions; -1 for the trial.
  seed: Annotated[int, STACKED] = -1
  # The scale by which the directions of a class are divided.
  normalization: Annotated[Literal["max", "per_direction", "none"], STACKED] = (
    "max"
  )
  # Whether a class with fewer directions than S gets others, or is an error
  #
  rank_deficient: Literal["complete", "error"] = "complete"
  # Method "lelp_centroids": the variance s^2 of a subclass is this multiple of
  # the variance per dimension around the centroids. A multiple of it has the
  # same effect as the same multiple of loss.subclass_temperature. With 0 the
  # data choose s^2: examples then belong to 1.5 clusters on average
  # (`lelp_jax.variance_of_perplexity`).
  widening: Annotated[float, FINITE, STACKED] = 10.0

  @property
  def is_principal(self) -> bool:
    """Whether the directions are principal ones."""
    return self.kind in ("lelp", "pca")

  @property
  def used_null_space(self) -> str:
    """The null space that the method uses (A-3): "none" for kind "pca"."""
    return "none" if self.kind == "pca" else self.null_space


@dataclasses.dataclass(frozen=True)
class ClusteringSpec(ConfigSection):
  """Clusters of the teacher's embeddings: `config.clustering`."""

  # Per class, or of all classes with the scope "global".
  num_clusters: Annotated[int, AT_LEAST_1, STACKED] = 10
  scope: Literal["per_class", "global"] = "per_class"
  # The embeddings are clustered as they are, "none", or projected off the span
  # of the head's "weights" or of their "weight_differences", at the tolerance
  # subspace.rtol. Method "lelp_centroids" has subspace.null_space instead.
  null_space: Annotated[
    Literal["weights", "weight_differences", "none"], STACKED
  ] = "none"


@dataclasses.dataclass(frozen=True)
class PretrainingSpec(ConfigSection):
  """Training of projections before the students: `config.pretraining`.

  The projections of FitNet and CRD are trained first, with a student that is
  then discarded; once for all trials and grid points (A-24).
  """

  num_steps: Annotated[int, AT_LEAST_0] = 1000
  # If positive it replaces num_steps. No pre-training if both are 0.
  num_epochs: Annotated[float, AT_LEAST_0] = 0.0
  steps_per_chunk: Annotated[int, AT_LEAST_0] = 250
  learning_rate: Annotated[float, POSITIVE] = 1e-3  # Learning rate of Adam.


@dataclasses.dataclass(frozen=True)
class StackSpec(ConfigSection):
  """Execution of the cells of one program: `config.stack`."""

  # Stacked cells run as one batch, "vmap", or one after another, "map". "auto"
  # is "vmap" for mlp and static, and "map" for all others.
  cells: Literal["auto", "vmap", "map"] = "auto"
  max_cells: Annotated[int, AT_LEAST_1] = 256  # Larger stacks are divided.


@dataclasses.dataclass(frozen=True)
class CellSpec(ConfigSection):
  """One student: a column of a table, a method, hyperparameters, a trial."""

  column: str = ""  # Column of the table; names a folder.
  # Row of the table; names a folder. In a config it is empty by default, and
  # the row is named after the method.
  row: str = ""
  method: str = "lelp"  # A key of experiments.methods.METHODS.
  trial: int = 0  # Seed of initialisation, dropout, rotation and data order.
  # Examples that choose hyperparameters: "heldout", taken from the training
  # set, or "test", as in the paper.
  selection: Literal["heldout", "test"] = "heldout"
  data: DataSpec = DataSpec()
  teacher: TeacherSpec = TeacherSpec()
  student: ModelSpec = ModelSpec()
  loss: LossSpec = LossSpec()
  subspace: SubspaceSpec = SubspaceSpec()
  clustering: ClusteringSpec = ClusteringSpec()
  pretraining: PretrainingSpec = PretrainingSpec()
  stack: StackSpec = StackSpec()
  # Whether the teacher's arrays are cut over devices: `config.mesh.teacher` is
  # "fsdp".
  split_teacher: bool = False
  # Names of metric loggers in addition to `metrics.jsonl`.
  loggers: tuple[str, ...] = ()
  # First and last step to trace with JAX's profiler.
  profile: tuple[int, int] | None = None
  # Dotted names of the fields that the cell's row of the sweep sets or varies.
  varied: tuple[str, ...] = ()
  name: str = ""  # Short name of the table or figure.
  title: str = ""  # Title of the table or figure, for readers.


@dataclasses.dataclass(frozen=True)
class SweepSpec(ConfigSection):
  """Everything about a sweep except its cells: `config.sweep` and its title."""

  name: str = ""
  title: str = ""
  selection: Literal["heldout", "test"] = "heldout"
  num_trials: Annotated[int, AT_LEAST_1] = 3
  # Trials of each grid point; only the point that held-out data choose then
  # gets all `num_trials`. 0 trains all trials of every grid point.
  grid_trials: Annotated[int, AT_LEAST_0] = 0
  # "settings" to compare; or repetitions of one setting, whose mean is shown:
  # "splits" of one data set, or "teachers" that differ in their seed.
  columns_are: Literal["settings", "splits", "teachers"] = "settings"
  notes: tuple[str, ...] = ()  # Sentences for the readers of the report.
  # Whether numbers mean nothing: the report then marks no best method.
  is_smoke: bool = False
  # Whether the report draws maps of the students' embeddings.
  maps: bool = True


class Field(NamedTuple):
  """A field of a spec and what its annotation declares.

  Attributes:
    name: Its name.
    type: Its type, without `Annotated`.
    is_section: Whether its values are specs.
    ranges: The ranges that its values lie in.
    is_stacked: Whether compiled programs take it as an array.
    is_required: Whether plain forms have it: it has no default, or belongs to
      a section of a config.
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
  is_whole = issubclass(kind, ConfigSection)
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
        is_required=is_whole or field.default is dataclasses.MISSING,
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
