"""Teachers of every kind become embeddings and a linear head."""

import csv
import dataclasses
import pathlib
import shutil

import huggingface_hub
import numpy as np
import PIL.Image
import pytest

from experiments import specs
from experiments.configs import candidates
from experiments.configs import validate
from experiments.data import load
from experiments.data.embeddings import open_embeddings
from experiments.distillation import teachers
from experiments.distillation.teachers import prepare_teacher
from experiments.io import students
from experiments.training import sweep
from tests.experiments.distillation import recorded
from tests.experiments.distillation import tiny_transformers


def data_spec(path, **fields) -> specs.DataSpec:
  values = {"train": str(path), "text_column": "text", "label_column": "label"}
  values |= fields
  return candidates.own_cell({f"data.{k}": v for k, v in values.items()}).data


# --- Models of transformers ---------------------------------------------------


def write_table(path: pathlib.Path, texts, labels) -> None:
  with path.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["text", "label"])
    writer.writerows(zip(texts, labels, strict=True))


def logits_of(teacher) -> np.ndarray:
  embeddings = open_embeddings(teacher.folder)
  assert embeddings.ids.tolist() == list(range(len(embeddings.ids)))
  return embeddings.values @ teacher.kernel + teacher.bias


SLOW = (
  "bert_classifier",
  "bert_distilbert_classifier",
  "bert_roberta_classifier",
  "albert_classifier",
)


@pytest.mark.parametrize(
  "case",
  ["bert_one_logit", *(pytest.param(x, marks=pytest.mark.slow) for x in SLOW)],
)
def test_a_classifier_of_transformers_is_run(tmp_path, case, capsys):
  folder = tiny_transformers.write_model(tmp_path / "model", case)
  texts = tiny_transformers.texts(70)
  tiny_transformers.balance(folder, texts)
  embeddings, logits = tiny_transformers.outputs(folder, texts)
  if case == "bert_one_logit":  # The first of two classes has logit zero.
    logits = np.hstack([np.zeros_like(logits), logits])
  write_table(tmp_path / "data.csv", texts, logits.argmax(axis=1))
  data = data_spec(tmp_path / "data.csv")
  teacher = prepare_teacher(str(folder), data, tmp_path / "run")
  assert "tokens of a text" not in capsys.readouterr().err
  found = open_embeddings(teacher.folder).values
  np.testing.assert_allclose(found, embeddings, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(logits_of(teacher), logits, rtol=1e-5, atol=1e-4)
  assert teacher.tokenizer == teacher.weights == str(folder)
  assert teacher.token_embeddings is not None
  assert len(teacher.token_embeddings) == 20
  params, _ = students.load_student(teacher.folder / "student.msgpack")
  np.testing.assert_array_equal(params["head"]["kernel"], teacher.kernel)
  # Texts that are cut are mentioned.
  short = dataclasses.replace(data, max_length=6)
  prepare_teacher(str(folder), short, tmp_path / "short")
  assert "reads the first 6 tokens" in capsys.readouterr().err


# --- Rows of arrays -----------------------------------------------------------


@pytest.fixture(name="reviews")
def fixture_reviews(tmp_path):
  """A table, its labels and the arrays of a teacher."""
  path = tmp_path / "reviews.csv"
  labels = recorded.write_table(path)
  return path, labels, recorded.outputs(labels)


def prepared(tmp_path, arrays, data, **options):
  shutil.rmtree(tmp_path / "arrays", ignore_errors=True)
  folder = recorded.write_arrays(tmp_path / "arrays", arrays)
  return prepare_teacher(str(folder), data, tmp_path / "run", **options)


def refused(tmp_path, arrays, data, words, **options):
  """Asserts one line with some words, and that no teacher is written."""
  with pytest.raises(ValueError, match=words) as error:
    prepared(tmp_path, arrays, data, **options)
  assert "\n" not in str(error.value)
  assert not (tmp_path / "run").exists()


def test_rows_are_counted_as_in_the_files(tmp_path, reviews):
  path, _, arrays = reviews
  lines = path.read_text().splitlines()
  # Row 3 lacks a field and is left out; row 5 has no label.
  lines[4] = "broken"
  lines[6] = lines[6].rpartition(",")[0] + ","
  path.write_text("\n".join(lines) + "\n")
  more = tmp_path / "more.jsonl"
  more.write_text('{"text": "a fine film"}\n{"text": "a dull film"}\n')
  test = tmp_path / "test.tsv"
  test.write_text("label\ttext\nbad\tx\ngood\ty\n")
  parts = [arrays["embeddings"]]
  extra = recorded.outputs(["bad", "good", "bad", "good"], seed=1)
  arrays["embeddings"] = np.concatenate([*parts, extra["embeddings"]])
  arrays["logits"] = arrays["embeddings"] @ arrays["head_kernel"]
  arrays["logits"] += arrays["head_bias"]
  data = data_spec(
    path, test=str(test), unlabelled_files=str(more), max_bad_rows=0.1
  )
  teacher = prepared(tmp_path, arrays, data)
  found = open_embeddings(teacher.folder).values
  order = {"train": [], "unlabelled": [5], "unlabelled_files": [60, 61]}
  order["train"] = [row for row in range(60) if row not in (3, 5)]
  order["test"] = [62, 63]
  splits = load.open_data(data, tmp_path / "run").splits
  for split, rows in order.items():
    ids = splits[split]["ids"]
    np.testing.assert_array_equal(found[ids], arrays["embeddings"][rows])


def test_rows_are_found_by_ids(tmp_path):
  path = tmp_path / "reviews.csv"
  names = [f"r{7 * i % 61}" for i in range(60)]
  labels = recorded.write_table(path, key=names)
  arrays = recorded.outputs(labels)
  order = np.random.default_rng(0).permutation(60)
  shuffled = {k: v[order] for k, v in arrays.items() if len(v) == 60}
  shuffled["ids"] = np.array(names)[order]
  teacher = prepared(
    tmp_path, arrays | shuffled, data_spec(path), id_column="key"
  )
  found = open_embeddings(teacher.folder).values
  np.testing.assert_array_equal(found, arrays["embeddings"])


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.str_])
def test_ids_are_compared_by_value(tmp_path, dtype):
  path = tmp_path / "reviews.csv"
  labels = recorded.write_table(path, key=range(100, 160))
  arrays = recorded.outputs(labels)
  arrays["ids"] = np.arange(100, 160).astype(dtype)
  teacher = prepared(tmp_path, arrays, data_spec(path), id_column="key")
  assert len(open_embeddings(teacher.folder).values) == 60


@pytest.mark.parametrize(
  ("size", "words"),
  [(59, "59 rows, .* 60 .60 of --data"), (61, "61 rows")],
)
def test_another_number_of_rows_is_refused(tmp_path, reviews, size, words):
  path, labels, _ = reviews
  arrays = recorded.outputs([*labels, "bad"][:size])
  refused(tmp_path, arrays, data_spec(path), words)


def test_ids_need_a_column_and_a_column_ids(tmp_path, reviews):
  path, _, arrays = reviews
  with_ids = arrays | {"ids": np.arange(60)}
  refused(tmp_path, with_ids, data_spec(path), "set --id_column")
  words = r"has no ids\.npy"
  refused(tmp_path, arrays, data_spec(path), words, id_column="text")


def test_missing_and_repeated_ids_are_named(tmp_path):
  path = tmp_path / "reviews.csv"
  labels = recorded.write_table(path, key=["x", "x", *range(2, 60)])
  arrays = recorded.outputs(labels) | {"ids": np.arange(60)}
  data = data_spec(path)
  refused(tmp_path, arrays, data, "'x' occurs more than once", id_column="key")
  recorded.write_table(path, key=range(5, 65))
  words = "lacks 5 of the 60 .* '60' .row 56"
  refused(tmp_path, arrays, data, words, id_column="key")


def test_rows_in_another_order_are_named(tmp_path, rng):
  path = tmp_path / "reviews.csv"
  labels = rng.choice(["bad", "good"], 200).tolist()
  write_table(path, [f"film {row}" for row in range(200)], labels)
  backward = recorded.outputs(labels[::-1])
  refused(tmp_path, backward, data_spec(path), "rows are in reverse")
  late = recorded.outputs(labels[-1:] + labels[:-1])
  refused(tmp_path, late, data_spec(path), "one row too late")
  other = recorded.outputs(rng.permutation(labels).tolist())
  refused(tmp_path, other, data_spec(path), "rows in another order")


def test_classes_in_another_order_are_named(tmp_path, reviews):
  path, labels, _ = reviews
  other = {"bad": "good", "good": "bad"}
  arrays = recorded.outputs([other[label] for label in labels])
  data = data_spec(path)
  refused(tmp_path, arrays, data, "set --teacher_labels=good,bad")
  folder = tmp_path / "arrays"
  by_flag = prepare_teacher(
    str(folder), data, tmp_path / "a", labels=("good", "bad")
  )
  (folder / "labels.json").write_text('["good", "bad"]')
  by_file = prepare_teacher(str(folder), data, tmp_path / "b")
  kernel = arrays["head_kernel"][:, ::-1]
  for teacher in (by_flag, by_file):
    np.testing.assert_array_equal(teacher.kernel, kernel)
    assert teacher.class_names == ("bad", "good")


def test_other_classes_are_refused(tmp_path, reviews):
  path, labels, arrays = reviews
  three = recorded.outputs([*labels[:-1], "fair"])
  refused(tmp_path, three, data_spec(path), "has 3 classes, .* 2 .bad, good")
  words = "named no, yes, .* --teacher_labels"
  refused(tmp_path, arrays, data_spec(path), words, labels=("no", "yes"))


def test_other_arrays_in_the_same_workdir_are_refused(tmp_path, reviews):
  path, labels, arrays = reviews
  prepared(tmp_path, arrays, data_spec(path))
  other = recorded.write_arrays(tmp_path / "b", recorded.outputs(labels, 2))
  with pytest.raises(ValueError, match="of another origin"):
    prepare_teacher(str(other), data_spec(path), tmp_path / "run")


# --- What is no teacher -------------------------------------------------------


def test_encoders_need_epochs_and_classifiers_do_not(tmp_path, reviews):
  path, *_ = reviews
  encoder = tiny_transformers.write_model(tmp_path / "encoder", "bert_encoder")
  with pytest.raises(ValueError, match="set --finetune_epochs"):
    prepare_teacher(str(encoder), data_spec(path), tmp_path / "run")
  model = tiny_transformers.write_model(tmp_path / "model", "bert_classifier")
  with pytest.raises(ValueError, match="leave the flag out"):
    prepare_teacher(
      str(model), data_spec(path), tmp_path / "run", finetune_epochs=1
    )
  assert not (tmp_path / "run/teacher").exists()


@pytest.mark.parametrize(
  ("config", "files", "words"),
  [
    ({}, {"tokenizer.json": None}, "no tokenizer"),
    ({}, {"config.json": None}, "not a teacher"),
    (
      {},
      {"model.safetensors": None, "pytorch_model.bin": "x"},
      r"pytorch_model\.bin, but only",
    ),
    ({}, {"model.safetensors": "x"}, "cannot be read"),
    ({"model_type": "t5"}, {}, "'t5', but only albert, bert"),
    (
      {"problem_type": "multi_label_classification"},
      {},
      "multi label classification: a teacher has to predict one class",
    ),
    ({"problem_type": "regression"}, {}, "of regression"),
  ],
)
def test_folders_of_models_that_cannot_be_used(
  tmp_path, reviews, config, files, words
):
  case = "bert_classifier"
  model = tiny_transformers.write_model(tmp_path / "model", case, **config)
  for name, text in files.items():
    (model / name).unlink(missing_ok=True)
    if text is not None:
      (model / name).write_text(text)
  with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
    prepare_teacher(str(model), data_spec(reviews[0]), tmp_path / "run")
  assert "\n" not in str(error.value)
  assert not (tmp_path / "run/teacher").exists()


def test_what_does_not_exist_is_said(tmp_path, reviews, monkeypatch):
  def offline(*args, **kwargs):
    raise OSError("offline")

  monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
  # Names of the hub's first models have no owner.
  for name in (str(tmp_path / "nowhere"), "./a", "a/b/c", "nowhere"):
    with pytest.raises(FileNotFoundError, match=f"--teacher: '{name}' is not"):
      prepare_teacher(name, data_spec(reviews[0]), tmp_path / "run")
  (tmp_path / "empty").mkdir()
  with pytest.raises(ValueError, match=r"not a teacher: .* embeddings\.npy"):
    prepare_teacher(
      str(tmp_path / "empty"), data_spec(reviews[0]), tmp_path / "run"
    )


# --- Teachers that are trained here -------------------------------------------


@pytest.mark.slow  # It is the same training as that of any other teacher.
def test_an_encoder_is_finetuned_and_its_teacher_used_again(tmp_path):
  settings = {"teacher.learning_rate": 3e-3, "teacher.batch_size": 8}
  case = "bert_distilbert_encoder"
  encoder = tiny_transformers.write_model(tmp_path / "encoder", case)
  texts = tiny_transformers.texts(120)
  labels = [
    "warm" if "warm" in text or "film" in text else "cold" for text in texts
  ]
  write_table(tmp_path / "data.csv", texts, labels)
  data, run = data_spec(tmp_path / "data.csv"), tmp_path / "run"
  teacher = prepare_teacher(
    str(encoder), data, run, finetune_epochs=12, given=settings
  )
  right = logits_of(teacher).argmax(axis=1) == [x == "warm" for x in labels]
  assert right.mean() > 0.75
  assert teacher.weights == teacher.tokenizer == str(encoder)
  # As the teacher of another run, also of texts in another order.
  write_table(tmp_path / "other.csv", texts[::-1], labels[::-1])
  data = data_spec(tmp_path / "other.csv")
  again = prepare_teacher(str(run), data, tmp_path / "second")
  np.testing.assert_allclose(
    logits_of(again)[::-1], logits_of(teacher), rtol=1e-5, atol=1e-5
  )
  assert again.class_names == ("cold", "warm")


def test_a_teacher_of_images_is_run_on_images(tmp_path, rng):
  images = rng.integers(0, 255, [40, 4, 4, 1]).astype(np.uint8)
  images[::2] //= 8
  labels = np.arange(40) % 2
  np.savez(tmp_path / "data.npz", images=images, labels=labels)
  config = candidates.own_config()
  config.data.train = str(tmp_path / "data.npz")
  for model in (config.teacher, config.student):
    model.options.features = (6,)
    model.num_steps = model.steps_per_chunk = 60
    model.batch_size, model.learning_rate = 8, 1e-2
  config.method = "standard"
  cell = validate.cell_spec(config)
  sweep.run_cells([cell], tmp_path / "first")
  data = validate.converted(config).data
  teacher = prepare_teacher(str(tmp_path / "first"), data, tmp_path / "run")
  assert teacher.tokenizer == ""
  assert teacher.weights is teacher.token_embeddings is None
  assert teacher.kernel.shape == (6, 2)
  right = logits_of(teacher).argmax(axis=1) == labels
  assert right.mean() > 0.9
  spec = dataclasses.replace(data, train=str(tmp_path / "texts.csv"))
  write_table(tmp_path / "texts.csv", ["a", "b"] * 9, ["0", "1"] * 9)
  spec = dataclasses.replace(spec, text_column="text", label_column="label")
  with pytest.raises(ValueError, match="reads images, and the data are texts"):
    prepare_teacher(str(tmp_path / "first"), spec, tmp_path / "texts")


# --- Rows of several files and of images --------------------------------------


def test_rows_of_several_files_follow_one_another(tmp_path):
  first, second = tmp_path / "part-1.csv", tmp_path / "part-2.csv"
  labels = recorded.write_table(first, 40) + recorded.write_table(second, 30)
  arrays = recorded.outputs(labels)
  data = data_spec(tmp_path / "part-*.csv")
  teacher = prepared(tmp_path, arrays, data)
  np.testing.assert_array_equal(
    open_embeddings(teacher.folder).values, arrays["embeddings"]
  )


def test_images_of_a_folder_are_in_the_order_of_their_paths(tmp_path, rng):
  labels = []
  for name in ("b", "a"):
    (tmp_path / "photos" / name).mkdir(parents=True)
    for number in range(30):
      pixels = rng.integers(0, 255, [4, 4, 3]).astype(np.uint8)
      path = tmp_path / f"photos/{name}/{number:02}.png"
      PIL.Image.fromarray(pixels).save(path)
  (tmp_path / "photos/a/07.png").write_bytes(b"damaged")
  labels = ["a"] * 30 + ["b"] * 30
  arrays = recorded.outputs(labels)
  data = data_spec(
    tmp_path / "photos", text_column="", label_column="", max_bad_rows=0.1
  )
  teacher = prepared(tmp_path, arrays, data)
  kept = [row for row in range(60) if row != 7]
  np.testing.assert_array_equal(
    open_embeddings(teacher.folder).values, arrays["embeddings"][kept]
  )
  # The same by their paths, in another order.
  paths = [f"{x}/{number:02}.png" for x in "ab" for number in range(30)]
  order = rng.permutation(60)
  named = {k: v[order] for k, v in arrays.items() if len(v) == 60}
  named["ids"] = np.array(paths)[order]
  folder = recorded.write_arrays(tmp_path / "named", arrays | named)
  again = prepare_teacher(str(folder), data, tmp_path / "second")
  np.testing.assert_array_equal(
    open_embeddings(again.folder).values, arrays["embeddings"][kept]
  )


@pytest.mark.parametrize(
  ("field", "epochs"),
  [
    ("teacher.learning_rate", None),
    ("teacher.num_epochs", 3.0),
  ],
)
def test_fields_without_effect_are_refused(tmp_path, reviews, field, epochs):
  path, _, arrays = reviews
  refused(
    tmp_path,
    arrays,
    data_spec(path),
    rf"--config\.{field} has no effect",
    given={field: 1.0},
    finetune_epochs=epochs,
  )


def test_a_mistake_only_deletes_new_folders_that_the_command_writes(tmp_path):
  (tmp_path / "teacher").mkdir()

  @teachers.undone_on_error(tmp_path, ("data", "teacher", "diagnosis"))
  def make_a_mistake():
    (tmp_path / "data").mkdir()
    (tmp_path / "notes").mkdir()
    raise ValueError("wrong")

  with pytest.raises(ValueError, match="wrong"):
    make_a_mistake()
  assert {path.name for path in tmp_path.iterdir()} == {"teacher", "notes"}
