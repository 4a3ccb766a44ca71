"""Metric files: each step once, nothing torn, and plain JSON throughout."""

import contextlib
import json
import math
import os
import pathlib
import time

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from experiments.io import json_files
from experiments.io import metrics
from tests.experiments import disks


def steps(path):
  return [line["step"] for line in metrics.read_metrics(path)]


def test_one_json_object_a_line_at_once(tmp_path):
  path = tmp_path / "cell" / "metrics.jsonl"
  before = time.time()
  nans = {"d": math.nan, "e": jnp.inf, "f": np.float32("-inf")}
  with contextlib.closing(metrics.MetricWriter(path)) as writer:
    writer.write(10, {"loss": 0.25, "accuracy": np.float32(0.5)})
    # Before it is closed: a killed process loses nothing.
    (line,) = path.read_text().splitlines()
    writer.write(20, {"loss": jnp.float32(0.125), "count": 3, **nans})
  assert list(json.loads(line)) == ["step", "wall_time", "loss", "accuracy"]
  _, line = path.read_text().splitlines()
  json.loads(line, parse_constant=pytest.fail)
  first, second = metrics.read_metrics(path)
  assert (first["step"], first["loss"], first["accuracy"]) == (10, 0.25, 0.5)
  assert (second["step"], second["loss"], second["count"]) == (20, 0.125, 3)
  assert all(math.isnan(second[name]) for name in nans)
  assert before <= first["wall_time"] <= second["wall_time"] <= time.time()


def write(path, numbers, *resume_step):
  with contextlib.closing(metrics.MetricWriter(path, *resume_step)) as writer:
    for step in numbers:
      writer.write(step, {"loss": 1.0 / step})


def test_a_resumed_run_has_each_step_once(tmp_path):
  path = tmp_path / "metrics.jsonl"
  write(path, (10, 20, 30, 40))
  kept = path.read_text().splitlines()[:2]
  with path.open("a") as file:
    file.write('{"step": 50, "lo')  # Killed while writing.
  write(path, (30, 40, 50), 20)
  assert steps(path) == [10, 20, 30, 40, 50]
  assert path.read_text().splitlines()[:2] == kept
  # A new run starts a new file, and one that lost its file another.
  write(path, (20,))
  assert steps(path) == [20]
  write(tmp_path / "other.jsonl", (30,), 20)
  assert steps(tmp_path / "other.jsonl") == [30]


def test_a_torn_last_line_is_left_out(tmp_path):
  path = tmp_path / "metrics.jsonl"
  write(path, (1, 2))
  whole = path.read_text()
  second = whole.index("\n") + 1
  for end in (second, second + 1, len(whole) - 2, len(whole) - 1):
    path.write_text(whole[:end])
    assert steps(path) == [1]
  path.write_text("")
  assert steps(path) == []


def test_a_broken_line_before_the_last_is_an_error(tmp_path):
  path = tmp_path / "metrics.jsonl"
  write(path, (1, 2, 3))
  lines = path.read_text().splitlines()
  lines[1] = lines[1][:-3]
  path.write_text("\n".join(lines) + "\n")
  with pytest.raises(ValueError, match=r"line 2 of .*metrics\.jsonl"):
    metrics.read_metrics(path)
  with pytest.raises(FileNotFoundError, match=r"no file .*none.* run the"):
    metrics.read_metrics(tmp_path / "none")


def test_json_round_trip_of_what_results_hold(tmp_path):
  path = tmp_path / "a" / "b" / "result.json"
  result = {
    "zebra": np.float64(0.5),
    "apple": [np.int64(3), jnp.float32(0.25), (1, "two", None, True)],
    "array": np.arange(4).reshape(2, 2),
    "nan": float("nan"),
    "path": pathlib.Path("runs/x"),
    "object": epath.Path("gs://bucket/x"),
    "flag": np.bool_(True),
    7: {},
  }
  json_files.write_json(path, result)
  read = json_files.read_json(str(path))
  assert read == {
    "zebra": 0.5,
    "apple": [3, 0.25, [1, "two", None, True]],
    "array": [[0, 1], [2, 3]],
    "nan": None,
    "path": "runs/x",
    "object": "gs://bucket/x",
    "flag": True,
    "7": {},
  }
  assert list(read) == [str(name) for name in result]
  text = path.read_text()
  assert text.startswith('{\n  "zebra": 0.5,')
  assert text.endswith("}\n")


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
  with disks.small_disk(tmp_path / "disk", "100k") as disk:
    path = disk / "metrics.jsonl"

    def write_much():
      with contextlib.closing(metrics.MetricWriter(path)) as writer:
        writer.write(0, {"loss": 0.5})
        disks.fill(disk)
        for step in range(1, 200):
          writer.write(step, {"loss": 0.5})

    with pytest.raises(OSError, match="No space left") as caught:
      write_much()
    assert caught.value.filename == str(path)
    # The line that did not fit is left out, and the rest is there.
    lines = metrics.read_metrics(path)
    assert [line["step"] for line in lines] == list(range(len(lines)))
    assert lines
    with pytest.raises(OSError, match="No space left") as caught:
      json_files.write_json(disk / "result.json", {"text": "x" * 5000})
    assert caught.value.filename == str(disk / "result.json")
    assert not (disk / "result.json").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "result.json"
  json_files.write_json(path, {"old": 1})
  with pytest.raises(TypeError, match=r"JSON cannot hold .*, a set"):
    json_files.write_json(path, {"new": {1, 2}})

  def full_disk(number):
    raise OSError("disk full")

  monkeypatch.setattr(os, "fsync", full_disk)
  with pytest.raises(OSError, match="disk full"):
    json_files.write_json(path, {"new": 2})
  assert json_files.read_json(path) == {"old": 1}
  assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_read_json_errors_say_what_to_do(tmp_path):
  path = tmp_path / "result.json"
  with pytest.raises(FileNotFoundError, match=r"no file .*result\.json: run"):
    json_files.read_json(path)
  path.write_text('{"accuracy": 0.')
  with pytest.raises(ValueError, match=r"result\.json is not JSON .* delete"):
    json_files.read_json(path)
