"""The command that examines a teacher, as a user types it."""

import pytest

from experiments.io.json_files import read_json
from tests.experiments.distillation import recorded
from tests.experiments.processes import command


@pytest.fixture(name="case")
def fixture_case(tmp_path):
  labels = recorded.write_table(tmp_path / "reviews.csv")
  arrays = recorded.outputs(labels)
  folder = recorded.write_arrays(tmp_path / "arrays", arrays)
  return folder, tmp_path / "reviews.csv", tmp_path / "run"


def test_a_teacher_is_examined(case):
  folder, data, run = case
  done = command(
    "diagnose",
    f"--teacher={folder}",
    f"--data={data}",
    f"--workdir={run}",
    "--config.data.test_fraction=0.5",
  )
  assert done.returncode == 0, done.stderr
  assert "LELP has much to transfer" in done.stdout
  assert str(run / "diagnosis/diagnosis.html") in done.stdout
  assert "--text_column=text" in done.stderr
  record = read_json(run / "diagnosis/diagnosis.json")
  assert record["scores"]["test"]["num_examples"] == 30


def test_wrong_flags_are_one_line(case):
  folder, data, run = case
  done = command(
    "diagnose", f"--teacher={folder}", f"--data={data}x", f"--workdir={run}"
  )
  assert done.returncode == 1
  assert done.stderr == f"error: there is no {data}x.\n"
  assert not done.stdout
  assert not run.exists()
