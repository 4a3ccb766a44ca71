"""The command that examines a teacher, as a user types it."""

import pytest

from experiments.io.json_files import read_json
from tests.experiments.distillation import requests
from tests.experiments.processes import command
from tests.experiments.processes import refused


@pytest.fixture(name="flags")
def fixture_flags(tmp_path):
  requests.write(tmp_path, 60, num_unlabelled=0)
  return (
    f"--teacher={tmp_path / 'teacher'}",
    f"--workdir={tmp_path / 'run'}",
    f"--data={tmp_path / 'reviews.csv'}",
  )


def test_a_teacher_is_examined(flags, tmp_path):
  done = command("diagnose", *flags, "--config.data.test_fraction=0.5")
  folder = tmp_path / "run" / "diagnosis"
  assert "LELP has much to transfer" in done.stdout
  assert str(folder / "diagnosis.html") in done.stdout
  assert "--text_column=text" in done.stderr
  record = read_json(folder / "diagnosis.json")
  assert record["scores"]["test"]["num_examples"] == 30


def test_wrong_flags_are_one_line(flags, tmp_path):
  *others, data = flags
  error = refused("diagnose", *others, f"{data}x")
  assert error == f"there is no {tmp_path / 'reviews.csvx'}."
  error = refused("diagnose", *flags, "--config.trial=1")
  assert error.startswith("--config.trial has no effect here")
  assert not (tmp_path / "run").exists()
