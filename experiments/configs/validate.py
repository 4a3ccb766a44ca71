"""Validation of configs: checks every value once, and returns typed specs.

Each error message names the field. `experiments.training.data` checks
everything that depends on the data, before anything is trained.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

from ml_collections import ConfigDict

from experiments import specs
from experiments.configs import dotted
from experiments.data import load
from experiments.data import tables
from experiments.data.datasets import DATASETS
from experiments.io import metrics
from experiments.methods import METHODS
from experiments.methods.clustering import CLUSTERINGS
from lelp_jax.models import MODELS

Model = TypeVar("Model", bound=specs.ModelSpec)

# Fields that a data set with a division of its own cannot have, with the values
# that change nothing.
_DIVIDING = {
  "merge_classes": 0,
  "num_labelled": 0,
  "transfer": "all",
  "transfer_fraction": 1.0,
  "embeddings": "",
}


def cell_spec(config: ConfigDict) -> specs.CellSpec:
  """Returns the typed and valid description of a single cell."""
  (cell,) = completed([converted(config)])
  check_cell(cell, config.sweep.cluster_scope)
  return cell


def sweep_spec(config: ConfigDict) -> specs.SweepSpec:
  """Returns the typed and valid description of a sweep, without its cells."""
  converted(config)  # Checks the types of the fields outside `config.sweep`.
  values = {**config, **config.sweep}
  names = [field.name for field in specs.fields_of(specs.SweepSpec)]
  sweep = specs.from_plain(
    {name: values[name] for name in names}, specs.SweepSpec, "config.sweep"
  )
  _check_ranges("config.sweep", sweep)
  if sweep.grid_trials >= sweep.num_trials:
    raise ValueError(
      "config.sweep.grid_trials must be less than config.sweep.num_trials="
      f"{sweep.num_trials}, got {sweep.grid_trials}: set it to 0 to train all "
      "trials of every grid point."
    )
  return sweep


def converted(config: ConfigDict) -> specs.CellSpec:
  """Returns the typed spec of a cell, without checking its values."""
  fields = config.to_dict()
  sweep, mesh = fields.pop("sweep"), fields.pop("mesh")
  fields["row"] = _row(config)
  fields["data"]["contents"] = ""
  fields["split_teacher"] = _splits_teacher(mesh["teacher"])
  fields["loggers"] = [name for name in fields["loggers"].split(",") if name]
  fields["profile"] = _profiled(fields["profile"])
  for model in (fields["teacher"], fields["student"]):
    model["options"] = {
      name: value
      for name, value in model["options"].items()
      if value is not None
    }
  row = dotted.flatten(sweep["methods"].get(fields["row"], {}))
  fields["varied"] = [name for name in row if "." in name]
  return specs.from_plain(fields)


def completed(cells: Sequence[specs.CellSpec]) -> list[specs.CellSpec]:
  """Replaces the automatic values in the cells of one sweep.

  `teacher.outputs="auto"` becomes "inline" for students whose images are
  augmented, else "cached". `teacher.num_coordinates=0` becomes the largest S
  of the cells with the same null space, which then share their coordinates.
  `data.contents` becomes the digest of a user's own files, and folders of
  pretrained weights get their absolute paths.
  """
  largest: dict[str, int] = {}
  for cell in cells:
    method = METHODS.get(cell.method)
    if method and method.outputs_for(cell) == "coordinates":
      space, size = cell.subspace.used_null_space, cell.subspace.num_subclasses
      largest[space] = max(size, largest.get(space, 1))
  # Thousands of cells share a few different sections.
  data = {spec: _completed_data(spec) for spec in {cell.data for cell in cells}}
  models = {
    model: _located(model)
    for model in {x for cell in cells for x in (cell.teacher, cell.student)}
  }
  return [
    dataclasses.replace(
      cell,
      data=data[cell.data],
      teacher=_completed_teacher(
        models[cell.teacher],
        cell.student,
        largest.get(cell.subspace.used_null_space, 1),
      ),
      student=models[cell.student],
    )
    for cell in cells
  ]


def _completed_data(data: specs.DataSpec) -> specs.DataSpec:
  """Checks `config.data` of a user's own files, and sets `contents`."""
  if not data.source:
    return data
  _check_files(data)
  return dataclasses.replace(data, contents=load.contents(data))


def _located(model: Model) -> Model:
  """Returns a model with the absolute path of the weights that it starts from.

  The model is then trained once, however its path is spelled.
  """
  path = pathlib.Path(model.init).expanduser()
  if model.init == "random" or not path.exists():
    return model
  return dataclasses.replace(model, init=str(path.resolve()))


@functools.lru_cache(maxsize=4096)
def _completed_teacher(
  teacher: specs.TeacherSpec, student: specs.ModelSpec, num_coordinates: int
) -> specs.TeacherSpec:
  """Replaces the automatic values of `config.teacher`."""
  changes: dict[str, Any] = {}
  if teacher.outputs == "auto":
    changes["outputs"] = "inline" if student.is_augmented else "cached"
  if teacher.outputs == "coordinates" and not teacher.num_coordinates:
    changes["num_coordinates"] = num_coordinates
  return dataclasses.replace(teacher, **changes) if changes else teacher


def check_cell(cell: specs.CellSpec, cluster_scope: str = "") -> None:
  """Raises ValueError for a cell that cannot be trained on any data."""
  if cell.method not in METHODS:
    raise ValueError(
      f"config.method must be one of {sorted(METHODS)}, got {cell.method!r}."
    )
  _check_folder_names(cell.column, cell.row)
  _check_ranges("config", cell)
  _check_data(cell.data, cell.selection)
  _check_model("config.teacher", cell.teacher, cell.data)
  _check_subclasses(cell)
  _check_model("config.student", cell.student, cell.data)
  _check_outputs(cell)
  _check_projections(cell)
  _check_cluster_scope(cell, cluster_scope)
  metrics.check_loggers(cell.loggers)


def _check_folder_names(column: str, row: str) -> None:
  """Raises ValueError for a column or a row that cannot name a folder."""
  for field, name in (("column", column), ("row", row)):
    if name and not re.fullmatch(r"\w[\w.+-]*", name):
      raise ValueError(
        f"config.{field} names a folder: it must start with a letter or a "
        "digit and hold only letters, digits, '_', '.', '+' and '-', got "
        f"{name!r}."
      )


# Cached, since thousands of cells of a sweep share a few different sections.
@functools.lru_cache(maxsize=4096)
def _check_ranges(path: str, section: specs.ConfigSection) -> None:
  """Raises ValueError for the first number that is out of range."""
  for field in specs.fields_of(type(section)):
    value = getattr(section, field.name)
    if field.is_section:
      _check_ranges(f"{path}.{field.name}", value)
    for allowed in field.ranges:
      if not allowed.contains(value):
        raise ValueError(
          f"{path}.{field.name} must {allowed.text}, got {value}."
        )


@functools.lru_cache(maxsize=4096)
def _check_data(data: specs.DataSpec, selection: str) -> None:
  """Raises ValueError for a data set that is unknown or cannot be divided."""
  known = sorted([*load.READY, *load.MADE_UP, *DATASETS])
  if not data.source and not data.dataset:
    raise ValueError(
      "config.data.dataset is not set: choose a column of the table, such as "
      "--config=FILE.py:column=NAME, or set config.data.dataset."
    )
  if not data.source and data.dataset not in known:
    raise ValueError(
      f"config.data.dataset must be one of {known}, or "
      f"config.data.source must be 'files', got {data.dataset!r}."
    )
  if data.source or data.dataset not in load.READY:
    return
  for name, neutral in _DIVIDING.items():
    if getattr(data, name) != neutral:
      raise ValueError(
        f"config.data.{name} cannot be set for the data set {data.dataset!r}, "
        f"which is already divided; got {getattr(data, name)!r}."
      )
  if selection != "heldout":
    raise ValueError(
      "config.selection must be 'heldout' for the data set "
      f"{data.dataset!r}, which has validation examples, got {selection!r}."
    )


def _check_files(data: specs.DataSpec) -> None:
  """Raises ValueError for invalid settings of a user's own files."""
  tables.check_encoding(data.encoding)
  tables.check_delimiter(data.delimiter)
  for name in ("text_column", "image_column"):
    column = getattr(data, name)
    if column and column == data.label_column:
      raise ValueError(
        f"config.data.{name} and config.data.label_column are both {column!r}: "
        "set each to its own column."
      )
  if data.transfer == "labelled" and (
    data.unlabelled == "transfer" or data.unlabelled_files
  ):
    field = "unlabelled_files" if data.unlabelled_files else "unlabelled"
    raise ValueError(
      "config.data.transfer='labelled' lets students train on labelled "
      f"examples alone, and config.data.{field}={getattr(data, field)!r} gives "
      "them others: set config.data.transfer=all."
    )
  if data.text_column and not data.tokenizer and not data.embeddings:
    raise ValueError(
      "config.data.tokenizer is not set, and texts need one: set it to the "
      "model's tokenizer, such as --config.data.tokenizer="
      "albert/albert-base-v2."
    )


@functools.lru_cache(maxsize=4096)
def _check_model(
  path: str, model: specs.ModelSpec, data: specs.DataSpec
) -> None:
  """Raises ValueError for a model or a training that is impossible."""
  if model.model not in MODELS:
    raise ValueError(
      f"{path}.model must be one of {sorted(MODELS)}, got {model.model!r}."
    )
  try:
    MODELS[model.model](1, **model.options)
  except (TypeError, ValueError) as error:
    raise ValueError(
      f"{path}.options {dict(model.options)} do not fit the model "
      f"{model.model!r}: {error}. Its options are {_options(model.model)}."
    ) from error
  if not model.num_steps and not model.num_epochs and model.init == "random":
    raise ValueError(
      f"{path}.num_steps=0 and {path}.num_epochs=0 leave the model untrained: "
      f"set {path}.init to pretrained weights, or train it."
    )
  boundaries = model.schedule_boundaries
  if len(boundaries) != len(model.schedule_factors):
    raise ValueError(
      f"{path}.schedule_factors must have one factor for each of "
      f"{path}.schedule_boundaries={boundaries}, got {model.schedule_factors}."
    )
  if list(boundaries) != sorted(boundaries):
    raise ValueError(
      f"{path}.schedule_boundaries must increase, got {boundaries}."
    )
  vectors = data.embeddings or data.dataset in load.MADE_UP
  if model.input_field == "embeddings" and not vectors:
    raise ValueError(
      f"{path}.input_field='embeddings' needs config.data.embeddings: set it "
      "to a folder that experiments.embed_sentence_t5 wrote."
    )


def _options(model: str) -> str:
  """Returns the names of the options of a model, for messages."""
  architecture = MODELS[model]
  return ", ".join(sorted({*architecture.attributes()} - {*architecture.fixed}))


def _check_subclasses(cell: specs.CellSpec) -> None:
  """Raises ValueError for a teacher's head that the method cannot use."""
  number = cell.teacher.subclass.num_subclasses
  is_needed = cell.method == "subclass"
  if is_needed != (number > 1):
    raise ValueError(
      "config.teacher.subclass.num_subclasses must be "
      f"{'at least 2' if is_needed else '1, for a plain teacher,'} with "
      f"config.method={cell.method!r}, got {number}."
    )


def _check_outputs(cell: specs.CellSpec) -> None:
  """Raises ValueError if a cell cannot learn from the outputs of its mode."""
  mode = f"config.teacher.outputs={cell.teacher.outputs!r}"
  if cell.teacher.outputs == "inline":
    return
  if cell.student.is_augmented:
    raise ValueError(
      f"{mode} caches outputs on clean images, and the student's are "
      "augmented: use 'inline' or 'auto', or set config.student.max_shift=0 "
      "and config.student.flip=False."
    )
  if cell.teacher.outputs == "cached":
    return
  needed = METHODS[cell.method].outputs_for(cell)
  if needed == "embeddings":
    kind = f" with config.subspace.kind={cell.subspace.kind!r}"
    raise ValueError(
      f"{mode} caches coordinates, and config.method={cell.method!r}"
      f"{kind if cell.method == 'lelp' else ''} needs the teacher's "
      "embeddings: use 'cached' or 'inline'."
    )
  most, size = cell.teacher.num_coordinates, cell.subspace.num_subclasses
  if needed == "coordinates" and size > most:
    raise ValueError(
      f"config.subspace.num_subclasses={size} must be at most "
      f"config.teacher.num_coordinates={most}: raise that, or set it to 0 for "
      "the largest number of the sweep."
    )


def _check_projections(cell: specs.CellSpec) -> None:
  """Raises ValueError unless an ensemble's projections divide S."""
  name, number = "subspace.num_projections", cell.subspace.num_projections
  if name not in METHODS[cell.method].hyperparameters:
    if number != 1:
      raise ValueError(
        f"config.{name} must be 1 for config.method={cell.method!r}, got "
        f"{number}."
      )
  elif cell.subspace.num_subclasses % number:
    raise ValueError(
      f"config.{name}={number} must divide "
      f"config.subspace.num_subclasses={cell.subspace.num_subclasses}."
    )


def _check_cluster_scope(cell: specs.CellSpec, counted: str) -> None:
  """Raises ValueError for a scope that the method or the config excludes."""
  scope = cell.clustering.scope
  if cell.method == "lelp_centroids" and scope != "per_class":
    raise ValueError(
      "config.clustering.scope must be 'per_class' for "
      f"config.method='lelp_centroids', got {scope!r}."
    )
  if cell.method in CLUSTERINGS and counted not in ("", scope):
    raise ValueError(
      f"config.clustering.scope={scope!r} contradicts the config's numbers of "
      f"clusters, which are {counted!r}: set the config argument instead, "
      f"--config=FILE.py:cluster_scope={scope}."
    )


def _row(config: ConfigDict) -> str:
  """Returns the name of a cell's row; by default it follows from the method."""
  if config.row:
    return config.row
  if config.method == "lelp" and config.subspace.kind != "lelp":
    return f"lelp_{config.subspace.kind}"
  return config.method


def _splits_teacher(text: str) -> bool:
  """Returns whether the teacher is divided among devices."""
  if text not in ("replicated", "fsdp"):
    raise ValueError(
      f"config.mesh.teacher must be 'replicated' or 'fsdp', got {text!r}."
    )
  return text == "fsdp"


def _profiled(text: str) -> list[int] | None:
  """Returns the first and the last step to trace; None for an empty text."""
  if not text:
    return None
  first, _, last = text.partition(":")
  if first.isdigit() and last.isdigit() and int(first) <= int(last):
    return [int(first), int(last)]
  raise ValueError(
    "config.profile must be FIRST_STEP:LAST_STEP, such as 100:120, got "
    f"{text!r}."
  )
