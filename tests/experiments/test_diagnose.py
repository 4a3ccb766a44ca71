"""The command that examines a teacher, as a user types it."""

import pytest

from experiments.io.json_files import read_json
from tests.experiments.distillation import recorded
from tests.experiments.processes import command
from tests.experiments.processes import refused


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
  assert "LELP has much to transfer" in done.stdout
  assert str(run / "diagnosis/diagnosis.html") in done.stdout
  assert "--text_column=text" in done.stderr
  record = read_json(run / "diagnosis/diagnosis.json")
  assert record["scores"]["test"]["num_examples"] == 30


def test_wrong_flags_are_one_line(case):
  folder, data, run = case
  flags = (f"--teacher={folder}", f"--data={data}x", f"--workdir={run}")
  assert refused("diagnose", *flags) == f"there is no {data}x."
  assert not run.exists()
