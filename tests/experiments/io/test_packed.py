"""Records of a workdir in one file: what is packed is unpacked."""

import re

import pyarrow as pa
import pytest
from pyarrow import parquet

from experiments.io import packed
from tests.experiments.original_files import files_below
from tests.experiments.reporting_workdirs import write_workdir

_CELL = "cells/split0/lelp/d0/trial0"
_TEACHERS = ("teacher-split0", "teacher-split1")


@pytest.fixture(name="workdir")
def fixture_workdir(tmp_path):
  """A sweep with configs, a teacher, and files that are not packed."""
  workdir = tmp_path / "runs" / "made"
  write_workdir(workdir)
  for name, text in (
    (f"{_CELL}/config.json", '{"title": "naïve ☕"}'),
    (f"{_CELL}/student.msgpack", "weights"),
    (f"{_CELL}/metrics.jsonl", "{}"),
    ("teachers/t0/config.json", "{}"),
    ("teachers/t0/result.json", "{}"),
    ("teachers/t0/parameters/seal.json", "{}"),
    ("report/table.md", "a table"),
  ):
    path = workdir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
  return workdir


@pytest.fixture(name="file")
def fixture_file(tmp_path, workdir):
  packed.pack(workdir, tmp_path / "made.parquet", _TEACHERS)
  return tmp_path / "made.parquet"


def test_records_are_unpacked_as_they_were(tmp_path, workdir):
  file = tmp_path / "new" / "made.parquet"
  number, missing = packed.pack(workdir, file, _TEACHERS)
  assert packed.unpack(file, tmp_path / "again") == tmp_path / "again"
  before, after = files_below(workdir), files_below(tmp_path / "again")
  left = {name.rpartition("/")[2] for name in before.keys() - after.keys()}
  assert left == {"student.msgpack", "metrics.jsonl", "seal.json", "table.md"}
  assert after == {name: before[name] for name in after}
  # 24 cells of `reporting_workdirs.BY_HAND`.
  assert len(after) == number == 1 + 2 * 24 + 2
  assert missing == [*_TEACHERS]
  # Equal results give equal files.
  packed.pack(tmp_path / "again", tmp_path / "twice.parquet", _TEACHERS)
  assert (tmp_path / "twice.parquet").read_bytes() == file.read_bytes()


def test_the_cells_teachers_of_another_folder_are_packed(tmp_path, workdir):
  for name in ("teacher-split0", "another"):
    for file in ("config.json", "result.json", "parameters.json"):
      path = tmp_path / "shared" / name / file
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(f'"{name} {file}"')
  file = tmp_path / "made.parquet"
  assert packed.pack(workdir, file, _TEACHERS, tmp_path / "shared")[1] == [
    "teacher-split1"
  ]
  packed.unpack(file, tmp_path / "again")
  assert files_below(tmp_path / "again" / "teachers") == {
    "t0/config.json": b"{}",
    "t0/result.json": b"{}",
    "teacher-split0/config.json": b'"teacher-split0 config.json"',
    "teacher-split0/result.json": b'"teacher-split0 result.json"',
  }


@pytest.mark.parametrize("name", ["made.pq", "made"])
def test_another_suffix_is_refused(tmp_path, workdir, name):
  with pytest.raises(ValueError, match=rf"--file .*\.parquet, got .*{name}"):
    packed.pack(workdir, tmp_path / name, _TEACHERS)


@pytest.mark.parametrize("files", [[], ["sweep.json", f"{_CELL}/config.json"]])
def test_a_workdir_without_results_is_not_packed(tmp_path, files):
  for name in files:
    (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "a" / name).write_text("{}")
  with pytest.raises(FileNotFoundError, match=f"--workdir={tmp_path / 'a'} "):
    packed.pack(tmp_path / "a", tmp_path / "a.parquet", ())
  assert not (tmp_path / "a.parquet").exists()


def test_the_same_results_may_be_there(workdir, file):
  before = files_below(workdir)
  (workdir / _CELL / "result.json").unlink()
  packed.unpack(file, workdir)
  assert files_below(workdir) == before


def test_other_results_are_neither_mixed_nor_replaced(tmp_path, workdir, file):
  for name, text in (
    ("sweep.json", "{}"),
    (f"{_CELL}/result.json", "{}"),
    ("cells/split0/lelp/d1/trial0/result.json", "{}"),
    ("teachers/t1/config.json", "{}"),
  ):
    other = tmp_path / f"other {name.replace('/', '-')}"
    path = other / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    message = f"{other} holds other results than {file}, such as {name}:"
    with pytest.raises(ValueError, match=message):
      packed.unpack(file, other)
    assert files_below(other) == {name: text.encode()}


@pytest.mark.parametrize(
  "name",
  [
    "../sweep.json",
    "cells/../../../../trial0/result.json",
    "/sweep.json",
    "",
    "sweep.json/x",
    "student.msgpack",
    "cells/a/b/c/d/trial0/result.json",
  ],
)
def test_records_elsewhere_are_refused(tmp_path, name):
  columns = {"path": ["sweep.json", name], "content": ["{}", "{}"]}
  file = tmp_path / "made.parquet"
  parquet.write_table(pa.table(columns), file)
  message = f"made.parquet is not a file of .*{re.escape(repr(name))}"
  with pytest.raises(ValueError, match=message):
    packed.unpack(file, tmp_path / "new" / "again")
  assert [path.name for path in tmp_path.iterdir()] == ["made.parquet"]


def test_damaged_and_other_files_are_named(tmp_path, file):
  path, whole = tmp_path / "other.parquet", file.read_bytes()
  for data in (b"", b"text", whole[:-9], whole[9:]):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{path} is not .* damaged"):
      packed.unpack(path, tmp_path / "again")
  for columns in (
    {"path": ["sweep.json"]},
    {"path": ["sweep.json"], "content": [3]},
    {"path": ["sweep.json"], "content": [b"\xff"]},
    {"path": ["sweep.json", "sweep.json"], "content": ["{}", None]},
    {"name": ["sweep.json"], "text": ["{}"]},
  ):
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(ValueError, match=f"{path} is not .* columns"):
      packed.unpack(path, tmp_path / "again")
  with pytest.raises(FileNotFoundError, match=r"no file .*gone"):
    packed.unpack(tmp_path / "gone.parquet", tmp_path / "again")
  assert not (tmp_path / "again").exists()


def test_a_folder_named_like_a_column_adds_none(tmp_path, file):
  folder = tmp_path / "lr=0.1"
  folder.mkdir()
  file.rename(folder / "made.parquet")
  packed.unpack(folder / "made.parquet", tmp_path / "again")
  assert (tmp_path / "again" / "sweep.json").is_file()
