"""What is named before a teacher is trained."""

import numpy as np
import pytest

from experiments.configs import pair
from experiments.data.dataset import Ragged
from experiments.data.dataset import Splits
from experiments.data.dataset import Task
from experiments.training import checks
from experiments.training import runs
from tests.experiments import tiny

_SMOKE = "dataset=glue_cola,teacher=albert_large,student=albert_base,smoke=True"


def _splits(longest=9, token=99):
  rows = [np.full(n, token) for n in (3, longest)]
  arrays = {"inputs": Ragged.concatenate(rows, np.int32)}
  arrays["labels"] = np.array([0, 1], np.int32)
  return Splits(Task("texts", 2), arrays, arrays, arrays, arrays)


def _config(method="vanilla"):
  return pair.get_config(f"{_SMOKE},method={method}")


def test_a_stack_that_fits_its_data_passes():
  checks.check([_config()], _splits())


@pytest.mark.parametrize(
  ("field", "value", "splits", "message"),
  [
    ("student.model", "mlp", {}, "model 'mlp' cannot read these data"),
    ("student.reads", "embeddings", {}, "reads 'embeddings', and the data"),
    ("method", "subclass", {}, "num_subclasses must be at least 2"),
    ("method", "oracle", {}, "needs fine labels"),
    ("student.flip", True, {}, "augment images"),
    ("teacher.model", "albert_base", {"longest": 600}, "1 to 512 tokens"),
    ("teacher.model", "albert_base", {"token": 30_000}, "vocab_size=30000"),
  ],
)
def test_what_does_not_fit_is_named(field, value, splits, message):
  config = _config()
  if field == "student.model":
    config.student.options = {}
  *path, name = field.split(".")
  section = config
  for part in path:
    section = section[part]
  section[name] = value
  with pytest.raises(ValueError, match=message):
    checks.check([config], _splits(**splits))


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("loss.projection", "alway", r"config\.loss\.projection must be"),
    ("clustering.scope", "all", r"config\.clustering\.scope must be"),
    ("student.reads", "embeddings", r"needs config\.data\.embeddings"),
    ("teacher.subclass.num_subclasses", 3, "needs a plain teacher"),
    ("teacher.subclass.auxiliary_weight", -1.0, r"subclass\.auxiliary_weight"),
    ("data.num_labelled", 10, r"takes no config\.data\.num_labelled"),
    ("pretraining.num_steps", -1, r"pretraining\.num_steps must be .* -1"),
    ("pretraining.num_epochs", -1.0, r"pretraining\.num_epochs must be"),
    ("pretraining.steps_per_chunk", -1, r"pretraining\.steps_per_chunk must"),
    ("pretraining.learning_rate", 0.0, r"pretraining\.learning_rate must"),
    ("loss.num_negatives", 0, r"loss\.num_negatives must be at least 1, got 0"),
    ("loss.contrast_width", 0, r"loss\.contrast_width must be at least 1"),
    ("student.num_steps", 0, 'set "init" to a folder'),
  ],
)
def test_fields_that_cannot_be_are_named(tmp_path, field, value, message):
  config = tiny.config()
  *path, name = field.split(".")
  section = config
  for part in path:
    section = section[part]
  section[name] = value
  with pytest.raises(ValueError, match=message):
    runs.run_cells([config], tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_trained_needs_a_head_that_fits(tmp_path):
  config = tiny.config("standard")
  (cell,) = runs.run_cells([config], tmp_path / "first")
  again = tiny.config("standard")
  again.teacher.options = config.student.options
  again.teacher.init = str(cell)
  again.teacher.num_steps = 0
  (taken,) = runs.run_cells([again], tmp_path / "second")
  assert taken.exists()
  again.teacher.init_head = "fresh"
  with pytest.raises(ValueError, match="no outputs to take as they are"):
    runs.run_cells([again], tmp_path / "third")
