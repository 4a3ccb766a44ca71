"""Examples of tables and arrays, and the names of labels."""

import gzip

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from experiments.data import examples as examples_lib
from experiments.data.examples import read
from tests.experiments.source_files import message
from tests.experiments.source_files import ROWS
from tests.experiments.source_files import save
from tests.experiments.source_files import written

BOTH = {"text_column": "text", "label_column": "label"}


# The table of experiments/README.md: name of the class, and its spellings as
# text, in JSON, and in a typed column of Parquet or an array. None is missing.
SPELLINGS = (
  (
    "1",
    ["1", "1.0", "+1", " 1 ", "1.", "True", "true", "TRUE"],
    [1, 1.0, True],
  ),
  ("0", ["0", "0.0", "-0", "False", "false"], [0, 0.0, -0.0, False]),
  ("-4", ["-4", "-4.00"], [-4, -4.0]),
  ("0.5", ["0.5", "0.50", "+0.5"], [0.5, np.float32(0.5)]),
  ("0.1", ["0.1"], [0.1, np.float32(0.1)]),
  ("9" * 30, ["9" * 30, "9" * 30 + ".0"], []),
  ("01", ["01"], []),
  ("1e3", ["1e3"], []),
  ("pos", ["pos", " pos\u00a0"], []),
  ("Pos", ["Pos"], []),
  ("none", ["none"], []),
  ("caf\u00e9", ["caf\u00e9", "cafe\u0301"], []),
  (None, ["", " ", "NA", "N/A", "n/a", "<NA>"], []),
  (None, ["NaN", "nan", "None", "NULL", "null"], [None, float("nan")]),
)
SPELLED = [
  (value, name)
  for name, spellings, values in SPELLINGS
  for value in (*spellings, *values)
]


def check_names(examples, names):
  """Compares the labels of rows with the names of their classes."""
  found = {example["id"]: example["label"] for example in examples}
  assert [found.get(row) for row in range(len(names))] == list(names)
  assert examples.unlabelled.count == names.count(None)
  assert examples.bad.count == 0


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_label_has_one_name_in_every_format(tmp_path, suffix):
  values, names = zip(*SPELLED, strict=True)
  if suffix == ".jsonl":
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
  else:
    values = ["" if value is None else str(value) for value in values]
  rows = [{"text": "a", "label": value} for value in values]
  path = save(tmp_path / f"a{suffix}", written(rows, suffix))
  check_names(read(path, **BOTH), names)


@pytest.mark.parametrize("kind", [str, int, bool, float, np.float32])
def test_a_label_has_one_name_in_columns_of_every_type(tmp_path, kind):
  pairs = [pair for pair in SPELLED if type(pair[0]) is kind]
  values, names = zip(*pairs, strict=True)
  labels = np.array(values)
  columns = {"text": ["a"] * len(values), "label": labels}
  pq.write_table(pa.table(columns), tmp_path / "a.parquet")
  check_names(read(tmp_path / "a.parquet", **BOTH), names)
  images = np.zeros((len(values), 2, 2), np.uint8)
  np.savez(tmp_path / "a.npz", x=images, y=labels)
  check_names(read(tmp_path / "a.npz"), names)


def test_classes_are_numbers_by_value_then_names(tmp_path):
  values = ["10", "9", "-4", "0.5", "1.0", "01", "pos", "Neg"]
  rows = [{"text": "", "label": value} for value in values]
  path = save(tmp_path / "a.csv", written(rows, ".csv"))
  assert examples_lib.class_names(read(path, **BOTH)) == (
    *("-4", "0.5", "1", "9", "10"),
    *("01", "Neg", "pos"),
  )


def test_several_files_follow_one_another(tmp_path):
  a = save(tmp_path / "a.csv", "text,label\nx,1\nbad\ny,0\n")
  b = save(tmp_path / "b.jsonl.gz", gzip.compress(written(ROWS, ".jsonl")))
  examples = read(a, b, **BOTH)
  expected = ["x", "y", *(row["text"] for row in ROWS)]
  assert [example["text"] for example in examples] == expected
  # Ids are numbers of rows, and rows that were left out have one.
  assert [example["id"] for example in examples] == [0, 2, 3, 4, 5]
  assert examples.bad.count == 1


def test_ids_of_a_column(tmp_path):
  path = save(tmp_path / "a.tsv", "id\ttext\nn7\ta\n12\tb\n")
  examples = read(path, text_column="text", id_column="id")
  assert [example["id"] for example in examples] == ["n7", "12"]
  path = save(tmp_path / "b.tsv", "id\ttext\n1\ta\n2\tb\n1\tc\n")
  assert "'1'" in message(read, path, text_column="text", id_column="id")


def test_labels_that_are_not_classes(tmp_path):
  rows = [{"text": "", "label": str(i)} for i in range(1001)]
  path = save(tmp_path / "a.csv", written(rows, ".csv"))
  assert "1,001" in message(examples_lib.class_names, read(path, **BOTH))
  path = save(tmp_path / "a.csv", written(rows[:1000], ".csv"))
  examples = read(path, **BOTH)
  assert len(examples_lib.class_names(examples)) == 1000
  text = message(examples_lib.class_numbers, examples, ("0", "1"))
  assert "'2'" in text
  assert "'0', '1'" in text
  unlabelled = read(path, text_column="text")
  assert "label_column" in message(examples_lib.class_names, unlabelled)


@pytest.fixture
def pixels(rng):
  return rng.integers(256, size=(4, 6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels")])
def test_npz(tmp_path, pixels, names):
  path = tmp_path / "a.npz"
  arrays = (pixels, [[3], [1], [0], [1]])
  np.savez(path, **dict(zip(names, arrays, strict=True)))
  examples = read(path)
  assert [e["id"] for e in examples] == [0, 1, 2, 3]
  assert [e["label"] for e in examples] == ["3", "1", "0", "1"]
  np.testing.assert_array_equal([e["image"] for e in examples], pixels)
  named = read(path, image_column=names[0], label_column=names[1])
  assert named.columns["label"] == examples.columns["label"]
  assert "label" not in read(path, image_column=names[0])[0]
  assert names[0] in message(read, path, image_column="nothing")


def test_layouts_of_arrays(tmp_path, pixels):
  grey = pixels[..., :1]
  for given, wanted in (
    (np.moveaxis(pixels, -1, 1), pixels),
    (grey[..., 0], grey),
  ):
    np.savez(tmp_path / "a.npz", x=given)
    images = [example["image"] for example in read(tmp_path / "a.npz")]
    np.testing.assert_array_equal(images, wanted)
  for wrong, value in (
    ({"x": pixels.repeat(2, -1)}, "(4, 6, 5, 6)"),
    ({"x": pixels.reshape(4, -1)}, "(4, 90)"),
    ({"x": pixels / 255}, "float64"),
    ({"x": pixels, "y": [b"a"] * 4}, "|S1"),
    ({"x": pixels, "y": np.eye(4, dtype=int)}, "[4, 4]"),
    ({"x": pixels, "y": [0, 1]}, "int64 [2]"),
    ({"x": pixels[:0]}, "no examples"),
    ({"a": pixels}, "image_column"),
  ):
    np.savez(tmp_path / "a.npz", **wrong)
    assert value in message(read, tmp_path / "a.npz")


def test_damaged_arrays(tmp_path, pixels):
  np.savez(tmp_path / "whole.npz", x=pixels)
  whole = (tmp_path / "whole.npz").read_bytes()
  np.save(tmp_path / "one.npy", pixels)
  one = (tmp_path / "one.npy").read_bytes()
  for content in (b"no archive", whole[:-40], b"", b"\x93NUMPY", one):
    path = save(tmp_path / "a.npz", content)
    assert f"{path} is damaged" in message(read, path)
  for place, change in ((6, 1), (8, 7)):  # Encrypted; another compression.
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    central = content.rindex(b"PK\1\2")
    content[place] ^= change
    content[central + place + 2] ^= change
    path = save(tmp_path / "a.npz", bytes(content))
    assert f"{path} is damaged" in message(read, path)
  np.savez(tmp_path / "b.npz", x=np.array([{}], object))
  assert "b.npz" in message(read, tmp_path / "b.npz")
