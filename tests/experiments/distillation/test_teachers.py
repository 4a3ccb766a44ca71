"""Teachers of every kind become embeddings and a linear head."""

import numpy as np

from experiments import results
from experiments import specs
from experiments.configs import dotted
from experiments.configs import validate
from experiments.data import load
from experiments.distillation import flags
from experiments.distillation.teachers import prepare_teacher
from experiments.training import sweep
from tests.experiments.distillation import recorded


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
  accuracy = np.mean(
    arrays["logits"].argmax(1) == [x == "good" for x in labels]
  )
  assert accuracy > 0.9
  assert found.teacher.test.accuracy > 0.8
  splits = load.load(cell.data, "heldout", workdir)
  np.testing.assert_array_equal(
    splits.test["embeddings"], arrays["embeddings"][splits.test["ids"]]
  )
