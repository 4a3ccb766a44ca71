"""A short training on each real data set, through prepare, pair and main.

Reads the folder that LELP_DATA names.
"""

import os

import pytest

from experiments import results
from experiments.configs import pair
from experiments.configs import validate
from experiments.data.prepare import prepare
from experiments.data.tokenizer import load_tokenizer
from experiments.data.tokenizer import Tokenization
from experiments.training import sweep
from tests.experiments import real_originals

DATA = os.environ.get("LELP_DATA")
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(DATA is None, reason="LELP_DATA is not set"),
]

# Data set, its folder, how many examples to train on are left after holding
# out, how many to test on.
CASES = [
  ("cifar10_bin", "cifar10", 7502, 1017),
  ("cifar100", "cifar100", 1005, 916),
  ("glue_cola", "cola", 7696, 1043),
  ("sentiment140_bin", "sentiment140", 17784, 124),
  ("glue_sst2", "sst2", 62349, 872),
  ("lmrd", "imdb", 22500, 25000),
]


def _config(dataset, data_dir):
  models = "teacher=albert_large,student=albert_base"
  if dataset.startswith("cifar"):
    models = "teacher=resnet92,student=mobilenet"
  config = pair.get_config(f"dataset={dataset},{models},smoke=True")
  config.data.dataset, config.data.options = dataset, {}
  config.data.data_dir = str(data_dir)
  for fields in (config.teacher, config.student):
    if dataset.startswith("cifar"):
      fields.model = "cnn"  # Compiles in a moment.
      fields.options = {"features": (4, 4), "width": 8}
  return config


@pytest.mark.parametrize(("dataset", "folder", "num_train", "num_test"), CASES)
def test_a_short_training(tmp_path, dataset, folder, num_train, num_test):
  assert DATA is not None
  tokenization = None
  if not dataset.startswith("cifar"):
    vocabulary = f"{DATA}/albert_vocab/albert_30k_clean_rebuilt.model"
    # One width for all batches: a model compiles for each.
    tokenization = Tokenization(load_tokenizer(vocabulary), 16)
  source = f"{DATA}/{folder}"
  if folder.startswith("cifar"):
    source = real_originals.cifar(DATA, folder, tmp_path / "originals")
  elif folder == "sentiment140":
    source = real_originals.sentiment140(DATA, tmp_path / "originals")
  prepare(
    dataset,
    data_dir=tmp_path / "data",
    source=source,
    tokenization=tokenization,
    partial=True,
  )
  cell = validate.cell_spec(_config(dataset, tmp_path / "data"))
  (folder,) = sweep.run_cells([cell], tmp_path / "run")
  result = results.read(folder, results.CellResult)
  assert result.num_train_examples == num_train
  assert result.test.num_examples == num_test
  chance = 1 / (100 if dataset == "cifar100" else 2)
  assert 0.3 * chance <= result.test.accuracy <= 1
  assert result.teacher.test.num_examples == num_test
