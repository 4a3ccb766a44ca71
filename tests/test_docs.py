"""Pages in the docs folder say what the code does, in what can be run."""

import json
import pathlib
import re
import subprocess

import numpy as np
import pytest
import yaml

from benchmarks import model_table
from experiments.distillation.arrays import read_arrays
from lelp_jax.models import MODELS
from tests.experiments.distillation import tiny_transformers

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", list(MODELS))
def test_the_models_page_has_the_row_of_a_model(name):
  assert model_table.row(name) in (DOCS / "models.md").read_text()


def blocks(page, language):
  text = (DOCS / page).read_text()
  found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
  assert found
  return found


def test_the_scripts_of_the_pods_page_parse():
  for script in blocks("pods.md", "bash"):
    done = subprocess.run(
      ["bash", "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_flags_of_the_pods_page_exist():
  # Importing two commands would define their flags twice.
  source = (DOCS.parent / "experiments" / "cli.py").read_text()
  known = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source))
  commands = [
    line.strip(" \\")
    for script in blocks("pods.md", "bash")
    for command in re.findall(r"-m experiments[^&']*", script)
    for line in command.split("\n")
    if line.strip().startswith("--")
  ]
  found = {flag for line in commands for flag in re.findall(r"--(\w+)=", line)}
  assert {"config", "num_processes"} < found <= known
  table = re.findall(r"\| `--(\w+)=", (DOCS / "pods.md").read_text())
  assert len(table) == 4
  assert set(table) <= known


def test_the_manifest_of_the_pods_page_is_a_job_set():
  (manifest,) = blocks("pods.md", "yaml")
  job_set = yaml.safe_load(manifest)
  assert job_set["kind"] == "JobSet"
  (job,) = job_set["spec"]["replicatedJobs"]
  spec = job["template"]["spec"]
  pod = spec["template"]["spec"]
  (container,) = pod["containers"]
  topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
  chips = 1
  for size in topology.split("x"):
    chips *= int(size)
  per_machine = container["resources"]["limits"]["google.com/tpu"]
  assert spec["parallelism"] == spec["completions"] == chips // per_machine
  assert spec["completionMode"] == "Indexed"
  assert container["command"][:3] == ["python", "-m", "experiments.sweep"]


# --- Arrays of a teacher in PyTorch -------------------------------------------


def run(source, names):
  """Runs a block of a page; returns the names that it defines."""
  exec(compile(source, "<page>", "exec"), names)
  return names


@pytest.mark.slow  # Importing torch takes long.
def test_arrays_of_a_torchvision_style_model_are_read(tmp_path, monkeypatch):
  torch = pytest.importorskip("torch")
  monkeypatch.chdir(tmp_path)
  function, _, of_images = blocks("your_own_classifier.md", "python")

  class Model(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.conv = torch.nn.Conv2d(3, 5, 3)
      self.dropout = torch.nn.Dropout(0.5)
      self.fc = torch.nn.Linear(5, 3)

    def forward(self, images):
      features = torch.relu(self.conv(images)).mean(dim=(2, 3))
      return self.fc(self.dropout(features))

  torch.manual_seed(0)
  model, images = Model(), torch.randn(600, 3, 8, 8)
  names = run(function, {})
  run(of_images, names | {"model": model, "images": images})
  found = read_arrays(tmp_path / "outputs")
  with torch.inference_mode():
    expected = model.eval()(images).numpy()
  assert found.embeddings.shape == (600, 5)
  np.testing.assert_allclose(
    found.embeddings @ found.kernel + found.bias, expected, atol=1e-5
  )


@pytest.mark.slow  # Importing torch and transformers takes long.
@pytest.mark.parametrize(
  "case",
  ["bert_classifier", "bert_roberta_classifier", "bert_distilbert_classifier"],
)
def test_arrays_of_a_model_of_transformers_are_read(
  tmp_path, monkeypatch, case
):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")
  monkeypatch.chdir(tmp_path)
  function, of_texts, _ = blocks("your_own_classifier.md", "python")
  folder = tiny_transformers.write_model(tmp_path / "model", case)
  special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
  if "roberta" in case:
    special = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
  settings = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
  settings["model_max_length"] = 8
  (folder / "tokenizer_config.json").write_text(json.dumps(settings))
  plain = tiny_transformers.texts(90)
  texts = [f"{special['cls_token']} {x} {special['sep_token']}" for x in plain]
  names = run(function, {})
  run(of_texts, names | {"name": str(folder), "texts": texts})
  found = read_arrays(tmp_path / "outputs")
  embeddings, logits = tiny_transformers.outputs(folder, plain)
  np.testing.assert_allclose(found.embeddings, embeddings, atol=1e-5)
  np.testing.assert_allclose(
    found.embeddings @ found.kernel + found.bias, logits, atol=1e-4
  )
