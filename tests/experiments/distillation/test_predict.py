"""`experiments.predict`: one row of output per row of input, whatever it is."""

import contextlib
import csv
import io
import json
import pathlib
import shutil
import tempfile

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from experiments import predict as command
from experiments.distillation import input_rows
from experiments.distillation import predictor
from tests.experiments import processes
from tests.experiments.distillation import exported
from tests.experiments.distillation.damage import damaged
from tests.experiments.distillation.damage import EDITS
from tests.experiments.distillation.damage import quick

P_NAMES = [f"p_{label}" for label in exported.LABELS]
OUT = (".csv", ".tsv", ".jsonl", ".parquet")


@pytest.fixture(name="student", scope="module")
def exported_static(tmp_path_factory):
  """A student of texts, whose column is "review"."""
  folder = tmp_path_factory.mktemp("static") / "student"
  exported.export(folder, "static")
  return folder


@pytest.fixture(name="cnn", scope="module")
def exported_cnn(tmp_path_factory):
  """A student of images of 32x32 pixels."""
  folder = tmp_path_factory.mktemp("cnn") / "student"
  exported.export(folder, "cnn")
  return folder


@pytest.fixture(name="table")
def one_row(tmp_path):
  """A table with one text."""
  path = tmp_path / "in.csv"
  path.write_text("review\nfine\n")
  return path


def read(path):
  """Returns the rows of an output, as dicts of what the format holds."""
  path = pathlib.Path(path)
  if path.suffix == ".parquet":
    return parquet.read_table(path).to_pylist()
  text = path.read_bytes().decode()
  if path.suffix == ".jsonl":
    return [json.loads(line) for line in text.split("\n")[:-1]]
  delimiter = "\t" if path.suffix == ".tsv" else ","
  lines = io.StringIO(text, newline="")
  return list(csv.DictReader(lines, delimiter=delimiter))


def predict(student, data, output, **options):
  command.predict(student, str(data), str(output), **options)
  return read(output)


def expected(student, texts):
  return predictor.Predictor(student).predict(texts)


def check_predictions(rows, probabilities):
  for row, own in zip(rows, probabilities, strict=True):
    found = [float(row[name]) for name in P_NAMES]
    np.testing.assert_allclose(found, own, atol=1e-6)
    assert row["label"] == exported.LABELS[own.argmax()]


def test_json_lines_keep_their_types_and_get_all_keys(student, tmp_path):
  path = tmp_path / "in.jsonl"
  lines = [
    {"review": "fine", "n": 1, "deep": {"a": [1, "é"]}},
    {"n": None, "more": True},
    {"review": None, "n": 2},
  ]
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  rows = predict(student, path, tmp_path / "out.jsonl")
  names = ["review", "n", "deep", "more"]
  found = [{k: row[k] for k in names if row[k] is not None} for row in rows]
  given = [{k: v for k, v in x.items() if v is not None} for x in lines]
  assert found == given
  check_predictions(rows, expected(student, ["fine", "", ""]))
  rows = predict(student, path, tmp_path / "out.parquet")
  assert [row["n"] for row in rows] == [1, None, 2]
  assert rows[0]["deep"] == '{"a": [1, "é"]}'


def test_parquet_keeps_its_types(student, tmp_path):
  table = pa.table(
    {
      "when": pa.array([0, 86_400_000], pa.timestamp("ms")),
      "review": ["fine", None],
      "tags": [["a"], []],
      "raw": [b"\xff", b""],
      "kind": pa.array(["x", "y"]).dictionary_encode(),
    }
  )
  parquet.write_table(table, tmp_path / "in.parquet")
  predict(student, tmp_path / "in.parquet", tmp_path / "out.parquet")
  found = parquet.read_table(tmp_path / "out.parquet")
  assert found.select(table.column_names).to_pylist() == table.to_pylist()
  assert found.schema.field("when").type == pa.timestamp("ms")
  assert found.schema.field("tags").type == table.schema.field("tags").type


def test_bytes_stay_out_of_text_files_with_a_note(student, tmp_path, capsys):
  table = pa.table({"raw": [b"\xff"], "review": ["fine"]})
  parquet.write_table(table, tmp_path / "in.parquet")
  (row,) = predict(student, tmp_path / "in.parquet", tmp_path / "out.csv")
  assert "raw" not in row
  assert "'raw' holds bytes" in capsys.readouterr().err


def test_columns_with_taken_names_are_renamed(student, tmp_path, capsys):
  path = tmp_path / "in.csv"
  path.write_text("label,p_good,input_label,review\nbad,0.5,old,fine\n")
  (row,) = predict(student, path, tmp_path / "out.csv")
  assert [*row] == [
    *("input_input_label", "input_p_good", "input_label", "review"),
    *("label", *P_NAMES),
  ]
  assert row["input_input_label"] == "bad"
  assert row["input_label"] == "old"
  check_predictions([row], expected(student, ["fine"]))
  assert "'label' is written as 'input_input_label'" in capsys.readouterr().err


def test_several_files_with_other_columns(student, tmp_path):
  (tmp_path / "a.csv").write_text("review,x\nfine,1\n")
  (tmp_path / "b.csv").write_text("y;review\n2;dull\n")
  (tmp_path / "c.jsonl").write_text('{"review": "poor", "x": 3}\n')
  rows = predict(student, tmp_path / "*.csv", tmp_path / "out.jsonl")
  assert [(r["review"], r["x"], r["y"]) for r in rows] == [
    ("fine", "1", None),
    ("dull", None, "2"),
  ]
  data = f"{tmp_path}/c.jsonl,{tmp_path}/a.csv"
  rows = predict(student, data, tmp_path / "out.parquet")
  assert [(r["review"], r["x"]) for r in rows] == [("poor", "3"), ("fine", "1")]


def test_columns_without_names(student, tmp_path):
  path = tmp_path / "in.csv"
  path.write_text("1,fine\n2,dull\n")
  options = {"text_column": "1", "header": False}
  rows = predict(student, path, tmp_path / "out.csv", **options)
  assert [(row["0"], row["1"]) for row in rows] == [
    ("1", "fine"),
    ("2", "dull"),
  ]


def test_empty_texts_are_counted(student, tmp_path, capsys):
  path = tmp_path / "in.csv"
  path.write_text('review,x\n" ",1\n,2\nfine,3\n')
  predict(student, path, tmp_path / "out.csv")
  assert "3 rows, 2 with an empty text" in capsys.readouterr().err


def test_windows_and_batches_keep_the_order(student, tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  texts = [" ".join(rng.choice(exported.WORDS, n % 9)) for n in range(500)]
  path = tmp_path / "in.jsonl"
  lines = [json.dumps({"review": text}) + "\n" for text in texts]
  path.write_text("".join(lines))
  whole = predict(student, path, tmp_path / "a.csv")
  assert [row["review"] for row in whole] == texts
  monkeypatch.setitem(command._WINDOW, "text", 70)
  again = predict(student, path, tmp_path / "b.csv")
  assert [row["review"] for row in again] == texts
  check_predictions(again, expected(student, texts))
  one_by_one = [expected(student, [text])[0] for text in texts[:40]]
  check_predictions(whole[:40], one_by_one)


def test_a_window_of_rows_is_in_memory(student, tmp_path, monkeypatch):
  path = tmp_path / "in.csv"
  path.write_text("review\n" + "fine\n" * 50)
  converted, predict_values = input_rows._converted, predictor.Predictor.predict
  read, sizes = [], []

  def counted(*args):
    read.append(args)
    return converted(*args)

  def watched(self, values, first):
    sizes.append((len(read), len(values)))
    return predict_values(self, values, first)

  monkeypatch.setattr(input_rows, "_converted", counted)
  monkeypatch.setattr(predictor.Predictor, "predict", watched)
  monkeypatch.setitem(command._WINDOW, "text", 20)
  predict(student, path, tmp_path / "out.csv")
  # All rows are read once before, to find those that cannot be read.
  assert sizes == [(70, 20), (90, 20), (100, 10)]


# --- Images and embeddings ----------------------------------------------------


def save_image(path, seed, size=(40, 30)):
  rng = np.random.default_rng(seed)
  pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
  path.parent.mkdir(exist_ok=True, parents=True)
  Image.fromarray(pixels).save(path)
  return path


def test_a_folder_of_images(cnn, tmp_path, capsys):
  folder = tmp_path / "photos"
  paths = [
    save_image(folder / f"{name}.png", 0) for name in ("b", "a/z", "a/y")
  ]
  (folder / "notes.txt").write_text("x")
  rows = predict(cnn, folder, tmp_path / "out.csv")
  assert [row["path"] for row in rows] == sorted(map(str, paths))
  with Image.open(paths[0]) as image:
    resized = image.resize((32, 32), Image.Resampling.BILINEAR)
  pixels = np.asarray(resized)[None]
  check_predictions(rows, [predictor.Predictor(cnn)._predict(pixels)[0]] * 3)
  assert "1 files of the folders are not images" in capsys.readouterr().err


def test_images_of_a_table(cnn, tmp_path):
  paths = [save_image(tmp_path / f"{i}.png", i) for i in range(3)]
  (tmp_path / "in.csv").write_text("n,file\n0,0.png\n1,1.png\n2,2.png\n")
  options = {"image_column": "file"}
  rows = predict(cnn, tmp_path / "in.csv", tmp_path / "out.csv", **options)
  expected_rows = predictor.Predictor(cnn).predict(paths)
  check_predictions(rows, expected_rows)
  images = [{"bytes": path.read_bytes(), "path": None} for path in paths]
  parquet.write_table(pa.table({"file": images}), tmp_path / "in.parquet")
  output = tmp_path / "out.parquet"
  rows = predict(cnn, tmp_path / "in.parquet", output, **options)
  check_predictions(rows, expected_rows)
  assert [row["file"] for row in rows] == images


def test_an_image_that_cannot_be_read_stops_before_anything(cnn, tmp_path):
  folder = tmp_path / "photos"
  save_image(folder / "a.png", 0)
  (folder / "b.png").write_bytes(b"not an image")
  with pytest.raises(ValueError, match=r"image 2 .*b\.png: it is not in a fo"):
    predict(cnn, folder, tmp_path / "out.csv")
  assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_arrays_of_embeddings(tmp_path):
  folder = tmp_path / "student"
  exported.export(folder, "mlp")
  vectors = np.random.default_rng(0).standard_normal((9, exported.WIDTH))
  np.save(tmp_path / "new.npy", vectors)
  rows = predict(folder, tmp_path / "new.npy", tmp_path / "out.csv")
  assert [row["row"] for row in rows] == [*"012345678"]
  check_predictions(rows, expected(folder, vectors.astype(np.float32)))
  vectors[7, 2] = np.nan
  np.save(tmp_path / "nan.npy", vectors)
  with pytest.raises(ValueError, match=r"NaN for row 8 of --data"):
    predict(folder, tmp_path / "nan.npy", tmp_path / "nan.csv")
  assert not (tmp_path / "nan.csv").exists()
  np.savez(tmp_path / "two.npz", vectors, vectors)
  (tmp_path / "two.npz").rename(tmp_path / "two.npy")
  with pytest.raises(ValueError, match=r"two\.npy holds several arrays"):
    predict(folder, tmp_path / "two.npy", tmp_path / "nan.csv")
  np.save(tmp_path / "wide.npy", vectors[:, :2])
  with pytest.raises(
    ValueError, match=r"must have shape \[N, 5\], got \[9, 2\]"
  ):
    predict(folder, tmp_path / "wide.npy", tmp_path / "out.csv")
  (tmp_path / "in.csv").write_text("a\nb\n")
  with pytest.raises(ValueError, match="reads embeddings"):
    predict(folder, tmp_path / "in.csv", tmp_path / "out.csv")


# --- Wrong uses ---------------------------------------------------------------


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("in.csv", "review,x\na,1\nb\nc,2\n", r"row 3: 1 fields, expected 2"),
    ("in.jsonl", '{"review": "a"}\n[1]\n', r"1 of 2 rows .* row 2: not a JSON"),
    ("in.jsonl", '{"review": 3}\n', r"row 1: text is int, not str"),
    ("in.csv", "text\na\n", r"'review'; .* \['text'\]\. Set --text_column"),
    ("in.csv", b"review\xff\na\n", "is not utf-8: set --encoding to"),
    ("in.csv", "", "empty"),
    ("in.txt", "a", r"in\.txt is not a table"),
  ],
)
def test_a_row_that_cannot_be_read_stops_before_anything(
  student, tmp_path, name, content, message
):
  content = content if isinstance(content, bytes) else content.encode()
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=message) as caught:
    predict(student, tmp_path / name, tmp_path / "out.csv")
  assert "\n" not in str(caught.value)
  assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
  ("option", "value"),
  [("encoding", "utf-99"), ("delimiter", ", "), ("delimiter", "é")],
)
def test_options_that_do_not_exist(student, table, tmp_path, option, value):
  with pytest.raises(ValueError, match=f"^--{option} .*{value}"):
    predict(student, table, tmp_path / "a.csv", **{option: value})


def test_the_input_is_not_overwritten(student, table, tmp_path):
  (tmp_path / "link.csv").symlink_to(table)
  for output in (table, tmp_path / "link.csv"):
    with pytest.raises(ValueError, match=r"--output=.* is a file of --data"):
      predict(student, table, output)
  assert table.read_text() == "review\nfine\n"


def test_paths_that_are_refused(student, table, tmp_path):
  for output in ("out.txt", "out", "."):
    with pytest.raises(ValueError, match="--output="):
      predict(student, table, tmp_path / output)
  with pytest.raises(FileNotFoundError, match="no student"):
    predict(tmp_path / "none", table, tmp_path / "out.csv")


def test_a_failure_keeps_the_output_from_before(
  student, table, tmp_path, monkeypatch
):
  (tmp_path / "out.csv").write_text("before")

  def fail(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(predictor.Predictor, "predict", fail)
  with pytest.raises(OSError, match="No space left"):
    predict(student, table, tmp_path / "out.csv")
  assert (tmp_path / "out.csv").read_text() == "before"
  assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("model.onnx", b"\x08nonsense", r"model\.onnx cannot be loaded"),
    ("model.onnx", None, r"neither model\.onnx nor model\.safetensors"),
    ("config.json", b"{", r"config\.json is not JSON"),
    ("config.json", b"[1]", r"is not a student: config\.json must hold an obj"),
    ("config.json", b"{}", r"is not a student: config\.json has other fields"),
    ("labels.json", None, r"has no labels\.json"),
    ("labels.json", b'["a", "a", "b"]', r"labels\.json must list"),
    ("tokenizer.json", b"{}", r"tokenizer\.json cannot be read"),
    ("tokenizer.json", None, r"has no tokenizer\.json"),
  ],
)
def test_damaged_students(student, table, tmp_path, name, content, message):
  folder = tmp_path / "student"
  shutil.copytree(student, folder)
  for each in ("model.safetensors", "model.jaxexport", name):
    (folder / each).unlink()
  if content is not None:
    (folder / name).write_bytes(content)
  with pytest.raises(ValueError, match=message) as caught:
    command.predict(folder, str(table), str(tmp_path / "out.csv"))
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "out.csv").exists()


def test_a_table_without_rows(student, tmp_path):
  (tmp_path / "in.csv").write_text("review\n")
  assert predict(student, tmp_path / "in.csv", tmp_path / "out.csv") == []
  assert predict(student, tmp_path / "in.csv", tmp_path / "o.parquet") == []


def test_the_command_prints_csv_and_one_line_of_error(student, table, tmp_path):
  flags = (f"--student={student}", "--output=-", f"--data={table}")
  found = processes.command("predict", *flags)
  header, row = csv.reader(found.stdout.splitlines())
  assert header == ["review", "label", *P_NAMES]
  assert row[0] == "fine"
  assert "1 rows" in found.stderr
  assert "'text'" in processes.refused("predict", *flags, "--text_column=text")


# --- Any file -----------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.lists(
  st.one_of(st.sampled_from(["label", "p_good", "x", "a.b"]), ANY_TEXT),
  max_size=3,
  unique=True,
)
VALUE = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.floats(),
  ANY_TEXT,
  st.lists(st.integers(), max_size=2),
)


def tables(values):
  """Tables with a column of texts and others, as dicts of columns."""
  return NAMES.flatmap(
    lambda names: st.lists(
      st.tuples(ANY_TEXT, *[values] * len(names)), min_size=1, max_size=5
    ).map(lambda rows: (["review", *(n for n in names if n != "review")], rows))
  )


def check_any_table(student, table, suffix, out):
  names, rows = table
  rows = [row[: len(names)] for row in rows]
  with tempfile.TemporaryDirectory() as folder:
    data, output = pathlib.Path(folder, f"in{suffix}"), f"{folder}/out{out}"
    if suffix == ".csv":
      with data.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([names, *rows])
    elif suffix == ".jsonl":
      lines = [dict(zip(names, row, strict=True)) for row in rows]
      data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
      columns = zip(names, zip(*rows, strict=True), strict=True)
      parquet.write_table(
        pa.table({name: [str(x) for x in values] for name, values in columns}),
        data,
      )
    with contextlib.redirect_stderr(io.StringIO()):
      found = predict(student, data, output, delimiter=",")
    assert len([*data.parent.iterdir()]) == 2
  assert len(found) == len(rows)
  assert [row["review"] for row in found] == [row[0] for row in rows]
  *own, label, p_bad, p_good, p_so = found[0]
  assert [label, p_bad, p_good, p_so] == ["label", *P_NAMES]
  assert len(own) == len(names)
  if suffix != ".jsonl":
    # All columns come back in their order.
    values = [tuple(row[name] for name in own) for row in found]
    assert values == [tuple(map(str, row)) for row in rows]
  texts = [row[0] for row in rows]
  check_predictions(found, expected(student, texts))


def test_any_table_comes_back(student):
  @quick(25)
  @hypothesis.given(tables(VALUE), st.sampled_from(OUT))
  def json_lines(table, out):
    check_any_table(student, table, ".jsonl", out)

  @quick(25)
  @hypothesis.given(
    tables(ANY_TEXT),
    st.sampled_from([".csv", ".parquet"]),
    st.sampled_from(OUT),
  )
  def others(table, suffix, out):
    check_any_table(student, table, suffix, out)

  json_lines()
  others()


_SINK = io.BytesIO()
parquet.write_table(
  pa.table({"review": ["fine", "dull"], "x": [1, 2], "b": [b"1", b"2"]}), _SINK
)
ORIGINALS = {
  ".csv": b'review,x\n"a ""fine"" film",1\ndull,"2\n3"\n',
  ".tsv": b"review\tx\na film\t1\ndull\t2\n",
  ".jsonl": b'{"review": "a film", "x": [1]}\n{"review": "\\u00e9"}\n',
  ".parquet": _SINK.getvalue(),
}


def check_damaged_file(student, suffix, edits, out):
  with tempfile.TemporaryDirectory() as folder:
    path, output = pathlib.Path(folder, f"in{suffix}"), f"{folder}/out{out}"
    path.write_bytes(damaged(ORIGINALS[suffix], edits))
    message = ""
    try:
      with contextlib.redirect_stderr(io.StringIO()):
        found = predict(student, path, output)
    except (ValueError, OSError) as error:
      message, found = str(error), []
    if message:
      assert len(message.splitlines()) == 1
      assert [each.name for each in path.parent.iterdir()] == [path.name]
    else:
      given, _ = command.description.read(student)
      rows = input_rows.find(str(path), given, text_column="review")
      assert len(found) == rows.num_rows  # Maybe none.


@pytest.mark.parametrize(
  "num_examples", [50, pytest.param(2000, marks=pytest.mark.slow)]
)
def test_damaged_files_give_one_line(student, num_examples):
  @quick(num_examples)
  @hypothesis.given(st.sampled_from([*ORIGINALS]), EDITS, st.sampled_from(OUT))
  def check(suffix, edits, out):
    check_damaged_file(student, suffix, edits, out)

  check()
