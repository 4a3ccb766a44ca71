"""Weights of our own finished cells and teachers, as a start for others."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict

from experiments.io import checkpoints
from experiments.io import json_files
from experiments.io import students
from experiments.training import pretrained
from experiments.training.pretrained import weights_digest

_MLP = {"model": "mlp", "options": {"features": (4,)}}
_ALBERT = {
  "vocab_size": 11,
  "embedding_size": 4,
  "hidden_size": 8,
  "num_layers": 3,
  "num_heads": 2,
  "intermediate_size": 16,
}


def load_pretrained(init, model, options):
  return pretrained.load_pretrained(init, model, FrozenDict(options))


def _assert_equal(found, expected) -> None:
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def _tree(rng) -> tuple[dict, dict]:
  """Parameters and state as a model might have them."""
  params = {
    "body": {"kernel": rng.standard_normal((3, 4)).astype(np.float32)},
    "head": {"kernel": np.ones([4, 2], np.float32), "bias": np.zeros(2)},
  }
  return params, {"batch_stats": {"norm": {"mean": np.arange(4.0)}}}


def _save_cell(folder, params, model_state, fields=_MLP) -> str:
  json_files.write_json(folder / "config.json", {"student": fields})
  students.save_student(folder / "student.msgpack", params, model_state)
  return str(folder)


def _save_teacher(folder, params, model_state, fields=_MLP) -> str:
  json_files.write_json(folder / "config.json", {"teacher": fields})
  # Training keeps a leading axis of cells.
  tree = {"params": params, "model_state": model_state}
  tree = jax.tree.map(lambda x: jnp.asarray(x)[None], tree)
  checkpoints.save_tree(folder / "parameters", tree)
  return str(folder)


@pytest.mark.parametrize("save", [_save_cell, _save_teacher])
@pytest.mark.parametrize("stateful", [True, False])
def test_our_own_runs_are_read(tmp_path, rng, save, stateful):
  params, model_state = _tree(rng)
  folder = save(tmp_path / "a", params, model_state if stateful else {})
  found = load_pretrained(folder, **_MLP)
  _assert_equal(found.params, jax.tree.map(np.float32, params))
  expected = jax.tree.map(np.float32, model_state) if stateful else {}
  _assert_equal(found.model_state, expected)
  params["body"]["kernel"][0, 0] += 1
  other = save(tmp_path / "b", params, model_state if stateful else {})
  assert len(found.digest) == 64
  assert weights_digest(other) != found.digest


@pytest.mark.parametrize("save", [_save_cell, _save_teacher])
def test_runs_of_another_model_are_refused(tmp_path, rng, save):
  folder = save(tmp_path / "a", *_tree(rng))
  for fields, message in [
    ({"model": "cnn", "options": {"features": (4,)}}, "module: saved 'Mlp'"),
    ({"model": "mlp", "options": {}}, r"features: saved \[4\]"),
    ({"model": "albert_base", "options": {}}, "model 'albert_base'"),
  ]:
    with pytest.raises(ValueError, match=message):
      load_pretrained(folder, **fields)
  options = {"features": (4,), "dropout_rate": 0.5, "compute_dtype": "bfloat16"}
  load_pretrained(folder, "mlp", options)


def test_our_own_alberts_are_compared_by_architecture(tmp_path, rng):
  saved = {"model": "albert_base", "options": _ALBERT}
  folder = _save_cell(tmp_path / "a", *_tree(rng), saved)
  options = _ALBERT | {"classifier_dropout": 0.0, "type_vocab_size": 2}
  load_pretrained(folder, "albert_large", options)
  options |= {"num_layers": 9}
  with pytest.raises(ValueError, match="num_layers: saved 3, now 9"):
    load_pretrained(folder, "albert_large", options)


def test_damaged_runs_are_named(tmp_path, rng):
  folder = _save_teacher(tmp_path / "a", *_tree(rng))
  shutil.copytree(folder, tmp_path / "b")
  (file,) = list((tmp_path / "b/parameters").rglob("_METADATA"))[:1]
  file.write_bytes(b"")
  with pytest.raises(ValueError, match="_METADATA was altered"):
    load_pretrained(str(tmp_path / "b"), **_MLP)
  (tmp_path / "a/parameters/seal.json").unlink()
  with pytest.raises(ValueError, match="holds no weights"):
    load_pretrained(folder, **_MLP)
  folder = _save_cell(tmp_path / "c", *_tree(rng))
  json_files.write_json(tmp_path / "c/config.json", {"method": "lelp"})
  with pytest.raises(ValueError, match="describes no model"):
    load_pretrained(folder, **_MLP)
  folder = _save_cell(tmp_path / "d", *_tree(rng))
  (tmp_path / "d/student.msgpack").write_bytes(b"\x81")
  with pytest.raises(ValueError, match="is not a student"):
    load_pretrained(folder, **_MLP)
