"""Sources: picked by suffix or folder, labels as classes, no TensorFlow."""

import doctest
import pathlib
import pickle
import subprocess
import sys

import grain
import numpy as np
import pytest

from experiments.data.sources import array_source
from experiments.data.sources import arrays
from experiments.data.sources import class_indices
from experiments.data.sources import classes
from experiments.data.sources import column_source
from experiments.data.sources import open_source
from experiments.data.sources import WithClasses
from tests.experiments.source_files import message
from tests.experiments.source_files import save


def reviews(labels):
  texts = [f"text {i}" for i in range(len(labels))]
  return array_source(texts=texts, labels=labels, name="reviews")


def test_examples_are_looked_up_in_any_order():
  source = reviews(["a", "b", "c"])
  assert source[np.int64(2)] == {"id": 2, "text": "text 2", "label": "c"}
  assert [source[i]["id"] for i in (1, 0, 2)] == [1, 0, 2]
  assert len(list(source)) == len(source) == 3  # A loop ends.
  for index in (-1, 3):
    with pytest.raises(IndexError) as error:
      source[index]
    assert str(error.value) == f"reviews has 3 examples, got index {index}."


def test_a_source_feeds_grain_and_travels_to_its_workers():
  source = reviews([1, 0, 1, 0])
  dataset = grain.MapDataset.source(source).seed(0).shuffle().batch(2)
  ids = np.concatenate([dataset[i]["id"] for i in range(2)])
  assert sorted(ids) == [0, 1, 2, 3]
  assert list(pickle.loads(pickle.dumps(source))) == list(source)


def test_class_indices_are_in_order():
  assert class_indices(reviews(["pos", "neg", "pos"])) == {"neg": 0, "pos": 1}
  assert class_indices(reviews([10, 4, 0])) == {0: 0, 4: 1, 10: 2}
  assert class_indices(reviews(["b", "2", "10", "a"])) == {
    **{2: 0, 10: 1},
    **{"a": 2, "b": 3},
  }
  # Any other source as well.
  assert class_indices([{"id": 0, "label": "x"}]) == {"x": 0}


def test_labels_that_are_no_classes():
  assert message(class_indices, reviews(list(range(1001)))) == (
    "reviews has more than 1000 different labels, such as 0 and 1: is that the "
    "column of the labels?"
  )
  assert len(class_indices(reviews(list(range(1000))))) == 1000
  unlabelled = array_source(texts=["a"], name="reviews")
  assert message(class_indices, unlabelled) == (
    "reviews: example 0 has no label: give label_column."
  )


def test_labels_become_classes():
  classes = class_indices(reviews(["pos", "neg"]))
  source = WithClasses(reviews(["pos", "neg", "neg"]), classes)
  assert [example["label"] for example in source] == [1, 0, 0]
  assert source[0] == {"id": 0, "text": "text 0", "label": 1}
  source = WithClasses(reviews(["pos", "positive"]), classes)
  assert message(source.__getitem__, 1) == (
    "reviews: example 1 has the label 'positive', none of the 2 classes of the "
    "training data: 'neg', 'pos'."
  )
  many = class_indices(reviews(list(range(12))))
  assert message(WithClasses(reviews([12]), many).__getitem__, 0) == (
    "reviews: example 0 has the label 12, none of the 12 classes of the "
    "training data: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and others."
  )


KINDS = (
  "expected a table (.tsv, .csv, .jsonl, .ndjson, .parquet; with .gz, .bz2 or "
  ".xz behind if compressed), .npz or .npy arrays, or a folder with one folder "
  "of images for each class."
)


def test_what_cannot_be_opened(tmp_path):
  path = save(tmp_path / "a.xlsx", b"")
  assert message(open_source, path) == f"{path} cannot be opened: {KINDS}"
  assert message(open_source, []) == f"no file was given: {KINDS}"
  table = save(tmp_path / "a.csv", "text,label\na,1\n")
  assert message(open_source, [table, tmp_path], text_column="text") == (
    f"{tmp_path} cannot be opened: {KINDS}"
  )
  assert message(open_source, [table, tmp_path / "b.csv"]) == (
    f"there is no {tmp_path}/b.csv."
  )


def test_options_that_do_not_apply(tmp_path):
  np.savez(tmp_path / "a.npz", x=np.zeros((1, 2, 2), np.uint8))
  assert message(open_source, tmp_path, label_column="label") == (
    f"{tmp_path}: label_column does not apply to it; what does is image_size, "
    f"channels."
  )
  assert message(open_source, tmp_path / "a.npz", image_size=8) == (
    f"{tmp_path}/a.npz: image_size does not apply to it; what does is "
    f"image_column, label_column, id_column."
  )
  table = save(tmp_path / "a.csv", "text,label\na,1\n")
  assert message(open_source, table, text_column="text", channels=3) == (
    f"{table}: channels does not apply to it; what does is text_column, "
    f"label_column, id_column."
  )
  for columns in ({}, {"label_column": "label"}):
    assert message(open_source, table, **columns) == (
      f"{table}: give either text_column or image_column; its columns are "
      f"['text', 'label']."
    )


@pytest.mark.parametrize("module", [arrays, classes, column_source])
def test_examples_of_docstrings(module):
  failed, attempted = doctest.testmod(module)
  assert failed == 0
  assert attempted > 0


def test_a_home_folder_is_found(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  save(tmp_path / "a.csv", "text\nx\n")
  assert open_source("~/a.csv", text_column="text")[0]["text"] == "x"


READS_EVERYTHING = """
import importlib.abc
import importlib.machinery
import pathlib
import sys

class Refuses(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  # TensorFlow looks installed, and nobody may import it.
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] == "tensorflow":
      return importlib.machinery.ModuleSpec(name, self)

  def create_module(self, spec):
    sys.exit(f"{spec.name} was imported")

  def exec_module(self, module):
    pass

sys.meta_path.insert(0, Refuses())

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet as pq
from experiments.data import sources

folder = pathlib.Path(sys.argv[1])
(folder / "a.csv").write_text("text,label\\nx,1\\n")
(folder / "a.jsonl").write_text('{"text": "x", "label": 1}')
pixels = np.zeros((1, 4, 4, 3), np.uint8)
np.savez(folder / "a.npz", x=pixels, y=[1])
np.save(folder / "a.npy", pixels)
(folder / "images/cat").mkdir(parents=True)
Image.fromarray(pixels[0]).save(folder / "images/cat/a.png")
png = (folder / "images/cat/a.png").read_bytes()
pq.write_table(pa.table({"image": [png]}), folder / "a.parquet")
opened = [
  sources.open_source(folder / "a.csv", text_column="text"),
  sources.open_source(folder / "a.jsonl", text_column="text"),
  sources.open_source(folder / "a.parquet", image_column="image"),
  *(sources.open_source(folder / x) for x in ("a.npz", "a.npy", "images")),
]

import tensorflow_datasets as tfds

class Tiny(tfds.core.GeneratorBasedBuilder):
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    features = {
      "image": tfds.features.Image(shape=(4, 4, 3)),
      "label": tfds.features.ClassLabel(num_classes=2),
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _split_generators(self, download):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    yield 0, {"image": folder / "images/cat/a.png", "label": 1}

Tiny(data_dir=folder, file_format="array_record").download_and_prepare()
opened.append(sources.TfdsSource("tiny", "train", folder))
for source in opened:
  print(len(source), *source[0])
print("tensorflow" in sys.modules)
"""


def test_reading_never_imports_tensorflow(tmp_path):
  completed = subprocess.run(
    [sys.executable, "-c", READS_EVERYTHING, str(tmp_path)],
    cwd=pathlib.Path(__file__).parents[3],
    capture_output=True,
    text=True,
    check=False,
  )
  lines = completed.stdout.splitlines()[-8:]
  assert completed.returncode == 0, completed.stderr
  assert lines == [
    *["1 id text"] * 2,
    *["1 id image"],
    *["1 id image label", "1 id image", "1 id image label"],
    *["1 id image label"],
    "False",
  ]
