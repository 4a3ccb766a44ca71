"""The examples run, on smaller settings than their own."""

import importlib.util
import pathlib
import re

import jax
import numpy as np
import pytest

import lelp_jax

_FOLDER = pathlib.Path(__file__).parents[1] / "examples"
_PATHS = sorted(_FOLDER.glob("*.py"))


def load(name):
  """Imports an example, which is a script and in no package."""
  spec = importlib.util.spec_from_file_location(name, _FOLDER / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize("path", _PATHS, ids=lambda path: path.stem)
def test_an_example_is_short_and_linked(path):
  assert len(path.read_text().splitlines()) < 100
  link = f"[{path.name}]({path.name})"
  assert link in (_FOLDER / "README.md").read_text()
  assert f"(examples/{path.name})" in (_FOLDER.parent / "README.md").read_text()


@pytest.mark.slow  # Compiles four models.
def test_digits_compares_three_students(capsys, tmp_path):
  load("digits").main(splits=2, steps=200, plot=tmp_path / "digits.png")
  rows = re.findall(r"^(\w.*?) +(-?[\d.]+) ±", capsys.readouterr().out, re.M)
  found = {name: float(value) for name, value in rows}
  assert found["teacher"] > 90
  assert min(found[name] for name in ("labels", "vanilla", "LELP")) > 75
  gain = found["LELP"] - found["vanilla"]
  np.testing.assert_allclose(found["LELP - vanilla"], gain, atol=0.02)
  assert (tmp_path / "digits.png").stat().st_size > 1000


@pytest.mark.slow  # Compiles the steps of NNX and of the student.
def test_a_student_of_nnx_learns(capsys):
  load("flax_nnx").main(steps=100)
  teacher, student = re.findall(r": ([\d.]+) %", capsys.readouterr().out)
  assert float(teacher) > 80
  assert float(student) > 70


def test_a_stream_gives_the_subspaces_of_all_rows(capsys):
  example = load("streaming_fit")
  example.main(num_batches=3, batch_size=512)
  printed = capsys.readouterr().out
  batches = [example.read_batch(index, 512) for index in range(3)]
  x, labels = map(np.concatenate, zip(*batches, strict=True))
  moments = lelp_jax.class_moments(example.teacher(x), labels, num_classes=2)
  difference = moments.mean[1] - moments.mean[0]
  subspaces = lelp_jax.fit_subspaces_from_moments(
    moments,
    np.stack([-difference, difference], axis=1),
    num_subclasses=3,
    key=jax.random.key(0),
  )
  shares = 100 * lelp_jax.variance_share(subspaces, moments)
  assert "1,536 embeddings" in printed
  assert f"3 of 128 directions hold {shares.round()} %" in printed


def test_a_sweep_chooses_a_setting(capsys):
  example = load("sweep_in_one_program")
  example.main(seeds=2, steps=100)
  printed = capsys.readouterr().out
  assert "24 x 2 students" in printed
  chosen = re.search(r"tau = (.*), beta = (.*), S = (.*)\n", printed).groups()
  assert tuple(map(float, chosen)) in example.GRID
  assert float(re.search(r": ([\d.]+) ± [\d.]+ %", printed)[1]) > 75


@pytest.mark.slow  # Importing torch takes long.
def test_outputs_written_by_torch_train_a_student(capsys):
  pytest.importorskip("torch")
  load("torch_teacher").main(epochs=5, steps=200)
  teacher, student = re.findall(r": ([\d.]+) %", capsys.readouterr().out)
  assert float(teacher) > 85
  assert float(student) > 75
