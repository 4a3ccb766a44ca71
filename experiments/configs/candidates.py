"""Configs of `experiments.distill`: a user's own files, and students for them.

Every method is first tried with a few settings, one trial each. Then each
method's best setting on held-out data gets five trials, the first of which is
done already. All choices are made on held-out data.
"""

import math
import types
from collections.abc import Container
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments import specs
from experiments.configs import dotted
from experiments.configs import own
from experiments.configs import validate
from experiments.data.dataset import NO_LABEL
from lelp_jax.models import Cnn
from lelp_jax.models import MODELS

NUM_TRIALS = 5
# The methods that `grids` compares.
METHODS = ("standard", "vanilla", "lelp", "kmeans", "lelp_centroids")
_BATCH = 128  # Batch size of recipes that do not set one.
_CHUNKS = 8  # Number of evaluations, and of checkpoints, per training.


def own_config(
  values: Mapping[str, Any] = types.MappingProxyType({}),
) -> ConfigDict:
  """Returns a config of a user's own files.

  Args:
    values: Fields to set, by dotted name.
  """
  config = own.files_config()
  # The teacher labels the rows that have no label.
  config.data.unlabelled = "transfer"
  config.sweep.num_trials = NUM_TRIALS
  config.sweep.grid_trials = 1
  dotted.override(config, values)
  return config


def own_cell(values: Mapping[str, Any]) -> specs.CellSpec:
  """Returns the typed fields of `own_config`, without checking them."""
  return validate.converted(own_config(values))


class _Recipe(NamedTuple):
  """Training settings of a kind of model.

  Attributes:
    epochs: Passes over the transfer examples.
    least: Smallest number of steps.
    most: Largest number of steps.
    fields: Other fields of `config.student`.
    cheap: Whether training a student takes minutes at most, so that a grid may
      have eight points.
  """

  epochs: float
  least: int
  most: int
  fields: Mapping[str, Any]
  cheap: bool = False


_ADAM = {"optimizer": "adam", "schedule": "cosine", "learning_rate": 1e-3}
_SGD = {
  "optimizer": "sgd",
  "nesterov": True,
  "schedule": "cosine",
  "learning_rate": 5e-2,
  "weight_decay": 1e-4,
}


def _recipe(model: str) -> _Recipe:
  """Returns the training settings of a model."""
  architecture = MODELS[model]
  if architecture.module is Cnn:
    return _Recipe(20, 600, 3000, _ADAM)
  if architecture.reads == "image":  # A deeper model.
    return _Recipe(60, 1000, 20_000, _SGD)
  if architecture.reads == "array":
    return _Recipe(30, 1000, 4000, _ADAM, cheap=True)
  if architecture.huggingface is not None:
    encoder = {**_ADAM, "learning_rate": 5e-5, "batch_size": 32}
    return _Recipe(5, 300, 3000, encoder)
  return _Recipe(8, 1000, 3000, _ADAM, cheap=True)


def training_fields(
  model: str, num_examples: int, num_labelled: int
) -> dict[str, Any]:
  """Returns the fields of a config that set the training of a student.

  Args:
    model: A key of `MODELS`.
    num_examples: Number of examples that it learns from.
    num_labelled: Number of examples with a label. A batch is not larger, since
      standard training uses these examples alone.
  """
  recipe = _recipe(model)
  batch = min(recipe.fields.get("batch_size", _BATCH), max(1, num_labelled))
  steps = round(recipe.epochs * num_examples / batch)
  steps = min(max(steps, recipe.least), recipe.most)
  fields = {
    **recipe.fields,
    "batch_size": batch,
    "num_steps": steps,
    "num_epochs": 0.0,
    "steps_per_chunk": math.ceil(steps / _CHUNKS),
  }
  return {f"student.{name}": value for name, value in fields.items()}


def grids(
  *,
  num_classes: int,
  smallest_class: int,
  teacher_width: int,
  cheap: bool,
) -> dict[str, dict[str, Any]]:
  """Returns the settings to try of each method.

  Args:
    num_classes: C.
    smallest_class: Number of transfer examples of the smallest class.
    teacher_width: Width of the teacher's embeddings.
    cheap: Whether there is time for grids of eight settings.

  Returns:
    The fields and axes of each row of the sweep, by row; at most eight settings
    per row.
  """
  temperatures = (1.0, 2.0, 4.0) if cheap else (2.0, 4.0)
  # A head of rank C leaves D - C directions, and clusters of fewer than five
  # examples are noise.
  sizes = (5, 20) if num_classes <= 10 else (2, 5)
  largest = max(1, teacher_width - num_classes)
  directions = tuple(dict.fromkeys(min(size, largest) for size in sizes))
  clusters = (5, 20, 75) if num_classes <= 10 else (2, 5, 20)
  largest = max(1, smallest_class // 5)
  clusters = tuple(dict.fromkeys(min(size, largest) for size in clusters))
  clustered = {"num_clusters": clusters if cheap else clusters[:2]}
  return {
    "standard": {},
    "vanilla": {"loss": {"temperature": temperatures}},
    "lelp": {
      "loss": {
        "temperature": (2.0, 4.0),
        "subclass_temperature": (0.5, 2.0) if cheap else (1.0,),
      },
      "subspace": {"num_subclasses": directions},
    },
    "kmeans": {"clustering": clustered},
    "lelp_centroids": {
      "loss": {"subclass_temperature": (1.0, 3.0) if cheap else (3.0,)},
      "clustering": clustered,
    },
  }


def sweep_config(
  values: Mapping[str, Any],
  labels: np.ndarray,
  *,
  column: str,
  num_classes: int,
  teacher_width: int,
  given: Container[str] = (),
) -> ConfigDict:
  """Returns the config of a sweep with a grid per method.

  Args:
    values: Fields of the data, the teacher and the student by dotted name,
      including "student.model".
    labels: Class of each transfer example, int ``[N]``, `NO_LABEL` where there
      is none.
    column: The name of the student in the report.
    num_classes: C.
    teacher_width: Width of the teacher's embeddings.
    given: Names of the fields in `values` that the user has set. They keep
      their values.

  Raises:
    ValueError: If the user has set `config.sweep.grid_trials` to 0.
  """
  model = values["student.model"]
  counts = np.bincount(labels[labels != NO_LABEL], minlength=num_classes)
  # Trials share the order of the batches, so that they train together.
  settings: dict[str, Any] = {"data.shared_batch_order": True}
  settings |= training_fields(model, len(labels), int(counts.sum()))
  if MODELS[model].reads == "image":
    # Convolutions of several cells in one program are ten times slower on CPUs.
    settings["stack.max_cells"] = 1
  settings = {k: value for k, value in settings.items() if k not in given}
  config = own_config({**values, **settings})
  config.column = column
  rows = grids(
    num_classes=num_classes,
    smallest_class=int(counts.min()),
    teacher_width=teacher_width,
    cheap=_recipe(model).cheap,
  )
  config.sweep.methods = ConfigDict(rows)
  if not config.sweep.grid_trials:
    raise ValueError(
      "config.sweep.grid_trials must be at least 1, since only one setting of "
      "each method gets all trials, got 0."
    )
  config.sweep.columns = ConfigDict({column: {}})
  return config
