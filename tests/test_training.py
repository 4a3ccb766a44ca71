"""Programs, the loop and whole runs: stacks, devices, interruption."""

import functools
import json
import os
import pathlib
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.runtime import checkpoints
from experiments.runtime import mesh as mesh_lib
from experiments.runtime.interrupts import Interrupted
from experiments.runtime.metric_writer import read_json
from experiments.runtime.metric_writer import read_metrics
from experiments.runtime.students import load_student
from experiments.training import cells
from experiments.training import jobs
from experiments.training import loop
from experiments.training import program
from experiments.training import runs
from experiments.training import teacher as teacher_lib
from experiments.training.methods import METHODS
from tests import tiny


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> teacher_lib.Teacher:
  config = tiny.config()
  # Long enough to know something: a loss near zero has no relative error.
  config.teacher.num_steps = config.teacher.steps_per_chunk = 200
  folder = tmp_path_factory.mktemp("teachers")
  return teacher_lib.load_or_train(config, runs.load_splits(config), folder)


def _job(configs, teacher):
  splits = runs.load_splits(configs[0])
  return jobs.make_job(
    configs,
    splits,
    train=splits.transfer,
    teacher=teacher,
    names=[str(c.trial) for c in configs],
  )


def _chunk(job):
  """States and metrics after one chunk from the start."""
  states = job.program.init(job.trials, sizes=job.sizes)
  mesh = job.program.mesh
  states = mesh_lib.place(states, mesh_lib.cell_sharding(mesh))
  return job.program.train_chunk(
    states,
    *loop.placed(job),
    jnp.int32(0),
    length=job.spec.recipe["steps_per_chunk"],
  )


def _vector(tree) -> np.ndarray:
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def _one_step(config):
  """A config of a single step of plain gradient descent."""
  for fields in (config.student,):
    fields.num_steps = fields.steps_per_chunk = 1
    fields.optimizer, fields.momentum = "sgd", 0.0
    fields.learning_rate = 1.0
  return config


# With two classes the gradients of DIST and of standardized logits are, in part
# or whole, rounding: test_baseline_losses.py has them on 8 devices with more.
_DEGENERATE = {"dist", "standardized_kd"}
_OTHERS = sorted(
  set(METHODS) - {"lelp", "vanilla", "oracle", "subclass"} - _DEGENERATE
)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize(
  "method",
  [
    "lelp",
    "vanilla",
    "oracle",
    *(pytest.param(name, marks=pytest.mark.slow) for name in _OTHERS),
  ],
)
def test_8_devices_equal_1(teacher, monkeypatch, method, model):
  config = _one_step(tiny.config("standard"))
  config.method = method
  config.loss.num_negatives = 16
  config.clustering.num_clusters = 3
  config.student.batch_size = 48
  if model == "cnn":
    config.student.model = "cnn"
    del config.student.options.features
    config.student.options.features = (4, 8)
    config.student.options.width = 8
  job = _job([config], teacher)
  assert job.program.mesh.devices.shape == (1, 8)
  start = _vector(job.program.init(job.trials, sizes=job.sizes).params)
  states, metrics = _chunk(job)
  program.build.cache_clear()
  alone = mesh_lib.make_mesh
  monkeypatch.setattr(
    mesh_lib, "make_mesh", lambda n, b: alone(n, b, jax.devices()[:1])
  )
  single = _job([config], teacher)
  program.build.cache_clear()
  assert single.program.mesh.devices.shape == (1, 1)
  expected_states, expected = _chunk(single)
  np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
  # A step of gradient descent of rate one is the gradient.
  gradient = start - _vector(states.params)
  expected_gradient = start - _vector(expected_states.params)
  error = np.linalg.norm(gradient - expected_gradient)
  assert error <= 1e-5 * np.linalg.norm(expected_gradient)
  assert np.linalg.norm(expected_gradient) > 1e-3


def _lelp_stack():
  """Cells of different S, temperatures and trials."""
  configs = []
  for trial in range(2):
    for size, temperature in ((2, 1.0), (3, 4.0)):
      config = _one_step(tiny.config("lelp", trial))
      config.subspace.num_subclasses = size
      config.loss.temperature = temperature
      configs.append(config)
  return configs


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_stacked_cells_equal_single_runs(teacher, mode):
  configs = _lelp_stack()
  for config in configs:
    config.stack.cells = mode
  stack = _job(configs, teacher)
  states, metrics = _chunk(stack)
  students = jobs.students(stack, states)
  for cell, (config, student) in enumerate(zip(configs, students, strict=True)):
    single = _job([config], teacher)
    own_states, own_metrics = _chunk(single)
    np.testing.assert_allclose(
      metrics["loss"][cell], own_metrics["loss"][0], rtol=1e-5
    )
    got = _vector(student[0])
    expected = _vector(next(jobs.students(single, own_states))[0])
    error = np.linalg.norm(got - expected)
    assert error <= 1e-5 * np.linalg.norm(expected)


def test_mapped_cells_equal_single_padded_runs_to_the_bit(teacher):
  configs = [_one_step(tiny.config("lelp", trial)) for trial in range(3)]
  for config in configs:
    config.stack.cells = "map"
  states, _ = _chunk(_job(configs, teacher))
  for cell, config in enumerate(configs):
    own, _ = _chunk(_job([config], teacher))
    row = [np.asarray(leaf)[cell] for leaf in jax.tree.leaves(states.params)]
    np.testing.assert_array_equal(_vector(own.params), _vector(row))


def test_the_teacher_runs_once_for_the_whole_stack(teacher):
  """Its 64 x 16 product appears without a cell axis."""
  job = _job(_lelp_stack(), teacher)
  states = job.program.init(job.trials, sizes=job.sizes)
  text = str(
    jax.make_jaxpr(functools.partial(job.program.train_chunk, length=1))(
      states, *loop.placed(job), jnp.int32(0)
    )
  )
  assert "f32[25,16] = dot_general" in text
  # Nor is what its embeddings are centred on taken off cell by cell.
  assert "f32[4,25,16]" not in text


def _finished(workdir: pathlib.Path) -> dict[str, object]:
  """Everything a run leaves, without times."""
  found = {}
  for path in sorted(workdir.glob("**/result.json")):
    result = read_json(path)
    result.get("stack", {}).pop("seconds", None)
    result.pop("seconds")
    found[str(path.relative_to(workdir))] = result
  for path in sorted(workdir.glob("**/metrics.jsonl")):
    lines = read_metrics(path)
    for line in lines:
      del line["wall_time"]
    found[str(path.relative_to(workdir))] = lines
  for path in sorted(workdir.glob("cells/**/student.msgpack")):
    found[str(path.relative_to(workdir))] = path.read_bytes()
  return found


def test_an_interrupted_run_repeats_the_bits(tmp_path, monkeypatch):
  config = tiny.config()
  configs = [tiny.config(trial=0), tiny.config(trial=1)]
  runs.run_cells(configs, tmp_path / "whole")
  save = checkpoints.Checkpoints.save
  interruptions = []

  def save_and_interrupt(self, step, state):
    save(self, step, state)
    if step < config.student.num_steps:
      interruptions.append(step)
      os.kill(os.getpid(), signal.SIGTERM)

  with monkeypatch.context() as patch:
    patch.setattr(checkpoints.Checkpoints, "save", save_and_interrupt)
    for _ in range(4):
      with pytest.raises(Interrupted, match="step"):
        runs.run_cells(configs, tmp_path / "cut")
    runs.run_cells(configs, tmp_path / "cut")
  # Twice in the teacher and twice in the stack, each time further on.
  assert interruptions == [4, 8, 4, 8]
  whole, cut = _finished(tmp_path / "whole"), _finished(tmp_path / "cut")
  assert whole == cut
  assert len(whole) == 2 + 2 * 3


def test_finished_cells_are_kept_and_missing_ones_made_again(tmp_path):
  configs = [tiny.config(trial=0), tiny.config(trial=1)]
  first, second = runs.run_cells(configs, tmp_path)
  kept = (first / "result.json").stat().st_mtime_ns
  expected = (second / "result.json").read_text()
  (second / "result.json").unlink()
  runs.run_cells(configs, tmp_path)
  assert (first / "result.json").stat().st_mtime_ns == kept
  got, expected = read_json(second / "result.json"), json.loads(expected)
  assert got.pop("stack")["digest"] == expected.pop("stack")["digest"]
  assert got.pop("seconds").keys() == expected.pop("seconds").keys()
  assert got == expected


def test_result_says_what_the_cell_was(tmp_path):
  config = tiny.config("lelp")
  (folder,) = runs.run_cells([config], tmp_path)
  result = read_json(folder / "result.json")
  assert folder.relative_to(tmp_path).parts[:3] == ("cells", "split0", "lelp")
  assert result["hyperparameters"] == {
    "temperature": 2.0,
    "subclass_temperature": 4.0,
    "num_subclasses": 3,
  }
  # 64 x 8 + 8 and 8 x 6 + 6: two classes of three subclasses.
  assert result["num_parameters"] == 574
  assert result["test"]["num_examples"] == 500
  assert 0 <= result["test"]["agreement"] <= 1
  assert all(0 < share < 1 for share in result["variance_share"])
  assert {"class_term", "subclass_term", "loss"} <= result["train"].keys()
  lines = read_metrics(folder / "metrics.jsonl")
  assert [line["step"] for line in lines] == [4, 8, 12]
  assert lines[-1]["validation/accuracy"] == pytest.approx(
    result["validation"]["accuracy"]
  )
  params, _ = load_student(folder / "student.msgpack")
  assert params["head"]["kernel"].shape == (8, 6)
  embeddings = runs.student_embeddings(config, tmp_path)
  assert embeddings.shape == (500, 8)
  # The saved student, read by hand, has the accuracy that was reported.
  logits = embeddings @ params["head"]["kernel"] + params["head"]["bias"]
  probs = np.exp(logits / config.loss.temperature).reshape(500, 2, 3).sum(-1)
  labels = runs.load_splits(config).test["labels"]
  accuracy = np.mean(probs.argmax(-1) == labels)
  assert accuracy == pytest.approx(result["test"]["accuracy"], abs=1e-6)


def test_teacher_is_trained_once_and_read_back(tmp_path):
  config = tiny.config()
  splits = runs.load_splits(config)
  first = teacher_lib.load_or_train(config, splits, tmp_path)
  again = teacher_lib.load_or_train(config, splits, tmp_path)
  assert len(list(tmp_path.iterdir())) == 1
  np.testing.assert_array_equal(_vector(first.params), _vector(again.params))
  moments = first.statistics.moments
  assert moments.count.sum() == len(splits.train["labels"])


def test_a_loss_that_diverges_stops_the_run_by_name(tmp_path):
  config = tiny.config("standard")
  config.student.optimizer = "sgd"
  config.student.learning_rate = 1e30
  with pytest.raises(FloatingPointError, match="steps 0 and 4"):
    runs.run_cells([config], tmp_path)
  assert not list(tmp_path.glob("cells/**/result.json"))


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("data.dataset", "digit", "unknown data set 'digit'"),
    ("method", "lepl", "unknown method 'lepl'"),
    ("selection", "best", r"config\.selection"),
    ("student.model", "mpl", "unknown model 'mpl'"),
    ("student.steps_per_chunk", -1, "steps_per_chunk must be at least 0"),
    ("student.optimizer", "adamw", "optimizer must be"),
    ("student.schedule", "linear", "schedule must be"),
    ("student.batch_size", 101, "batch_size"),
    ("stack.cells", "loop", r"config\.stack\.cells"),
    ("data.options.num_train", 5000, "num_train"),
    ("subspace.num_subclasses", 17, "num_subclasses"),
    ("subspace.kind", "psa", r"subspace\.kind"),
    ("subspace.rotation", "har", "rotation"),
    ("loss.temperature", 0.0, "temperature"),
  ],
)
def test_wrong_configs_are_named_before_anything_is_written(
  tmp_path, field, value, message
):
  config = tiny.config()
  *path, name = field.split(".")
  section = config
  for part in path:
    section = section[part]
  section[name] = value
  with pytest.raises(ValueError, match=message):
    runs.run_cells([config], tmp_path)
  assert not list(tmp_path.glob("cells/**/*"))
  # But for the two that need the teacher or the data, not even a teacher.
  needed = ("student.batch_size", "subspace.num_subclasses")
  assert field in needed or not list(tmp_path.iterdir())


def test_convolutions_on_cpu_are_stepped_and_equal_the_scan(
  teacher, monkeypatch
):
  config = tiny.config()
  config.student.num_steps = config.student.steps_per_chunk = 3
  stepped_job = _job([config], teacher)
  monkeypatch.setattr(program, "_scanned", lambda spec: False)
  program.build.cache_clear()
  scanned, _ = _chunk(stepped_job)
  stepped, _ = _chunk(_job([config], teacher))
  program.build.cache_clear()
  np.testing.assert_allclose(
    _vector(scanned.params), _vector(stepped.params), atol=1e-6
  )


def test_stacks_compile_once_for_all_columns(teacher):
  first, second = tiny.config(), tiny.config()
  second.column, second.data.options.split_seed = "split1", 1
  assert _job([first], teacher).program is _job([second], teacher).program
  assert cells.teacher_digest(first) != cells.teacher_digest(second)
