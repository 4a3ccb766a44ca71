"""Tables: every format is read, bad rows are counted."""

import gzip
import json
import pathlib
import tempfile
import tracemalloc

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pyarrow import parquet as pq

from experiments.data import tables
from experiments.data.examples import read
from experiments.data.tables import TableReader
from tests.experiments.source_files import COMPRESS
from tests.experiments.source_files import message
from tests.experiments.source_files import ROWS
from tests.experiments.source_files import save
from tests.experiments.source_files import written

BOTH = {"text_column": "text", "label_column": "label"}


def texts(examples):
  return [example["text"] for example in examples]


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_every_format_and_compression(tmp_path, suffix, compression):
  if compression and suffix == ".parquet":
    return
  content = COMPRESS[compression](written(ROWS, suffix))
  path = save(tmp_path / f"reviews{suffix}{compression}", content)
  table = TableReader(path, ["label", "text"])
  assert [(i, *values) for i, values in table] == [
    (i, row["label"], row["text"]) for i, row in enumerate(ROWS)
  ]
  examples = read(path, **BOTH)
  assert list(examples) == [{"id": i, **row} for i, row in enumerate(ROWS)]
  assert examples.bad.count == 0


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@hypothesis.settings(max_examples=50)
@hypothesis.given(st.lists(TEXT, min_size=1, max_size=8))
@hypothesis.example(["a\x0bb\x0cc\x1cd\x85e\u2028f\0g"])  # No line ends.
def test_any_text_comes_back(values):
  # A file without quotes cannot hold tabs and line ends.
  plain = [v.translate({9: " ", 10: " ", 13: " "}) for v in values]
  with tempfile.TemporaryDirectory() as folder:
    for suffix, wanted in (
      (".csv", values),
      (".jsonl", values),
      (".parquet", values),
      (".tsv", plain),
    ):
      rows = [{"text": value, "label": "x"} for value in wanted]
      path = save(pathlib.Path(folder) / f"a{suffix}", written(rows, suffix))
      assert texts(read(path, text_column="text")) == wanted


@pytest.mark.parametrize(
  "encoding",
  ["utf-8-sig", "utf-16", "utf-32", "shift_jis", "gb18030", "iso2022_jp"],
)
def test_encodings(tmp_path, encoding):
  # A byte order mark is enough; other encodings are given.
  given = {} if encoding.startswith("utf") else {"encoding": encoding}
  content = 'text,label\n"日, 本",1\n語,0\n'.encode(encoding)
  path = save(tmp_path / "a.csv", content)
  assert texts(read(path, **given, **BOTH)) == ["日, 本", "語"]
  line = json.dumps({"text": "日"}, ensure_ascii=False) + "\n"
  path = save(tmp_path / "a.jsonl", line.encode(encoding))
  assert texts(read(path, text_column="text", **given)) == ["日"]


def test_rows_that_cannot_be_decoded_do_not_stop_the_file(tmp_path):
  content = "text,label\n日本,0\n".encode("euc_jp") + b"\xff\xff,1\n"
  path = save(tmp_path / "a.csv", content)
  examples = read(path, encoding="euc_jp", **BOTH)
  assert texts(examples) == ["日本"]
  assert list(examples.bad.first) == [f"{path} row 3: not euc_jp"]
  assert "row 2: not utf-8" in message(read, path, **BOTH)
  path = save(path, "téxt\na\n".encode("latin-1"))
  assert f"{path} is not utf-8" in message(read, path, text_column="text")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_usual_delimiters_are_found(tmp_path, suffix, delimiter):
  lines = [["a, b; c", "label", "text"], ["1", "0", "x"], ["2", "1", "y"]]
  if delimiter in ",;":
    lines[0][0] = "a"
  content = "\n".join(delimiter.join(line) for line in lines)
  path = save(tmp_path / f"a{suffix}", content)
  assert texts(read(path, **BOTH)) == ["x", "y"]
  assert texts(read(path, text_column="2", header=False)) == ["text", "x", "y"]
  path = save(path, content.replace(delimiter, "~"))
  assert texts(read(path, delimiter="~", **BOTH)) == ["x", "y"]


@pytest.mark.parametrize(
  ("suffix", "quoting", "content", "expected"),
  [
    (".csv", "auto", '"a , ""b""\nc",1\n\nd,0', ['a , "b"\nc', "d"]),
    (".csv", "none", '"open,1\nb",0', ['"open', 'b"']),
    (".tsv", "auto", '"a" b\t1\n"open\t0', ['"a" b', '"open']),
    (".tsv", "double", '"a\tb"\t1', ["a\tb"]),
  ],
)
def test_quotes(tmp_path, suffix, quoting, content, expected):
  header = {".csv": "text,label\n", ".tsv": "text\tlabel\n"}[suffix]
  path = save(tmp_path / f"a{suffix}", header + content + "\n")
  assert texts(read(path, quoting=quoting, **BOTH)) == expected


def test_files_are_found_by_pattern_by_comma_and_in_a_folder(tmp_path):
  names = ["b.csv", "a.csv", "c.jsonl.gz", "_SUCCESS", "_a.csv", ".b.csv"]
  b, a, c, *_ = (save(tmp_path / "s" / name, "") for name in names)
  assert tables.find_files(tmp_path / "s") == [a, b, c]
  other = save(tmp_path / "s/d.xlsx", "")
  assert "d.xlsx" in message(tables.find_files, tmp_path / "s")
  other.unlink()
  assert tables.find_files(tmp_path / "s/[ab].csv") == [a, b]
  assert tables.find_files(f"{b}, {a}") == [b, a]
  comma = save(tmp_path / "s/d,e.csv", "")
  assert tables.find_files(comma) == [comma]
  (tmp_path / "images/cat").mkdir(parents=True)
  assert tables.find_files(tmp_path / "images") == [tmp_path / "images"]
  assert "no-*.csv" in message(tables.find_files, tmp_path / "no-*.csv")


def test_by_position_without_header(tmp_path):
  path = save(tmp_path / "a.tsv", "gj04\t1\t\tOne.\nbc\t0\t*\tTwo.\nx\n")
  examples = read(path, header=False, text_column=3, label_column=1)
  assert list(examples) == [
    {"id": 0, "text": "One.", "label": "1"},
    {"id": 1, "text": "Two.", "label": "0"},
  ]
  assert list(examples.bad.first) == [f"{path} row 3: 1 fields, expected 4"]


def test_memory_does_not_grow_with_the_file(tmp_path):
  path = tmp_path / "a.tsv.gz"
  with gzip.open(path, "wb", compresslevel=1) as file:
    file.write(b"text\tlabel\n")
    for _ in range(8):
      file.write((b"x" * 1000 + b"\t1\n") * 1000)
  tracemalloc.start()
  assert sum(1 for _ in TableReader(path)) == 8000
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 1e6  # Of 8 MB.


def test_bad_rows_are_counted_with_the_first_reasons(tmp_path):
  lines = b"good\t1\none field\n\na\ttab\t1\nc\xe9\t0\nalso good\t0"
  path = save(tmp_path / "a.tsv", b"text\tlabel\n" + lines)
  examples = read(path, **BOTH)
  assert [example["id"] for example in examples] == [0, 4]
  assert examples.bad.count == 3
  assert list(examples.bad.first) == [
    f"{path} row 3: 1 fields, expected 2",
    f"{path} row 4: 3 fields, expected 2",
    f"{path} row 5: not utf-8",
  ]
  # An undecodable byte matters only where it is wanted.
  assert len(list(TableReader(path, ["label"]))) == 3
  path = save(tmp_path / "b.tsv", "text\tlabel\n" + "bad\n" * 9 + "a\t1\n")
  bad = read(path, text_column="text").bad
  assert (bad.count, len(bad.first)) == (9, 5)
  text = str(bad)
  assert text.startswith(": 9 malformed: ")
  assert text.endswith(f"{path} row 6: 1 fields, expected 2; and more")


def test_an_open_quote_is_counted_or_named(tmp_path):
  lines = ["text,label", "fine,1", '"open,1', *["x" * 99 + ",0"] * 3000]
  path = save(tmp_path / "a.csv", "\n".join(lines))
  examples = read(path, **BOTH)
  assert (len(examples), examples.bad.count) == (1, 3001)
  path = save(path, "\n".join(lines + lines[-1:] * 40_000))
  assert "quote" in message(read, path, **BOTH)


def test_json_lines_and_parquet_that_cannot_be_used(tmp_path):
  lines = [
    ('{"text": "good", "label": 1}', None),
    ('{"text": "cut', "not a JSON object"),
    ('["a", 1]', "not a JSON object"),
    ("", None),  # A blank line is none.
    ('{"text": null, "label": 1}', "no 'text'"),
    ('{"text": "\\ud800", "label": 1}', "not utf-8"),
    ("[" * 100_000, "not a JSON object"),
    ('{"label": 0, "text": "good", "more": {}}', None),
  ]
  path = save(tmp_path / "a.jsonl", "\n".join(line for line, _ in lines))
  examples = read(path, **BOTH)
  assert [example["id"] for example in examples] == [0, 6]
  problems = [line.split(": ")[1] for line in examples.bad.first]
  assert problems == [problem for _, problem in lines if problem]
  rows = [
    {"text": 5, "label": 1},
    {"text": "no label"},
    {"text": "c", "label": [1]},
    {"text": "d", "label": 1},
  ]
  path = save(tmp_path / "b.jsonl", "\n".join(map(json.dumps, rows)))
  examples = read(path, **BOTH)
  assert list(examples) == [{"id": 3, "text": "d", "label": "1"}]
  assert [line.split(": ")[1] for line in examples.bad.first] == [
    "text is int, not str",
    "label is list, not a number or a name",
  ]
  assert examples.unlabelled.count == 1
  table = pa.table({"text": ["a", None, "c"], "label": pa.array([1, 0, None])})
  pq.write_table(table, tmp_path / "a.parquet")
  examples = read(tmp_path / "a.parquet", **BOTH)
  assert list(examples) == [{"id": 0, "text": "a", "label": "1"}]
  place = f"{tmp_path}/a.parquet row"
  assert list(examples.bad.first) == [f"{place} 2: no 'text'"]
  assert list(examples.unlabelled.first) == [f"{place} 3: its label is missing"]


def test_columns_and_options_that_do_not_exist_or_apply(tmp_path):
  table, lines, parquet = (
    save(tmp_path / f"a{suffix}", written(ROWS, suffix))
    for suffix in (".tsv", ".jsonl", ".parquet")
  )
  twice = save(tmp_path / "b.tsv", "a\ta\nb\tc\n")
  images = tmp_path / "a.npz"
  np.savez(images, x=np.zeros((1, 2, 2), np.uint8))
  sentence = {"text_column": "sentence"}
  for path, options, value in (
    (table, sentence, "'sentence'"),
    (parquet, sentence, "['text', 'label']"),
    (lines, sentence, "no 'sentence'"),
    (table, {}, "config.data.text_column"),
    (table, {"label_column": "label"}, "config.data.text_column"),
    (twice, {"text_column": "a"}, "['a', 'a']"),
    (parquet, BOTH | {"delimiter": ";"}, "config.data.delimiter"),
    (table, BOTH | {"image_size": 2}, "config.data.image_size"),
    (parquet, BOTH | {"channels": 3}, "config.data.channels"),
    (tmp_path, {"label_column": "label"}, "label_column"),
    (images, {"text_column": "x"}, "text_column"),
  ):
    assert value in message(read, path, **options)
  assert "a.npz is not a table" in message(read, images, images)


@pytest.mark.parametrize("name", ["a.tsv", "a.csv.gz", "a.jsonl.xz"])
@pytest.mark.parametrize("content", ["", "\n\n", "text,label\n"])
def test_files_without_rows(tmp_path, name, content):
  compress = COMPRESS.get(pathlib.Path(name).suffix, bytes)
  path = save(tmp_path / name, compress(content.encode()))
  assert str(path) in message(read, path, text_column="text")


def test_damaged_files_are_named(tmp_path):
  rows = [{"text": f"text {i * i}", "label": "1"} for i in range(20_000)]
  for compression in (".gz", ".xz"):
    whole = COMPRESS[compression](written(rows, ".tsv"))
    cut = save(tmp_path / f"a.tsv{compression}", whole[: len(whole) // 2])
    assert str(cut) in message(read, cut, text_column="text")
    plain = save(tmp_path / f"b.tsv{compression}", b"text\tlabel\n")
    assert str(plain) in message(read, plain, text_column="text")
  whole = bytearray(gzip.compress(written(ROWS, ".tsv")))
  whole[-6] ^= 1  # A bit of the checksum.
  path = save(tmp_path / "c.tsv.gz", bytes(whole))
  assert str(path) in message(read, path, text_column="text")
  whole = written(ROWS, ".parquet")
  for content in (whole[:-20], b"PAR1", b""):
    path = save(tmp_path / "a.parquet", content)
    assert f"{path} is damaged" in message(read, path, text_column="text")
  dates = pa.array([2**60], pa.timestamp("ms"))
  pq.write_table(pa.table({"text": dates}), tmp_path / "a.parquet")
  assert "a.parquet" in message(read, path, text_column="text")


def test_what_cannot_be_opened(tmp_path, monkeypatch):
  path = tmp_path / "a.tsv"
  assert message(read, path, text_column="t") == f"there is no {path}."
  path = save(tmp_path / "a.xlsx", b"")
  assert ".parquet" in message(read, path)
  path.with_suffix(".csv").mkdir()
  assert "a.csv" in message(TableReader, path.with_suffix(".csv"))
  monkeypatch.setenv("HOME", str(tmp_path))
  save(tmp_path / "b.csv", "text\nx\n")
  assert texts(read("~/b.csv", text_column="text")) == ["x"]
