"""The command, in processes of its own: what it says, and interruptions."""

import os
import signal
import subprocess
import sys

import pytest

from experiments.data.prepare import prepare
from tests.experiments import original_files as files
from tests.experiments import processes
from tests.experiments.prepared_inputs import sst2

_NO_TENSORFLOW = """
import sys
from experiments import cli, prepare
def main():
  prepare.main()
  assert "tensorflow" not in sys.modules
cli.run(main)
"""


def test_the_command_prints_counts_and_flags_without_tensorflow(tmp_path):
  source = sst2(tmp_path / "in")
  data_dir = tmp_path / "data"
  done = subprocess.run(
    [
      *(sys.executable, "-c", _NO_TENSORFLOW),
      *("--dataset=glue_sst2", f"--source={source}"),
      *(f"--data_dir={data_dir}", "--partial"),
    ],
    cwd=processes.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[1:6] == [
    "                      train  test",
    "  examples               50    10",
    "  published          67,349   872",
    "  class 0: negative      30     6",
    "  class 1: positive      20     4",
  ]
  assert done.stdout.endswith(
    f"in {data_dir}/glue_sst2\nto train on it: --config.data.dataset=glue_sst2 "
    f"--config.data.data_dir={data_dir}\n"
  )
  assert "train: 50/50 examples (100%)" in done.stderr


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ((), "train of glue_sst2 has 50 examples"),
    pytest.param(
      ("--max_length=9",), "--max_length needs", marks=pytest.mark.slow
    ),
  ],
)
def test_the_command_says_errors_in_one_line(tmp_path, flags, message):
  source = sst2(tmp_path / "in")
  own = ("--dataset=glue_sst2", f"--source={source}")
  data_dir = f"--data_dir={tmp_path / 'new'}"
  assert message in processes.refused("prepare", *own, data_dir, *flags)
  assert os.listdir(tmp_path) == ["in"]


# The command, but each thousand examples of the test split take a while.
_SLOW = """
import sys, time
from experiments import cli, prepare
from experiments.data import prepared
encoded = prepared._encoded
def slow(texts):
  if "dev sentence" in texts[0]:
    print("writing", flush=True)
    time.sleep(0.5)
  return encoded(texts)
prepared._encoded = slow
cli.run(prepare.main)
"""


def test_a_stopped_command_leaves_nothing_and_begins_again(tmp_path):
  source = sst2(tmp_path / "in", train=(700, 800), test=(2000, 2500))
  given = {"source": source, "partial": True}
  whole = prepare("glue_sst2", data_dir=tmp_path / "whole", **given).folder
  data_dir = tmp_path / "data"
  flags = (
    "--dataset=glue_sst2",
    f"--source={source}",
    f"--data_dir={data_dir}",
    "--partial",
  )
  program = processes.start(*flags, code=_SLOW)
  program.wait_for("writing")
  os.kill(program.pid, signal.SIGTERM)
  stopped = program.finish()
  assert stopped.returncode == 75
  assert stopped.stderr.splitlines()[-1] == (
    "stopped by SIGTERM; nothing is written yet: run the same command again to "
    "continue from there."
  )
  assert sorted(os.listdir(tmp_path)) == ["in", "whole"]
  processes.command("prepare", *flags)
  folder = data_dir / "glue_sst2"
  assert os.listdir(data_dir) == ["glue_sst2"]
  assert files.files_below(folder) == files.files_below(whole)
