"""A new text architecture needs one file: its module and its `Architecture`."""

import json

import numpy as np
import pytest
from flax import linen as nn
from flax.core import FrozenDict
from safetensors import numpy as safetensors

from experiments import results
from experiments import specs
from experiments.configs import pair
from experiments.configs import validate
from experiments.training import data
from experiments.training import pretrained
from experiments.training import sweep
from lelp_jax.models import Architecture
from lelp_jax.models import HuggingFaceFormat
from lelp_jax.models import MODELS

_WIDTH = 6


class Bag(nn.Module):
  """A text is the mean of its tokens."""

  num_outputs: int
  vocab_size: int = 100
  max_positions: int = 50
  width: int = _WIDTH

  @nn.compact
  def __call__(self, inputs):
    mask = inputs["attention_mask"][..., None]
    words = nn.Embed(self.vocab_size, self.width, name="words")
    x = (words(inputs["input_ids"]) * mask).sum(1) / mask.sum(1)
    return x, nn.Dense(self.num_outputs, name="head")(x)


def _options(config):
  return {"vocab_size": config["vocab_size"], "width": config["dim"]}


def _num_outputs(state_dict):
  return len(state_dict["out.bias"])


def _params(state_dict, attributes):
  words = state_dict["words.weight"]
  if words.shape != (attributes["vocab_size"], attributes["width"]):
    raise ValueError("words.weight does not fit.")
  kernel, bias = state_dict["out.weight"].T, state_dict["out.bias"]
  head = {"kernel": kernel, "bias": bias}
  return {"words": {"embedding": words}, "head": head}


@pytest.fixture(autouse=True)
def fixture_bag(monkeypatch):
  bag = Architecture(
    Bag,
    reads="tokens",
    free_options=frozenset({"max_positions"}),
    huggingface=HuggingFaceFormat("bag", _options, _params, _num_outputs),
  )
  monkeypatch.setitem(MODELS, "bag", bag)


@pytest.fixture(name="folder")
def fixture_folder(tmp_path, rng):
  folder = tmp_path / "bag"
  folder.mkdir()
  config = {"model_type": "bag", "vocab_size": 100, "dim": _WIDTH}
  (folder / "config.json").write_text(json.dumps(config))
  weights = {
    "words.weight": rng.normal(size=(100, _WIDTH)).astype(np.float32),
    "out.weight": rng.normal(size=(2, _WIDTH)).astype(np.float32),
    "out.bias": np.zeros(2, np.float32),
  }
  safetensors.save_file(weights, folder / "model.safetensors")
  return folder


@pytest.fixture(name="cell")
def fixture_cell(folder):
  """Two bags on texts, the teacher taken as it is."""
  config = pair.get_config(
    "dataset=glue_cola,teacher=albert_large,student=albert_base,smoke=True,"
    "method=vanilla"
  )
  for fields in (config.teacher, config.student):
    fields.model, fields.options = "bag", {}
  config.teacher.init, config.teacher.num_steps = str(folder), 0
  return validate.cell_spec(config)


def test_it_trains_from_loaded_weights(cell, folder, tmp_path):
  start = pretrained.load_pretrained(
    str(folder), "bag", FrozenDict(max_positions=9)
  )
  assert start.params["words"]["embedding"].shape == (100, _WIDTH)
  (done,) = sweep.run_cells([cell], tmp_path / "runs")
  assert results.read(done, results.CellResult).num_steps == 4


def test_its_vocabulary_and_length_are_checked(cell):
  splits = data.load_splits(cell)
  data.check_data([cell], splits)
  most = int(splits.train["inputs"].values.max())
  cell = specs.replace(cell, {"student.options.vocab_size": most})
  with pytest.raises(ValueError, match=f"'bag'.*vocab_size={most}"):
    data.check_data([cell], splits)
  assert MODELS["bag"].max_length(max_positions=9) == 9
