"""Tables: what is malformed is counted, what is damaged is named."""

import gzip
import json
import pathlib

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from experiments.data.sources import Malformed
from experiments.data.sources import open_source
from experiments.data.sources import tables
from tests.experiments.source_files import COMPRESS
from tests.experiments.source_files import message
from tests.experiments.source_files import ROWS
from tests.experiments.source_files import save
from tests.experiments.source_files import written


def drain(*args, **options):
  return list(tables.rows(*args, **options))


def test_malformed_lines_are_counted_and_left_out(tmp_path):
  content = (
    b"text\tlabel\ngood\t1\none field\n\na\ttab\t1\nc\xe9\t0\nalso good\t0"
  )
  path = save(tmp_path / "a.tsv", content)
  malformed = Malformed()
  assert drain(path, malformed=malformed) == [
    {"text": "good", "label": "1"},
    {"text": "also good", "label": "0"},
  ]
  assert malformed.count == 3
  assert malformed.first == [
    f"{path} line 3: 1 fields, expected 2",
    f"{path} line 5: 3 fields, expected 2",
    f"{path} line 6: 'text' is not utf-8",
  ]
  assert str(malformed) == f"3 malformed: {'; '.join(malformed.first)}"
  # An undecodable byte matters only where it is wanted.
  assert len(drain(path, ["label"], malformed=Malformed())) == 3
  # Ids are the rows', with those left out counted; a blank line is no row.
  source = open_source(path, text_column="text", label_column="label")
  assert [example["id"] for example in source] == [0, 4]
  assert source.malformed == malformed
  # Without a tally nothing is passed over.
  assert message(drain, path) == f"{path} line 3: 1 fields, expected 2."


def test_only_the_first_few_malformed_are_described(tmp_path):
  path = save(tmp_path / "a.tsv", "text\tlabel\n" + "bad\n" * 9 + "a\t1\n")
  malformed = open_source(path, text_column="text").malformed
  assert malformed.count == 9
  assert len(malformed.first) == 5
  assert str(malformed).endswith(f"{path} line 6: 1 fields, expected 2; ...")
  assert str(Malformed()) == "0 malformed"


def test_malformed_quotes(tmp_path):
  content = 'text,label\nfine,1\n"a"b,0\nfine,0\n"never\nclosed,1\n'
  path = save(tmp_path / "a.csv", content)
  malformed = Malformed()
  rows = drain(path, malformed=malformed)
  assert rows == [{"text": "fine", "label": x} for x in "10"]
  assert malformed.count == 3  # The quote that is not closed took two lines.
  assert malformed.first == [
    f"{path} line 3: unusable quotes (',' expected after '\"')",
    f"{path} line 5: unusable quotes (unexpected end of data)",
  ]


def test_an_open_quote_does_not_swallow_a_long_file(tmp_path):
  lines = ["text,label", '"open,1', *["x" * 99 + ",0"] * 3000]
  path = save(tmp_path / "a.csv", "\n".join(lines))
  malformed = Malformed()
  rows = drain(path, malformed=malformed)
  assert len(rows) + malformed.count == 3001
  assert len(rows) > 1500
  assert malformed.first == [
    f"{path} line 2: unusable quotes (field larger than field limit (131072))"
  ]


def test_malformed_json(tmp_path):
  lines = [
    '{"text": "good", "label": 1}',
    '{"text": "cut',
    '["a", 1]',
    '{"text": "no label"}',
    "",
    '{"text": null, "label": 1}',
    '{"text": "\\ud800", "label": 1}',
    "[" * 100_000,
    '{"label": 0, "text": "good", "more": {}}',
  ]
  path = save(tmp_path / "a.jsonl", "\n".join(lines))
  malformed = Malformed()
  rows = drain(path, ["text", "label"], malformed=malformed)
  assert rows == [{"text": "good", "label": x} for x in (1, 0)]
  assert malformed.count == 6
  assert malformed.first == [
    f"{path} line 2: not JSON at column 10",
    f"{path} line 3: not a JSON object",
    f"{path} line 4: no 'label' in ['text']",
    f"{path} line 6: no 'text'",
    f"{path} line 7: 'text' is not utf-8",
  ]


def test_unusable_texts_and_labels_are_left_out(tmp_path):
  rows = [
    {"text": 5, "label": 1},
    {"text": "a", "label": " "},
    {"text": "b", "label": 0.5},
    {"text": "c", "label": [1]},
    {"text": "d", "label": 1},
  ]
  path = save(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
  source = open_source(path, text_column="text", label_column="label")
  assert list(source) == [{"id": 4, "text": "d", "label": 1}]
  assert source.malformed.first == [
    f"{path} line 1: text is int, not a string",
    f"{path} line 2: blank label",
    f"{path} line 3: label 0.5 is neither an integer nor a name",
    f"{path} line 4: label [1] is neither an integer nor a name",
  ]


def test_missing_values_of_parquet_are_left_out(tmp_path):
  table = pa.table({"text": ["a", None, "c"], "label": pa.array([1, 0, None])})
  pq.write_table(table, tmp_path / "a.parquet")
  source = open_source(
    tmp_path / "a.parquet", text_column="text", label_column="label"
  )
  assert list(source) == [{"id": 0, "text": "a", "label": 1}]
  assert source.malformed.first == [
    f"{tmp_path}/a.parquet row 1: no 'text'",
    f"{tmp_path}/a.parquet row 2: no 'label'",
  ]
  # Where no column was asked for, nothing has to be there.
  assert drain(tmp_path / "a.parquet")[1] == {"text": None, "label": 0}


def test_a_missing_column_tells_which_there_are(tmp_path):
  path = save(tmp_path / "a.tsv", "text\tlabel\na\t1\n")
  hint = "; if those are values, give header=False and columns by position."
  assert message(drain, path, ["sentence"]) == (
    f"{path} has no column 'sentence': it has ['text', 'label']{hint}"
  )
  assert message(drain, path, [2], header=False) == (
    f"{path} has no column 2: it has 2 columns, counted from 0, as the header "
    f"is said to be missing."
  )
  path = save(tmp_path / "a.parquet", written(ROWS, ".parquet"))
  assert message(drain, path, ["stars"]) == (
    f"{path} has no column 'stars': it has ['text', 'label']."
  )
  path = save(tmp_path / "a.jsonl", '{"text": "a"}\n')
  assert message(open_source, path, text_column="t") == (
    f"{path} holds no examples (1 malformed: {path} line 1: no 't' in "
    f"['text'])."
  )
  path = save(tmp_path / "b.tsv", "a\ta\nb\tc\n")
  assert message(drain, path) == (
    f"{path}: the names of its columns must differ, got ['a', 'a']; is the "
    f"first line values? Then give header=False and columns by position."
  )


@pytest.mark.parametrize("name", ["a.tsv", "a.csv.gz", "a.jsonl.xz"])
def test_empty_files(tmp_path, name):
  compress = COMPRESS.get(pathlib.Path(name).suffix, bytes)
  path = save(tmp_path / name, compress(b""))
  expected = f"{path} is empty: expected a line with the names of the columns."
  if ".jsonl" in name:
    expected = f"{path} holds no examples."
  assert message(open_source, path, text_column="text") == expected


def test_a_header_alone_is_no_data(tmp_path):
  path = save(tmp_path / "a.tsv", "text\tlabel\n")
  assert drain(path) == []
  assert message(open_source, path, text_column="text") == (
    f"{path} holds no examples."
  )


def test_truncated_files_are_named(tmp_path):
  rows = [{"text": f"text {i * i}", "label": "1"} for i in range(20_000)]
  reason = "Compressed file ended before the end-of-stream marker was reached"
  for compression in (".gz", ".bz2", ".xz"):
    whole = COMPRESS[compression](written(rows, ".tsv"))
    path = save(tmp_path / f"a.tsv{compression}", whole[: len(whole) // 2])
    assert message(open_source, path, text_column="text") == (
      f"{path} is damaged or cut short, or no {compression} file ({reason}): "
      f"get it again."
    )
  # Read as it is decompressed: what comes before the damage comes out.
  early = tables.rows(tmp_path / "a.tsv.gz")
  assert next(early) == rows[0]


def test_damaged_files_are_named(tmp_path):
  path = save(tmp_path / "a.tsv.gz", b"text\tlabel\n")
  assert message(drain, path) == (
    f"{path} is damaged or cut short, or no .gz file (Not a gzipped file "
    f"(b'te')): get it again."
  )
  path = save(tmp_path / "a.tsv.bz2", b"text\tlabel\n")
  assert message(drain, path) == (
    f"{path} is damaged or cut short, or no .bz2 file (Invalid data stream): "
    f"get it again."
  )
  whole = bytearray(gzip.compress(written(ROWS, ".tsv")))
  whole[-6] ^= 1  # A bit of the checksum.
  path = save(tmp_path / "b.tsv.gz", bytes(whole))
  assert message(drain, path).startswith(
    f"{path} is damaged or cut short, or no .gz file (CRC check failed "
  )
  whole = bytearray(gzip.compress(written(ROWS * 99, ".tsv")))
  whole[12:40] = b"\xff" * 28  # Where the compressed bytes begin.
  path = save(tmp_path / "c.tsv.gz", bytes(whole))
  assert message(drain, path).startswith(
    f"{path} is damaged or cut short, or no .gz file (Error -3 "
  )
  whole = written(ROWS, ".parquet")
  for content in (whole[:-20], b"PAR1", b""):
    path = save(tmp_path / "a.parquet", content)
    text = message(open_source, path, text_column="text")
    assert text.startswith(f"{path} is no whole Parquet file (")
    assert text.endswith("): get it again.")


def test_what_cannot_be_opened(tmp_path):
  path = tmp_path / "a.tsv"
  assert message(drain, path) == f"there is no {path}."
  assert message(open_source, path, text_column="t") == f"there is no {path}."
  path.mkdir()
  assert message(drain, path) == f"cannot read {path}: is a directory."
  assert message(drain, tmp_path / "a.txt") == (
    f"{tmp_path}/a.txt must end in one of .tsv, .csv, .jsonl, .ndjson, "
    f".parquet, and .gz, .bz2 or .xz behind that if compressed."
  )
