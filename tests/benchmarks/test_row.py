"""Rows of benchmarks: verdicts, the table and the file."""

import pytest

from benchmarks import compare
from benchmarks import row as row_lib
from benchmarks.row import Results
from benchmarks.row import Row

ROW = Row("loss", "B = 8", 3.0, "ms", "torch", 2.0, target=1.4, note="slow exp")


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({}, "short"),
    ({"target": 1.5}, "pass"),
    ({"target": None}, ""),
    ({"larger_is_better": True}, "pass"),
    ({"larger_is_better": True, "target": 1.6}, "short"),
    # Without a reference the target bounds the value itself.
    ({"reference_value": None}, "short"),
    ({"reference_value": None, "target": 3.0}, "pass"),
  ],
)
def test_the_target_bounds_the_ratio(changes, expected):
  fields = vars(ROW) | changes
  assert Row(**fields).verdict == expected


def test_the_table_has_a_line_per_row_and_the_reason_of_a_miss():
  fast = Row("start", "digits", 2.5, "s", target=5, note="not shown")
  assert row_lib.table([ROW, fast]).splitlines() == [
    "| what  | size   | ours    | reference      | ratio | target |       |",
    "| ----- | ------ | ------- | -------------- | ----- | ------ | ----- |",
    "| loss  | B = 8  | 3.00 ms | 2.00 ms: torch | 1.50  | <= 1.4 | short |",
    "| start | digits | 2.50 s  |                |       | <= 5 s | pass  |",
    "",
    "- loss, B = 8: slow exp",
  ]


def test_results_are_written_and_read(tmp_path):
  results = Results("two-cores", {"jax": "1"}, {"losses": [ROW]})
  path = tmp_path / "results" / "two-cores.json"
  row_lib.write(path, results)
  assert row_lib.read(path) == results
  assert {file.suffix for file in path.parent.iterdir()} == {".json", ".md"}
  page = path.with_suffix(".md").read_text()
  assert page == f"# two-cores\n\njax 1.\n\n{row_lib.table([ROW])}\n"


@pytest.mark.parametrize("text", ["", "[]", '{"modules": {"a": [{"x": 1}]}}'])
def test_another_file_is_one_error(tmp_path, capsys, text):
  path = tmp_path / "other.json"
  path.write_text(text)
  with pytest.raises(SystemExit, match=r"other\.json is not a file of results"):
    compare.main([str(path), str(path)])


def test_a_comparison_marks_what_became_worse(tmp_path, capsys):
  rate = Row("rate", "N = 8", 100.0, "1/s", larger_is_better=True)
  old = [ROW, Row("peak", "N = 8", 5, "MiB"), rate, Row("old", "N = 8", 1, "s")]
  new = [
    Row(**vars(ROW) | {"ours": 3.2}),  # Within 10 percent.
    Row("peak", "N = 8", 6, "MiB"),
    Row("new", "N = 8", 1, "s"),
    Row(**vars(rate) | {"ours": 80.0}),
  ]
  paths = [tmp_path / "old.json", tmp_path / "new.json"]
  for path, rows in zip(paths, (old, new), strict=True):
    row_lib.write(path, Results("m", {}, {"all": rows}))
  compare.main([str(path) for path in paths])
  assert capsys.readouterr().out.splitlines() == [
    "loss, B = 8: 1.5 -> 1.6, 1.07 times",
    "peak, N = 8: 5 -> 6, 1.20 times, worse",
    "new, N = 8: new, 1",
    "rate, N = 8: 100 -> 80, 0.80 times, worse",
    "old, N = 8: gone",
  ]
  compare.main([str(path) for path in paths] + ["--percent=30"])
  assert "worse" not in capsys.readouterr().out
