"""The command that measures: what it keeps, its errors, its modules."""

import importlib
import inspect
import os
import sys

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import apart
from benchmarks import row as row_lib
from benchmarks import runner
from benchmarks.row import Results
from benchmarks.row import Row


def results_of(**modules):
  rows = {k: [Row(k, "", v, "s")] for k, v in modules.items()}
  return Results("machine", {}, rows)


@pytest.fixture
def fake(monkeypatch):
  """Replaces the measurements; a module may be set to raise."""
  values = {}

  def call(function, name, full):
    assert function is runner.measure
    found = values.get(name, 1.0)
    if isinstance(found, BaseException):
      raise found
    return results_of(**{name: found})

  monkeypatch.setattr(apart, "call", call)
  monkeypatch.setitem(sys.modules, "torch", None)
  return values


def test_modules_have_rows():
  for name in runner.MODULES:
    function = importlib.import_module(f"benchmarks.{name}").rows
    assert list(inspect.signature(function).parameters) == ["full"]


def test_a_run_replaces_only_what_it_measured(fake, tmp_path, capsys):
  path = tmp_path / "machine.json"
  fake["moments"] = 2.0
  row_lib.write(path, results_of(subsplit=5, moments=5, sweep=5))
  assert runner.run(["moments"], False, tmp_path)
  expected = results_of(moments=2.0, subsplit=5, sweep=5).modules
  assert row_lib.read(path).modules == expected
  assert "| moments  |" in capsys.readouterr().out


def test_full_sizes_have_a_file_of_their_own(fake, tmp_path):
  assert runner.run(["moments"], True, tmp_path)
  names = {path.name for path in tmp_path.iterdir()}
  assert names == {"machine-full.json", "machine-full.md"}


def test_one_module_that_fails_does_not_stop_the_others(fake, tmp_path, capsys):
  fake["moments"] = RuntimeError("out of memory\nand a page of details")
  assert not runner.run(["moments", "subsplit"], False, tmp_path)
  assert row_lib.read(tmp_path / "machine.json").modules.keys() == {"subsplit"}
  last = capsys.readouterr().err.splitlines()[-1]
  assert last == "error: benchmarks.moments: RuntimeError: out of memory"


def test_an_interrupted_run_keeps_the_modules_that_finished(fake, tmp_path):
  fake["subsplit"] = KeyboardInterrupt()
  with pytest.raises(KeyboardInterrupt):
    runner.run(["moments", "subsplit"], False, tmp_path)
  assert row_lib.read(tmp_path / "machine.json").modules.keys() == {"moments"}


def test_an_unknown_module_is_one_error():
  with pytest.raises(SystemExit, match=r"--only names \['moment'\]"):
    command.main(["--only=moment,subsplit"])


def test_missing_torch_is_one_error(fake):
  with pytest.raises(SystemExit, match=r"make bench"):
    command.main([])


def test_functions_run_in_another_process():
  assert apart.call(os.getpid) != os.getpid()
  with pytest.raises(ValueError, match="invalid literal"):
    apart.call(int, "x")


def test_the_peak_memory_is_that_of_the_process_itself():
  kept = np.ones(2**28, np.uint8)  # 256 MiB.
  assert apart.call(apart.peak_mib) < 100 < apart.peak_mib()
  del kept


@pytest.mark.slow  # It measures.
def test_the_kernels_are_measured(tmp_path, capsys):
  pytest.importorskip("torch")
  command.main([f"--results={tmp_path}", "--only=subsplit"])
  (path,) = tmp_path.glob("*.json")
  assert {row.name for row in row_lib.read(path).rows} == {
    "log_subsplit",
    "log_subsplit beside Algorithm 2 as written",
  }
  assert str(path) in capsys.readouterr().out
