"""All fields of a config, with their types, meanings and defaults.

`experiments.configs.base` makes a config from the defaults.
`experiments.configs.validate` converts a config to the classes below, and
`from_plain` makes them from the `config.json` of a finished run. The classes
are frozen and hashable, so that they can be keys of compiled programs.

The annotation of a field says what `validate` checks: a `Literal` lists the
allowed values, and a `Range` next to the type bounds a number. Cells that
differ only in fields marked `STACKED` are trained together, by one compiled
program that takes these fields, or arrays made from them, as arguments.
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
  """Range of a number.

  Attributes:
    contains: Returns whether a value is in the range. NaN never is.
    text: Phrase that follows "must" in messages.
  """

  contains: Callable[[Any], bool]
  text: str


POSITIVE = Range(lambda x: 0 < x < math.inf, "be positive and finite")
FINITE = Range(lambda x: 0 <= x < math.inf, "be at least 0 and finite")
AT_LEAST_0 = Range(lambda x: x >= 0, "be at least 0")
AT_LEAST_1 = Range(lambda x: x >= 1, "be at least 1")
FRACTION = Range(lambda x: 0 <= x < 1, "lie in [0, 1)")
SHARE = Range(lambda x: 0 < x < 1, "lie in (0, 1)")
UP_TO_1 = Range(lambda x: 0 <= x <= 1, "lie in [0, 1]")
STACKED = "stacked"
NO_OPTIONS: FrozenDict[str, Any] = FrozenDict()


class ConfigSection:
  """Base class of the sections of a config, whose plain form has all fields."""


@dataclasses.dataclass(frozen=True)
class DataSpec(ConfigSection):
  """The data set, its splits and its location: `config.data`."""

  # "digits", "stand_in" (synthetic data for smoke tests), or the name of a data
  # set that experiments.prepare wrote.
  dataset: str = ""
  # Arguments of "digits" and "stand_in".
  options: FrozenDict[str, Any] = NO_OPTIONS
  data_dir: str = "data"  # Folder that experiments.prepare wrote.
  # Number of classes into which those of CIFAR-100 are merged; 0 merges none.
  merge_classes: Annotated[int, AT_LEAST_0] = 0
  # Semi-supervised learning: number of labelled examples of the teacher; 0 for
  # all.
  num_labelled: Annotated[int, AT_LEAST_0] = 0
  # Students train on "all" training examples, or on the "labelled" ones of the
  # teacher. Of these they get a stratified fraction (Figure 6).
  transfer: Literal["all", "labelled"] = "all"
  transfer_fraction: Annotated[
    float, Range(lambda x: 0 < x <= 1, "lie in (0, 1]")
  ] = 1.0
  # Seed that chooses the labelled examples and the fraction.
  split_seed: Annotated[int, AT_LEAST_0] = 0

  # "files" reads your own files instead of a data set: tables (.tsv, .csv,
  # .jsonl, .parquet), folders of images, or .npz files. The first run converts
  # them and keeps the result in the workdir. To give several tables, separate
  # them by commas, or give a pattern such as "part-*.csv" or their folder.
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
  # Number of channels to which images are converted: 1 for grey, 3 for colour;
  # 0 for grey if all images are grey, and for colour if not.
  channels: Literal[0, 1, 3] = 0
  # Encoding of text files; by default UTF-8, or as the byte order mark says.
  encoding: str = ""
  # Character between fields; by default the common one with which the columns
  # above exist.
  delimiter: str = ""
  # Whether the first line has the names of the columns. If not, a column is
  # named by its position from 0.
  header: bool = True
  # Whether fields may stand in double quotes: "double", "none", or "auto",
  # which is "double" for .csv and "none" for .tsv.
  quoting: Literal["auto", "double", "none"] = "auto"
  # Shares of the training examples that become validation examples (at most
  # 5,000) and test examples, if there are no files of these.
  validation_fraction: Annotated[float, SHARE] = 0.1
  test_fraction: Annotated[float, SHARE] = 0.2
  # Malformed rows and files are left out, counted and reported. The command
  # stops before training if more than this share of a file's rows is malformed.
  max_bad_rows: Annotated[float, UP_TO_1] = 0.01
  # Rows without a label: "refuse" stops the command, "drop" leaves them out,
  # and "transfer" lets students train on those of `train`, with the teacher's
  # outputs as targets. Methods that need a class use the one that the teacher
  # predicts.
  unlabelled: Literal["refuse", "drop", "transfer"] = "refuse"
  # Further files of unlabelled examples. Their labels, if any, are ignored, and
  # a folder of images needs no subfolders for classes.
  unlabelled_files: str = ""
  # Tokenizer: a tokenizer.json, a spiece.model, a folder with one of them, or
  # an id on the Hugging Face hub.
  tokenizer: str = ""
  # Longer texts are cut after this many tokens.
  max_length: Annotated[
    int, Range(lambda x: x >= 3, "be at least 3, for [CLS], a token and [SEP]")
  ] = 128

  # Where the training examples are kept: on the "device", on the "host", or
  # "auto", which means on the device up to 1 GiB. Texts are always on the host.
  placement: Literal["auto", "device", "host"] = "auto"
  # Texts are sorted by length within a window of this number of batches, and
  # batches are taken from it. 1 makes batches of random lengths. Each batch is
  # padded to its longest text.
  length_window: Annotated[int, AT_LEAST_1] = 32
  # Folder of precomputed embeddings, for `input_field="embeddings"`.
  embeddings: str = ""
  # Whether all trials see the batches in the same order. They then share a
  # stack and the teacher's forward pass. In the paper the orders differ.
  shared_batch_order: bool = False
  # Digest of a user's own files. It is not a field of a config.
  contents: str = ""


@dataclasses.dataclass(frozen=True)
class ModelSpec(ConfigSection):
  """Model and training: `config.student`, and most of `config.teacher`."""

  model: str = "mlp"  # A key of lelp_jax.models.MODELS.
  # Arguments of the model's constructor that differ from their defaults.
  options: FrozenDict[str, Any] = NO_OPTIONS
  # Field of an example that the model reads: "inputs", or "embeddings" for
  # precomputed embeddings.
  input_field: Literal["inputs", "embeddings"] = "inputs"
  # Initial weights of the body: "random", a folder (in Hugging Face's format,
  # or of a finished run) or an id on the Hugging Face hub.
  init: str = "random"
  # Initial last layer: "fresh", or "pretrained" if `init` has one that fits.
  init_head: Literal["fresh", "pretrained"] = "fresh"
  # Label of each output of a pretrained last layer, if its config.json has
  # other names.
  init_labels: tuple[str, ...] = ()
  # Number of training steps. If it and num_epochs are 0, a pretrained teacher
  # is used without training.
  num_steps: Annotated[int, AT_LEAST_0] = 1000
  # Number of epochs; if positive, it replaces num_steps.
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
  # Decoupled weight decay, for kernels only.
  weight_decay: Annotated[float, AT_LEAST_0] = 0.0
  # Augmentation: random shift of images, as a fraction of their size.
  max_shift: Annotated[float, FRACTION] = 0.0
  flip: bool = False  # Augmentation: random horizontal flip.
  # Steps between evaluations, each of which also saves a checkpoint. Where
  # possible they are one compiled program. 0 means one epoch.
  steps_per_chunk: Annotated[int, AT_LEAST_0] = 250
  eval_batch_size: Annotated[int, AT_LEAST_1] = 512

  @property
  def is_augmented(self) -> bool:
    """Whether training images are shifted or flipped at random."""
    return self.max_shift > 0 or self.flip


@dataclasses.dataclass(frozen=True)
class SubclassTeacherSpec(ConfigSection):
  """Head and auxiliary loss of the teacher of Subclass Distillation.

  This teacher has several outputs per class and is trained for this method
  alone.
  """

  # Number of outputs per class; 1 for an ordinary teacher.
  num_subclasses: Annotated[int, AT_LEAST_1] = 1
  auxiliary_weight: Annotated[float, AT_LEAST_0] = 1.0
  auxiliary_temperature: Annotated[float, POSITIVE] = 1.0


@dataclasses.dataclass(frozen=True)
class TeacherSpec(ModelSpec):
  """The teacher: `config.teacher`.

  In a validated spec, `outputs` is never "auto".
  """

  init_head: Literal["fresh", "pretrained"] = "pretrained"
  seed: Annotated[int, AT_LEAST_0] = 0
  # Whether to accept a teacher that is not better than always predicting the
  # most frequent class. This is checked on a user's own files, and for a
  # pretrained teacher that is used without training.
  allow_chance: bool = False
  # Source of the teacher's outputs: "inline" runs the teacher on each batch,
  # "cached" runs it once on all examples without augmentation and keeps its
  # outputs on disk, and "coordinates" keeps only coordinates on principal
  # directions and logits. "auto" means "inline" for students whose images are
  # augmented, and "cached" for all others.
  outputs: Literal["auto", "inline", "cached", "coordinates"] = "auto"
  # Number of directions per class with outputs="coordinates"; 0 for the largest
  # S of the sweep.
  num_coordinates: Annotated[int, AT_LEAST_0] = 0
  subclass: SubclassTeacherSpec = SubclassTeacherSpec()


@dataclasses.dataclass(frozen=True)
class LossSpec(ConfigSection):
  """Hyperparameters of the losses: `config.loss`."""

  temperature: Annotated[float, POSITIVE, STACKED] = 1.0  # tau.
  subclass_temperature: Annotated[float, POSITIVE, STACKED] = 1.0  # beta.
  # alpha of eq. (1).
  hard_label_weight: Annotated[float, UP_TO_1, STACKED] = 0.0
  # lambda: weight of a loss on embeddings.
  feature_weight: Annotated[float, AT_LEAST_0, STACKED] = 1.0
  nontarget_weight: Annotated[float, AT_LEAST_0, STACKED] = 1.0  # beta of DKD.
  # Weight of LELP's second term, which compares subclasses within a class; 1 in
  # the paper.
  subclass_weight: Annotated[float, AT_LEAST_0, STACKED] = 1.0
  # rho of CRD and InfoNCE.
  contrast_temperature: Annotated[float, POSITIVE, STACKED] = 0.07
  # Width of the projections that CRD and InfoNCE compare.
  contrast_width: Annotated[int, AT_LEAST_1] = 128
  # Number of negatives of CRD with a memory bank.
  num_negatives: Annotated[int, AT_LEAST_1] = 4096
  # Whether a learned linear map projects the student's embeddings to the
  # teacher's width: "always", "never", or "auto", which means if the widths
  # differ. With "auto", FitNet, CRD and InfoNCE also project at equal widths
  #
  projection: Literal["auto", "always", "never"] = "auto"
  # Temperature of the student's predictions: "train" for the temperature of the
  # loss, or "one".
  prediction_temperature: Annotated[Literal["train", "one"], STACKED] = "train"


@dataclasses.dataclass(frozen=True)
class SubspaceSpec(ConfigSection):
  """The subspaces of LELP and its ablations: `config.subspace`."""

  # Source of the classes in the statistics and clusters of each class.
  # "labels" means the labels of the examples, and the predicted class if there
  # is no label; the statistics are those of the teacher's training examples and
  # of unlabelled examples. "teacher" means the class that the teacher predicts;
  # the statistics are those of the students' training examples.
  membership: Literal["labels", "teacher"] = "labels"
  # "lelp", or an ablation of appendix C.
  kind: Literal["lelp", "pca", "random", "identity"] = "lelp"
  # S: number of subclasses per class.
  num_subclasses: Annotated[int, AT_LEAST_1, STACKED] = 10
  # Method "random_ensemble": the S directions are divided into this number of
  # independent sets, each with its own softmax and the same weight.
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
  # Seed of the rotation or of the random directions; -1 uses the trial.
  seed: Annotated[int, STACKED] = -1
  # The scale by which the directions of a class are divided.
  normalization: Annotated[Literal["max", "per_direction", "none"], STACKED] = (
    "max"
  )
  # If a class has fewer than S principal directions: "complete" adds other
  # directions, "error" stops.
  rank_deficient: Literal["complete", "error"] = "complete"
  # Method "lelp_centroids": the variance s^2 of a subclass is this factor times
  # the variance per dimension around the centroids. Scaling the factor has the
  # same effect as scaling loss.subclass_temperature. With 0, s^2 is chosen so
  # that examples belong to 1.5 clusters on average
  # (`lelp_jax.variance_of_perplexity`).
  widening: Annotated[float, FINITE, STACKED] = 10.0

  @property
  def is_principal(self) -> bool:
    """Whether the directions are principal directions."""
    return self.kind in ("lelp", "pca")

  @property
  def used_null_space(self) -> str:
    """The null space that the method uses (A-3): "none" for kind "pca"."""
    return "none" if self.kind == "pca" else self.null_space


@dataclasses.dataclass(frozen=True)
class ClusteringSpec(ConfigSection):
  """Clusters of the teacher's embeddings: `config.clustering`."""

  # Number of clusters per class, or in total with scope "global".
  num_clusters: Annotated[int, AT_LEAST_1, STACKED] = 10
  scope: Literal["per_class", "global"] = "per_class"
  # "none" clusters the embeddings as they are. Otherwise they are first
  # projected off the span of the head's "weights" or "weight_differences", with
  # the tolerance subspace.rtol. Method "lelp_centroids" reads
  # subspace.null_space instead.
  null_space: Annotated[
    Literal["weights", "weight_differences", "none"], STACKED
  ] = "none"


@dataclasses.dataclass(frozen=True)
class PretrainingSpec(ConfigSection):
  """Pre-training of the projections of FitNet and CRD: `config.pretraining`.

  The projections are trained with a student that is then discarded, once for
  all trials and grid points (A-24). If both lengths are 0, they are not
  pre-trained.
  """

  num_steps: Annotated[int, AT_LEAST_0] = 1000
  # Number of epochs; if positive, it replaces num_steps.
  num_epochs: Annotated[float, AT_LEAST_0] = 0.0
  steps_per_chunk: Annotated[int, AT_LEAST_0] = 250
  learning_rate: Annotated[float, POSITIVE] = 1e-3  # Of Adam.


@dataclasses.dataclass(frozen=True)
class StackSpec(ConfigSection):
  """Execution of the cells of one program: `config.stack`."""

  # How stacked cells run: "vmap" runs them at once, "map" one after another.
  # "auto" means "vmap" for mlp and static, and "map" for all other students.
  cells: Literal["auto", "vmap", "map"] = "auto"
  max_cells: Annotated[int, AT_LEAST_1] = 256  # Larger stacks are divided.


@dataclasses.dataclass(frozen=True)
class CellSpec(ConfigSection):
  """One student: a column of a table, a method, hyperparameters, a trial."""

  column: str = ""  # Column of the table. It names a folder.
  # Row of the table. It names a folder, and defaults to the name of the method.
  row: str = ""
  method: str = "lelp"  # A key of experiments.methods.METHODS.
  # Seed of initialisation, dropout, rotation and data order.
  trial: Annotated[int, AT_LEAST_0] = 0
  # Examples on which hyperparameters are chosen: "heldout" examples of the
  # training set, or the "test" set, as in the paper.
  selection: Literal["heldout", "test"] = "heldout"
  data: DataSpec = DataSpec()
  teacher: TeacherSpec = TeacherSpec()
  student: ModelSpec = ModelSpec()
  loss: LossSpec = LossSpec()
  subspace: SubspaceSpec = SubspaceSpec()
  clustering: ClusteringSpec = ClusteringSpec()
  pretraining: PretrainingSpec = PretrainingSpec()
  stack: StackSpec = StackSpec()
  # Whether the teacher's arrays are divided over the devices, which is so if
  # `config.mesh.teacher` is "fsdp".
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
  # Number of trials of each grid point in a first stage. Only the grid point
  # that held-out data choose then gets all `num_trials` trials. 0 trains all
  # trials of every grid point.
  grid_trials: Annotated[int, AT_LEAST_0] = 0
  # Meaning of the columns: "settings" to compare, or repetitions of one setting
  # whose mean is shown, which are "splits" of one data set or "teachers" that
  # differ in their seed.
  columns_are: Literal["settings", "splits", "teachers"] = "settings"
  notes: tuple[str, ...] = ()  # Sentences for the report.
  # Whether this is a smoke test, whose numbers mean nothing. The report then
  # marks no best method.
  is_smoke: bool = False
  # Whether the report draws maps of the students' embeddings.
  maps: bool = True


class Field(NamedTuple):
  """A field of a spec and its annotations.

  Attributes:
    name: Its name.
    type: Its type, without `Annotated`.
    is_section: Whether its value is a spec itself.
    ranges: The ranges in which its value must lie.
    is_stacked: Whether it is marked `STACKED`.
    is_required: Whether plain data must have it, because it has no default or
      belongs to a `ConfigSection`.
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
  result = []
  for field in dataclasses.fields(kind):
    hint, extras = hints[field.name], ()
    if typing.get_origin(hint) is Annotated:
      hint, *extras = typing.get_args(hint)
    ranges = tuple(extra for extra in extras if isinstance(extra, Range))
    is_section = dataclasses.is_dataclass(hint)
    result.append(
      Field(
        field.name,
        hint,
        is_section,
        ranges,
        is_stacked=STACKED in extras,
        is_required=is_whole or field.default is dataclasses.MISSING,
      )
    )
  return tuple(result)


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

  Cells with equal results have the same program. Use the result only for
  comparing, hashing and reading the other fields.
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
  """Returns a spec with some fields replaced.

  Args:
    spec: The spec.
    values: New values by dotted name, such as "loss.temperature". An option of
      a model that is not set yet is added.

  Raises:
    ValueError: If a field is unknown or a value has the wrong type.
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


def from_plain(
  values: Mapping[str, Any], kind: type[Spec] = CellSpec, path: str = "config"
) -> Spec:
  """Makes a spec, or a record of `experiments.results`, from plain data.

  This is the inverse of `json_files.plain`. It checks types, but not ranges.

  Args:
    values: The plain data.
    kind: Class of the spec or the record.
    path: Name of the values, for messages.

  Raises:
    ValueError: If a field is missing or unknown, or a value has the wrong type.
  """
  fields = fields_of(kind)
  unknown = set(values) - {field.name for field in fields}
  missing = [
    field.name
    for field in fields
    if field.is_required and field.name not in values
  ]
  if unknown or missing:
    problems = [
      f"{problem} {', '.join(names)}"
      for problem, names in (("unknown", sorted(unknown)), ("missing", missing))
      if names
    ]
    raise ValueError(
      f"{path} has other fields than this version of experiments reads: "
      f"{'; '.join(problems)}."
    )
  return kind(
    **{
      field.name: _typed(field.type, values[field.name], f"{path}.{field.name}")
      for field in fields
      if field.name in values
    }
  )


def _typed(kind: Any, value: Any, name: str) -> Any:
  """Converts a plain value to the type of its field, or raises ValueError."""
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
  """Converts mappings to `FrozenDict` and sequences to tuples, recursively."""
  if isinstance(value, Mapping):
    return FrozenDict({name: _frozen(item) for name, item in value.items()})
  if isinstance(value, list | tuple):
    return tuple(_frozen(item) for item in value)
  return value
