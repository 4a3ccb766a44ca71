"""Pages in the docs folder say what the code does, in what can be run."""

import pathlib
import re
import subprocess

import pytest
import yaml

from benchmarks import model_table

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", model_table.NAMES)
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
  assert found == {
    "config",
    "workdir",
    "coordinator_address",
    "num_processes",
    "process_id",
  }
  assert found <= known
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
