"""Exported students: every file gives the probabilities of the student."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import linen as nn
from jax import export as jax_export
from PIL import Image
from safetensors import numpy as safetensors

import lelp_jax
from experiments.data.tokenizer import load_tokenizer
from experiments.distillation import artifacts
from experiments.distillation import description
from experiments.distillation import onnx_conversion
from experiments.distillation import predictor
from experiments.distillation import student_models
from experiments.distillation.artifacts import Card
from experiments.training.models import model_fns
from experiments.training.models import Weights
from lelp_jax.calibration import calibration_temperature
from lelp_jax.models import MODELS
from tests.experiments.distillation import exported

SLOW = ("bert", "distilbert", "roberta", "albert_base", "resnet20", "mobilenet")
MODELS_TO_EXPORT = [
  pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
  for name in exported.OPTIONS
]
TEXTS = ("a fine film", "", "the wise dull poor film", "unheard-of words")
TEXTS += ("film " * 40,)  # It is cut.

# Runs a snippet where neither JAX nor this repository can be imported.
ALONE = """
import sys

class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in ("jax", "jaxlib", "flax", "lelp_jax",
                              "experiments", "tests"):
      raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refuse())
exec(compile(open("snippet.py", encoding="utf-8").read(), "snippet", "exec"))
"""


def probabilities(cell, weights, splits, rows, calibration=1.0):
  """The probabilities as training computes them, in float64 NumPy."""
  model = model_fns(cell.student, 6)
  part = splits.validation[cell.student.input_field]
  if splits.task.image_shape:
    inputs = part[rows].astype(np.float32) / 255
  elif cell.student.input_field == "embeddings":
    inputs = part[rows]
  else:
    tokens = [part[row] for row in rows]
    ids = np.zeros((len(rows), max(map(len, tokens))), np.int32)
    mask = np.zeros_like(ids)
    for place, row in enumerate(tokens):
      ids[place, : len(row)], mask[place, : len(row)] = row, 1
    inputs = {"input_ids": ids, "attention_mask": mask}
  outputs, _ = model.apply(*weights, inputs, train=False)
  logits = np.asarray(outputs.logits, np.float64) / 3
  exps = np.exp(logits - logits.max(axis=1, keepdims=True))
  classes = exps.reshape(len(rows), 3, 2).sum(axis=2)
  powers = (classes / classes.sum(axis=1, keepdims=True)) ** (1 / calibration)
  return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", MODELS_TO_EXPORT)
def test_every_file_gives_the_probabilities_of_the_student(
  tmp_path, name, capfd
):
  folder = tmp_path / "student"
  exported.export(folder, name)
  onnxruntime.InferenceSession(folder / "model.onnx")
  # Users see no warnings, and each file is written.
  assert capfd.readouterr() == ("", "")
  tokenizer = str(tmp_path / "tokenizer.json")
  cell = exported.make_cell(name, data__tokenizer=tokenizer)
  splits = exported.make_splits(cell)
  student, labels = description.read(folder)
  assert labels == exported.LABELS
  assert student.temperature == 3.0
  rows = [0, 5, 9, 13]
  expected = probabilities(
    cell,
    exported.make_weights(cell),
    splits,
    rows,
    student.calibration_temperature,
  )
  part = splits.validation[cell.student.input_field]
  if student.reads == "text":
    # More padding than any of the rows needs.
    inputs = predictor.padded([part[row] for row in rows], 0, 12)
  else:
    inputs = (part[np.array(rows)],)
  for load in predictor.RUNTIMES.values():
    found = load(folder, student)(*inputs)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_of_the_users_own_is_exported(tmp_path, monkeypatch):
  name = "tests.experiments.distillation.own_student:make"
  student_models.register_own(name)
  exported.export(tmp_path / "student", name)
  monkeypatch.delitem(MODELS, name)  # As in another process.
  texts = ["a fine film", "dull"]
  one = predictor.Predictor(tmp_path / "student").predict(texts)
  (tmp_path / "student/model.onnx").unlink()
  other = predictor.Predictor(tmp_path / "student").predict(texts)
  np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.fixture(name="static", scope="module")
def exported_static(tmp_path_factory):
  """A folder of an exported static student."""
  folder = tmp_path_factory.mktemp("static") / "student"
  card = Card({"Rows": "24"}, {"Family": "BERT"}, {"Accuracy": "9 %"}, ())
  exported.export(folder, "static", card)
  return folder


def test_the_form_of_the_files(static):
  card = (static / "README.md").read_text()
  for text in (
    "| Rows | 24 |",
    "| Family | BERT |",
    "9 %",
    "bad, good, so, so",
  ):
    assert text in card
  assert f"| jax | {jax.__version__} |" in card
  names = {path.name for path in static.iterdir()}
  assert names == {
    *("model.safetensors", "config.json", "tokenizer.json", "labels.json"),
    *("model.onnx", "model.jaxexport", "README.md"),
  }
  beside = {path.name for path in static.parent.iterdir()}
  assert beside == {"tokenizer.json", "student"}  # Nothing temporary is left.
  assert json.loads((static / "labels.json").read_text()) == [*exported.LABELS]
  config = json.loads((static / "config.json").read_text())
  assert config["text_column"] == "review"
  weights = safetensors.load_file(static / "model.safetensors")
  assert weights["params/head/kernel"].shape == (6, 6)
  session = onnxruntime.InferenceSession(static / "model.onnx")
  forms = [(x.name, x.type, x.shape) for x in session.get_inputs()]
  assert forms == [
    ("input_ids", "tensor(int64)", ["B", "L"]),
    ("attention_mask", "tensor(int64)", ["B", "L"]),
  ]
  (output,) = session.get_outputs()
  assert (output.name, output.shape) == ("probabilities", ["B", 3])
  data = bytearray((static / "model.jaxexport").read_bytes())
  with jax.enable_x64(True):
    avals = jax_export.deserialize(data).in_avals
  assert [str(aval.dtype) for aval in avals] == ["int64", "int64"]


def snippet(folder):
  """The code of a model card, to run in its folder."""
  card = (folder / "README.md").read_text()
  code = card.split("```python\n")[1].split("\n```")[0]
  assert len(code.splitlines()) <= 12
  return code


def run_alone(folder, code):
  (folder / "snippet.py").write_text(code, encoding="utf-8")
  found = subprocess.run(
    [sys.executable, "-I", "-c", ALONE],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 0, found.stderr
  return found.stdout.splitlines()


def check_printed(lines, predictions):
  """Compares lines such as "good [0.1 0.9]" with predictions."""
  for line, row in zip(lines, predictions, strict=True):
    label, _, numbers = line.partition(" [")
    assert label == exported.LABELS[row.argmax()]
    found = np.array(numbers.rstrip("]").split(), float)
    np.testing.assert_allclose(found, row, atol=1e-5)


def test_the_card_predicts_texts_without_jax_and_this_repository(static):
  code = snippet(static)
  given = code.split("encode_batch(")[1].split(")\n")[0]
  lines = run_alone(static, code.replace(given, repr([*TEXTS])))
  predictions = predictor.Predictor(static).predict(TEXTS)
  check_printed(lines, predictions)


def test_the_card_predicts_with_jax(static, monkeypatch):
  code = (static / "README.md").read_text().split("```python\n")[2]
  rows = load_tokenizer(static).encode(TEXTS, max_length=12)
  ids, mask = predictor.padded(rows, 0, 12)
  names = {"input_ids": ids, "attention_mask": mask}
  monkeypatch.chdir(static)
  exec(code.split("```")[0], {}, names)
  predictions = predictor.Predictor(static).predict(TEXTS)
  np.testing.assert_allclose(names["probabilities"], predictions, atol=1e-6)


def test_the_card_predicts_images_without_jax_and_this_repository(tmp_path):
  folder = tmp_path / "student"
  exported.export(folder, "cnn")
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
  Image.fromarray(pixels).save(folder / "image.png")
  predictions = predictor.Predictor(folder).predict([folder / "image.png"])
  check_printed(run_alone(folder, snippet(folder)), predictions)


def test_a_student_that_trained_in_bfloat16_computes_in_float32(tmp_path):
  folder = tmp_path / "student"
  field = {"student__options.compute_dtype": "bfloat16"}
  exported.export(folder, "mlp", **field)
  student, _ = description.read(folder)
  assert "compute_dtype" not in student.options
  exported.export(tmp_path / "same", "mlp")
  first, second = (
    safe.read_bytes()
    for safe in (folder / "model.onnx", tmp_path / "same/model.onnx")
  )
  assert first == second


def test_the_calibration_is_fitted_on_held_out_rows(tmp_path):
  folder = tmp_path / "student"
  scores = exported.export(folder, "mlp")
  cell = exported.make_cell("mlp")
  weights, splits = exported.make_weights(cell), exported.make_splits(cell)
  outputs, _ = model_fns(cell.student, 6).apply(
    *weights, jnp.asarray(splits.validation["embeddings"])
  )
  log_probs = lelp_jax.class_log_probs(
    outputs.logits, num_classes=3, temperature=3.0
  )
  labels = splits.validation["labels"]
  expected = calibration_temperature(log_probs, labels)
  student, _ = description.read(folder)
  assert student.calibration_temperature == pytest.approx(float(expected), 1e-4)
  assert abs(student.calibration_temperature - 1) > 0.1
  # The scores, and those of the card, are those of what is exported.
  found = predictor.Predictor(folder).predict(splits.test["embeddings"])
  assert scores.accuracy == np.mean(found.argmax(axis=1) == labels)
  losses = -np.log(found[np.arange(len(labels)), labels])
  assert scores.loss == pytest.approx(losses.mean(), 1e-4)
  counts = np.array(scores.predictions.calibration)
  gap = np.abs(counts[:, 1] - counts[:, 2]).sum() / len(labels)
  assert scores.calibration_error == pytest.approx(gap, 1e-4)
  assert counts[:, 1].sum() == pytest.approx(found.max(axis=1).sum(), 1e-4)
  card = (folder / "README.md").read_text()
  assert f"| Log loss | {scores.loss:.3f} |" in card


def test_a_model_that_onnx_cannot_express_keeps_its_other_files(
  tmp_path, monkeypatch, capsys
):
  def refuse(*_):
    raise ValueError("jax2onnx cannot convert it: no lowering of qr\nmore")

  monkeypatch.setattr(onnx_conversion, "converted", refuse)
  folder = tmp_path / "student"
  exported.export(folder, "mlp")
  assert (folder / "model.jaxexport").is_file()
  assert not (folder / "model.onnx").exists()
  assert "no lowering of qr" in (folder / "README.md").read_text()
  assert capsys.readouterr().err.count("\n") == 1
  # The weights take its place.
  vectors = np.ones((3, exported.WIDTH), np.float32)
  assert predictor.Predictor(folder).predict(vectors).shape == (3, 3)


def test_a_wrong_onnx_file_is_not_left(tmp_path, monkeypatch, capsys):
  converted = onnx_conversion.converted

  def slightly_wrong(traced, inputs, names, output):
    def function(x):
      (probabilities,) = jax.extend.core.jaxpr_as_fun(traced)(x)
      return 0.9999 * probabilities

    return converted(jax.make_jaxpr(function)(*inputs), inputs, names, output)

  monkeypatch.setattr(onnx_conversion, "converted", slightly_wrong)
  folder = tmp_path / "student"
  exported.export(folder, "mlp")
  assert "model.onnx is not written: its probabilities differ by" in (
    capsys.readouterr().err
  )
  assert not (folder / "model.onnx").exists()


def test_an_export_replaces_the_folder_or_leaves_it(tmp_path, monkeypatch):
  folder = tmp_path / "student"
  folder.mkdir()
  (folder / "old").touch()
  exported.export(folder, "mlp")
  assert not (folder / "old").exists()
  before = (folder / "model.onnx").read_bytes()

  def full(*_, **__):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(artifacts.render, "render", full)
  with pytest.raises(OSError, match="No space left"):
    exported.export(folder, "mlp")
  assert [path.name for path in tmp_path.iterdir()] == ["student"]
  assert (folder / "model.onnx").read_bytes() == before


def test_weights_keep_their_shapes(tmp_path):
  params = {"a": {"scalar": np.float32(2)}, "b": np.ones((2, 3))[:, ::-1]}
  artifacts._write_weights(tmp_path, Weights(params, {}))
  found = safetensors.load_file(tmp_path / "model.safetensors")
  assert {k: x.shape for k, x in found.items()} == {
    "params/a/scalar": (),
    "params/b": (2, 3),
  }


def test_jax2onnx_leaves_jax_as_it_is():
  names = [name for name in vars(jnp) if callable(getattr(jnp, name, None))]
  before = {name: getattr(jnp, name) for name in names}
  calls = dict(vars(nn.Conv))
  onnx_conversion._load_lowerings()
  assert {name: getattr(jnp, name) for name in names} == before
  assert dict(vars(nn.Conv)) == calls
