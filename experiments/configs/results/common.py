"""Settings that the configs of our own results share.

Every method with hyperparameters has eight grid points (four with the student
`bert`), one trial each. Held-out data choose the point that gets the other
trials.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.data.datasets import DATASETS
from experiments.methods.clustering import CLUSTERINGS

STUDENTS = {
  "static": "static student",
  "mlp": "MLP over frozen MiniLM embeddings",
  "bert": "two layers of MiniLM",
}
# Options of all-MiniLM-L6-v2 without `vocab_size`: vocabularies may be reduced.
_MINILM = {
  "hidden_size": 384,
  "num_layers": 6,
  "num_heads": 12,
  "intermediate_size": 1536,
  "pooling": "mean",
}
_FACTOR_WITH_FEW_LABELS = 4  # Of the teacher's epochs.
_WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def parse(arg: str | None, **more: Any) -> ConfigDict:
  """Parses the arguments that all configs of this folder have.

  * ``share=``: the percentage of the training examples that students see.
  * ``teachers=``: the number of teachers, which differ in their seed.
  * ``methods=main`` for the rows of the headline table, ``all`` for all rows;
    without the oracle where the data have no hidden classes.
  * ``grid=all`` for every grid point, ``chosen`` for the point of each row that
    held-out data chose with the first teacher (`chosen.json`).
  * ``method=`` and ``trial=`` of a single cell.
  """
  defaults = {
    "share": 15,
    "teachers": 3,
    "methods": "main",
    "grid": "all",
    "method": "lelp",
    "trial": 0,
  }
  given = base.parse_arg(arg, **(defaults | more))
  base.one_of("methods", given.methods, ("main", "all"))
  base.one_of("grid", given.grid, ("all", "chosen"))
  return given


def parse_text(arg: str | None, **more: Any) -> ConfigDict:
  """Parses the arguments of configs of texts, which include those of `parse`.

  * ``labelled=``: the percentage of the training examples that have a label.
    The teacher and standard training learn from these alone. With a larger
    `share`, the teacher labels the other examples for students. Directions and
    clusters are then those of the classes that the teacher predicts, over the
    students' examples.
  * ``student=static``; ``mlp``, which reads the frozen embeddings in
    `config.data.embeddings`, by default data/DATASET_minilm; or ``bert``.
  * ``encoder=``: the folder of MiniLM with a reduced vocabulary.
  """
  defaults = {"labelled": 100, "student": "static", "encoder": ""}
  given = parse(arg, **(defaults | more))
  base.one_of("student", given.student, STUDENTS)
  if given.grid == "chosen" and given.labelled < 100:
    raise ValueError(
      "config argument grid=chosen is known for labelled=100 alone, got "
      f"labelled={given.labelled}."
    )
  return given


def sweep_config(
  given: ConfigDict,
  dataset: str,
  title: str,
  student: str,
  rows: Mapping[str, Any],
) -> ConfigDict:
  """Returns the data and the sweep of a config, without its models.

  Args:
    given: Arguments of the config, see `parse`.
    dataset: Name of the prepared data set.
    title: Title of the sweep for readers.
    student: Name of the student in `chosen.json`.
    rows: The grids of the headline table's methods.
  """
  config = base.base_config()
  config.name, config.title = dataset, title
  config.method, config.trial, config.column = given.method, given.trial, "t0"
  config.data.dataset = dataset
  config.data.transfer_fraction = given.share / 100
  # Trials share the order of the batches, so that they train together.
  config.data.shared_batch_order = True
  config.loss.temperature = 2.0
  config.sweep.num_trials, config.sweep.grid_trials = 5, 1
  config.sweep.columns_are = "teachers"
  config.sweep.maps = False
  for seed in range(given.teachers):
    config.sweep.columns[f"t{seed}"] = ConfigDict({"teacher": {"seed": seed}})
  if given.methods == "all":
    config.title += ", every method"
    rows = {**rows, **other_rows()}
  if DATASETS[dataset].task.fine_to_class is None:
    rows = {name: grid for name, grid in rows.items() if name != "oracle"}
  if given.grid == "chosen":
    rows = _chosen(f"{dataset}-{given.share}-{student}", rows)
    config.sweep.grid_trials = 0
  config.sweep.methods = ConfigDict(dict(rows))
  return config


def text_config(
  given: ConfigDict,
  dataset: str,
  name: str,
  *,
  num_train: int,
  vocab_size: int,
  max_length: int,
  num_epochs: float,
) -> ConfigDict:
  """Returns a config with MiniLM as the teacher of a text student.

  Args:
    given: Arguments of the config, see `parse_text`.
    dataset: Name of the prepared data set.
    name: Name of the data set for readers.
    num_train: Number of the teacher's training examples.
    vocab_size: Number of tokens of the reduced encoder.
    max_length: Largest number of tokens of a text.
    num_epochs: Length of the teacher's fine-tuning.
  """
  seen = f"{given.share} % of the data"
  if given.labelled < 100:
    seen += f", labels for {given.labelled} % of all"
  config = sweep_config(
    given,
    dataset,
    f"{name}, {seen}, {STUDENTS[given.student]}",
    given.student,
    rows_of_four() if given.student == "bert" else main_rows(),
  )
  config.data.max_length = max_length
  if given.labelled < 100:
    config.data.num_labelled = round(num_train * given.labelled / 100)
    # A few passes over few examples would teach the teacher little.
    num_epochs *= _FACTOR_WITH_FEW_LABELS
  if given.labelled < given.share:
    config.subspace.membership = "teacher"
    standard = {"transfer": "labelled", "transfer_fraction": 1.0}
    config.sweep.methods.standard.data = ConfigDict(standard)
  _teacher(config.teacher, given.encoder, vocab_size)
  config.teacher.num_epochs = num_epochs
  num_examples = round(num_train * given.share / 100)
  if given.student == "static":
    _static(config.student, given.encoder, vocab_size, num_examples)
  elif given.student == "mlp":
    _mlp(config.student, num_examples)
    config.data.embeddings = f"data/{dataset}_minilm"
  else:
    _two_layers(config.student, given.encoder, vocab_size, num_examples)
    config.sweep.num_trials = 3
  return config


def _chosen(setting: str, rows: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the chosen grid point of each row that `chosen.json` has."""
  path = pathlib.Path(__file__).with_name("chosen.json")
  chosen = json.loads(path.read_text())
  if setting not in chosen:
    raise ValueError(
      f"config argument grid=chosen has no points for {setting!r}; it has "
      f"those for {sorted(chosen)}."
    )
  return {row: chosen[setting][row] for row in rows if row in chosen[setting]}


def main_rows() -> dict[str, Any]:
  """Returns the grids of the methods of the headline table."""
  return {
    "standard": {},
    "vanilla": {
      "loss": {"temperature": (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)}
    },
    "lelp": {
      "loss": {
        "temperature": (2.0, 4.0),
        "subclass_temperature": (0.25, 1.0),
      },
      "subspace": {"num_subclasses": (5, 20)},
    },
    "lelp_centroids": {
      "loss": {"temperature": (1.0, 2.0), "subclass_temperature": (1.0, 3.0)},
      "clustering": {"num_clusters": (20, 75)},
    },
    "kmeans": {
      "clustering": {"num_clusters": (2, 5, 10, 20, 40, 75, 100, 150)}
    },
    "oracle": {},
  }


def rows_of_four() -> dict[str, Any]:
  """Returns grids of four points, for students that train for minutes."""
  return {
    "standard": {},
    "vanilla": {"loss": {"temperature": (1.0, 2.0, 4.0, 8.0)}},
    "lelp": {
      "loss": {"temperature": (2.0, 4.0), "subclass_temperature": 0.25},
      "subspace": {"num_subclasses": (5, 20)},
    },
    "lelp_centroids": {
      "loss": {"temperature": 1.0, "subclass_temperature": (1.0, 3.0)},
      "clustering": {"num_clusters": (20, 75)},
    },
    "kmeans": {"clustering": {"num_clusters": (5, 20, 75, 150)}},
    "oracle": {},
  }


def other_rows() -> dict[str, Any]:
  """Returns the grids of the other methods that run with two classes."""
  weighted = {"loss": {"feature_weight": _WEIGHTS}}
  tempered = {
    "loss": {"temperature": (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)}
  }
  clustered = {
    "clustering": {"num_clusters": (5, 20, 75, 150)},
    "loss": {"temperature": (2.0, 4.0)},
  }
  rows: dict[str, Any] = {
    name: weighted
    for name in ("embedding", "fitnet", "vid", "rkd", "crd", "info_nce")
  }
  rows |= {name: tempered for name in ("dist", "standardized_kd")}
  for name in ("agglomerative", "tsne_kmeans"):
    rows[name] = {
      "clustering": {"num_clusters": (2, 5, 10, 20, 40, 75, 100, 150)}
    }
  # One number of subclasses, since each needs a teacher of its own.
  rows["subclass"] = tempered | {
    "teacher": {"subclass": {"num_subclasses": 10}}
  }
  return rows | {name: clustered for name in CLUSTERINGS if "soft" in name}


def _teacher(fields: ConfigDict, encoder: str, vocab_size: int) -> None:
  """Sets a MiniLM that is fine-tuned."""
  fields.model, fields.init = "bert", encoder
  fields.options.update(_MINILM | {"vocab_size": vocab_size})
  fields.num_steps, fields.steps_per_chunk = 0, 250
  fields.batch_size, fields.eval_batch_size = 32, 128
  fields.learning_rate, fields.schedule = 5e-5, "cosine"


def _static(
  fields: ConfigDict, encoder: str, vocab_size: int, num_examples: int
) -> None:
  """Sets a model that averages token embeddings, at first the encoder's."""
  _small(fields, num_examples)
  fields.model, fields.init = "static", encoder
  fields.options.vocab_size, fields.options.width = vocab_size, 128


def _mlp(fields: ConfigDict, num_examples: int) -> None:
  """Sets an MLP on precomputed embeddings."""
  _small(fields, num_examples)
  fields.model, fields.input_field = "mlp", "embeddings"


def _small(fields: ConfigDict, num_examples: int) -> None:
  """Sets two hidden layers, and the training of a small student."""
  fields.options.features, fields.options.dropout_rate = (256, 256), 0.2
  fields.batch_size, fields.eval_batch_size = 128, 500
  fields.num_steps = 1500 if num_examples < 5000 else 3000
  fields.steps_per_chunk = 500
  fields.learning_rate, fields.schedule = 1e-3, "cosine"


def _two_layers(
  fields: ConfigDict, encoder: str, vocab_size: int, num_examples: int
) -> None:
  """Sets the first two layers of the encoder."""
  fields.model, fields.init = "bert", encoder
  fields.options.update(_MINILM | {"num_layers": 2, "vocab_size": vocab_size})
  fields.batch_size, fields.eval_batch_size = 32, 128
  fields.num_steps = 500 if num_examples < 5000 else 1500
  fields.steps_per_chunk = 250
  fields.learning_rate, fields.schedule = 1e-4, "cosine"
