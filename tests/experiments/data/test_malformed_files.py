"""Malformed files: every row is used or reported, or one line says why not."""

import functools
import io
import json
import os
import pathlib
import tempfile

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet as pq

from experiments.configs import own
from experiments.configs import validate
from experiments.data import load
from experiments.data.prepare import prepare_own
from experiments.data.prepared import open_prepared
from tests.experiments.training.test_kinds_of_data import (
  tokenizer as word_tokenizer,
)

TEXTS = {"text_column": "text", "label_column": "label"}
NUMBERS = [20, pytest.param(2000, marks=pytest.mark.slow)]


def check(path, num_rows=None, **columns):
  """Prepares a file; counts its rows unless one line says what is wrong."""
  folder = path.parent / "work" / "own"
  before = sorted(os.listdir(path.parent))
  try:
    found = prepare_own(
      folder, {"train": path}, max_bad_rows=1.0, unlabelled="drop", **columns
    )
  except (OSError, ValueError) as error:
    text = str(error)
  else:
    used = len(found.splits["train"]["labels"])
    reported = sum(rows.count for rows in found.left_out)
    assert used >= 2
    assert num_rows in (None, used + reported)
    return
  assert "\n" not in text
  assert path.name in text
  assert sorted(os.listdir(path.parent)) == before


def fuzz(number, *strategies):
  """Runs a function with values of strategies and a new folder."""

  def decorate(function):
    @hypothesis.settings(
      max_examples=number,
      database=None,
      suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.tuples(*strategies))
    def run(values):
      with tempfile.TemporaryDirectory() as folder:
        function(pathlib.Path(folder), *values)

    run()

  return decorate


def damaged(content, cuts):
  """Bytes with parts overwritten, inserted or removed."""
  for place, removed, added in cuts:
    place %= len(content) + 1
    content = content[:place] + added + content[place + removed :]
  return content


CUTS = st.lists(
  st.tuples(st.integers(0, 2**20), st.integers(0, 60), st.binary(max_size=8)),
  max_size=4,
)
LABELS = st.sampled_from(["a", "b", "1", "1.0", "", "NA", "nan", "\xa0", "é"])
WORDS = st.text(
  st.characters(exclude_categories=["Cs"], exclude_characters='"\r\n\t,'),
  min_size=1,
  max_size=9,
)
ROW = st.one_of(
  st.tuples(WORDS, LABELS).map(lambda row: [x.encode() for x in row]),
  st.tuples(WORDS, LABELS).map(lambda row: [x.encode("utf-16") for x in row]),
  st.lists(WORDS.map(str.encode), min_size=1, max_size=4),
  st.just([b"x" * 140_000, b"a"]),
).map(lambda row: [x.translate(None, b'"\r\n\t,') or b"x" for x in row])
QUOTED = st.tuples(st.text("a,\n\t\"'", max_size=6), LABELS).map(
  lambda row: [b'"%s"' % row[0].replace('"', '""').encode(), row[1].encode()]
)


def delimited(delimiter, row):
  """Tables of rows after two good ones, and how many rows they have."""

  def content(rows):
    rows = [[b"text", b"label"], [b"x", b"a"], [b"y", b"b"], *rows]
    return b"\n".join(map(delimiter.join, rows)), len(rows) - 1

  return st.lists(row, max_size=9).map(content)


VALUE = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.floats(),
  st.text(max_size=3),
  st.lists(st.integers(), max_size=2),
  st.sampled_from(["a", "b", "NA", "\ud800"]),
)
LINE = st.one_of(
  st.fixed_dictionaries({"text": st.text(max_size=9), "label": VALUE}),
  st.fixed_dictionaries({}, optional={"text": VALUE, "label": VALUE}),
).map(lambda row: json.dumps(row).encode()) | st.binary(
  min_size=1, max_size=9
).map(lambda line: line.translate(None, b"\n\r \t\v\f") or b"x")


def json_lines(lines):
  lines = [
    b'{"text": "x", "label": "a"}',
    b'{"text": "y", "label": "b"}',
    *lines,
  ]
  return b"\n".join(lines), len(lines)


COLUMN = st.one_of(
  *(
    st.lists(st.none() | values, min_size=4, max_size=4).map(
      functools.partial(lambda kind, x: pa.array(x, kind), kind)
    )
    for kind, values in (
      (pa.string(), st.sampled_from(["a", "b", "", "NA", "1.0"])),
      (pa.int8(), st.integers(0, 2)),
      (pa.float32(), st.floats(width=32)),
      (pa.float64(), st.floats()),
      (pa.bool_(), st.booleans()),
      (pa.binary(), st.binary(max_size=3)),
      (pa.list_(pa.int8()), st.lists(st.integers(0, 2), max_size=2)),
      (pa.decimal128(5, 2), st.decimals(-9, 9, places=2)),
      (pa.timestamp("s"), st.just(0)),
    )
  )
)


def parquet(columns):
  buffer = io.BytesIO()
  table = dict(zip(("text", "label"), columns, strict=True))
  pq.write_table(pa.table(table), buffer)
  return buffer.getvalue(), 4


KIND = st.sampled_from(["u1", "f4", "i8", "?", "U2", "S1"])


def npz(shape, kind, size, label_kind):
  labels = np.array(["1", "0", "1", "", "2"])[:size]
  if label_kind not in ("U2", "S1"):
    labels = np.arange(size).astype(label_kind)
  buffer = io.BytesIO()
  np.savez(buffer, x=np.zeros(shape, kind), y=labels)
  return buffer.getvalue(), shape[0]


# Files of each format, with their numbers of rows.
FILES = {
  ".csv": delimited(b",", st.one_of(ROW, QUOTED)),
  ".tsv": delimited(b"\t", ROW),
  ".jsonl": st.lists(LINE, max_size=9).map(json_lines),
  ".parquet": st.tuples(COLUMN, COLUMN).map(parquet),
  ".npz": st.builds(
    npz,
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    KIND,
    st.integers(0, 5),
    KIND,
  ),
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("suffix", FILES)
def test_every_row_is_used_or_reported(suffix, number):
  columns = {} if suffix == ".npz" else TEXTS

  @fuzz(number, FILES[suffix], CUTS)
  def _(folder, file, cuts):
    content, num_rows = file
    for place, data in (("whole", content), ("cut", damaged(content, cuts))):
      (folder / place).mkdir()
      path = folder / place / f"a{suffix}"
      path.write_bytes(data)
      check(path, num_rows if place == "whole" else None, **columns)


def png(color, mode="RGB"):
  buffer = io.BytesIO()
  Image.new(mode, (3, 2), color).save(buffer, "PNG")
  return buffer.getvalue()


FILE = st.tuples(
  st.sampled_from(["a", "b", "a/in", ".", "c"]),
  st.text("xyz", min_size=1, max_size=3),
  st.sampled_from([".png", ".jpg", ".jfif", ".txt", ""]),
  st.sampled_from([png("red"), png(3, "L"), png((1, 2, 3, 4), "RGBA"), b""]),
  CUTS,
)


@pytest.mark.parametrize("number", NUMBERS)
def test_folders_of_images(number):
  @fuzz(number, st.lists(FILE, max_size=6))
  def _(folder, files):
    folder = folder / "photos"
    contents = {"a/0.png": png("blue"), "b/0.png": png(7, "L")}
    contents |= {
      f"{place}/{name}{suffix}": damaged(content, cuts)
      for place, name, suffix, content, cuts in files
    }
    for path, content in contents.items():
      (folder / path).parent.mkdir(parents=True, exist_ok=True)
      (folder / path).write_bytes(content)
    names = {os.path.normpath(path) for path in contents}
    check(folder, len(names))


FIELDS = {
  "train": ["a.csv", "a.csv,a.csv", "*.csv", "none.csv", ".", ""],
  "test": ["", "a.csv", "none*"],
  "text_column": ["text", "text", "0", "nope", ""],
  "label_column": ["label", "label", "1", "nope", ""],
  "image_column": ["", "", "text"],
  "encoding": ["", "utf-8", "latin-1", "utf-16", "utf-9", "cp037", "base64"],
  "delimiter": ["", "", ",", ";", ";;", "\t", "é", '"', "\n"],
  "header": [True, False],
  "quoting": ["auto", "double", "none"],
  "image_size": [0, 0, 2],
  "channels": [0, 0, 3],
  "test_fraction": [0.2, 0.5, 0.999],
  "validation_fraction": [0.1, 0.5, 0.001],
  "max_bad_rows": [0.0, 0.01, 1.0],
  "unlabelled": ["refuse", "drop", "transfer"],
}
CONTENT = (
  """text,label
a,0
b,1
"c, d",0
e;f,1
g,
h,0,1
i,NA
caf\xe9,1
"""
  + "j,0\nk,1\n" * 4
)


@pytest.mark.parametrize("number", NUMBERS)
def test_fields_of_the_command_line(tmp_path, monkeypatch, number):
  tokenizer = word_tokenizer(tmp_path / "tokenizer.json")
  fields = {name: st.sampled_from(values) for name, values in FIELDS.items()}

  @fuzz(number, st.fixed_dictionaries({}, optional=fields))
  def _(folder, given):
    monkeypatch.chdir(folder)
    pathlib.Path("a.csv").write_bytes(CONTENT.encode("latin-1"))
    config = own.get_config("kind=text")
    usual = {"train": "a.csv", "text_column": "text", "label_column": "label"}
    config.data.update(usual | {"tokenizer": str(tokenizer)} | given)
    workdir = folder / "work"
    try:
      cell = validate.cell_spec(config)
      splits = load.load(cell.data, cell.selection, workdir)
    except (OSError, ValueError) as error:
      text = str(error)
      kept = workdir / "data/own"
    else:
      names = ("train", "validation", "test", "unlabelled")
      parts = filter(None, (getattr(splits, name) for name in names))
      used = sum(len(arrays["labels"]) for arrays in parts)
      reported = sum(rows.count for rows in splits.left_out)
      files = [*cell.data.train.split(","), *filter(None, [cell.data.test])]
      num_rows = CONTENT.count("\n") - cell.data.header
      assert used + reported == num_rows * len(files)
      return
    assert "\n" not in text
    # Prepared data are kept if only their division is impossible.
    assert not workdir.exists() or open_prepared(kept)
