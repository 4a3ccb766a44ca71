"""A finished student, read back as whoever gets the file would read it."""

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import load as load_lib
from experiments.distributed import mesh
from experiments.io.json_files import read_json
from experiments.io.students import load_student
from experiments.training import finished
from experiments.training import recipe
from experiments.training import runs
from tests.experiments import tiny


@pytest.fixture(name="unequal")
def fixture_unequal(monkeypatch):
  """The digits in a class of three fine ones and one of seven."""
  whole, classes = load_lib.READY["digits"], np.array([0] * 3 + [1] * 7)

  def load(*args, **kwargs):
    splits = whole(*args, **kwargs)
    for part in (splits.train, splits.transfer, splits.validation, splits.test):
      part["labels"] = classes[part["fine_labels"]].astype(np.int32)
    task = dataclasses.replace(splits.task, fine_to_class=tuple(classes))
    return dataclasses.replace(splits, task=task)

  monkeypatch.setitem(load_lib.READY, "digits", load)
  runs._load.cache_clear()
  yield
  runs._load.cache_clear()


def trained_longer(method):
  """Long enough that outputs which do not exist would be in the way."""
  config = tiny.config(method)
  for fields in (config.teacher, config.student):
    fields.num_steps = fields.steps_per_chunk = 40
  return config


def assert_read_as_reported(folder, config, workdir, num_subclasses):
  """Asserts that a plain sum over the outputs of a class predicts it."""
  params, _ = load_student(folder / "student.msgpack")
  embeddings = runs.student_embeddings(config, workdir)
  kernel, bias = params["head"]["kernel"], params["head"]["bias"]
  assert np.isfinite(kernel).all()
  assert np.isfinite(bias).all()
  logits = embeddings @ kernel + bias  # Hard targets have no temperature.
  probs = np.exp(logits - logits.max(axis=1, keepdims=True))
  probs = (probs / probs.sum(axis=1, keepdims=True)).reshape(len(probs), 2, -1)
  classes = probs.sum(axis=-1)
  labels = runs.load_splits(config).test["labels"]
  reported = read_json(folder / "result.json")["test"]
  accuracy = np.mean(classes.argmax(axis=-1) == labels)
  assert accuracy == pytest.approx(reported["accuracy"], abs=1e-6)
  loss = -np.log(classes[np.arange(len(labels)), labels]).mean()
  assert loss == pytest.approx(reported["loss"], rel=1e-4)
  assert (probs > 0).any(axis=0).sum(axis=-1).tolist() == num_subclasses


def test_clusters_that_a_class_lacks_get_no_probability(tmp_path):
  config = trained_longer("kmeans")
  config.clustering.scope, config.clustering.num_clusters = "global", 20
  (folder,) = runs.run_cells([config], tmp_path)
  found = read_json(folder / "result.json")["clustering"]["num_subclasses"]
  assert min(found) < 20
  assert_read_as_reported(folder, config, tmp_path, found)


def test_the_oracle_of_unequal_classes_is_right_when_summed(tmp_path, unequal):
  config = trained_longer("oracle")
  (folder,) = runs.run_cells([config], tmp_path)
  assert_read_as_reported(folder, config, tmp_path, [3, 7])


def test_padding_goes_and_what_does_not_exist_is_out_of_the_way():
  fields = tiny.config().student.to_dict()
  model = recipe.model_fns(fields, 2 * 3)
  params, _ = model.init(jax.random.key(0), jnp.ones([1, 8, 8, 1]))
  where = np.array([[[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]]], bool)
  job: Any = types.SimpleNamespace(
    spec=types.SimpleNamespace(
      num_cells=2, num_classes=2, num_subclasses=3, recipe=fields
    ),
    sizes=(2, 3),
    shared_targets={},
    targets={"where": jnp.array(where)},
    program=types.SimpleNamespace(mesh=mesh.make_mesh(2, 8, jax.devices()[:1])),
  )
  stacked = jax.tree.map(lambda x: jnp.stack([x, x]), params)
  states: Any = types.SimpleNamespace(params=stacked, model_state={})
  (cut, _), (whole, _) = finished.students(job, states)
  jax.tree.map(np.testing.assert_array_equal, whole, params)
  kernel, bias = cut["head"]["kernel"], cut["head"]["bias"]
  assert kernel.dtype == bias.dtype == np.float32
  kept = params["head"]["kernel"][:, jnp.array([0, 1, 3])]
  np.testing.assert_array_equal(kernel[:, :3], kept)
  assert not kernel[:, 3].any()
  assert bias.tolist() == [0, 0, 0, -1e9]
