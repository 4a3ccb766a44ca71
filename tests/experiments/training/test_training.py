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

from experiments import cells
from experiments.distributed import mesh as mesh_lib
from experiments.distributed.signals import Interrupted
from experiments.io import checkpoints
from experiments.io.json_files import read_json
from experiments.io.metrics import read_metrics
from experiments.io.students import load_student
from experiments.training import finished
from experiments.training import loop
from experiments.training import program
from experiments.training import runs
from experiments.training import teacher as teacher_lib
from tests.experiments import tiny
from tests.experiments.training_jobs import assert_equal_steps
from tests.experiments.training_jobs import chunk
from tests.experiments.training_jobs import knowing_teacher
from tests.experiments.training_jobs import loss_and_gradient
from tests.experiments.training_jobs import make_job
from tests.experiments.training_jobs import method_job
from tests.experiments.training_jobs import one_step
from tests.experiments.training_jobs import one_step_config
from tests.experiments.training_jobs import vector


@pytest.fixture(scope="module")
def teachers(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def teacher(teachers) -> teacher_lib.Teacher:
  return knowing_teacher("lelp", teachers)


# Every method on every family: test_methods_models.py.
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("method", ["lelp", "vanilla", "oracle"])
def test_8_devices_equal_1(teachers, monkeypatch, method, model):
  config = one_step_config(method)
  if model == "cnn":
    config.student.model = "cnn"
    del config.student.options.features
    config.student.options.features = (4, 8)
    config.student.options.width = 8
  job = method_job(config, teachers)
  assert job.program.mesh.devices.shape == (1, 8)
  found = loss_and_gradient(job)
  program.build.cache_clear()
  alone = mesh_lib.make_mesh
  monkeypatch.setattr(
    mesh_lib, "make_mesh", lambda n, b, _: alone(n, b, jax.devices()[:1])
  )
  single = method_job(config, teachers)
  program.build.cache_clear()
  assert single.program.mesh.devices.shape == (1, 1)
  assert_equal_steps(found, loss_and_gradient(single))


def test_a_teacher_cut_over_the_devices_gives_the_same(teacher):
  config = one_step_config("lelp")
  whole = make_job([config], teacher)
  config.mesh.teacher = "fsdp"
  split = make_job([config], teacher)
  assert split.fingerprint == whole.fingerprint
  for job, share in ((whole, 1), (split, 8)):
    (params, _), *_ = job.arguments
    kernel = params["Dense_0"]["kernel"]
    assert kernel.addressable_shards[0].data.size * share == kernel.size
  assert_equal_steps(
    loss_and_gradient(split),
    loss_and_gradient(whole),
  )


def _lelp_stack():
  """Cells of different S, temperatures and trials."""
  configs = []
  for trial in range(2):
    for size, temperature in ((2, 1.0), (3, 4.0)):
      config = one_step(tiny.config("lelp", trial))
      config.subspace.num_subclasses = size
      config.loss.temperature = temperature
      configs.append(config)
  return configs


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_stacked_cells_equal_single_runs(teacher, mode):
  configs = _lelp_stack()
  for config in configs:
    config.stack.cells = mode
  stack = make_job(configs, teacher)
  states, metrics = chunk(stack)
  students = finished.students(stack, states)
  for cell, (config, student) in enumerate(zip(configs, students, strict=True)):
    single = make_job([config], teacher)
    own_states, own_metrics = chunk(single)
    np.testing.assert_allclose(
      metrics["loss"][cell], own_metrics["loss"][0], rtol=1e-5
    )
    got = vector(student[0])
    expected = vector(next(finished.students(single, own_states))[0])
    error = np.linalg.norm(got - expected)
    assert error <= 1e-5 * np.linalg.norm(expected)


def test_mapped_cells_equal_single_padded_runs_to_the_bit(teacher):
  configs = [one_step(tiny.config("lelp", trial)) for trial in range(3)]
  for config in configs:
    config.stack.cells = "map"
  states, _ = chunk(make_job(configs, teacher))
  for cell, config in enumerate(configs):
    own, _ = chunk(make_job([config], teacher))
    row = [np.asarray(leaf)[cell] for leaf in jax.tree.leaves(states.params)]
    np.testing.assert_array_equal(vector(own.params), vector(row))


def test_the_teacher_runs_once_for_the_whole_stack(teacher):
  """Its 64 x 16 product appears without a cell axis."""
  job = make_job(_lelp_stack(), teacher)
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
      for name in [n for n in line if n == "wall_time" or n[:5] == "time/"]:
        del line[name]
    found[str(path.relative_to(workdir))] = lines
  for path in sorted(workdir.glob("cells/**/student.msgpack")):
    found[str(path.relative_to(workdir))] = path.read_bytes()
  return found


@pytest.mark.parametrize("method", ["lelp", "crd_bank"])
def test_an_interrupted_run_repeats_the_bits(tmp_path, monkeypatch, method):
  """A bank, its normalizers and projections among them."""
  configs = [tiny.config(method, trial) for trial in (0, 1)]
  config = configs[0]
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
  np.testing.assert_array_equal(vector(first.params), vector(again.params))
  moments = first.statistics.moments
  assert moments.count.sum() == len(splits.train["labels"])


def test_a_loss_that_diverges_stops_the_run_by_name(tmp_path):
  config = tiny.config("standard")
  config.student.optimizer = "sgd"
  config.student.learning_rate = 1e30
  with pytest.raises(FloatingPointError, match=r"not finite at step [1-4] "):
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
  stepped_job = make_job([config], teacher)
  monkeypatch.setattr(program, "_scanned", lambda spec, mesh: False)
  program.build.cache_clear()
  scanned, _ = chunk(stepped_job)
  stepped, _ = chunk(make_job([config], teacher))
  program.build.cache_clear()
  np.testing.assert_allclose(
    vector(scanned.params), vector(stepped.params), atol=1e-6
  )


def test_stacks_compile_once_for_all_columns(teacher):
  first, second = tiny.config(), tiny.config()
  second.column, second.data.options.split_seed = "split1", 1
  assert (
    make_job([first], teacher).program is make_job([second], teacher).program
  )
  assert cells.teacher_digest(first) != cells.teacher_digest(second)
