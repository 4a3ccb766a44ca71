"""Students of a finished stack, read as any user of the file reads them."""

import dataclasses
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import results
from experiments.data import load as load_lib
from experiments.distributed import mesh
from experiments.io.students import load_student
from experiments.training import data
from experiments.training import states as states_lib
from experiments.training import sweep
from experiments.training.inference import FrozenModel
from experiments.training.models import model_fns
from experiments.training.models import Weights
from tests.experiments import tiny
from tests.experiments.training_runs import make_run


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
  data._load_splits.cache_clear()
  yield
  data._load_splits.cache_clear()


def test_the_oracle_of_unequal_classes_is_right_when_summed(tmp_path, unequal):
  """A plain sum over the outputs of a class predicts it."""
  # Long enough that outputs which do not exist would be in the way.
  fields = ("num_steps", "steps_per_chunk")
  longer = {f"{x}__{y}": 40 for x in ("teacher", "student") for y in fields}
  cell = tiny.cell("oracle", **longer)
  (folder,) = sweep.run_cells([cell], tmp_path)
  weights = Weights(*load_student(folder / "student.msgpack"))
  splits = data.load_splits(cell)
  student = FrozenModel(cell.student, weights, splits.task.scale)
  embeddings = student.outputs(splits.test).embeddings
  head = weights.params["head"]
  kernel, bias = head["kernel"], head["bias"]
  assert np.isfinite(kernel).all()
  assert np.isfinite(bias).all()
  logits = embeddings @ kernel + bias  # Hard targets have no temperature.
  probs = np.exp(logits - logits.max(axis=1, keepdims=True))
  probs = (probs / probs.sum(axis=1, keepdims=True)).reshape(len(probs), 2, -1)
  classes = probs.sum(axis=-1)
  labels = splits.test["labels"]
  reported = results.read(folder, results.CellResult).test
  accuracy = np.mean(classes.argmax(axis=-1) == labels)
  assert accuracy == pytest.approx(reported.accuracy, abs=1e-6)
  loss = -np.log(classes[np.arange(len(labels)), labels]).mean()
  assert loss == pytest.approx(reported.loss, rel=1e-4)
  assert (probs > 0).any(axis=0).sum(axis=-1).tolist() == [3, 7]


def test_padding_goes_and_what_does_not_exist_is_out_of_the_way():
  spec = tiny.cell().student
  model = model_fns(spec, 2 * 3)
  params, _ = model.init(jax.random.key(0), jnp.ones([1, 8, 8, 1]))
  where = np.array([[[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]]], bool)
  run: Any = types.SimpleNamespace(
    spec=types.SimpleNamespace(
      num_cells=2, num_classes=2, num_subclasses=3, student=spec
    ),
    sizes=(2, 3),
    shared_targets={},
    targets={"where": jnp.array(where)},
    program=types.SimpleNamespace(mesh=mesh.make_mesh(2, 8, jax.devices()[:1])),
  )
  stacked = jax.tree.map(lambda x: jnp.stack([x, x]), params)
  states: Any = types.SimpleNamespace(params=stacked, model_state={})
  (cut, _), (whole, _) = states_lib.students(run, states)
  jax.tree.map(np.testing.assert_array_equal, whole, params)
  kernel, bias = cut["head"]["kernel"], cut["head"]["bias"]
  assert kernel.dtype == bias.dtype == np.float32
  kept = params["head"]["kernel"][:, jnp.array([0, 1, 3])]
  np.testing.assert_array_equal(kernel[:, :3], kept)
  assert not kernel[:, 3].any()
  assert bias.tolist() == [0, 0, 0, -1e9]


def test_only_layers_that_are_given_as_empty_start_at_random(rng):
  cell = tiny.cell("standard", student__options={"features": (8, 4)})
  run = make_run([cell], None)
  layer = {
    "kernel": rng.normal(size=(64, 8)).astype(np.float32),
    "bias": rng.normal(size=8).astype(np.float32),
  }

  def started(params=None):
    weights = Weights(params, {}) if params else None
    states = run.program.init(run.trials, sizes=run.sizes, pretrained=weights)
    return jax.tree.map(lambda x: np.asarray(x[0]), states.params)

  found = started({"Dense_0": layer, "Dense_1": {}})
  expected = started() | {"Dense_0": layer}
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  # The weights of a damaged model lack a layer without saying so.
  with pytest.raises(ValueError, match=r"missing.*Dense_1/kernel"):
    started({"Dense_0": layer})
  with pytest.raises(ValueError, match=r"missing.*Dense_1/bias"):
    started({"Dense_0": layer, "Dense_1": {"kernel": np.zeros([8, 4])}})
