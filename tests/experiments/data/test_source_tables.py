"""Tables: every format and compression, read as it is written."""

import gzip
import json
import pathlib
import tempfile
import tracemalloc

import hypothesis
import pytest
from hypothesis import strategies as st

from experiments.data.sources import open_source
from experiments.data.sources import tables
from tests.experiments.source_files import COMPRESS
from tests.experiments.source_files import message
from tests.experiments.source_files import ROWS
from tests.experiments.source_files import save
from tests.experiments.source_files import written


def drain(*args, **options):
  return list(tables.rows(*args, **options))


def texts(source):
  return [example["text"] for example in source]


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_every_format_and_compression(tmp_path, suffix, compression):
  content = COMPRESS[compression](written(ROWS, suffix))
  path = save(tmp_path / f"reviews{suffix}{compression}", content)
  assert drain(path) == ROWS
  assert drain(path, ["label"]) == [{"label": row["label"]} for row in ROWS]
  source = open_source(path, text_column="text", label_column="label")
  assert list(source) == [
    {"id": i, "text": row["text"], "label": int(row["label"])}
    for i, row in enumerate(ROWS)
  ]
  assert source.malformed.count == 0


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(st.lists(TEXT, min_size=1, max_size=8))
def test_any_text_comes_back(values):
  # What a tab-separated file without quotes cannot hold is left out of it.
  plain = [v.translate({9: " ", 10: " ", 13: " "}) for v in values]
  with tempfile.TemporaryDirectory() as folder:
    for suffix, wanted in (
      (".csv", values),
      (".jsonl", values),
      (".parquet", values),
      (".tsv", plain),
    ):
      rows = [{"text": value, "label": "x"} for value in wanted]
      path = pathlib.Path(folder) / f"a{suffix}"
      path.write_bytes(written(rows, suffix))
      assert texts(open_source(path, text_column="text")) == wanted


def test_only_line_feeds_end_lines(tmp_path):
  # str.splitlines and universal newlines would cut at each of these.
  text = "a\rb\x0bc\x0cd\x1ce\x85f\u2028g"
  path = save(tmp_path / "a.tsv", f"text\tlabel\n{text}\t1\r\nb\t0\r\n")
  assert drain(path) == [
    {"text": text, "label": "1"},
    {"text": "b", "label": "0"},
  ]


def test_quotes(tmp_path):
  quoted = 'text{0}label\n"a {0} ""b""\nc"{0}1\n\nd{0}0\n'
  unquoted = [{"text": '"a" b', "label": "1"}]
  expected = [
    {"text": 'a {} "b"\nc', "label": "1"},
    {"text": "d", "label": "0"},
  ]
  path = save(tmp_path / "a.csv", quoted.format(","))
  assert [r["text"].replace(",", "{}") for r in drain(path)] == [
    r["text"] for r in expected
  ]
  path = save(tmp_path / "a.tsv", quoted.format("\t"))
  assert drain(path, quoting=True)[0]["text"] == 'a \t "b"\nc'
  for suffix, delimiter in ((".tsv", "\t"), (".csv", ",")):
    path = save(
      tmp_path / f"b{suffix}", f'text{delimiter}label\n"a" b{delimiter}1\n'
    )
    assert drain(path, quoting=False) == unquoted


def test_by_position_without_header(tmp_path):
  path = save(tmp_path / "a.tsv", "gj04\t1\t\tOne.\nbc\t0\t*\tTwo.\n")
  assert drain(path, [3, 1], header=False) == [
    {3: "One.", 1: "1"},
    {3: "Two.", 1: "0"},
  ]
  assert drain(path, header=False)[1] == {0: "bc", 1: "0", 2: "*", 3: "Two."}
  # As a flag gives them.
  source = open_source(path, header=False, text_column="3", label_column="1")
  assert list(source) == [
    {"id": 0, "text": "One.", "label": 1},
    {"id": 1, "text": "Two.", "label": 0},
  ]


def test_byte_order_mark_and_other_encodings(tmp_path):
  path = save(tmp_path / "a.csv", "\ufefftext,label\ncafé,1\n")
  assert drain(path) == [{"text": "café", "label": "1"}]
  for encoding in ("latin-1", "utf-16"):
    path = save(tmp_path / "b.csv", "text,label\ncafé,1\n".encode(encoding))
    assert drain(path, encoding=encoding) == [{"text": "café", "label": "1"}]
  assert message(drain, path) == (
    f"{path} is not utf-8: give its encoding, such as 'latin-1'."
  )
  assert message(drain, path, encoding="utf8x") == (
    f"{path}: there is no encoding 'utf8x'; try 'utf-8' or 'latin-1'."
  )


def test_labels_are_integers_where_they_are_written_so(tmp_path):
  values = [1, "1", " 2 ", True, 3.0, "pos", "01", "-4", "1.0", "9" * 30]
  lines = [json.dumps({"text": "", "label": value}) for value in values]
  path = save(tmp_path / "a.jsonl", "\n".join(lines))
  source = open_source(path, text_column="text", label_column="label")
  assert [example["label"] for example in source] == [
    *(1, 1, 2, 1, 3, "pos", "01", -4, "1.0", "9" * 30),
  ]


def test_several_files_follow_one_another(tmp_path):
  a = save(tmp_path / "a.csv", "text,label\nx,1\ny,0\n")
  b = save(tmp_path / "b.jsonl.gz", gzip.compress(written(ROWS, ".jsonl")))
  source = open_source([a, b], text_column="text", label_column="label")
  assert texts(source) == ["x", "y", *(row["text"] for row in ROWS)]
  assert [example["id"] for example in source] == list(range(5))


def test_ids_of_a_column(tmp_path):
  path = save(tmp_path / "a.tsv", "id\ttext\nn7\ta\n12\tb\n")
  source = open_source(path, text_column="text", id_column="id")
  assert list(source) == [
    {"id": "n7", "text": "a"},
    {"id": "12", "text": "b"},
  ]
  path = save(tmp_path / "b.tsv", "id\ttext\n1\ta\n2\tb\n1\tc\n")
  assert message(open_source, path, text_column="text", id_column="id") == (
    f"{path}: ids must be unique, but '1' occurs 2 times: choose another "
    f"id_column, or none."
  )


def test_memory_does_not_grow_with_the_file(tmp_path):
  path = tmp_path / "a.tsv.gz"
  with gzip.open(path, "wb", compresslevel=1) as file:
    file.write(b"text\tlabel\n")
    for _ in range(8):
      file.write((b"x" * 1000 + b"\t1\n") * 1000)
  tracemalloc.start()
  assert sum(1 for _ in tables.rows(path)) == 8_000
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 1e6  # Of 8 MB.
