"""Smoke tests: tiny versions of a column and of a grid, on made-up data.

The data are those of `experiments.data.datasets.made_up`, so that nothing has
to be prepared. Models are the smallest of their kind: an ALBERT of one layer
for texts, a perceptron for images. A smoke test takes all steps of a sweep, and
its numbers mean nothing.
"""

from collections.abc import Mapping
from typing import Any

from lelp_jax.models import MODELS

TITLE = "SMOKE TEST"
NOTE = (
  "SMOKE TEST: tiny models, made-up data and a few steps. These numbers say "
  "nothing about any method."
)
_ALBERT = {
  "embedding_size": 8,
  "hidden_size": 16,
  "num_layers": 1,
  "num_heads": 2,
  "intermediate_size": 16,
}
# Widths of the models' embeddings.
_WIDTHS = {"teacher": 16, "student": 12}
# All columns have the same training, so that they share compiled programs.
_TRAINING = {
  "num_steps": 4,
  "num_epochs": 0.0,
  "steps_per_chunk": 2,
  "batch_size": 8,
  "optimizer": "adam",
  "nesterov": False,
  "learning_rate": 1e-3,
  "schedule": "constant",
  "schedule_boundaries": (),
  "schedule_factors": (),
  "weight_decay": 1e-4,
}
_COUNTS = (
  "clustering.num_clusters",
  "subspace.num_subclasses",
  "teacher.subclass.num_subclasses",
)
_LABELS_PER_STAND_IN = 100  # Of the real data, per label of the made-up data.


def column(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a tiny version of a column."""
  small = {
    name: value
    for name, value in fields.items()
    if ".options." not in name and not name.endswith(".init")
  }
  small |= {
    "data.dataset": "stand_in",
    "data.options.like": fields["data.dataset"],
    "data.num_labelled": fields["data.num_labelled"] // _LABELS_PER_STAND_IN,
    "data.embeddings": "",
    "loss.num_negatives": 16,
    "pretraining.num_steps": 2,
    "pretraining.num_epochs": 0.0,
  }
  for role, width in _WIDTHS.items():
    model, options = "mlp", {"features": (width,)}
    if MODELS[fields[f"{role}.model"]].reads == "tokens":
      model = "albert_base"
      options = _ALBERT | {"hidden_size": width}
    training = _TRAINING | {
      "model": model,
      "input_field": fields[f"{role}.input_field"],
    }
    training |= {f"options.{name}": value for name, value in options.items()}
    small |= {f"{role}.{name}": value for name, value in training.items()}
  return small


def axes(
  values: Mapping[str, tuple[Any, ...]], most: int
) -> dict[str, tuple[Any, ...]]:
  """Returns a grid with at most `most` values per axis, and small counts."""
  small = {name: axis[:most] for name, axis in values.items()}
  for name in _COUNTS:
    if name in small:
      capped = (min(value, 2 * most) for value in small[name])
      small[name] = tuple(dict.fromkeys(capped))
  return small
