"""Teachers of every kind become embeddings and a linear head."""

import csv
import pathlib

import numpy as np
import pytest

from experiments import results
from experiments import specs
from experiments.configs import dotted
from experiments.configs import validate
from experiments.data import load
from experiments.data.embeddings import open_embeddings
from experiments.distillation import flags
from experiments.distillation.teachers import prepare_teacher
from experiments.io import students
from experiments.training import sweep
from tests.experiments.distillation import recorded
from tests.experiments.distillation import tiny_transformers


def data_spec(path, **fields) -> specs.DataSpec:
  config = flags.base_config()
  config.data.train = str(path)
  config.data.text_column, config.data.label_column = "text", "label"
  config.data.update(fields)
  return specs.from_plain(config.data.to_dict(), specs.DataSpec)


def test_a_student_is_trained_from_arrays(tmp_path):
  path = tmp_path / "reviews.csv"
  labels = recorded.write_table(path)
  arrays = recorded.outputs(labels)
  folder = recorded.write_arrays(tmp_path / "arrays", arrays)
  workdir = tmp_path / "run"
  teacher = prepare_teacher(str(folder), data_spec(path), workdir)
  assert teacher.class_names == ("bad", "good")
  config = flags.base_config()
  config.data.train = str(path)
  config.data.text_column, config.data.label_column = "text", "label"
  dotted.override(config, teacher.overrides())
  config.student.input_field = "embeddings"
  config.student.options.features = (4,)
  config.student.num_steps = config.student.steps_per_chunk = 4
  config.student.batch_size = 8
  config.subspace.num_subclasses = 2
  cell = validate.cell_spec(config)
  (cell_folder,) = sweep.run_cells([cell], workdir)
  found = results.read(cell_folder, results.CellResult)
  assert found.teacher.test.accuracy > 0.8
  splits = load.load(cell.data, "heldout", workdir)
  np.testing.assert_array_equal(
    splits.test["embeddings"], arrays["embeddings"][splits.test["ids"]]
  )


# --- Models of transformers ---------------------------------------------------


def write_table(path: pathlib.Path, texts, labels) -> None:
  with path.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["text", "label"])
    writer.writerows(zip(texts, labels, strict=True))


def logits_of(teacher) -> np.ndarray:
  embeddings = open_embeddings(teacher.folder)
  assert embeddings.ids.tolist() == list(range(len(embeddings.ids)))
  return embeddings.values @ teacher.kernel + teacher.bias


CASES = (
  "bert_classifier",
  "bert_distilbert_classifier",
  "bert_roberta_classifier",
  "albert_classifier",
)


@pytest.mark.parametrize("case", CASES)
def test_a_classifier_of_transformers_is_run_once(tmp_path, case):
  folder = tiny_transformers.write_model(tmp_path / "model", case)
  texts = tiny_transformers.texts(70)
  tiny_transformers.balance(folder, texts)
  embeddings, logits = tiny_transformers.outputs(folder, texts)
  write_table(tmp_path / "data.csv", texts, logits.argmax(axis=1))
  data = data_spec(tmp_path / "data.csv")
  teacher = prepare_teacher(str(folder), data, tmp_path / "run")
  found = open_embeddings(teacher.folder).values
  np.testing.assert_allclose(found, embeddings, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(logits_of(teacher), logits, rtol=1e-5, atol=1e-4)
  assert teacher.tokenizer == teacher.weights == str(folder)
  assert teacher.token_embeddings is not None
  assert len(teacher.token_embeddings()) == 20
  params, _ = students.load_student(teacher.folder / "student.msgpack")
  np.testing.assert_array_equal(params["head"]["kernel"], teacher.kernel)
