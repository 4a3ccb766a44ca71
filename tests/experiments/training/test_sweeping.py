"""Parts of a sweep, and several workers in one workdir."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments import cells
from experiments import cli
from experiments.io import locks
from experiments.io.metrics import read_metrics
from experiments.training import dry_run
from experiments.training import runs
from experiments.training import sweeping
from tests.experiments import tiny

ROOT = pathlib.Path(__file__).parents[3]


def _names(configs):
  return {f"{c.column}/{cells.row_name(c)}" for c in configs}


def test_patterns_are_of_column_and_row_or_of_either():
  configs = list(cells.expand(tiny.config()))
  chosen = sweeping.selected(configs, only=["split0/l*", "oracle"])
  assert _names(chosen) == {"split0/lelp", "split0/oracle", "split1/oracle"}
  chosen = sweeping.selected(configs, only=["split1"], skip=["*/vanilla"])
  assert _names(chosen) == {"split1/lelp", "split1/oracle", "split1/standard"}


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"only": ["split7"]}, r"--only=split7 matches nothing.*'split0'"),
    ({"skip": ["lepl"]}, r"--skip=lepl matches nothing.*'lelp'"),
    ({"only": ["lelp"], "skip": ["split?"]}, "leave no cell"),
    ({"shard": "0/2"}, "1 <= i <= n"),
    ({"shard": "3/2"}, "1 <= i <= n"),
    ({"shard": "2"}, "1 <= i <= n"),
  ],
)
def test_parts_that_are_none_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    sweeping.selected(list(cells.expand(tiny.config())), **arguments)


def test_shards_are_whole_stacks_and_make_up_the_sweep():
  config = tiny.config()
  config.stack.max_cells = 3  # Cuts the four cells of LELP.
  configs = list(cells.expand(config))
  whole = [stack.digest for stack in cells.stacks(configs)]
  parts = [
    [
      stack.digest
      for stack in cells.stacks(
        sweeping.selected(configs, shard=f"{i}/3", skip=["vanilla"])
      )
    ]
    for i in (1, 2, 3)
  ]
  found = [digest for part in parts for digest in part]
  assert len(found) == len(set(found))
  assert set(found) < set(whole)
  assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_what_another_holds_is_left_to_it_and_then_looked_at_again(
  tmp_path, capsys
):
  configs = [tiny.config("standard"), tiny.config("vanilla")]
  stacks = cells.stacks(configs)
  held = sweeping.checkpoint_directory(tmp_path, stacks[0])
  order = []

  def run(stack, label):
    order.append((stack, label))
    for config in stack.configs:
      folder = cells.cell_directory(tmp_path, config)
      folder.mkdir(parents=True)
      (folder / "result.json").write_text("{}")
    release.set()

  release, taken = threading.Event(), threading.Event()

  def hold():
    with locks.exclusive(held):
      taken.set()
      release.wait()

  other = threading.Thread(target=hold)
  other.start()
  taken.wait()
  sweeping.run_unfinished(stacks, tmp_path, run, lambda text: None)
  other.join()
  assert [stack for stack, _ in order] == [stacks[1], stacks[0]]
  assert order[1][1].startswith("[1/2, 1 min left] split0 standard")
  assert "1 stack is in the hands" in capsys.readouterr().err


def test_what_another_finished_meanwhile_is_not_run(tmp_path, monkeypatch):
  configs = [tiny.config("standard")]
  looks = iter([True, False])
  monkeypatch.setattr(sweeping, "unfinished", lambda *_: next(looks, False))

  def run(stack, label):
    raise AssertionError("It is finished.")

  sweeping.run_unfinished(
    cells.stacks(configs), tmp_path, run, lambda text: None
  )
  assert not list(tmp_path.glob("checkpoints/*"))


def test_a_dry_run_trains_nothing_and_knows_what_is_finished(tmp_path):
  configs = [tiny.config("standard"), tiny.config("vanilla")]
  text = dry_run.listing(configs, tmp_path, runs.load_splits)
  assert "[1/2] split0 standard: 12 steps of 25 examples" in text
  assert "2 cells in 2 stacks, 2 of them to train; 1 teachers, 1" in text
  assert "train one stack first" in text
  assert not list(tmp_path.iterdir())
  runs.run_cells(configs[:1], tmp_path)
  configs[1].student.num_steps, configs[1].student.num_epochs = 0, 1e6
  text = dry_run.listing(configs, tmp_path, runs.load_splits)
  assert "standard: 12 steps of 25 examples, 1 finished" in text
  assert "vanilla: 4,000,000 steps" in text  # 100 images, batches of 25.
  assert "1 of them to train; 1 teachers, 0 of them to train" in text
  assert " h on this machine" in text


def test_only_states_may_be_in_a_bucket(tmp_path):
  with pytest.raises(ValueError, match=r"gs://b/x must be .*--checkpoint_dir"):
    cli.folder("gs://b/x")
  assert cli.folder(str(tmp_path)) == tmp_path
  assert str(cli.checkpoint_folder("~/x")) == os.path.expanduser("~/x")


def _sweep(workdir, *flags):
  command = [sys.executable, "-m", "experiments.sweep"]
  command += ["--config=experiments/configs/quickstart.py:smoke=True"]
  command += [f"--workdir={workdir}", *flags]
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }
  # Into a file: a pipe that nobody reads stops its writer.
  with workdir.with_suffix(f".{len(os.listdir(workdir.parent))}").open(
    "w"
  ) as log:
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
  return process, pathlib.Path(log.name)


def _left(workdir):
  """Everything that a report reads, without times."""
  found = {}
  for path in sorted(workdir.glob("cells/**/result.json")):
    result = json.loads(path.read_text())
    del result["stack"]["seconds"], result["seconds"]
    found[path.relative_to(workdir)] = result
  return found


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_do_each_cell_once(tmp_path):
  only = "--only=split0"
  alone, log = _sweep(tmp_path / "alone", only)
  assert alone.wait() == 0, log.read_text()
  both = tmp_path / "both"
  (first, log), (second, other_log) = _sweep(both, only), _sweep(both, only)
  # As soon as one of them has begun to train a student.
  while not list(both.glob("cells/**/metrics.jsonl")):
    assert first.poll() is None, log.read_text()
    time.sleep(0.05)
  first.kill()
  assert first.wait() == -signal.SIGKILL
  assert second.wait() == 0, other_log.read_text()
  expected, found = _left(tmp_path / "alone"), _left(tmp_path / "both")
  assert len(expected) > 10
  assert found == expected
  for path in (tmp_path / "both").glob("cells/**/metrics.jsonl"):
    steps = [line["step"] for line in read_metrics(path)]
    assert steps == [20, 40]
  assert not list((tmp_path / "both").glob("checkpoints/*"))
  assert _reported(tmp_path / "both") == _reported(tmp_path / "alone")


# Columns of the table of costs that are measured.
_MEASURED = ("seconds to train them", "preparation (s)", "step (ms)")


def _reported(workdir):
  """The files of a report by name, without measured times."""
  command = [sys.executable, "-m", "experiments.report"]
  command += [f"--workdir={workdir}", "--formats=md,csv"]
  subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
  report = workdir / "report"
  found = {path.name: path.read_bytes() for path in report.iterdir()}
  assert {"table.csv", "accuracy.svg", "embeddings.svg"} <= set(found)
  accuracy, cost = found.pop("table.md").decode().split("## Cost\n")
  cost, diagnostics = cost.split("## Diagnostics\n")
  lines = [
    line.split("|") if line[:1] == "|" else [line] for line in cost.split("\n")
  ]
  (header,) = (line for line in lines if "settings tried" in str(line))
  kept = [i for i, name in enumerate(header) if name.strip() not in _MEASURED]
  assert len(kept) == len(header) - len(_MEASURED)
  table = [[line[i] for i in kept] for line in lines if len(line) > 1]
  text = [line for line in lines if len(line) == 1]
  return found | {"md": (accuracy, table, text, diagnostics)}
